//! Whole module trees of Debian kernels, asked about everything: every module's dependencies and information, every
//! alias, every symbol, the configuration.
//!
//! Each of 34.2 and ours has a root of its own, with the tree as hard links and the indexes of 34.2's depmod. Many names
//! go into one command, and whole outputs are compared. What 34.2 said is kept in the cache directory, since it is the
//! same each time:
//!
//! ```text
//! compliance/PACKAGE-HASH/             HASH: of 34.2's binary
//!     modules.dep, ...                 what its depmod writes
//!     KIND-HASH.zst                    its transcripts (transcript.rs) of one kind; HASH: of the command lines
//! ```
//!
//! The softdep lines of one module add up in ours, and in 34.2 the first one counts. So that all else of the plans can be
//! compared, 34.2 gets a configuration, [`JOINED`], with one line for each module, joined from those of modules.softdep.
//!
//! What needs every module decompressed many times over is asked of each module of the uncompressed tree, and of every
//! [`SAMPLE`]th of the compressed one; of all if `KMOD_ONCE_FULL` is set. A build of ours that is not optimised is asked
//! about every [`SAMPLE`]th module only.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::Suite;
use crate::debian::{Cache, module_directory};
use crate::differences::Differences;
use crate::root::{link_tree, skeleton};
use crate::run::{self, Step};
use crate::tools::Tools;
use crate::{case, kernel, transcript, trees};

/// Of how many modules one is looked at where not all are.
const SAMPLE: usize = 16;
/// Names in one command.
const BATCH: usize = 250;
/// How a tree is called, and how its package's name begins and ends. The oldest and the newest kernel: `KMOD_ONCE_FULL`.
const TREES: [(&str, &str, &str); 4] = [
    ("6.12", "linux-image-6.12.", "-amd64-unsigned"),
    ("6.1", "linux-image-6.1.0-", "-amd64-unsigned"),
    ("5.10", "linux-image-5.10.0-", "-amd64-unsigned"),
    ("7", "linux-modules-7.", "+deb13-amd64"),
];
/// How many of them are looked at each time.
const ALWAYS: usize = 2;
/// Configuration of the commands that make plans: softdep lines for 34.2, nothing for ours.
const JOINED: &str = "/joined.conf";

/// What is asked, one test each.
const KINDS: [Kind; 9] = [
    Kind { name: "modprobe-D", ask: Tree::dependencies },
    Kind { name: "modprobe-D-one-by-one", ask: Tree::dependencies_one_by_one },
    Kind { name: "modinfo", ask: |tree| tree.about_all(&[]) },
    Kind { name: "modinfo-0", ask: |tree| tree.about_all(&["-0"]) },
    Kind { name: "modinfo-F", ask: Tree::fields },
    Kind { name: "exports", ask: Tree::versions },
    Kind { name: "aliases", ask: Tree::aliases },
    Kind { name: "symbols", ask: Tree::symbols },
    Kind { name: "modprobe-c", ask: Tree::configuration },
];

/// One kind of question: its name and the commands.
#[derive(Clone, Copy)]
pub struct Kind {
    name: &'static str,
    ask: fn(&Tree) -> io::Result<Vec<case::Command>>,
}

/// The trees, each made ready by the first test that needs it.
#[derive(Default)]
pub struct Whole {
    trees: [OnceLock<Result<Tree, String>>; TREES.len()],
}

/// One tree and the two roots it is in.
pub struct Tree {
    release: String,
    theirs: PathBuf,
    ours: PathBuf,
    kept: PathBuf,
    compressed: bool,
    optimised: bool,
    full: bool,
    /// Names as in the tree (`snd-pcm`), and those of the built-in modules.
    modules: Vec<String>,
    builtins: Vec<String>,
    /// Paths from the root.
    files: Vec<String>,
}

/// Every test: its name, which tree and what is asked.
pub fn tests() -> Vec<(String, usize, Kind)> {
    let mut tests = Vec::new();
    let count = if full() { TREES.len() } else { ALWAYS };
    for (index, (tree, ..)) in TREES.iter().enumerate().take(count) {
        tests.extend(KINDS.map(|kind| (format!("whole/{tree}/{}", kind.name), index, kind)));
    }
    tests
}

/// Asks both tools and compares.
///
/// # Errors
/// What differs, or what went wrong.
pub fn check(suite: &Arc<Suite>, name: &str, index: usize, kind: Kind) -> Result<(), String> {
    let said = |error: io::Error| format!("{name}: {error}");
    let tree = suite.whole.trees[index].get_or_init(|| Tree::new(suite, index).map_err(said));
    let tree = tree.as_ref().map_err(String::clone)?;
    let commands = (kind.ask)(tree).map_err(said)?;
    if commands.is_empty() {
        return Err(format!("{name}: nothing to ask"));
    }
    let theirs = tree.theirs(kind.name, &commands).map_err(said)?;
    let ours = ask(&tree.ours, &commands).map_err(said)?;
    compare(&suite.differences, name, &theirs, &ours)
}

