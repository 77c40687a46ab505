//! One module directory with its configuration: from a query to modules, from a module to its path, dependencies, options
//! and commands. Nothing here depends on which modules are loaded.
//!
//! Everything is read when it is first needed: the configuration at the first question that depends on it, each index at
//! the first lookup that reaches it.

pub(crate) mod config_files;
#[cfg(test)]
pub(crate) mod fixture;
mod forbid;
pub(crate) mod image;
mod indexes;
mod settings;
#[cfg(test)]
mod tests;

pub(crate) use forbid::{Forbidden, forbids};
pub(crate) use indexes::Which;
pub use settings::ConfigPaths;

use crate::config::{Config, Kind, Origin};
use crate::error::{Errno, Result};
use crate::formats::index::Reader;
use crate::limits;
use crate::log::{Kept, Priority, Sink, bytes};
use crate::name;
use crate::system::roots::{Roots, as_path, into_path};
use indexes::{Indexes, Opened};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A module as it was found. It may not exist: an alias of the configuration can name anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    /// Its name, `-` read as `_`.
    pub name: Vec<u8>,
    /// What it was found by, if not by its name: the pattern of a configured alias, or the query that matched in an index.
    /// Options may be given for this name, too.
    pub alias: Option<Vec<u8>>,
    /// The file, if it was requested by path.
    pub file: Option<PathBuf>,
    /// Whether the lookup found it as a built-in. [`Tree::is_builtin`] is the full answer.
    pub builtin: bool,
    /// The install command, or else the remove command, if nothing else is known of it. The entry of exactly its name takes
    /// precedence over patterns.
    pub command: Option<(Kind, Vec<u8>)>,
}

/// What identifies a module: name and alias.
pub(crate) type Key = (Vec<u8>, Option<Vec<u8>>);

impl Module {
    /// The module of this name (canonical already).
    pub(crate) fn named(name: &[u8]) -> Self {
        Module { name: name.to_vec(), alias: None, file: None, builtin: false, command: None }
    }

    fn found_by(alias: &[u8], name: &[u8]) -> Self {
        Module { alias: Some(alias.to_vec()), ..Module::named(name) }
    }

    /// The length of name and alias together, in bytes.
    pub(crate) fn names(&self) -> usize {
        self.name.len() + self.alias.as_ref().map_or(0, Vec::len)
    }

    /// What identifies it in a plan. For kmod a module found by an alias is another one than the same module found by its
    /// name or by another alias; callers depend on such lists.
    pub(crate) fn key(&self) -> Key {
        (self.name.clone(), self.alias.clone())
    }
}

/// The words and modules that the lines about one module have named so far.
#[derive(Default)]
struct SeenNames<'c> {
    words: BTreeSet<&'c [u8]>,
    modules: BTreeSet<Key>,
    /// The length of the names together, in bytes.
    names: usize,
}

/// A module directory, open.
pub(crate) struct Tree<'a> {
    roots: &'a Roots,
    dir: PathBuf,
    paths: ConfigPaths,
    sink: &'a dyn Sink,
    config: OnceCell<Config>,
    indexes: Indexes,
    /// The order of equal results: kmod has one for open indexes (the default), another one for indexes that it reads from
    /// the file at each lookup.
    pub(crate) reader: Cell<Reader>,
    /// The names of the modules that permitted modules need, sorted.
    permitted: OnceCell<Vec<Vec<u8>>>,
    /// The names in the module files, by path.
    own_names: RefCell<BTreeMap<PathBuf, Option<Vec<u8>>>>,
}

impl<'a> Tree<'a> {
    /// The tree of the module directory `dir`, an absolute path; the paths of modules begin with exactly these bytes.
    /// Nothing is read yet. A missing directory is no error: lookups then find nothing.
    ///
    /// Problems of configuration and indexes are logged to `sink` when they are read. To separate the messages about the
    /// configuration, call [`Tree::config`] first.
    pub(crate) fn open(roots: &'a Roots, dir: PathBuf, paths: ConfigPaths, sink: &'a dyn Sink) -> Self {
        Tree {
            roots,
            dir,
            paths,
            sink,
            config: OnceCell::new(),
            indexes: Indexes::default(),
            reader: Cell::new(Reader::Mapped),
            permitted: OnceCell::new(),
            own_names: RefCell::default(),
        }
    }

