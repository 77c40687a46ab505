//! `kmod check`: problems of the configuration, of a module directory and of this machine, found before they show at boot.
//!
//! Each check is a function that adds its findings to a list, in one of three parts:
//!
//! | part | what it is about |
//! |---|---|
//! | `config` | modprobe.d, depmod.d and the kernel command line, against the modules that they name |
//! | `modules` | the indexes of a module directory, and every module file in it |
//! | `machine` | the gate, and whose program and library the running system uses |
//!
//! **Every finding is worth reading.** A distribution's own files (`/usr/lib`, `/lib`) are for many kernels at once and
//! name modules that this kernel does not have: of these files only what makes a module fail is reported. Files in `/etc`,
//! `/run`, `/usr/local/lib` and those of `-C` are meant for this machine.
//!
//! Nothing here prints, and nothing is loaded, written or locked.

mod config;
mod finding;
mod machine;
mod modules;

pub(crate) use finding::{Finding, Severity};

use crate::config::{Config, Entry};
use crate::limits;
use crate::log::Silent;
use crate::system::file::read_whole;
use crate::system::{Roots, System};
use crate::tree::{ConfigPaths, Module, Tree, Which};
use finding::shown;
use modules::Study;
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// A part of what can be checked; the table above says what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Config,
    Modules,
    Machine,
}

/// What is to be checked.
#[derive(Debug)]
pub struct Request<'r> {
    /// The kernel's release.
    pub release: &'r [u8],
    /// Its module directory.
    pub dir: PathBuf,
    /// Where the configuration is.
    pub paths: ConfigPaths,
    /// Whether the kernel of that release is the running one, and its files are those of this system.
    pub running: bool,
    /// The parts to check.
    pub parts: &'r [Part],
    /// How many threads may run at once.
    pub cores: usize,
}

/// The input of the checks. What one check reads is kept for the others.
pub(crate) struct Context<'a> {
    roots: &'a Roots,
    request: &'a Request<'a>,
    tree: Tree<'a>,
    /// The kernel command line; empty if it cannot be read.
    cmdline: Vec<u8>,
    names: OnceCell<Vec<Vec<u8>>>,
    study: OnceCell<Option<Study>>,
}

type Check = fn(&Context<'_>, &mut Vec<Finding>);

/// All findings, sorted by file and line.
pub fn run(system: &System<'_>, request: &Request<'_>) -> Vec<Finding> {
    let roots = system.roots;
    let tree = Tree::open(roots, request.dir.clone(), request.paths.clone(), &Silent);
    let cmdline = read_whole(&roots.cmdline(), limits::CMDLINE_FILE).unwrap_or_default();
    let context = Context { roots, request, tree, cmdline, names: OnceCell::new(), study: OnceCell::new() };
    let mut findings = Vec::new();
    for part in request.parts {
        let checks = match part {
            Part::Config => config::CHECKS,
            Part::Modules => modules::CHECKS,
            Part::Machine => machine::CHECKS,
        };
        checks.iter().for_each(|check| check(&context, &mut findings));
    }
    findings.sort_by(|a, b| (&a.file, a.line, &a.what).cmp(&(&b.file, b.line, &b.what)));
    findings.dedup();
    findings
}

impl Context<'_> {
    fn config(&self) -> &Config {
        self.tree.config()
    }

    /// Whether a file of the configuration belongs to this machine, and not to the distribution or depmod.
    fn is_own(&self, file: &Path) -> bool {
        let below = |dir: &str| file.starts_with(self.roots.prefixed(dir));
        let theirs =
            matches!(self.request.paths, ConfigPaths::Default) && (below("/usr/lib") || below("/lib"));
        !theirs && !file.starts_with(self.tree.dir())
    }

    /// [`Context::is_own`] of an entry's file.
    fn is_own_entry(&self, entry: &Entry<'_>) -> bool {
        self.is_own(self.config().file(entry.origin))
    }

    fn is_builtin(&self, name: &[u8]) -> bool {
        self.tree.is_builtin(&Module::named(name))
    }

    /// Whether a module has this name (canonical): in a file, or built in.
    fn exists(&self, name: &[u8]) -> bool {
        self.tree.path(&Module::named(name)).is_some() || self.is_builtin(name)
    }

    /// An existing module name that `name` probably is a misspelling of.
    fn similar(&self, name: &[u8]) -> Option<String> {
        let bare = crate::name::canonical(name);
        if bare != name && self.exists(&bare) {
            return Some(shown(&bare));
        }
        let names = self.names.get_or_init(|| {
            let mut names = Vec::new();
            for which in [Which::Dep, Which::Builtin] {
                self.tree.dump(which, &mut |name, _| names.push(name.to_vec()));
            }
            names
        });
        similar_in(name, names.iter().map(Vec::as_slice))
    }

    /// The facts about all modules; `None` if there is no module directory.
    fn study(&self) -> Option<&Study> {
        self.study.get_or_init(|| Study::of(self)).as_ref()
    }

    /// A finding about an entry.
    fn at(&self, entry: &Entry<'_>, severity: Severity, what: String) -> Finding {
        Finding::new(self.config().file(entry.origin), severity, what).line(entry.origin.line)
    }

    /// The place of an entry as messages name it: `FILE:LINE`, or the file alone.
    fn place(&self, entry: &Entry<'_>) -> String {
        let file = self.config().file(entry.origin).display();
        if entry.origin.line > 0 { format!("{file}:{}", entry.origin.line) } else { file.to_string() }
    }
}

