//! The completions, asked in the shells themselves: bash with bash-completion, zsh and fish of this machine, in a root
//! directory of their own where /proc, /lib/modules and some files are a fixture. All three must offer the same for the
//! same line; and the options, commands and words that they offer are those of the parsers' tables, in both directions.
//!
//! The commands that clap parses (`src/cli/own`) are completed by hand like the rest, and held to clap's tables here, so that
//! they cannot fall behind them. clap_complete would write 295 lines of shell for these four commands, which take some 40 in
//! the files that are there anyway; a second `complete` for kmod beside that for `list` and `static-nodes` would have to call
//! the first; and of a value it knows no more than that it is a file, not which kernels lie below the root that was given
//! before. Its other way, asking the program at each Tab, is not stable yet (`unstable-dynamic`).
//!
//! The root holds links into the host's file system, which is bound to `/host` in a mount namespace of the shell's own. That
//! takes root.

#[path = "../common/commands.rs"]
mod commands;
#[path = "../common/elf.rs"]
mod elf;
#[path = "../common/needs.rs"]
mod needs;

use kmod_once::internals::cli::getopt::{Opt, Spelling};
use kmod_once::internals::cli::own;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");
const TOOLS: [&str; 7] = ["modprobe", "insmod", "rmmod", "lsmod", "modinfo", "depmod", "kmod"];
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// The root directory.
struct Fixture {
    root: tempfile::TempDir,
}

/// A path inside the fixture, as a path of the host.
fn host(path: impl AsRef<Path>) -> PathBuf {
    Path::new("/host").join(path.as_ref().strip_prefix("/").unwrap())
}

/// Links in `to` to all that is in `from` on the host, except `but`.
fn link_all(from: &str, to: &Path, but: &[&str]) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        if !but.iter().any(|but| name == *but) {
            symlink(host(from).join(&name), to.join(&name)).unwrap();
        }
    }
}

impl Fixture {
    fn new() -> Fixture {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let write = |path: &str, content: &[u8]| {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), content).unwrap();
        };
        for dir in
            ["bin", "dev", "etc", "lib64", "sbin"].iter().filter(|dir| Path::new("/").join(dir).exists())
        {
            symlink(host("/").join(dir), at(dir)).unwrap();
        }
        link_all("/usr", &at("usr"), &["lib"]);
        link_all("/usr/lib", &at("usr/lib"), &["modules"]);
        symlink("usr/lib", at("lib")).unwrap();
        for dir in
            ["host", "tmp", "proc", "sys", "installed/fish", "installed/zsh", "installed/bash/completions"]
        {
            fs::create_dir_all(at(dir)).unwrap();
        }

        // As `make install` lays them out, one name for each tool.
        let completions = host(SOURCE).join("completions");
        symlink(completions.join("_kmod"), at("installed/zsh/_kmod")).unwrap();
        for tool in TOOLS {
            symlink(completions.join("kmod.bash"), at("installed/bash/completions").join(tool)).unwrap();
            symlink(completions.join("kmod.fish"), at("installed/fish").join(format!("{tool}.fish")))
                .unwrap();
        }
        symlink(host(SOURCE).join("tests/completions"), at("drive")).unwrap();
        // The parameters of modules come from modinfo; fish completes only commands that exist.
        let binary = std::env::var_os("KMOD_ONCE_BIN").unwrap_or(env!("CARGO_BIN_EXE_kmod").into());
        fs::create_dir(at("tools")).unwrap();
        // Not by this process: what it writes cannot be started (ETXTBSY) while a child that another test has just forked
        // still holds the descriptor.
        assert!(Command::new("cp").arg(binary).arg(at("tools/kmod")).status().unwrap().success());
        for tool in TOOLS.iter().filter(|tool| **tool != "kmod") {
            symlink("kmod", at("tools").join(tool)).unwrap();
        }

        let release = nix::sys::utsname::uname().unwrap().release().to_str().unwrap().to_owned();
        let tree = format!("usr/lib/modules/{release}");
        let module = elf::KoBuilder::new()
            .modinfo("license", "GPL")
            .parm("max_loop", "int", "how many")
            .parm("max_part", "int", "partitions: how many");
        write(&format!("{tree}/kernel/loop.ko"), &module.build());
        write(&format!("{tree}/modules.dep"), b"kernel/loop.ko:\nkernel/snd-hda-intel.ko.xz: kernel/snd.ko.zst\nkernel/snd.ko.zst:\nkernel/xfs.ko.gz:\n");
        write("proc/modules", b"snd_hda_intel 4096 0 - Live 0x0\nsnd 4096 1 snd_hda_intel, Live 0x0\n");
        write("mnt-fixture/lib/modules/6.1.0/modules.dep", b"extra/other.ko:\n");
        write("mnt-fixture/lib/modules/6.12.0/modules.dep", b"extra/newer.ko:\n");
        write("work/one.ko", &module.build());
        for file in ["two.ko.xz", "three.ko.gz", "four.ko.zst", "notes.txt", "five.ko.bak", "sub/six.ko"] {
            write(&format!("work/{file}"), b"");
        }
        Fixture { root }
    }

    /// What a shell offers at the end of each line.
    fn ask(&self, shell: &str, lines: &[String]) -> Vec<BTreeSet<String>> {
        let mut command = Command::new(shell);
        match shell {
            "bash" => command.args(["--norc", "/drive/drive.bash"]),
            "zsh" => command.args(["-f", "/drive/drive.zsh", "/drive/inner.zsh"]),
            _ => command.args(["--no-config", "/drive/drive.fish"]),
        };
        command.env_clear().envs([
            ("PATH", "/tools:/usr/bin:/bin"),
            ("HOME", "/tmp"),
            ("TERM", "dumb"),
            ("LC_ALL", "C.UTF-8"),
            ("BASH_COMPLETION_USER_DIR", "/installed/bash"),
        ]);
        let root = self.root.path().to_owned();
        // SAFETY: single system calls on paths that were made before the fork.
        unsafe {
            command.pre_exec(move || {
                unshare(CloneFlags::CLONE_NEWNS)?;
                let none: Option<&str> = None;
                mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
                mount(Some("/"), &root.join("host"), none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
                nix::unistd::chroot(&root)?;
                nix::unistd::chdir("/work")?;
                Ok(())
            });
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{shell}, which tests/lab/tools.sh installs: {error}"));
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && complaints.is_empty(), "{shell}: {}\n{complaints}", output.status);
        let said = String::from_utf8(output.stdout).unwrap();
        let mut answers: Vec<BTreeSet<String>> = vec![BTreeSet::new()];
        for line in said.lines() {
            match line.trim() {
                "." => answers.push(BTreeSet::new()),
                "" => {}
                candidate => {
                    answers.last_mut().unwrap().insert(bare(candidate));
                }
            }
        }
        answers.pop();
        assert_eq!(answers.len(), lines.len(), "{shell} said:\n{said}");
        answers
    }
}

