//! The index files of a module directory. File times do not show whether they match the modules, since copying and
//! unpacking changes times: what depmod would write now is compared with the files.

use crate::check::finding::{abbreviated, at_most_ten, shown};
use crate::check::{Context, Finding};
use crate::error::Errno;
use crate::formats::index::{Index, unfit};
use crate::formats::{modinfo, text};
use crate::limits;
use crate::name;
use crate::system::map::{self, Contents};
use crate::system::roots::as_path;
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;

/// The binary indexes, each with the text file that has the same content.
const INDEXES: [(&str, &str); 5] = [
    ("modules.dep.bin", "modules.dep"),
    ("modules.alias.bin", "modules.alias"),
    ("modules.symbols.bin", "modules.symbols"),
    ("modules.builtin.bin", "modules.builtin"),
    ("modules.builtin.alias.bin", "modules.builtin.modinfo"),
];

/// The text files that depmod makes from the modules alone, and that all its versions make alike.
const MADE: [&str; 4] = ["modules.dep", "modules.alias", "modules.softdep", "modules.symbols"];

fn depmod(context: &Context<'_>) -> String {
    format!("depmod {}", shown(context.request.release))
}

fn open(context: &Context<'_>, name: &str) -> Result<Contents, Errno> {
    map::open(&context.tree.dir().join(name), limits::TEXT_FILE).map_err(|error| error.errno())
}

/// Missing directories and indexes.
pub(super) fn missing(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let dir = context.tree.dir();
    if !dir.is_dir() {
        let release = shown(context.request.release);
        return findings.push(Finding::error(dir, format!("there are no modules for the kernel {release}")));
    }
    // kmod before 27 made no index of the aliases of built-in modules.
    for (index, source) in &INDEXES[..4] {
        let Err(errno) = open(context, index) else { continue };
        if *source != "modules.builtin" || open(context, source).is_ok() {
            findings.push(Finding::error(dir.join(index), errno.to_string()).hint(depmod(context)));
        }
    }
    for list in ["modules.builtin", "modules.order"] {
        if let Err(errno) = open(context, list) {
            let finding = Finding::warning(dir.join(list), errno.to_string());
            findings.push(finding.hint("it comes with the kernel"));
        }
    }
}

/// Binary indexes that are damaged, or that disagree with their text files.
pub(super) fn binaries(context: &Context<'_>, findings: &mut Vec<Finding>) {
    for (name, source) in INDEXES {
        let Ok(binary) = open(context, name) else { continue };
        let what = match (Index::open(&binary), open(context, source)) {
            (Ok(index), text) if index.is_whole() => {
                text.ok().and_then(|text| disagreement(&index, source, &text))
            }
            // depmod writes an empty index if its input is missing.
            (Err(error), Err(_)) if error.errno() == Errno::ENODATA => None,
            (Ok(_), _) => Some("the index is damaged".to_owned()),
            (Err(error), _) => Some(error.what().to_owned()),
        };
        let finding = what.map(|what| Finding::error(context.tree.dir().join(name), what));
        findings.extend(finding.map(|finding| finding.hint(depmod(context))));
    }
}

type Pairs = BTreeSet<(Vec<u8>, Vec<u8>)>;

fn disagreement(index: &Index<'_>, source: &str, text: &[u8]) -> Option<String> {
    let mut left = Pairs::new();
    index.dump(&mut |key, value| {
        left.insert((key.to_vec(), value.to_vec()));
    });
    let mut right = pairs(source, text);
    // These the index cannot hold; the module that has such an alias is reported for it.
    right.retain(|(key, _)| unfit(key).is_none());
    let differing: BTreeSet<&[u8]> = left.symmetric_difference(&right).map(|(key, _)| &key[..]).collect();
    let keys: Vec<String> = differing.into_iter().map(shown).collect();
    (!keys.is_empty()).then(|| format!("says something else than {source} of {}", abbreviated(&keys)))
}

/// The entries of an index of this text.
fn pairs(name: &str, contents: &[u8]) -> Pairs {
    match name {
        "modules.dep" => {
            let keyed = |line: &[u8]| Some((name::from_path(path(line))?, line.to_vec()));
            statements(contents).into_iter().filter_map(keyed).collect()
        }
        "modules.builtin" => text::builtins(contents).map(|name| (name, Vec::new())).collect(),
        "modules.builtin.modinfo" => {
            let aliases = modinfo::builtin(contents)
                .filter(|record| record.key == b"alias" && !record.value.is_empty());
            aliases.filter_map(|record| Some((name::alias(record.value)?, record.name.to_vec()))).collect()
        }
        _ => text::aliases(contents)
            .filter_map(|(key, value)| Some((name::alias(key)?, value.to_vec())))
            .collect(),
    }
}

/// Modules missing from `modules.dep`, and files of `modules.dep` that do not exist.
pub(super) fn files(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let (Some(study), Ok(dep)) = (context.study(), open(context, "modules.dep")) else { return };
    let dir = context.tree.dir();
    let named: BTreeSet<&[u8]> = statements(&dep).into_iter().map(path).collect();
    let there: BTreeSet<&[u8]> =
        study.modules.iter().map(|module| module.relative(dir.as_os_str().as_bytes())).collect();
    let unknown = there.difference(&named).map(|path| {
        let what = "not in modules.dep, so nothing finds it";
        Finding::error(dir.join(as_path(path)), what).hint(depmod(context))
    });
    findings.extend(at_most_ten(unknown.collect(), dir));
    let dep = dir.join("modules.dep");
    let gone = named.difference(&there).map(|path| {
        let is_file = dir.join(as_path(path)).exists();
        let why = if is_file { "is not the file that counts" } else { "is not there" };
        Finding::error(&dep, format!("{} {why}", shown(path))).hint(depmod(context))
    });
    findings.extend(at_most_ten(gone.collect(), &dep));
}

/// Text files that disagree with the modules.
pub(super) fn stale(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let Some(study) = context.study() else { return };
    // Of a file that only root may read nobody else can say what the index should have of it.
    let mut troubles = study.facts.iter().filter_map(|facts| facts.trouble.as_ref());
    if troubles.any(|trouble| trouble.errno == Errno::EACCES) {
        return;
    }
    for file in study.texts.iter().filter(|file| MADE.contains(&file.name)) {
        let Ok(there) = open(context, file.name) else { continue };
        let (mut there, mut made) = (statements(&there), statements(&file.contents));
        if file.name == "modules.dep" {
            // Missing and unknown files are reported one by one.
            let known: BTreeSet<&[u8]> = there.iter().copied().map(path).collect();
            let present: BTreeSet<&[u8]> = made.iter().copied().map(path).collect();
            there.retain(|line| present.contains(path(line)));
            made.retain(|line| known.contains(path(line)));
        }
        let (missing, more) = (made.difference(&there).count(), there.difference(&made).count());
        if let Some(first) = made.symmetric_difference(&there).next() {
            let what = format!(
                "of other modules than these: {missing} lines are missing and {more} too many, such as '{}'",
                shown(first)
            );
            findings.push(Finding::error(context.tree.dir().join(file.name), what).hint(depmod(context)));
        }
    }
}

/// The module's file in a line of `modules.dep`.
fn path(line: &[u8]) -> &[u8] {
    line.split(|&b| b == b':').next().unwrap_or_default()
}

fn statements(text: &[u8]) -> BTreeSet<&[u8]> {
    text.split(|&b| b == b'\n').filter(|line| !line.is_empty() && line[0] != b'#').collect()
}
