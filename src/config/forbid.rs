//! Which modules are kept out. Who wins, from strong to weak: `forbid` of exactly the name, `permit`, `forbid` of a pattern.
//! What `permit` covers besides is for the module directory to say: `Tree::forbidden`.

use super::{Config, Kind, Origin, Raw};
use crate::log::bytes;
use std::os::unix::ffi::OsStrExt;

/// What the `forbid` lines say of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbids {
    /// This one has exactly the name: nothing takes it back.
    Name(Origin),
    /// This one has a pattern that the name fits: `permit` takes it back.
    Pattern(Origin),
}

impl Config {
    /// What forbids the module `name`. Costs nothing where there is no `forbid` line.
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

    /// Whether a `permit` line has the module `name` itself.
    pub fn permits(&self, name: &[u8]) -> bool {
        self.matching(Kind::Permit, name).next().is_some()
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