fn compare(differences: &Differences, name: &str, theirs: &[Step], ours: &[Step]) -> Result<(), String> {
    let mut failures = String::new();
    let mut differing = 0;
    for (theirs, ours) in theirs.iter().zip(ours) {
        let place = (name, theirs.title.as_str());
        if let Some((expected, seen)) =
            differences.compare("ours", place, &theirs.transcript, &ours.transcript)
        {
            differing += 1;
            if differing <= 5 {
                let title: String = theirs.title.chars().take(200).collect();
                failures.push_str(&format!("$ {title} ...\n{}", transcript::difference(&expected, &seen, 2)));
            }
        }
    }
    if theirs.len() != ours.len() {
        return Err(format!("{name}: {} answers against {}", theirs.len(), ours.len()));
    }
    match differing {
        0 => {
            let count =
                |steps: &[Step]| steps.iter().map(|step| step.transcript.lines().count()).sum::<usize>();
            println!("{name}: {} commands, {} lines, all equal", ours.len(), count(ours));
            Ok(())
        }
        _ => Err(format!(
            "{name}: {differing} of {} commands differ; - is kmod 34.2, + is ours\n{failures}",
            ours.len()
        )),
    }
}

fn ask(root: &Path, commands: &[case::Command]) -> io::Result<Vec<Step>> {
    let answers = kernel::Answers::new(&Default::default()).map_err(io::Error::other)?;
    let step = |command: &case::Command| {
        Ok(Step { title: command.shown.clone(), transcript: run::command(command, root, &answers)? })
    };
    commands.iter().map(step).collect()
}

impl Tree {
    fn new(suite: &Suite, index: usize) -> io::Result<Tree> {
        let (name, prefix, suffix) = TREES[index];
        let cache = Cache::open()?;
        let (package, package_name) = cache.kernel(prefix, suffix)?;
        let (release, source) = module_directory(&package)?;
        let kmod =
            suite.theirs.files.iter().find(|(path, _)| path.ends_with("kmod")).expect("there is a kmod");
        let kept = cache.path(&format!("compliance/{package_name}-{:016x}", hash([&fs::read(&kmod.1)?[..]])));
        fs::create_dir_all(&kept)?;
        let root = |tools: &Tools| -> io::Result<PathBuf> {
            let root = suite.dir.join(format!("whole-{name}-{}", tools.name));
            skeleton(&root, tools)?;
            link_tree(&source, &root.join("lib/modules").join(&release))?;
            Ok(root)
        };
        let ours = &suite.others[1];
        let (theirs, ours) = (root(&suite.theirs)?, root(ours)?);
        indexes(&kept, &theirs, &ours, &release)?;
        let softdeps = fs::read_to_string(kept.join("modules.softdep"))?;
        fs::write(theirs.join(&JOINED[1..]), trees::joined(&softdeps))?;
        fs::write(ours.join(&JOINED[1..]), "")?;
        let mut tree = Tree {
            theirs,
            ours,
            kept,
            compressed: false,
            optimised: suite.optimised,
            full: full(),
            modules: Vec::new(),
            builtins: Vec::new(),
            files: Vec::new(),
            release,
        };
        for line in tree.read("modules.dep")?.lines() {
            let path = line.split(':').next().unwrap_or_default();
            tree.compressed |= !path.ends_with(".ko");
            tree.modules.push(module_name(path));
            tree.files.push(format!("/lib/modules/{}/{path}", tree.release));
        }
        tree.builtins = tree.read("modules.builtin")?.lines().map(module_name).collect();
        Ok(tree)
    }

