//! `libkmod.so.2` against the distributions': the same symbols, the same header, and one C program (ask.c) that is linked
//! to Debian's library, run with theirs and with ours, and must print the same.
//!
//! The program's cases are those of the compliance suite: a root directory for each, the kernel's calls answered by a
//! filter. `34.2::CASE` compares ours with Debian 13's library, `30::CASE` with Debian 12's, for a program that was built
//! with the header of that release. What differs on purpose is in DIFFERENCES.md beside this file.
//!
//! ```text
//! abi.rs       symbols, versions, prototypes, numbers
//! tree.rs      a whole kernel
//! callers.rs   dracut-install
//! memory.rs    the same program under valgrind, and with AddressSanitizer
//! cost.rs      instructions for a thousand lookups, theirs and ours
//! ```
//!
//! The library is built by `make library` unless `KMOD_ONCE_LIBRARY` names one. Needs root for chroot(2).

#[path = "../compliance/case.rs"]
#[allow(dead_code)]
mod case;
#[path = "../common/debian.rs"]
mod debian;
#[path = "../compliance/differences.rs"]
mod differences;
#[path = "../common/elf.rs"]
mod elf;
#[path = "../compliance/kernel.rs"]
mod kernel;
#[path = "../common/needs.rs"]
mod needs;
#[path = "../compliance/root.rs"]
#[allow(dead_code)]
mod root;
#[path = "../compliance/run.rs"]
mod run;
#[path = "../common/library.rs"]
mod shared;
#[path = "../compliance/tools.rs"]
#[allow(dead_code)]
mod tools;
#[path = "../compliance/transcript.rs"]
mod transcript;
#[path = "../compliance/trees.rs"]
mod trees;

mod abi;
mod build;
mod callers;
mod cost;
mod memory;
mod tree;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libtest_mimic::{Arguments, Failed, Trial};

use build::{Build, Release};
use case::Case;
use differences::Differences;
use root::Root;
use run::Step;
use tools::Tools;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/library/cases");

