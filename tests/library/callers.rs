//! dracut-install as Debian ships it, with their library and with ours: it must copy the same modules. It leans on more than
//! the header says (one object for a name and its file, symbols of one list asked with the functions of another).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::{Release, run as call};
use crate::debian::Cache;
use crate::tools::Tools;
use crate::{Suite, case, kernel, run, tree, unequal};

/// For each release: its name, its suite, and the package that the program is in.
pub const RELEASES: [(&str, &str, &str); 2] =
    [("34.2", "trixie", "dracut-install"), ("30", "bookworm", "dracut-core")];

/// What it is asked for. `%` is the module directory.
const COMMANDS: [&str; 5] = [
    "dracut-install -D /tmp/out --kerneldir % -m xfs ext4 nfs",
    "dracut-install -D /tmp/out --kerneldir % -m =drivers/net/phy =crypto",
    "dracut-install -D /tmp/out --kerneldir % -o -m nosuch loop pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00",
    "dracut-install -D /tmp/out --kerneldir % --silent -o -s register_blkdev|ahci_platform_get_resources -m =drivers/ata",
    "dracut-install -D /tmp/out --kerneldir % --modalias",
];

/// Copies modules with both libraries and compares what was copied.
///
/// # Errors
/// What differs.
pub fn check(suite: &Suite, index: usize) -> Result<(), String> {
    let (name, debian, package) = RELEASES[index];
    let release = suite.build.releases.iter().find(|release| release.name == name).ok_or("no release")?;
    let cache = Cache::open().map_err(|error| error.to_string())?;
    let dir = cache.userland(&format!("{package}-{debian}"), debian, &[package]);
    let dir = dir.map_err(|error| error.to_string())?;
    let program = dir.join("usr/lib/dracut/dracut-install");
    let whole = tree::tree(suite)?;
    let theirs = copied(suite, release, &release.theirs, &program, whole)?;
    let ours = copied(suite, release, &release.ours, &program, whole)?;
    println!("{package} of {debian}: {} lines and files", ours.len());
    if ours.len() < 50 {
        return Err(format!("it copied too little: {ours:?}"));
    }
    unequal(&theirs, &ours).map_or(Ok(()), |shown| Err(format!("- is with theirs, + is with ours\n{shown}")))
}

/// What it said and which files there are afterwards.
fn copied(
    suite: &Suite,
    release: &Release,
    tools: &Tools,
    program: &Path,
    whole: &tree::Tree,
) -> Result<BTreeSet<String>, String> {
    let said = |error: std::io::Error| error.to_string();
    let mut files = tools.files.clone();
    for (path, source) in &mut files {
        if path == Path::new("bin/kmod") {
            *source = program.to_owned();
        }
    }
    let name = release.name;
    let tools = Tools { name: tools.name, files }.staged(&suite.new_path(name)).map_err(said)?;
    let root = whole.another(suite, &tools).map_err(said)?;
    // What --modalias goes by.
    fs::write(root.join("proc/modules"), "loop 40960 0 - Live 0x0\nxfs 2097152 0 - Live 0x0\n")
        .map_err(said)?;
    let answers = kernel::Answers::new(&BTreeMap::new())?;
    let mut found = BTreeSet::new();
    for (number, line) in COMMANDS.iter().enumerate() {
        let words: Vec<String> = line.replace('%', &whole.dir).split(' ').map(str::to_owned).collect();
        fs::create_dir_all(root.join("tmp/out")).map_err(said)?;
        let transcript = run::command(&case::Command::of(&words), &root, &answers).map_err(said)?;
        found.extend(transcript.lines().map(|line| format!("{number}: {line}")));
        let out: PathBuf = root.join("tmp/out");
        let listing = call(Command::new("find").arg(&out).args(["-type", "f", "-printf", "%P %s\\n"]))?;
        found.extend(listing.lines().map(|line| format!("{number}: {line}")));
        fs::remove_dir_all(out).map_err(said)?;
    }
    Ok(found)
}