    /// A second, unread tree of the same directory and configuration, which logs to another sink. This tree still logs its
    /// own problems when it reads them.
    pub(crate) fn reopened<'b>(&self, sink: &'b dyn Sink) -> Tree<'b>
    where
        'a: 'b,
    {
        let tree = Tree::open(self.roots, self.dir.clone(), self.paths.clone(), sink);
        Tree { reader: self.reader.clone(), ..tree }
    }

    /// The module directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The configuration, read at the first call.
    pub(crate) fn config(&self) -> &Config {
        self.config.get_or_init(|| settings::read(self.roots, Some(&self.dir), &self.paths, self.sink))
    }

    /// The modules that `query` (an alias or a name as typed) leads to, in load order, duplicates included; none if it is
    /// unknown. The first source with a match gives all of them: aliases of the configuration, module names, exported
    /// symbols (for `symbol:` queries), install and remove commands of this name, aliases of modules, built-in modules,
    /// their aliases.
    ///
    /// # Errors
    /// `EINVAL` if brackets do not pair up, `ENAMETOOLONG` for more than [`limits::QUERY`] bytes.
    pub(crate) fn lookup(&self, query: &[u8]) -> Result<Vec<Module>, Errno> {
        let query = folded(query)?;
        let configured = self.config().matching(Kind::Alias, &query).take(limits::LOOKUP_RESULTS);
        let configured: Vec<_> = configured.map(|entry| Module::found_by(entry.key, entry.value)).collect();
        Ok(if configured.is_empty() { self.known(&query, true, self.reader.get()) } else { configured })
    }

    /// Whether each of `names` (canonical) leads to the module of that name and to nothing else, as [`Tree::lookup`] would
    /// find out. Reads less than a lookup: the configuration files that people and packages write, and `modules.dep`. False
    /// if these have any problem, so that the lookup that must follow reports it.
    ///
    /// The other sources cannot redirect a name: depmod's `modules.softdep` and `modules.weakdep` and the kernel command
    /// line only define dependencies, parameters and blacklists.
    pub(crate) fn resolve_to_themselves<'n>(&self, mut names: impl Iterator<Item = &'n [u8]>) -> bool {
        let logged = Kept::default();
        let config = settings::read(self.roots, None, &self.paths, &logged);
        // Not the tree's own indexes, which must still log their problems. Never dropped, as in the tools' trees.
        let indexes = ManuallyDrop::new(Indexes::default());
        logged.is_empty()
            && names.all(|name| {
                config.matching(Kind::Alias, name).next().is_none()
                    && indexes.open(Which::Dep, &self.dir, &logged).line(name).is_some()
            })
            && logged.is_empty()
    }

    /// As [`Tree::lookup`], without the configuration: for modinfo.
    pub(crate) fn lookup_plain(&self, query: &[u8]) -> Result<Vec<Module>, Errno> {
        Ok(self.known(&folded(query)?, false, Reader::Streamed))
    }

    /// The module of this name (`modinfo -m`): aliases of modules do not count, but those of built-in modules do.
    pub(crate) fn lookup_name(&self, name: &[u8]) -> Option<Module> {
        let name = name::canonical(name);
        if self.is_listed(&name) {
            return Some(Module::named(&name));
        }
        self.builtins(&name, self.reader.get()).into_iter().next()
    }

    /// Whether a module of this name has a line in modules.dep. With a colon it is none: the kernel makes its aliases so, and
    /// a path ends at the colon.
    fn is_listed(&self, name: &[u8]) -> bool {
        !name.contains(&b':') && self.opened(Which::Dep).line(name).is_some()
    }

    fn known(&self, query: &[u8], commands: bool, reader: Reader) -> Vec<Module> {
        if self.is_listed(query) {
            return vec![Module::named(query)];
        }
        let search = |which| -> Vec<Module> {
            let names = self.opened(which).search(query, reader);
            names.into_iter().map(|name| Module::found_by(query, name)).collect()
        };
        let owners = if query.starts_with(b"symbol:") { search(Which::Symbols) } else { Vec::new() };
        if !owners.is_empty() {
            return owners;
        }
        let own = |kind| Some((kind, self.config().named(kind, query)?.value.to_vec()));
        if let Some(command) = commands.then(|| own(Kind::Install).or_else(|| own(Kind::Remove))).flatten() {
            return vec![Module { command: Some(command), ..Module::named(&name::canonical(query)) }];
        }
        let aliased = search(Which::Alias);
        if aliased.is_empty() { self.builtins(query, reader) } else { aliased }
    }

    fn builtins(&self, query: &[u8], reader: Reader) -> Vec<Module> {
        if self.opened(Which::Builtin).contains(query) {
            return vec![Module { builtin: true, ..Module::named(query) }];
        }
        let names = self.opened(Which::BuiltinAlias).search(query, reader);
        names.into_iter().map(|name| Module { builtin: true, ..Module::found_by(query, name) }).collect()
    }

    /// The module in the file `path`, which is kept as given.
    ///
    /// # Errors
    /// `ENOENT` if the path ends in `/`, else the errno of stat(2).
    pub(crate) fn module_from_path(&self, path: &[u8]) -> Result<Module, Errno> {
        std::fs::metadata(as_path(path)).map_err(|error| Errno::of(&error))?;
        let name = name::from_path(path).ok_or(Errno::ENOENT)?;
        Ok(Module { file: Some(as_path(path).to_path_buf()), ..Module::named(&name) })
    }

    /// The file of a module; `None` for a built-in module and for one that no index has.
    pub(crate) fn path(&self, module: &Module) -> Option<PathBuf> {
        if let Some(file) = &module.file {
            return Some(file.clone());
        }
        let line = self.opened(Which::Dep).line(&module.name)?;
        let colon = line.iter().position(|&b| b == b':')?;
        Some(self.below(&line[..colon]))
    }

    /// As [`Tree::needed`]. If a file does not exist, that is logged and there are none.
    pub(crate) fn dependencies(&self, module: &Module) -> Vec<Module> {
        self.needed(module).unwrap_or_else(|(path, errno)| {
            let (path, reason) = (path.as_os_str().as_bytes(), errno.to_string());
            let text = bytes!["dependency ", path, " of module ", module.name, ": ", reason];
            self.sink.log(Priority::Err, &text);
            Vec::new()
        })
    }

    /// The dependencies of a module in load order: the whole closure, each module once.
    ///
    /// # Errors
    /// The first file that does not exist, and why.
    pub(crate) fn needed(&self, module: &Module) -> Result<Vec<Module>, (PathBuf, Errno)> {
        let line = self.opened(Which::Dep).line(&module.name).unwrap_or_default();
        let mut needed = Vec::new();
        for word in needs(line) {
            let path = self.below(word);
            let found = std::fs::metadata(&path).map_err(|error| Errno::of(&error));
            match found.and_then(|_| name::from_path(word).ok_or(Errno::ENOENT)) {
                Ok(name) => needed.push(Module::named(&name)),
                Err(errno) => return Err((path, errno)),
            }
        }
        // `modules.dep` has them in reverse order.
        needed.reverse();
        Ok(needed)
    }

    /// Whether the module is built into the kernel. One that was requested by path is not.
    pub(crate) fn is_builtin(&self, module: &Module) -> bool {
        module.builtin || (module.file.is_none() && self.opened(Which::Builtin).contains(&module.name))
    }

    /// The configured options for its name and for the alias it was found by, joined by blanks.
    pub(crate) fn options(&self, module: &Module) -> Option<Vec<u8>> {
        self.config().options_for(&module.name, module.alias.as_deref())
    }

    /// The command that is run instead of inserting the module.
    pub(crate) fn install_command<'m>(&'m self, module: &'m Module) -> Option<&'m [u8]> {
        self.command(Kind::Install, module)
    }

    /// The command that is run instead of removing the module.
    pub(crate) fn remove_command<'m>(&'m self, module: &'m Module) -> Option<&'m [u8]> {
        self.command(Kind::Remove, module)
    }

    fn command<'m>(&'m self, kind: Kind, module: &'m Module) -> Option<&'m [u8]> {
        match &module.command {
            Some((own, command)) if *own == kind => Some(command),
            _ => self.config().first(kind, &module.name).map(|entry| entry.value),
        }
    }

    /// The soft dependencies: the modules to load before the module and after it. See [`Tree::softdep_lines`].
    pub(crate) fn softdeps(&self, module: &Module) -> (Vec<Module>, Vec<Module>) {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (_, first, then) in self.softdep_lines(module) {
            before.extend(first);
            after.extend(then);
        }
        (before, after)
    }

    /// For each softdep line that matches the module, the modules that it adds before it and after it. If several lines
    /// name a module, the first one decides on its side; in one line `pre:` does. Each word is looked up like any query;
    /// unknown ones are dropped.
    pub(crate) fn softdep_lines(&self, module: &Module) -> Vec<(Origin, Vec<Module>, Vec<Module>)> {
        let mut seen = SeenNames::default();
        let lines = self.config().matching(Kind::Softdep, &module.name);
        lines
            .map(|line| (line.origin, self.add(line.pre(), &mut seen), self.add(line.post(), &mut seen)))
            .collect()
    }

    /// The weak dependencies of all matching lines: modules that may help it. Nothing loads them.
    pub(crate) fn weakdeps(&self, module: &Module) -> Vec<Module> {
        let mut seen = SeenNames::default();
        let lines = self.config().matching(Kind::Weakdep, &module.name);
        lines.flat_map(|line| self.add(line.names(), &mut seen)).collect()
    }

    /// The modules that `words` lead to and that are not in `seen` yet. Stops at the limits of a plan; the planner then
    /// refuses them.
    fn add<'c>(&self, words: impl Iterator<Item = &'c [u8]>, seen: &mut SeenNames<'c>) -> Vec<Module> {
        let mut modules = Vec::new();
        for word in words {
            if seen.modules.len() > limits::PLAN_TASKS || seen.names > limits::PLAN_NAMES {
                break;
            }
            if !seen.words.insert(word) {
                continue;
            }
            match self.lookup(word) {
                Ok(found) => {
                    seen.names += found.iter().map(Module::names).sum::<usize>();
                    modules.extend(found.into_iter().filter(|module| seen.modules.insert(module.key())));
                }
                Err(_) => {
                    let text = bytes!["failed to lookup dependency '", word, "', continuing anyway."];
                    self.sink.log(Priority::Err, &text);
                }
            }
        }
        modules
    }

    /// Whether the configuration or the kernel command line blacklists the module's name.
    pub(crate) fn blacklisted(&self, module: &Module) -> bool {
        self.config().is_blacklisted(&module.name)
    }

    /// Calls `visit` with every key of an index and each of its values, in the order of `modprobe -c`.
    pub(crate) fn dump(&self, which: Which, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.opened(which).dump(visit);
    }

    /// Lets the tree notice changes of index files opened from now on: for [`Tree::is_stale`] and [`Tree::renew`].
    pub(crate) fn watch(&mut self) {
        self.indexes.watched = true;
    }

    /// Opens an index if it is not open yet.
    ///
    /// # Errors
    /// Why it cannot be used: `ENOENT` for a missing file, `ENODATA` for an empty one, `EINVAL` for an invalid one. Lookups
    /// then use the text file beside it, if there is one.
    pub(crate) fn load(&self, which: Which) -> Result<()> {
        self.opened(which);
        if self.indexes.is_index(which) { Ok(()) } else { indexes::check(which, &self.dir) }
    }

    /// Whether the file of any index that is open has been replaced or changed since.
    pub(crate) fn is_stale(&self) -> bool {
        indexes::ALL.into_iter().any(|which| self.indexes.is_stale(which, &self.dir))
    }

    /// Closes the indexes whose files have changed; the next lookup opens them again.
    pub(crate) fn renew(&mut self) {
        self.indexes.renew(&self.dir);
        self.forget();
    }

    /// Closes all indexes; the next lookup opens them again.
    pub(crate) fn close(&mut self) {
        self.indexes.sources = Default::default();
        self.forget();
    }

    fn forget(&mut self) {
        self.permitted.take();
        self.own_names.take();
    }

    fn opened(&self, which: Which) -> Opened<'_> {
        self.indexes.open(which, &self.dir, self.sink)
    }

    /// The absolute path for a path of `modules.dep`: relative ones are below the module directory.
    fn below(&self, path: &[u8]) -> PathBuf {
        into_path(match path {
            [b'/', ..] => path.to_vec(),
            _ => bytes![self.dir.as_os_str().as_bytes(), "/", path],
        })
    }
}

/// The dependencies in a line of `modules.dep`.
fn needs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let words = line.splitn(2, |&b| b == b':').nth(1).unwrap_or_default();
    words.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty())
}

fn folded(query: &[u8]) -> Result<Vec<u8>, Errno> {
    name::alias(query).ok_or(if query.len() > limits::QUERY { Errno::ENAMETOOLONG } else { Errno::EINVAL })
}