/// A candidate without what shells write differently: the option or path before it, and the `=` or `/` after it.
fn bare(candidate: &str) -> String {
    let candidate = candidate.trim_end_matches('=').trim_end_matches('/');
    let candidate = candidate.split_once('=').map_or(candidate, |(_, value)| value);
    candidate.rsplit_once('/').map_or(candidate, |(_, name)| name).to_owned()
}

/// Asks all lines in all shells, and says where the answers are not those expected.
fn check(cases: &BTreeMap<String, BTreeSet<String>>) {
    let fixture = Fixture::new();
    let lines: Vec<String> = cases.keys().cloned().collect();
    let mut wrong = Vec::new();
    for shell in SHELLS {
        for (line, mut offered) in lines.iter().zip(fixture.ask(shell, &lines)) {
            if line.ends_with(' ') {
                // Where there is nothing else to say, zsh names the options unasked.
                offered.retain(|word| !word.starts_with('-'));
            }
            if offered != cases[line] {
                wrong.push(format!("{shell}: {line:?}\n  offers {offered:?}\n  not    {:?}", cases[line]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn set(words: &str) -> BTreeSet<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

/// The options that a tool's help text lists.
fn listed(options: &[Opt]) -> BTreeSet<String> {
    let rows = options.iter().filter(|row| matches!(row.spelling, Spelling::Listed | Spelling::Whole));
    rows.flat_map(|row| {
        let letter = row.short().map(|letter| format!("-{}", char::from(letter)));
        letter.into_iter().chain([format!("--{}", row.long)])
    })
    .collect()
}

#[test]
fn options_are_those_of_the_tables() {
    if !needs::root() {
        return;
    }
    let mut cases: BTreeMap<String, BTreeSet<String>> =
        commands::tables().iter().map(|(tool, options)| (format!("{tool} -"), listed(options))).collect();
    let lsmod = cases["lsmod -"].clone();
    cases.insert("kmod list -".into(), lsmod);
    assert_eq!(cases.len(), 13);
    check(&cases);
}

/// Lines that end where a value is wanted, and what is offered for it.
fn values() -> BTreeMap<String, BTreeSet<String>> {
    let release = nix::sys::utsname::uname().unwrap().release().to_str().unwrap().to_owned();
    let files = "one.ko two.ko.xz three.ko.gz four.ko.zst sub";
    let modules = "loop snd_hda_intel snd xfs";
    let cases = [
        ("modprobe ", modules),
        ("modprobe s", "snd_hda_intel snd"),
        ("modprobe snd_h", "snd_hda_intel"),
        ("modprobe -q x", "xfs"),
        ("modprobe -a loop ", modules),
        ("modprobe --all loop x", "xfs"),
        ("modprobe --explain loop x", "xfs"),
        ("modprobe --jobs 4 x", "xfs"),
        ("modprobe --jobs ", ""),
        ("modprobe -r ", "snd_hda_intel snd"),
        ("modprobe --remove snd_", "snd_hda_intel"),
        ("modprobe --remove-holders ", "snd_hda_intel snd"),
        ("modprobe -qabr snd ", "snd_hda_intel snd"),
        ("modprobe -d /mnt-fixture -S 6.1.0 ", "other"),
        ("modprobe --dirname=/mnt-fixture --set-version=6.12.0 ", "newer"),
        ("modprobe -d/mnt-fixture -S6.12.0 n", "newer"),
        ("modprobe -nd /mnt-fixture -S6.12.0 n", "newer"),
        ("modprobe -S ", release.as_str()),
        ("modprobe -d /mnt-fixture -S ", "6.1.0 6.12.0"),
        ("modprobe -d /mnt-fixture --set-version=6.12", "6.12.0"),
        ("modprobe -d /mnt-f", "mnt-fixture"),
        ("modprobe loop ", "max_loop max_part"),
        ("modprobe loop max_loop=8 max_p", "max_part"),
        ("modprobe -S 9.9.9 ", ""),
        ("modprobe ./", files),
        ("modprobe -w ", ""),
        ("insmod ", files),
        ("insmod t", "two.ko.xz three.ko.gz"),
        ("insmod sub/", "six.ko"),
        ("insmod ./o", "one.ko"),
        ("insmod one.ko ", "max_loop max_part"),
        ("rmmod ", "snd_hda_intel snd"),
        ("rmmod -f snd snd_", "snd_hda_intel"),
        ("lsmod ", ""),
        ("modinfo ", "loop snd_hda_intel snd xfs one.ko two.ko.xz three.ko.gz four.ko.zst sub"),
        ("modinfo lo", "loop"),
        ("modinfo sub/", "six.ko"),
        ("modinfo -b /mnt-fixture -k 6.1.0 o", "other one.ko"),
        ("modinfo -F lic", "license"),
        ("modinfo -k ", release.as_str()),
        ("depmod ", release.as_str()),
        ("depmod -b /mnt-fixture ", "6.1.0 6.12.0"),
        ("depmod -b /mnt-fixture 6.12", "6.12.0"),
        ("depmod 6.1.0 /work/t", "two.ko.xz three.ko.gz"),
        ("depmod -b / -m mnt-fixture/lib/modules ", "6.1.0 6.12.0"),
        ("kmod check config mo", "modules"),
        ("kmod check -d /mnt-fixture -S ", "6.1.0 6.12.0"),
        ("kmod check --set-version ", release.as_str()),
        ("kmod check --dirname ", "sub"),
        ("kmod check --config ", "one.ko two.ko.xz three.ko.gz four.ko.zst notes.txt five.ko.bak sub"),
        ("kmod st", "stats static-nodes"),
        ("kmod static-nodes -f ", "human tmpfiles devname"),
        ("kmod stats ", ""),
        ("kmod blame --until ", ""),
        ("kmod plot --until ", ""),
    ];
    cases.into_iter().map(|(line, words)| (line.to_owned(), set(words))).collect()
}

#[test]
fn values_are_those_of_this_machine() {
    if !needs::root() {
        return;
    }
    check(&values());
}

/// The commands, and the words that an operand or option of them may be: all that clap knows of them but the options' names.
#[test]
fn words_are_those_of_the_parser() {
    if !needs::root() {
        return;
    }
    let commands = commands::of_kmod();
    let mut parser = own::commands();
    parser.build();
    let mut cases =
        BTreeMap::from([("kmod ".to_owned(), commands.iter().map(|&name| name.to_owned()).collect())]);
    let values = values();
    for command in parser.get_subcommands() {
        let name = command.get_name();
        assert!(commands.contains(name), "{name} is not in kmod's help");
        for option in command.get_arguments().filter(|option| option.get_action().takes_values()) {
            let words = option.get_possible_values();
            let before = match (option.get_long(), option.get_short()) {
                (Some(long), _) => format!("kmod {name} --{long} "),
                (None, Some(letter)) => format!("kmod {name} -{letter} "),
                (None, None) => format!("kmod {name} "),
            };
            if !words.is_empty() {
                let words = words.iter().filter(|word| !word.is_hide_set());
                cases.insert(before, words.map(|word| word.get_name().to_owned()).collect());
            } else {
                // Only this machine knows them.
                assert!(values.contains_key(&before), "what is offered after {before:?}?");
            }
        }
    }
    check(&cases);
}

#[test]
fn dashes_in_names_are_underscores() {
    if !needs::root() {
        return;
    }
    let fixture = Fixture::new();
    let lines = ["modprobe snd-h", "rmmod snd-hda_", "modinfo snd-hda-i"].map(str::to_owned);
    for shell in SHELLS {
        for (line, offered) in lines.iter().zip(fixture.ask(shell, &lines)) {
            let names: Vec<String> = offered.iter().map(|name| name.replace('-', "_")).collect();
            assert_eq!(names, ["snd_hda_intel"], "{shell}: {line}");
        }
    }
}