/// Everything the trials share.
pub struct Suite {
    /// A directory of this run's own.
    dir: PathBuf,
    release: String,
    build: Build,
    kmod: Tools,
    trees: trees::Trees,
    differences: Differences,
    roots: AtomicUsize,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, Vec::new()).exit_code();
    }
    if !needs::is_root() {
        return needs::suite_left_out("library", "the cases run in chroots: be root");
    }
    let (suite, cases) = match Suite::prepare() {
        Ok(prepared) => prepared,
        Err(problem) => {
            eprintln!("library: cannot run: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let suite = Arc::new(suite);
    let conclusion = libtest_mimic::run(&arguments, trials(&suite, cases));
    let whole = conclusion.num_filtered_out == 0 && conclusion.num_failed == 0;
    let idle: Vec<&str> =
        ["ours", "30"].into_iter().filter(|_| whole).flat_map(|who| suite.differences.unused(who)).collect();
    let _ = fs::remove_dir_all(&suite.dir);
    if !idle.is_empty() {
        eprintln!("library: DIFFERENCES.md lists what does not differ any more: {}", idle.join(", "));
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// What a trial does.
type Check = Box<dyn FnOnce(&Suite) -> Result<(), String> + Send>;

fn trials(suite: &Arc<Suite>, cases: Vec<Case>) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut add = |name: String, check: Check| {
        let suite = Arc::clone(suite);
        trials.push(Trial::test(name, move || check(&suite).map_err(Failed::from)));
    };
    for (name, check) in abi::TESTS {
        add(format!("abi::{name}"), Box::new(check));
    }
    for case in cases {
        for index in 0..suite.build.releases.len() {
            let (name, case) = (suite.build.releases[index].name, case.clone());
            add(
                format!("{name}::{}", case.name),
                Box::new(move |suite| suite.check(&case, &suite.build.releases[index])),
            );
        }
    }
    for (name, ask) in tree::QUESTIONS {
        add(format!("tree::{name}"), Box::new(move |suite| tree::check(suite, name, ask)));
    }
    for (index, (name, ..)) in callers::RELEASES.iter().enumerate() {
        add(
            format!("callers::dracut_install_on_{name}"),
            Box::new(move |suite| callers::check(suite, index)),
        );
    }
    for (kind, watcher) in memory::WATCHERS {
        for (name, words) in memory::QUESTIONS {
            add(format!("{kind}::{name}"), Box::new(move |suite| memory::check(suite, watcher, words)));
        }
        add(format!("{kind}::carelessness_is_seen"), Box::new(move |suite| memory::sees(suite, watcher)));
    }
    add("cost::a_thousand_lookups".to_owned(), Box::new(cost::check));
    trials
}

impl Suite {
    fn prepare() -> Result<(Suite, Vec<Case>), String> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").map_err(|error| error.to_string())?;
        let release = release.trim_end().to_owned();
        let mut cases = Vec::new();
        for entry in fs::read_dir(CASES).map_err(|error| format!("{CASES}: {error}"))? {
            let path = entry.map_err(|error| error.to_string())?.path();
            let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let group = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            cases.extend(case::parse(&group, &text, &release)?);
        }
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(case) = cases.iter().find(|case| case.commands.is_empty()) {
            return Err(format!("{}: case {} runs nothing", case.place, case.name));
        }
        let differences = Differences::parse(&include_str!("DIFFERENCES.md").replace("%REL%", &release))?;
        let said = |error: std::io::Error| error.to_string();
        let dir = needs::folder("library").map_err(said)?;
        let cache = debian::Cache::open().map_err(said)?;
        let kmod = Tools::kmod_34(&cache).and_then(|tools| tools.staged(&dir)).map_err(said)?;
        let trees = trees::Trees::new(&dir.join("trees"), &kmod, &release).map_err(said)?;
        let build = Build::new(&cache, &dir)?;
        let suite = Suite { dir, release, build, kmod, trees, differences, roots: AtomicUsize::new(0) };
        Ok((suite, cases))
    }

    /// A fresh directory name.
    fn new_path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{}-{name}", self.roots.fetch_add(1, Ordering::Relaxed)))
    }

    /// Runs a case with the library of a release and with ours, and compares.
    fn check(&self, case: &Case, release: &Release) -> Result<(), String> {
        let who = if release.name == "30" { "30" } else { "ours" };
        if self.differences.skips(who, &case.name) {
            return Ok(());
        }
        let theirs = self.run(case, &release.theirs)?;
        let ours = self.run(case, &release.ours)?;
        let mut failures = String::new();
        for (theirs, ours) in theirs.iter().zip(&ours) {
            if std::env::var_os("KMOD_ONCE_TRANSCRIPT").is_some() {
                println!("{}\n{}\n{}ours\n{}", ours.title, release.name, theirs.transcript, ours.transcript);
            }
            let place = (case.name.as_str(), ours.title.trim_start_matches("$ "));
            if let Some((expected, seen)) =
                self.differences.compare(who, place, &theirs.transcript, &ours.transcript)
            {
                let shown = transcript::difference(&expected, &seen, 2);
                failures.push_str(&format!("{}\n{shown}", ours.title));
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        Err(format!("{} ({}): - is libkmod {}, + is ours\n{failures}", case.name, case.place, release.name))
    }

    fn run(&self, case: &Case, tools: &Tools) -> Result<Vec<Step>, String> {
        let tree = self.trees.path(&case.tree).map_err(|what| format!("{}: {what}", case.place))?;
        let root = Root::new(self.new_path(tools.name), tools, case, tree.as_deref(), &self.release);
        let root = root.map_err(|error| format!("{}: {error}", case.place))?;
        run::case(case, &root).map_err(|error| format!("{}: {error}", case.place))
    }
}

/// The lines that only one of two sets has, the first's marked `-`, the second's `+`; `None` if they are equal.
pub fn unequal(first: &BTreeSet<String>, second: &BTreeSet<String>) -> Option<String> {
    let missing = first.difference(second).map(|line| format!("- {line}\n"));
    let added = second.difference(first).map(|line| format!("+ {line}\n"));
    let shown: String = missing.chain(added).collect();
    (!shown.is_empty()).then_some(shown)
}
