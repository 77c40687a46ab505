//! Which modules of the directory are kept out: the `forbid` lines, less what the `permit` lines cover.

use super::{Tree, Which, needs};
use crate::config::{Forbids, Origin};
use crate::formats::pattern::fnmatch;
use crate::log::bytes;
use crate::name;

/// Why a module is not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forbidden {
    /// The module that is forbidden: itself, or one that it needs.
    pub module: Vec<u8>,
    /// The line that says so.
    pub origin: Origin,
}

impl Tree<'_> {
    /// Whether the module of this name (canonical) is forbidden, and by which line. `permit` covers the modules that it
    /// names and all that these need.
    pub(crate) fn forbidden(&self, name: &[u8]) -> Option<Forbidden> {
        let origin = match self.config().forbids(name)? {
            Forbids::Name(origin) => origin,
            Forbids::Pattern(origin) if !self.permitted(name) => origin,
            Forbids::Pattern(_) => return None,
        };
        Some(Forbidden { module: name.to_vec(), origin })
    }

    /// Why the module `name` is not loaded, as a clause.
    pub(crate) fn forbidden_by(&self, name: &[u8], forbidden: &Forbidden) -> Vec<u8> {
        let place = self.config().place(forbidden.origin);
        match &forbidden.module {
            module if module == name => bytes![place, " forbids it"],
            module => bytes![place, " forbids '", module, "', which it needs"],
        }
    }

    fn permitted(&self, name: &[u8]) -> bool {
        let needed = || self.needs_of_permitted().binary_search_by(|needed| needed.as_slice().cmp(name));
        self.config().permits(name) || needed().is_ok()
    }

    /// What the permitted modules need, as `modules.dep` says; those that are forbidden by name do not count.
    fn needs_of_permitted(&self) -> &[Vec<u8>] {
        self.permitted.get_or_init(|| {
            let (config, index) = (self.config(), self.opened(Which::Dep));
            let (names, patterns) = config.permitted();
            let mut needed = Vec::new();
            let mut add = |name: &[u8], line: &[u8]| {
                if !matches!(config.forbids(name), Some(Forbids::Name(_))) {
                    needed.extend(needs(line).filter_map(name::from_path));
                }
            };
            for name in names {
                add(name, index.line(name).unwrap_or_default());
            }
            if !patterns.is_empty() {
                index.dump(&mut |name, line| {
                    if patterns.iter().any(|pattern| fnmatch(pattern, name)) {
                        add(name, line);
                    }
                });
            }
            needed.sort_unstable();
            needed.dedup();
            needed
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::fixture::Fixture;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn what_permit_covers_is_read_from_both_forms_of_the_index() {
        let fixture = Fixture::new(&[
            "a.ko: b.ko c.ko",
            "b.ko: c.ko",
            "c.ko:",
            "d.ko: e.ko",
            "e.ko:",
            "f.ko: g.ko",
            "g.ko:",
        ]);
        fixture.etc("t.conf", "forbid * f\npermit a d? [c-d] f nosuch\n");
        let forbidden = |tree: &Tree<'_>| -> String {
            let is = |name: &&str| tree.forbidden(name.as_bytes()).is_some();
            ["a", "b", "c", "d", "e", "f", "g", "h", "nosuch"].into_iter().filter(is).collect()
        };
        let mut tree = fixture.tree();
        tree.watch();
        assert_eq!(forbidden(&tree), "fgh");
        let line = tree.forbidden(b"f").unwrap();
        assert_eq!(
            tree.forbidden_by(b"f", &line),
            bytes![tree.config().file(line.origin).as_os_str().as_bytes(), " line 1 forbids it"]
        );
        assert_eq!(
            tree.forbidden_by(b"x", &line).strip_prefix(tree.config().place(line.origin).as_slice()).unwrap(),
            b" forbids 'f', which it needs"
        );
        // The text in its place says other things.
        fs::remove_file(fixture.module_path("modules.dep.bin")).unwrap();
        fixture.module_file("modules.dep", "a.ko: c.ko\nc.ko:\nd.ko:\nf.ko: h.ko\n");
        assert_eq!(forbidden(&tree), "fgh", "until it is read anew");
        tree.renew();
        assert_eq!(forbidden(&tree), "befgh");
        tree.close();
        fixture.module_file("modules.dep", "a.ko: h.ko\n");
        assert_eq!(forbidden(&tree), "befg");
        assert!(fixture.told().is_empty());
    }
}
