//! One set of cases, run with the distributions' tools and with ours, and compared to the byte.
//!
//! *theirs* are Debian 12's kmod 30 and Debian 13's kmod 34.2, fetched once (tests/common/debian.rs). 34.2 is the target:
//! a test `ours::CASE` compares our tools with it, a test `30::CASE` compares kmod 30 with it, which shows what changes
//! for those who come from there and keeps what we know about both true. What is meant to differ is in DIFFERENCES.md.
//!
//! Every case has a root directory of its own, in which /proc, /sys, /run, /etc/modprobe.d and /lib/modules are plain
//! files; the module calls are answered by a filter (kernel.rs), so nothing of the machine's own kernel is touched. That
//! takes root, for chroot(2).
//!
//! A test `jobs::CASE` runs a case with our modprobe alone, with one job and with eight (jobs.rs).
//!
//! Beside the cases there are questions about whole kernels' module trees (whole.rs).
//!
//! `KMOD_ONCE_BIN` names the `kmod` to test (else cargo's build of this profile). `KMOD_ONCE_TRANSCRIPT=1` prints what every command of the chosen cases did. `KMOD_ONCE_COMPARE=30` or `ours` leaves
//! out the other half.

#[path = "../common/debian.rs"]
mod debian;
#[path = "../common/elf.rs"]
mod elf;
#[path = "../common/needs.rs"]
mod needs;

mod case;
mod differences;
mod equal;
mod help;
mod jobs;
mod kernel;
mod root;
mod run;
mod tools;
mod transcript;
mod trees;
mod whole;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};

use case::{Case, Entry};
use differences::Differences;
use root::Root;
use run::Step;
use tools::Tools;

/// Where the case files are; the file of the trees is no case file.
const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compliance/cases");
const TREES: &str = "trees";

/// Everything the trials share.
struct Suite {
    dir: PathBuf,
    release: String,
    theirs: Tools,
    others: [Tools; 2],
    trees: trees::Trees,
    differences: Differences,
    roots: AtomicUsize,
    whole: whole::Whole,
    optimised: bool,
}

