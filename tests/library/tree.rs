//! A whole kernel's modules, Debian's 6.12: what the library says of each of them, of their aliases, of what is inside,
//! and of its indexes.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::debian::Cache;
use crate::root::{link_tree, skeleton};
use crate::tools::Tools;
use crate::trees::{depmod, joined};
use crate::{Suite, case, kernel, run, transcript};

/// How many are asked about in one command.
const BATCH: usize = 250;
/// Of how many modules one is looked into.
const SAMPLE: usize = 16;

/// A root directory each for 34.2 and ours, with the tree in it and the indexes of 34.2's depmod.
pub struct Tree {
    /// The root with their library.
    pub theirs: PathBuf,
    /// The root with ours.
    pub ours: PathBuf,
    /// The module directory inside the roots.
    pub dir: String,
    source: PathBuf,
    /// The indexes.
    written: Vec<(String, Vec<u8>)>,
}

/// What is asked.
type Ask = fn(&Tree) -> Result<Vec<Vec<String>>, String>;

/// A name and what is asked.
pub const QUESTIONS: [(&str, Ask); 4] =
    [("modules", modules), ("aliases", aliases), ("contents", contents), ("indexes", indexes)];

/// The tree, made by the first test that needs it.
///
/// # Errors
/// The kernel cannot be had.
pub fn tree(suite: &Suite) -> Result<&'static Tree, String> {
    static TREE: OnceLock<Result<Tree, String>> = OnceLock::new();
    TREE.get_or_init(|| make(suite).map_err(|error| error.to_string())).as_ref().map_err(Clone::clone)
}

fn make(suite: &Suite) -> std::io::Result<Tree> {
    let cache = Cache::open()?;
    let (kernel, name) = cache.kernel("linux-image-6.12.", "-amd64-unsigned")?;
    let release = name.trim_start_matches("linux-image-").trim_end_matches("-unsigned").to_owned();
    let unpacked = ["lib/modules", "usr/lib/modules"].map(|dir| kernel.join(dir).join(&release));
    let source = unpacked.iter().find(|dir| dir.exists());
    let source = source.ok_or_else(|| std::io::Error::other(format!("{name} has no modules")))?;
    let made = suite.new_path("6.12-depmod");
    skeleton(&made, &suite.kmod)?;
    link_tree(source, &made.join("lib/modules").join(&release))?;
    let written = depmod(&made, &release)?;
    let newest = &suite.build.releases[0];
    let mut tree = Tree {
        theirs: PathBuf::new(),
        ours: PathBuf::new(),
        dir: format!("/lib/modules/{release}"),
        source: source.clone(),
        written,
    };
    tree.theirs = tree.another(suite, &newest.theirs)?;
    tree.ours = tree.another(suite, &newest.ours)?;
    let softdeps = tree.theirs.join(&tree.dir[1..]).join("modules.softdep");
    fs::write(&softdeps, joined(&fs::read_to_string(&softdeps)?))?;
    Ok(tree)
}

impl Tree {
    /// A further root directory with the tree in it.
    ///
    /// # Errors
    /// What could not be made.
    pub fn another(&self, suite: &Suite, tools: &Tools) -> std::io::Result<PathBuf> {
        let root = suite.new_path(&format!("6.12-{}", tools.name));
        skeleton(&root, tools)?;
        let dir = root.join(&self.dir[1..]);
        link_tree(&self.source, &dir)?;
        for (file, contents) in &self.written {
            // A link to the cache's own file is not written through.
            let _ = fs::remove_file(dir.join(file));
            fs::write(dir.join(file), contents)?;
        }
        Ok(root)
    }

    /// A file of the module directory.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, name: &str) -> Result<String, String> {
        let path = self.theirs.join(&self.dir[1..]).join(name);
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The files of all modules, relative to the module directory.
    fn files(&self) -> Result<Vec<String>, String> {
        let text = self.read("modules.dep")?;
        Ok(text.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect())
    }