    fn read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.theirs.join("lib/modules").join(&self.release).join(file))
    }

    /// What 34.2 says to the commands: from the cache, or said now and kept.
    fn theirs(&self, kind: &str, commands: &[case::Command]) -> io::Result<Vec<Step>> {
        let words = commands.iter().flat_map(|command| &command.words).map(Vec::as_slice);
        let file = self.kept.join(format!("{kind}-{:016x}.zst", hash(words)));
        if let Ok(kept) = fs::File::open(&file) {
            let text = String::from_utf8(zstd::decode_all(kept)?).map_err(io::Error::other)?;
            let steps = text.split_terminator('\0').zip(commands);
            return Ok(steps
                .map(|(transcript, command)| Step {
                    title: command.shown.clone(),
                    transcript: transcript.to_owned(),
                })
                .collect());
        }
        let steps = ask(&self.theirs, commands)?;
        // a transcript has no NUL
        let text: String = steps.iter().map(|step| step.transcript.clone() + "\0").collect();
        let new = file.with_extension("new");
        fs::write(&new, zstd::encode_all(text.as_bytes(), 3)?)?;
        fs::rename(new, file)?;
        Ok(steps)
    }

    /// All modules, or every [`SAMPLE`]th, and all that are built in.
    fn names(&self, all: bool) -> Vec<String> {
        let step = if all { 1 } else { SAMPLE };
        self.modules.iter().step_by(step).chain(&self.builtins).cloned().collect()
    }

    fn batches(&self, tool: &str, options: &[&str], names: &[String]) -> Vec<case::Command> {
        let release = if tool == "modinfo" { "-k" } else { "-S" };
        let command = |names: &[String]| {
            let mut words: Vec<String> = vec![tool.to_owned(), release.to_owned(), self.release.clone()];
            words.extend(options.iter().map(|option| (*option).to_owned()));
            words.extend_from_slice(names);
            case::Command::of(&words)
        };
        names.chunks(BATCH).map(command).collect()
    }

    fn dependencies(&self) -> io::Result<Vec<case::Command>> {
        Ok(self.batches("modprobe", &["-C", JOINED, "-a", "-D"], &self.names(true)))
    }

    fn dependencies_one_by_one(&self) -> io::Result<Vec<case::Command>> {
        let names = self.names(self.full);
        Ok(names.chunks(1).flat_map(|name| self.batches("modprobe", &["-C", JOINED, "-D"], name)).collect())
    }

    fn about_all(&self, options: &[&str]) -> io::Result<Vec<case::Command>> {
        Ok(self.batches("modinfo", options, &self.names(self.optimised || self.full)))
    }

    /// Every field that a module of the tree has, and one that none has.
    fn fields(&self) -> io::Result<Vec<case::Command>> {
        let all = self.full || self.optimised && !self.compressed;
        let mut fields: BTreeSet<String> =
            ["filename", "parm", "name", "nosuch"].map(str::to_owned).into_iter().collect();
        for step in self.theirs("modinfo", &self.about_all(&[])?)? {
            let keys =
                step.transcript.lines().filter_map(|line| line.strip_prefix("out| ")?.split_once(": "));
            let is_key =
                |key: &&str| key.bytes().all(|byte| byte.is_ascii_lowercase() || b"_-".contains(&byte));
            fields.extend(keys.map(|(key, _)| key).filter(is_key).map(str::to_owned));
        }
        let names = self.names(all);
        Ok(fields.iter().flat_map(|field| self.batches("modinfo", &["-F", field], &names)).collect())
    }

    /// `--show-exports` and `--show-modversions`, which take one file.
    fn versions(&self) -> io::Result<Vec<case::Command>> {
        let step = if self.full { 1 } else { SAMPLE };
        let options = ["--show-exports", "--show-modversions"];
        let command = |file: &String| options.map(|option| case::Command::of(&["modprobe", option, file]));
        Ok(self.files.iter().step_by(step).flat_map(command).collect())
    }

    /// An alias made from every line of modules.alias.
    fn aliases(&self) -> io::Result<Vec<case::Command>> {
        let text = self.read("modules.alias")?;
        let aliases: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("alias ")?.rsplit_once(' '))
            .map(|(pattern, _)| filled(pattern))
            .collect();
        Ok(self.batches("modprobe", &["-a", "-R"], &aliases))
    }

    fn symbols(&self) -> io::Result<Vec<case::Command>> {
        let text = self.read("modules.symbols")?;
        let symbols: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("alias ")?.split(' ').next())
            .map(str::to_owned)
            .collect();
        Ok(self.batches("modprobe", &["-a", "-R"], &symbols))
    }

    fn configuration(&self) -> io::Result<Vec<case::Command>> {
        Ok(vec![case::Command::of(&["modprobe", "-S", &self.release, "-c"])])
    }
}

/// Puts the indexes of 34.2's depmod into both roots: from the cache, or made now and kept.
fn indexes(kept: &Path, theirs: &Path, ours: &Path, release: &str) -> io::Result<()> {
    let stamp = kept.join("indexes.complete");
    if !stamp.exists() {
        for (name, content) in trees::depmod(theirs, release)? {
            fs::write(kept.join(name), content)?;
        }
        fs::write(&stamp, "")?;
    }
    for entry in fs::read_dir(kept)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("modules.") {
            for root in [theirs, ours] {
                let target = root.join("lib/modules").join(release).join(entry.file_name());
                // never through a hard link into the package
                let _ = fs::remove_file(&target);
                fs::copy(entry.path(), target)?;
            }
        }
    }
    Ok(())
}

/// Whether everything is asked for.
fn full() -> bool {
    std::env::var_os("KMOD_ONCE_FULL").is_some()
}

fn module_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// A name that a pattern matches: `*` and `?` become digits, a class its first member.
fn filled(pattern: &str) -> String {
    let mut out = String::new();
    let mut rest = pattern.chars();
    while let Some(character) = rest.next() {
        match character {
            '*' => out.push_str("0A"),
            '?' => out.push('0'),
            '[' => {
                out.extend(rest.next());
                let _ = rest.find(|character| *character == ']');
            }
            _ => out.push(character),
        }
    }
    out
}

/// FNV-1a over some byte strings, to name files by what they are made of.
fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    parts.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, part| step(part.iter().fold(hash, step), &0))
}