/// The name in `known` that differs from `name` by one typing error: a character added, missing, replaced, or two
/// neighbours swapped. Names of less than four bytes are skipped, since all of them are similar. So are pairs that differ
/// in digits only: r8168 and r8169 are two drivers.
fn similar_in<'k>(name: &[u8], known: impl Iterator<Item = &'k [u8]>) -> Option<String> {
    let text = shown(name);
    let letters = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    let is_similar =
        |known: &String| strsim::osa_distance(known, &text) == 1 && letters(known) != letters(&text);
    let possible = known.filter(|known| name.len() >= 4 && known.len().abs_diff(text.len()) <= 1);
    possible.map(shown).find(is_similar)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Roots;

    #[test]
    fn a_typing_error_is_found() {
        let known = ["pcspkr", "snd_hda_intel", "loop", "sr", "r8169"];
        let similar = |name: &str| similar_in(name.as_bytes(), known.iter().map(|name| name.as_bytes()));
        for slip in ["pcspk", "pcspkrr", "pcsbkr", "pcsprk"] {
            assert_eq!(similar(slip).as_deref(), Some("pcspkr"), "{slip}");
        }
        for other in ["pcspkr", "pcs", "sp", "hda_intel", "lo", "nouveau", "pcspkrxx", "r8168", "r816"] {
            assert_eq!(similar(other), None, "{other}");
        }
    }

    #[test]
    fn files_of_the_distribution_are_told_from_those_of_the_machine() {
        let parts = [Part::Config];
        let mut request = Request {
            release: b"1.0",
            dir: "/lib/modules/1.0".into(),
            paths: ConfigPaths::Default,
            running: true,
            parts: &parts,
            cores: 1,
        };
        let is_own = |roots: &Roots, request: &Request<'_>, file: &str| {
            let tree = Tree::open(roots, request.dir.clone(), request.paths.clone(), &Silent);
            let (cmdline, names, study) = Default::default();
            Context { roots, request, tree, cmdline, names, study }.is_own(Path::new(file))
        };
        for (roots, prefix) in [(Roots::default(), ""), (Roots::below(Path::new("/mnt")), "/mnt")] {
            for (file, own) in [
                ("/etc/modprobe.d/a.conf", true),
                ("/run/modprobe.d/a.conf", true),
                ("/usr/local/lib/modprobe.d/a.conf", true),
                ("/usr/lib/modprobe.d/a.conf", false),
                ("/lib/modprobe.d/a.conf", false),
            ] {
                assert_eq!(is_own(&roots, &request, &format!("{prefix}{file}")), own, "{prefix}{file}");
            }
        }
        let roots = Roots::default();
        assert!(is_own(&roots, &request, "/proc/cmdline"));
        request.paths = ConfigPaths::List(vec![]);
        assert!(is_own(&roots, &request, "/usr/lib/modprobe.d/a.conf"));
        assert!(!is_own(&roots, &request, "/lib/modules/1.0/modules.softdep"));
    }
}
