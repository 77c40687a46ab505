//! One bad module never costs the others: what the indexes cannot hold is named and left out, the status is 1, and the rest
//! is what kmod 34.2 makes of a tree without it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use crate::elf::KoBuilder;
use crate::stage::{self, Body, OUTPUTS, Stages, Who};
use crate::tree::{DIR, Tree, VERSION, ko};

struct Case {
    name: &'static str,
    bad: Tree,
    /// Files whose names are no UTF-8, below the module directory.
    files: Vec<(&'static [u8], Vec<u8>)>,
    /// What the bad tree is like without what is bad.
    good: Tree,
    /// Lines of the text files that say what the index cannot, as kmod's do.
    lines: Vec<(&'static str, Vec<u8>)>,
    /// What is said about it, one line each, in order.
    told: Vec<String>,
}

/// Two good modules, and perhaps a third.
fn around(module: Option<KoBuilder>) -> Tree {
    let tree = Tree::new()
        .file("modules.builtin", "kernel/one.ko\nkernel/three.ko\n")
        .file("modules.builtin.modinfo", "one.alias=first\0three.alias=third\0")
        .ko("kernel/a.ko", ko().alias("pci:a*").export("of_a", 1))
        .ko("kernel/b.ko", ko().alias("pci:b*").needs("of_a"));
    match module {
        Some(module) => tree.ko("kernel/m.ko", module),
        None => tree,
    }
}

const ONLY: &str = "Module index: bad character 0xe9 - only 7-bit ASCII is supported";

fn case(name: &'static str, bad: Tree, good: Tree, told: &[&str]) -> Case {
    let told = told.iter().map(|told| format!("depmod: ERROR: /{DIR}/{told}")).collect();
    Case { name, bad, files: Vec::new(), good, lines: Vec::new(), told }
}

impl Case {
    fn line(mut self, file: &'static str, line: impl AsRef<[u8]>) -> Case {
        self.lines.push((file, line.as_ref().to_vec()));
        self
    }

    fn file(mut self, name: &'static [u8], contents: Vec<u8>) -> Case {
        self.files.push((name, contents));
        self
    }

    fn run(self, stages: &Stages) -> Result<(), String> {
        let problem = |error: std::io::Error| error.to_string();
        let stage = stages.stage(&format!("spared-{}", self.name)).map_err(problem)?;
        self.good.make(&stage).map_err(problem)?;
        stage.depmod(Who::Theirs, &["-o", "/good", VERSION])?;
        let expected = stage::set(&stage.at("/good").join(DIR));
        self.bad.make(&stage).map_err(problem)?;
        for (name, contents) in &self.files {
            let path = stage.at(DIR).join(OsStr::from_bytes(name));
            fs::create_dir_all(path.parent().expect("below the directory")).map_err(problem)?;
            fs::write(path, contents).map_err(problem)?;
        }
        // The inputs of the two trees have the same names, so that theirs come in the same order.
        let args = ["--cache-dir", "/cache", VERSION];
        for when in ["new", "again"] {
            let ended = stage.run(Who::Ours, "depmod", &args)?;
            let told: String = self.told.iter().map(|line| format!("{line}\n")).collect();
            if ended.status != "exit status: 1" || ended.stderr != told {
                return Err(format!("{when}: {}\n{}instead of\n{told}", ended.status, ended.stderr));
            }
            let mut set = stage::set(&stage.at(DIR));
            for (file, line) in &self.lines {
                let at = OUTPUTS.iter().position(|name| name == file).ok_or("no such file")?;
                let text = set[at].take().ok_or("not written")?;
                let place = text.windows(line.len()).position(|window| window == line);
                let place = place.ok_or_else(|| format!("{file} lacks its line"))?;
                set[at] = Some([&text[..place], &text[place + line.len()..]].concat());
            }
            stage::same_set(when, &expected, &set)?;
        }
        Ok(())
    }
}

/// All as tests.
pub fn trials() -> Vec<(String, Body)> {
    let long = "l".repeat(4090);
    let longer = "l".repeat(4096);
    let fine = || ko().alias("first").alias("last").export("e_first", 1);
    let cases = vec![
        case(
            "alias",
            around(Some(ko().alias("first").alias(b"x\xe9y").alias("last").export("e_first", 1))),
            around(Some(fine())),
            &[&format!("kernel/m.ko: x\u{fffd}y: {ONLY}")],
        )
        .line("modules.alias", b"alias x\xe9y m\n"),
        case(
            "alias-too-long",
            around(Some(ko().alias("first").alias(&longer).alias("last").export("e_first", 1))),
            around(Some(fine())),
            &[&format!("kernel/m.ko: {}: longer than what is looked up", &longer[..100])],
        )
        .line("modules.alias", format!("alias {longer} m\n")),
        case(
            "symbol",
            around(Some(fine().export(b"s\xe9", 1))),
            around(Some(fine())),
            &[&format!("kernel/m.ko: symbol:s\u{fffd}: {ONLY}")],
        )
        .line("modules.symbols", b"alias symbol:s\xe9 m\n"),
        case(
            "symbol-too-long",
            around(Some(fine().export(&long, 1))),
            around(Some(fine())),
            &[&format!(
                "kernel/m.ko: symbol:{}: Module index: a key of 4097 bytes is longer than 4096",
                &long[..93]
            )],
        )
        .line("modules.symbols", format!("alias symbol:{long} m\n")),
        // Nothing leads to it, and what needs it has one unknown symbol more.
        case(
            "path",
            around(Some(fine().needs("of_n"))),
            around(Some(fine())),
            &[&format!("kernel/n\u{fffd}.ko: {ONLY}")],
        )
        .file(b"kernel/n\xe9.ko", ko().alias("n:*").export("of_n", 1).build()),
        // It would win over the one in kernel.
        case(
            "path-of-a-better-one",
            around(None),
            around(None),
            &[&format!("updates/\u{fffd}/a.ko: {ONLY}")],
        )
        .file(b"updates/\xe9/a.ko", ko().alias("other").build()),
        case(
            "builtin",
            around(None).file("modules.builtin", b"kernel/one.ko\nkernel/tw\xe9.ko\nkernel/three.ko\n"),
            around(None),
            &[&format!("modules.builtin: tw\u{fffd}: {ONLY}")],
        ),
        case(
            "builtin-alias",
            around(None).file(
                "modules.builtin.modinfo",
                b"one.alias=first\0two.alias=s\xe9cond\0tw\xe9.alias=x\0three.alias=third\0",
            ),
            around(None),
            &[
                &format!("modules.builtin.modinfo: s\u{fffd}cond: {ONLY}"),
                &format!("modules.builtin.modinfo: x: {ONLY}"),
            ],
        ),
    ];
    cases
        .into_iter()
        .map(|case| {
            let name = format!("spared::{}", case.name);
            (name, Box::new(move |stages: &Stages| case.run(stages)) as Body)
        })
        .collect()
}