/// A case and what 34.2 did with it, found out by whichever trial comes first.
struct Shared {
    case: Case,
    theirs: OnceLock<Result<Vec<Step>, String>>,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if arguments.list {
        // listing needs neither packages nor rights
        return libtest_mimic::run(&arguments, Vec::new()).exit_code();
    }
    if !needs::is_root() {
        return needs::suite_left_out("compliance", "the cases run in chroots: be root");
    }
    let (suite, cases) = match Suite::prepare() {
        Ok(prepared) => prepared,
        Err(problem) => {
            eprintln!("compliance: cannot run: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let suite = Arc::new(suite);
    let trials = trials(&suite, cases);
    let conclusion = libtest_mimic::run(&arguments, trials);
    let complete =
        conclusion.num_filtered_out == 0 && conclusion.num_failed == 0 && conclusion.num_ignored == 0;
    let mut idle = Vec::new();
    for tools in suite.others.iter().filter(|tools| complete && wanted(tools.name)) {
        idle.extend(suite.differences.unused(tools.name));
    }
    let _ = fs::remove_dir_all(&suite.dir);
    if !idle.is_empty() {
        eprintln!("compliance: DIFFERENCES.md lists what does not differ any more: {}", idle.join(", "));
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// Whether a comparison was asked for.
fn wanted(who: &str) -> bool {
    std::env::var("KMOD_ONCE_COMPARE").map_or(true, |only| only == who)
}

fn trials(suite: &Arc<Suite>, cases: Vec<Case>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for case in cases {
        let shared = Arc::new(Shared { case, theirs: OnceLock::new() });
        for (index, tools) in suite.others.iter().enumerate().filter(|(_, tools)| wanted(tools.name)) {
            let (suite, shared) = (Arc::clone(suite), Arc::clone(&shared));
            let name = format!("{}::{}", tools.name, shared.case.name);
            trials.push(Trial::test(name, move || {
                suite.check(&shared, &suite.others[index]).map_err(Failed::from)
            }));
        }
        if wanted("ours") && jobs::concerns(&shared.case) {
            let suite = Arc::clone(suite);
            trials.push(Trial::test(format!("jobs::{}", shared.case.name), move || {
                jobs::check(&suite, &shared.case).map_err(Failed::from)
            }));
        }
    }
    for program in help::PROGRAMS.iter().filter(|_| wanted("ours")) {
        let suite = Arc::clone(suite);
        trials.push(Trial::test(format!("ours::help/{program}"), move || {
            help::check(&suite, program).map_err(Failed::from)
        }));
    }
    for (name, test) in equal::tests().into_iter().filter(|_| wanted("ours")) {
        let suite = Arc::clone(suite);
        trials.push(Trial::test(format!("ours::{name}"), move || test(&suite, &name).map_err(Failed::from)));
    }
    for (name, tree, kind) in whole::tests().into_iter().filter(|_| wanted("ours")) {
        let suite = Arc::clone(suite);
        trials.push(Trial::test(format!("ours::{name}"), move || {
            whole::check(&suite, &name, tree, kind).map_err(Failed::from)
        }));
    }
    trials
}

impl Suite {
    fn prepare() -> Result<(Suite, Vec<Case>), String> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").map_err(|error| error.to_string())?;
        let release = release.trim_end().to_owned();
        let mut cases = Vec::new();
        for (group, text) in case_files(Path::new(CASES)).map_err(|error| format!("{CASES}: {error}"))? {
            cases.extend(case::parse(&group, &text, &release)?);
        }
        if let Some(case) = cases.iter().find(|case| case.commands.is_empty()) {
            return Err(format!("{}: case {} runs nothing", case.place, case.name));
        }
        let differences = Differences::parse(&include_str!("DIFFERENCES.md").replace("%REL%", &release))?;
        let said = |error: io::Error| error.to_string();
        let dir = needs::folder("compliance").map_err(said)?;
        let cache = debian::Cache::open().map_err(said)?;
        let theirs = Tools::kmod_34(&cache).and_then(|tools| tools.staged(&dir)).map_err(said)?;
        let old = Tools::kmod_30(&cache).and_then(|tools| tools.staged(&dir)).map_err(said)?;
        let named = std::env::var_os("KMOD_ONCE_BIN");
        let optimised = named.is_some() || !cfg!(debug_assertions);
        let binary = named.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_kmod")), PathBuf::from);
        let ours = Tools::ours(&binary, &theirs).staged(&dir).map_err(said)?;
        let trees = trees::Trees::new(&dir.join("trees"), &theirs, &release).map_err(said)?;
        let others = [old, ours];
        let (roots, whole) = (AtomicUsize::new(0), whole::Whole::default());
        let suite = Suite { dir, release, theirs, others, trees, differences, roots, whole, optimised };
        Ok((suite, cases))
    }

    /// Runs a case with 34.2, unless that is done already, and with `tools`, and compares.
    fn check(&self, shared: &Shared, tools: &Tools) -> Result<(), String> {
        let case = &shared.case;
        if self.differences.skips(tools.name, &case.name) {
            return Ok(());
        }
        let theirs =
            shared.theirs.get_or_init(|| self.run(case, &self.theirs)).as_ref().map_err(String::clone)?;
        let seen = self.run(case, tools)?;
        let mut failures = String::new();
        for (theirs, seen) in theirs.iter().zip(&seen) {
            if std::env::var_os("KMOD_ONCE_TRANSCRIPT").is_some() {
                println!("{}\n34.2\n{}{}\n{}", seen.title, theirs.transcript, tools.name, seen.transcript);
            }
            let place = (case.name.as_str(), seen.title.trim_start_matches("$ "));
            let differ = self.differences.compare(tools.name, place, &theirs.transcript, &seen.transcript);
            if let Some((expected, got)) = differ {
                let shown = transcript::difference(&expected, &got, 2);
                failures.push_str(&format!("{}\n{shown}", seen.title));
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        Err(format!("{} ({}): - is kmod 34.2, + is {}\n{failures}", case.name, case.place, tools.name))
    }

    fn run(&self, case: &Case, tools: &Tools) -> Result<Vec<Step>, String> {
        let prepared;
        let mut case = case;
        if case.depmod {
            prepared = self.indexed(case)?;
            case = &prepared;
        }
        let tree = self.trees.path(&case.tree).map_err(|what| format!("{}: {what}", case.place))?;
        let root = Root::new(self.new_root(tools), tools, case, tree.as_deref(), &self.release);
        let root = root.map_err(|error| format!("{}: {error}", case.place))?;
        run::case(case, &root).map_err(|error| format!("{}: {error}", case.place))
    }

    /// The case with the indexes that 34.2's depmod makes of its tree among its files.
    fn indexed(&self, case: &Case) -> Result<Case, String> {
        let said = |error: io::Error| format!("{}: {error}", case.place);
        let tree = self.trees.path(&case.tree)?;
        let root = Root::new(self.new_root(&self.theirs), &self.theirs, case, tree.as_deref(), &self.release);
        let root = root.map_err(said)?;
        let indexes = trees::depmod(&root.path, &self.release).map_err(said)?;
        let mut case = case.clone();
        for (name, content) in indexes {
            let path = Path::new("lib/modules").join(&self.release).join(name);
            case.files.push((path, Entry::File(content)));
        }
        Ok(case)
    }

    fn new_root(&self, tools: &Tools) -> PathBuf {
        let number = self.roots.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("{number}-{}", tools.name))
    }
}

/// The case files' names without `.txt` (`config/alias`) and their contents, sorted by name.
fn case_files(dir: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(case_files(&path)?.into_iter().map(|(name, text)| (format!("{stem}/{name}"), text)));
        } else if path.extension().is_some_and(|end| end == "txt") && stem != TREES {
            found.insert(stem, fs::read_to_string(&path)?);
        }
    }
    Ok(found)
}
