//! Which modules of the directory are forbidden: the `forbid` lines, except for what `permit` lines cover.

use super::{Module, Tree, Which, image, needs};
use crate::config::{Forbids, Kind, Origin};
use crate::formats::pattern::fnmatch;
use crate::log::bytes;
use crate::name;

/// Why a module is not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forbidden {
    /// The module that is forbidden: itself, or one that it needs.
    pub module: Vec<u8>,
    /// The name by which the kernel knows it, if the line is about that one.
    pub own_name: Option<Vec<u8>>,
    /// The `forbid` line.
    pub origin: Origin,
}

impl Tree<'_> {
    /// Whether a module is forbidden, and by which line. `forbid` matches the name of its file and the name by which the
    /// kernel knows it. `permit` matches names of files; it covers the modules that it names and all that these need.
    ///
    /// Reads the module's file if there is a `forbid` line and none matches the name of the file.
    pub(crate) fn forbidden(&self, module: &Module) -> Option<Forbidden> {
        if self.config().entries(Kind::Forbid).len() == 0 {
            return None;
        }
        let line = |name: &[u8]| match self.config().forbids(name)? {
            Forbids::Name(origin) => Some(origin),
            Forbids::Pattern(origin) => (!self.permitted(&module.name)).then_some(origin),
        };
        let by_own_name = || self.own_name(module).and_then(|name| Some((line(&name)?, Some(name))));
        let (origin, own_name) = line(&module.name).map(|origin| (origin, None)).or_else(by_own_name)?;
        Some(Forbidden { module: module.name.clone(), own_name, origin })
    }

    /// The name by which the kernel will know a module, which may differ from that of its file. Read once.
    pub(crate) fn own_name(&self, module: &Module) -> Option<Vec<u8>> {
        let path = self.path(module)?;
        let mut known = self.own_names.borrow_mut();
        known.entry(path).or_insert_with_key(|path| image::own_name(path)).clone()
    }

    /// Why the module `name` is not loaded, as a clause.
    pub(crate) fn forbidden_by(&self, name: &[u8], forbidden: &Forbidden) -> Vec<u8> {
        let Forbidden { module, own_name, origin } = forbidden;
        bytes![self.config().place(*origin), " ", forbids(module, own_name.as_deref(), name, "'")]
    }

    fn permitted(&self, name: &[u8]) -> bool {
        let needed = || self.needs_of_permitted().binary_search_by(|needed| needed.as_slice().cmp(name));
        self.config().permits(name) || needed().is_ok()
    }

    /// The dependencies of the permitted modules, from `modules.dep`. Modules forbidden by name permit nothing.
    fn needs_of_permitted(&self) -> &[Vec<u8>] {
        self.permitted.get_or_init(|| {
            let (config, index) = (self.config(), self.opened(Which::Dep));
            let (patterns, names): (Vec<_>, Vec<_>) =
                config.entries(Kind::Permit).partition(|permit| permit.wild);
            let mut needed = Vec::new();
            let mut add = |name: &[u8], line: &[u8]| {
                if !matches!(config.forbids(name), Some(Forbids::Name(_))) {
                    needed.extend(needs(line).filter_map(name::from_path));
                }
            };
            names.iter().for_each(|permit| add(permit.key, index.line(permit.key).unwrap_or_default()));
            if !patterns.is_empty() {
                index.dump(&mut |name, line| {
                    if patterns.iter().any(|permit| fnmatch(permit.key, name)) {
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

/// What a `forbid` line does, for a message about the module `name`: see [`Forbidden`]. `quote` stands around other names.
pub(crate) fn forbids(module: &[u8], own_name: Option<&[u8]>, name: &[u8], quote: &str) -> Vec<u8> {
    match own_name {
        _ if module != name => bytes!["forbids ", quote, module, quote, ", which it needs"],
        None => b"forbids it".to_vec(),
        Some(own_name) => bytes!["forbids it as ", quote, own_name, quote],
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
        let of = |tree: &Tree<'_>, name: &str| tree.forbidden(&Module::named(name.as_bytes()));
        let forbidden = |tree: &Tree<'_>| -> String {
            let is = |name: &&str| of(tree, name).is_some();
            ["a", "b", "c", "d", "e", "f", "g", "h", "nosuch"].into_iter().filter(is).collect()
        };
        let mut tree = fixture.tree();
        tree.watch();
        assert_eq!(forbidden(&tree), "fgh");
        let line = of(&tree, "f").unwrap();
        assert_eq!(
            tree.forbidden_by(b"f", &line),
            bytes![tree.config().file(line.origin).as_os_str().as_bytes(), " line 1 forbids it"]
        );
        assert_eq!(
            tree.forbidden_by(b"x", &line).strip_prefix(tree.config().place(line.origin).as_slice()).unwrap(),
            b" forbids 'f', which it needs"
        );
        // The text file in its place has other lines.
        fs::remove_file(fixture.module_path("modules.dep.bin")).unwrap();
        fixture.module_file("modules.dep", "a.ko: c.ko\nc.ko:\nd.ko:\nf.ko: h.ko\n");
        assert_eq!(forbidden(&tree), "fgh", "until it is read anew");
        tree.renew();
        assert_eq!(forbidden(&tree), "befgh");
        tree.close();
        fixture.module_file("modules.dep", "a.ko: h.ko\n");
        assert_eq!(forbidden(&tree), "befg");
        assert_eq!(fixture.messages(), [""; 0]);
    }
}