    /// As devices would ask: patterns of the whole file with each wildcard filled in, about so many of them.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn modaliases(&self, count: usize) -> Result<Vec<String>, String> {
        let text = self.read("modules.alias")?;
        let patterns = text.lines().filter_map(|line| line.strip_prefix("alias ")?.rsplit_once(' '));
        let patterns: Vec<&str> = patterns.map(|(pattern, _)| pattern).filter(|p| !p.contains('[')).collect();
        let step = (patterns.len() / count).max(1);
        Ok(patterns.iter().step_by(step).take(count).map(|p| p.replace(['*', '?'], "0")).collect())
    }
}

/// One command for each of some hundred words.
fn batches(question: &str, words: &[String]) -> Vec<Vec<String>> {
    let command = |words: &[String]| [&["ask".to_owned(), question.to_owned()], words].concat();
    words.chunks(BATCH).map(command).collect()
}

fn modules(tree: &Tree) -> Result<Vec<Vec<String>>, String> {
    let stem = |path: String| {
        let name = path.rsplit('/').next().unwrap_or_default();
        name.split('.').next().unwrap_or_default().to_owned()
    };
    let mut names: Vec<String> = tree.files()?.into_iter().map(stem).collect();
    names.extend(tree.read("modules.builtin")?.lines().map(str::to_owned).map(stem));
    Ok(batches("lookup", &names))
}

fn aliases(tree: &Tree) -> Result<Vec<Vec<String>>, String> {
    let mut words = tree.modaliases(2000)?;
    let symbols = tree.read("modules.symbols")?;
    let symbols = symbols.lines().filter_map(|line| line.strip_prefix("alias ")?.split_once(' '));
    words.extend(symbols.map(|(symbol, _)| symbol.to_owned()).step_by(10));
    // Looked up with open indexes, and some with a file read for each.
    let (all, some) = (batches("lookup", &words), batches("streamed", &words[..BATCH]));
    Ok([all, some].concat())
}

fn contents(tree: &Tree) -> Result<Vec<Vec<String>>, String> {
    let files: Vec<String> = tree.files()?.iter().map(|file| format!("{}/{file}", tree.dir)).collect();
    let sample: Vec<String> = files.into_iter().step_by(SAMPLE).collect();
    let builtins: Vec<String> = ["ext4", "unix", "libata"].map(str::to_owned).to_vec();
    Ok([batches("contents", &sample), batches("contents", &builtins), batches("dracut", &sample[..20])]
        .concat())
}

fn indexes(_: &Tree) -> Result<Vec<Vec<String>>, String> {
    let dumps = ["0", "1", "2", "4"].map(|index| ["ask", "dump", index].map(str::to_owned).to_vec());
    Ok(dumps.into_iter().chain([vec!["ask".to_owned(), "config".to_owned()]]).collect())
}

/// Asks both libraries and compares.
///
/// # Errors
/// What differs.
pub fn check(suite: &Suite, name: &str, ask: Ask) -> Result<(), String> {
    let tree = tree(suite)?;
    let answers = kernel::Answers::new(&std::collections::BTreeMap::new())?;
    let (mut failures, mut lines) = (String::new(), 0);
    let commands = ask(tree)?;
    for words in &commands {
        let mut command = case::Command::of(words);
        command.env.push(("ASK_DIR".to_owned(), tree.dir.clone().into_bytes()));
        let said = |root: &PathBuf| run::command(&command, root, &answers).map_err(|error| error.to_string());
        let (theirs, ours) = (said(&tree.theirs)?, said(&tree.ours)?);
        lines += ours.lines().count();
        if !ours.ends_with("exit| 0\n") {
            return Err(format!("{:.200}: {}", command.shown, ours.lines().last().unwrap_or_default()));
        }
        let place = (&*format!("tree/{name}"), command.shown.as_str());
        if let Some((expected, seen)) = suite.differences.compare("ours", place, &theirs, &ours) {
            let shown = transcript::difference(&expected, &seen, 2);
            failures.push_str(&format!("{:.200}\n{shown}", command.shown));
        }
    }
    println!("{name}: {} commands, {lines} lines", commands.len());
    if failures.is_empty() { Ok(()) } else { Err(format!("- is 34.2, + is ours\n{failures}")) }
}
