//! A small root file system for tests: configuration, a module directory with indexes, a kernel command line.

use super::{ConfigPaths, Module, Tree};
use crate::formats::index::IndexBuilder;
use crate::log::{Kept, Priority};
use crate::name;
use crate::system::clock::Real;
use crate::system::fake::FakeKernel;
use crate::system::{Roots, System};
use std::fs;
use std::path::PathBuf;

/// The module directory's place.
const DIR: &str = "lib/modules/1.0";

/// A root file system.
pub(crate) struct Fixture {
    root: tempfile::TempDir,
    pub(crate) roots: Roots,
    kernel: FakeKernel,
    pub(crate) sink: Kept,
}

impl Fixture {
    /// A root whose `modules.dep` has these lines; the module files exist and are empty. The other indexes have no keys.
    pub(crate) fn new(dep: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots::below(root.path());
        let fixture = Fixture { kernel: FakeKernel::new(&roots), roots, root, sink: Kept::default() };
        let path = |line: &&str| line.split(':').next().unwrap().to_owned();
        for line in dep {
            fixture.module_file(&path(line), "");
        }
        let name = |line| String::from_utf8(name::from_path(path(line).as_bytes()).unwrap()).unwrap();
        let names: Vec<String> = dep.iter().map(name).collect();
        let entries: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(dep.iter().copied()).collect();
        fixture.index("modules.dep", &entries);
        for other in ["modules.alias", "modules.symbols", "modules.builtin", "modules.builtin.alias"] {
            fixture.index(other, &[]);
        }
        fixture
    }

    /// Writes an index; priorities are the positions.
    pub(crate) fn index(&self, name: &str, entries: &[(&str, &str)]) -> &Self {
        let mut builder = IndexBuilder::new();
        for (priority, (key, value)) in entries.iter().enumerate() {
            builder.insert(key.as_bytes(), value.as_bytes(), priority as u32).unwrap();
        }
        self.write(&format!("{DIR}/{name}.bin"), &builder.write().unwrap())
    }

    /// Writes a file of the module directory.
    pub(crate) fn module_file(&self, name: &str, contents: &str) -> &Self {
        self.file(&format!("{DIR}/{name}"), contents)
    }

    /// Writes `/etc/modprobe.d/NAME`.
    pub(crate) fn etc(&self, name: &str, contents: &str) -> &Self {
        self.file(&format!("etc/modprobe.d/{name}"), contents)
    }

    /// Writes a file anywhere.
    pub(crate) fn file(&self, path: &str, contents: &str) -> &Self {
        self.write(path, contents.as_bytes())
    }

    fn write(&self, path: &str, contents: &[u8]) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
        self
    }

    /// The real path of a path of the fixture.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// The real path of a file of the module directory.
    pub(crate) fn module_path(&self, path: &str) -> PathBuf {
        self.path(DIR).join(path)
    }

    /// The tree, with the default configuration directories.
    pub(crate) fn tree(&self) -> Tree<'_> {
        self.tree_with(ConfigPaths::Default)
    }

    /// The tree with another configuration.
    pub(crate) fn tree_with(&self, paths: ConfigPaths) -> Tree<'_> {
        Tree::open(&self.roots, self.path(DIR), paths, &self.sink)
    }

    /// The outside world.
    pub(crate) fn system(&self) -> System<'_> {
        System { roots: &self.roots, kernel: &self.kernel, clock: &Real }
    }

    /// The messages logged so far, all of them errors, without the fixture's own root.
    pub(crate) fn messages(&self) -> Vec<String> {
        let root = self.root.path().to_str().unwrap();
        let taken = self.sink.take().into_iter();
        taken
            .map(|(priority, text)| {
                assert_eq!(priority, Priority::Err);
                String::from_utf8(text).unwrap().replace(root, "")
            })
            .collect()
    }
}

/// Modules as `NAME`, or `NAME (ALIAS)`, built-in ones with a `!`.
pub(crate) fn shown(modules: &[Module]) -> Vec<String> {
    let text = String::from_utf8_lossy;
    let one = |module: &Module| {
        let alias = module.alias.as_deref().map_or(String::new(), |alias| format!(" ({})", text(alias)));
        format!("{}{alias}{}", text(&module.name), if module.builtin { "!" } else { "" })
    };
    modules.iter().map(one).collect()
}
