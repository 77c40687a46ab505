//! Which modules are forbidden. From strong to weak: `forbid` of exactly the name, `permit`, `forbid` of a pattern.
//! `Tree::forbidden` adds what a permitted module needs.

use super::{Config, Kind, Origin, Raw};
use crate::log::bytes;
use std::os::unix::ffi::OsStrExt;

/// The `forbid` line that applies to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbids {
    /// It has exactly the name: `permit` does not override it.
    Name(Origin),
    /// It has a pattern that matches: `permit` overrides it.
    Pattern(Origin),
}

impl Config {
    /// The line that forbids the module `name`. Free if there is no `forbid` line.
    pub fn forbids(&self, name: &[u8]) -> Option<Forbids> {
        let list = &self.entries[Kind::Forbid as usize];
        let mut pattern = None;
        for at in list.matching(&self.text, name) {
            let raw = &list.entries[at];
            if !raw.wild {
                return Some(Forbids::Name(raw.origin));
            }
            pattern = pattern.or(Some(Forbids::Pattern(raw.origin)));
        }
        pattern
    }

    /// Whether a `permit` line matches the module `name`.
    pub fn permits(&self, name: &[u8]) -> bool {
        self.first(Kind::Permit, name).is_some()
    }

    /// The names of the `permit` lines, and their patterns.
    pub fn permitted(&self) -> (Vec<&[u8]>, Vec<&[u8]>) {
        let entries = self.entries[Kind::Permit as usize].entries.iter();
        let (patterns, names): (Vec<&Raw>, Vec<&Raw>) = entries.partition(|raw| raw.wild);
        let keys = |list: Vec<&Raw>| list.into_iter().map(|raw| self.entry(raw).key).collect();
        (keys(names), keys(patterns))
    }

    /// The line of an entry as messages name it: `FILE line N`, or the kernel command line.
    pub fn place(&self, origin: Origin) -> Vec<u8> {
        match origin.line {
            0 => b"the kernel command line".to_vec(),
            line => bytes![self.file(origin).as_os_str().as_bytes(), " line ", line.to_string()],
        }
    }
}
