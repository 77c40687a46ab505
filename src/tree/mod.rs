//! One module directory with the configuration that goes with it: from a query to modules, from a module to its path,
//! its dependencies, its options and commands. Nothing here looks at what is loaded.
//!
//! Both halves are read when they are first needed: the configuration at the first question that it bears on, each
//! index at the first lookup that gets as far as it.

#[cfg(test)]
pub(crate) mod fixture;
mod forbid;
pub(crate) mod image;
mod indexes;
mod settings;
#[cfg(test)]
mod tests;

pub(crate) use forbid::Forbidden;
pub(crate) use indexes::Which;
pub use settings::ConfigPaths;

use crate::config::{Config, Kind, Origin};
use crate::error::{Errno, Result};
use crate::formats::index::Reader;
use crate::limits;
use crate::log::{AnyMessage, Priority, Sink, bytes};
use crate::name;
use crate::system::roots::{Roots, into_path};
use crate::system::{System, roots::as_path};
use indexes::{Indexes, Opened};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A module as it was found. That it exists is not said: an alias of the configuration may lead anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    /// Its name, `-` read as `_`.
    pub name: Vec<u8>,
    /// What it was found by, if not by its name: the pattern of a configured alias, or the query that an index knew.
    /// Options may be given for this too.
    pub alias: Option<Vec<u8>>,
    /// The file, where it was asked for by path.
    pub file: Option<PathBuf>,
    /// Whether it was found as a built-in. Ask [`Tree::is_builtin`].
    pub builtin: bool,
    /// The install or remove command, if that is all that is known of it: an entry of exactly its name goes before the
    /// patterns that match it.
    pub command: Option<Own>,
}

/// A command that a module was found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Own {
    /// Its install command.
    Install(Vec<u8>),
    /// Its remove command; it has no install command of its own.
    Remove(Vec<u8>),
}

/// What makes two findings of a module one: name and alias.
pub(crate) type Key = (Vec<u8>, Option<Vec<u8>>);

impl Module {
    /// The module of this name (canonical already).
    pub(crate) fn named(name: &[u8]) -> Self {
        Module { name: name.to_vec(), alias: None, file: None, builtin: false, command: None }
    }

    fn found_by(alias: &[u8], name: &[u8]) -> Self {
        Module { alias: Some(alias.to_vec()), ..Module::named(name) }
    }

    /// How long its names are together, in bytes.
    pub(crate) fn names(&self) -> usize {
        self.name.len() + self.alias.as_ref().map_or(0, Vec::len)
    }

    /// What identifies it while a plan is made: kmod takes a module that was found by an alias for another one than
    /// the same module found by its name or by another alias, and so do the lists that programs know.
    pub(crate) fn key(&self) -> Key {
        (self.name.clone(), self.alias.clone())
    }
}

/// What the lines about one module have named so far.
#[derive(Default)]
struct Wishes<'c> {
    words: BTreeSet<&'c [u8]>,
    modules: BTreeSet<Key>,
    /// How long the names are together.
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
    reader: Cell<Reader>,
    /// What the modules need that `permit` names, sorted.
    permitted: OnceCell<Vec<Vec<u8>>>,
    /// What modules call themselves, by the file.
    own_names: RefCell<BTreeMap<PathBuf, Option<Vec<u8>>>>,
}

impl<'a> Tree<'a> {
    /// The tree of the module directory `dir` (absolute; the paths of modules begin with these very bytes). Reads
    /// nothing yet: that the directory does not exist is no error, lookups then find nothing.
    ///
    /// Trouble with configuration and indexes goes to `sink`, when they are read. A caller that treats messages about
    /// the configuration apart calls [`Tree::config`] first.
    pub(crate) fn open(
        system: &System<'a>,
        dir: PathBuf,
        config_paths: ConfigPaths,
        sink: &'a dyn Sink,
    ) -> Self {
        let (config, indexes) = (OnceCell::new(), Indexes::default());
        let (reader, permitted, own_names) = (Cell::new(Reader::Mapped), OnceCell::new(), RefCell::default());
        Tree {
            roots: system.roots,
            dir,
            paths: config_paths,
            sink,
            config,
            indexes,
            reader,
            permitted,
            own_names,
        }
    }

    /// The same directory with the same configuration files, to be read anew for somebody whose questions are not to be
    /// heard: what they run into goes to another sink, and this tree will still tell it at its time.
    pub(crate) fn anew<'b>(&self, sink: &'b dyn Sink) -> Tree<'b>
    where
        'a: 'b,
    {
        let (config, indexes) = (OnceCell::new(), Indexes::default());
        let reader = self.reader.clone();
        Tree {
            roots: self.roots,
            dir: self.dir.clone(),
            paths: self.paths.clone(),
            sink,
            config,
            indexes,
            reader,
            permitted: OnceCell::new(),
            own_names: RefCell::default(),
        }
    }

    /// The module directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The configuration, read at the first call.
    pub(crate) fn config(&self) -> &Config {
        self.config.get_or_init(|| settings::read(self.roots, &self.dir, &self.paths, self.sink))
    }

    /// The modules that `query` (an alias or a name as typed) leads to, in the order in which they are to be loaded,
    /// duplicates included. Empty: nothing is known of it. The first of these that has an answer gives it: aliases of
    /// the configuration, module names, exported symbols (for `symbol:` queries), install and remove commands of this
    /// name, aliases of modules, built-in modules, their aliases.
    ///
    /// # Errors
    /// `EINVAL` where brackets do not pair up, `ENAMETOOLONG` past [`limits::QUERY`] bytes.
    pub(crate) fn lookup(&self, query: &[u8]) -> Result<Vec<Module>, Errno> {
        let query = folded(query)?;
        let configured = self.config().aliases_for(&query).take(limits::LOOKUP_RESULTS);
        let configured: Vec<Module> =
            configured.map(|entry| Module::found_by(entry.key, entry.value)).collect();
        if !configured.is_empty() {
            return Ok(configured);
        }
        Ok(self.known(&query, true, self.reader.get()))
    }

    /// Whether each of `names` (canonical) leads to the module of that name and to nothing else, as [`Tree::lookup`] would
    /// find out, told from less than that reads: the files that people write, and `modules.dep`. False wherever anything
    /// is odd about those, so that whoever gives all the answers also tells what is wrong, at its time.
    ///
    /// What is not read cannot lead a name elsewhere: depmod's `modules.softdep` and `modules.weakdep` and the kernel
    /// command line say what else a module needs, which parameters it gets, and that it is not wanted.
    pub(crate) fn are_plain<'n>(&self, mut names: impl Iterator<Item = &'n [u8]>) -> bool {
        let logged = AnyMessage::default();
        let config = settings::read_given(self.roots, &self.paths, &logged);
        // Not the tree's own, which must stay able to tell. Never dropped, as in the tools' trees.
        let indexes = ManuallyDrop::new(Indexes::default());
        !logged.any()
            && names.all(|name| {
                config.aliases_for(name).next().is_none()
                    && indexes.open(Which::Dep, &self.dir, &logged).line(name).is_some()
            })
            && !logged.any()
    }

    /// As [`Tree::lookup`], without the configuration: what modinfo does.
    pub(crate) fn lookup_plain(&self, query: &[u8]) -> Result<Vec<Module>, Errno> {
        Ok(self.known(&folded(query)?, false, Reader::Streamed))
    }

    /// The module of this name and no other (`modinfo -m`): not through aliases of modules, but through those of
    /// built-in ones.
    pub(crate) fn lookup_name(&self, name: &[u8]) -> Option<Module> {
        let name = name::canonical(name);
        if self.opened(Which::Dep).line(&name).is_some() {
            return Some(Module::named(&name));
        }
        self.builtins(&name, self.reader.get()).into_iter().next()
    }

    fn known(&self, query: &[u8], commands: bool, reader: Reader) -> Vec<Module> {
        // A name with a colon is an alias of the kernel's making.
        if !query.contains(&b':') && self.opened(Which::Dep).line(query).is_some() {
            return vec![Module::named(query)];
        }
        let search = |which| -> Vec<Module> {
            let names = self.opened(which).search(query, reader);
            names.into_iter().map(|name| Module::found_by(query, name)).collect()
        };
        if query.starts_with(b"symbol:") {
            let owners = search(Which::Symbols);
            if !owners.is_empty() {
                return owners;
            }
        }
        if let Some(command) = commands.then(|| self.own_command(query)).flatten() {
            return vec![Module { command: Some(command), ..Module::named(&name::canonical(query)) }];
        }
        let aliased = search(Which::Alias);
        if !aliased.is_empty() {
            return aliased;
        }
        self.builtins(query, reader)
    }

    fn own_command(&self, name: &[u8]) -> Option<Own> {
        let command = |kind| self.config().named(kind, name).map(|entry| entry.value.to_vec());
        command(Kind::Install).map(Own::Install).or_else(|| command(Kind::Remove).map(Own::Remove))
    }

    fn builtins(&self, query: &[u8], reader: Reader) -> Vec<Module> {
        if self.opened(Which::Builtin).contains(query) {
            return vec![Module { builtin: true, ..Module::named(query) }];
        }
        let names = self.opened(Which::BuiltinAlias).search(query, reader);
        names.into_iter().map(|name| Module { builtin: true, ..Module::found_by(query, name) }).collect()
    }

    /// The module in the file `path`, which is kept as it is given.
    ///
    /// # Errors
    /// `ENOENT` where the path ends in `/`, else what stat said.
    pub(crate) fn module_from_path(&self, path: &[u8]) -> Result<Module, Errno> {
        std::fs::metadata(as_path(path)).map_err(|error| Errno::of(&error))?;
        let name = name::from_path(path).ok_or(Errno::ENOENT)?;
        Ok(Module { file: Some(as_path(path).to_path_buf()), ..Module::named(&name) })
    }

    /// The file of a module; `None` for a built-in one or one that no index knows.
    pub(crate) fn path(&self, module: &Module) -> Option<PathBuf> {
        if let Some(file) = &module.file {
            return Some(file.clone());
        }
        let line = self.opened(Which::Dep).line(&module.name)?;
        let colon = line.iter().position(|&b| b == b':')?;
        Some(self.below(&line[..colon]))
    }

    /// What a module needs, in load order: the whole closure, each module once. Where a file among them does not
    /// exist, that is told, and the module counts as one without dependencies.
    pub(crate) fn dependencies(&self, module: &Module) -> Vec<Module> {
        let line = self.opened(Which::Dep).line(&module.name).unwrap_or_default();
        let mut needed = Vec::new();
        for word in needs(line) {
            let path = self.below(word);
            let found = std::fs::metadata(&path).map_err(|error| Errno::of(&error));
            match (found, name::from_path(word)) {
                (Ok(_), Some(name)) => needed.push(Module::named(&name)),
                (result, _) => {
                    let reason = result.err().unwrap_or(Errno::ENOENT).to_string();
                    let path = path.as_os_str().as_bytes();
                    let told = bytes!["dependency ", path, " of module ", module.name, ": ", reason];
                    self.sink.log(Priority::Err, &told);
                    return Vec::new();
                }
            }
        }
        // The file has them the other way round.
        needed.reverse();
        needed
    }

    /// Whether the module is built into the kernel. One that was asked for by path is not.
    pub(crate) fn is_builtin(&self, module: &Module) -> bool {
        module.builtin || (module.file.is_none() && self.opened(Which::Builtin).contains(&module.name))
    }

    /// The configured options, joined by blanks: for its name, and for the alias it was found by.
    pub(crate) fn options(&self, module: &Module) -> Option<Vec<u8>> {
        self.config().options_for(&module.name, module.alias.as_deref())
    }

    /// The command that is run instead of inserting the module.
    pub(crate) fn install_command<'m>(&'m self, module: &'m Module) -> Option<&'m [u8]> {
        match &module.command {
            Some(Own::Install(command)) => Some(command),
            _ => self.config().install_for(&module.name).map(|entry| entry.value),
        }
    }

    /// The command that is run instead of removing the module.
    pub(crate) fn remove_command<'m>(&'m self, module: &'m Module) -> Option<&'m [u8]> {
        match &module.command {
            Some(Own::Remove(command)) => Some(command),
            _ => self.config().remove_for(&module.name).map(|entry| entry.value),
        }
    }

    /// The soft dependencies: what is to be loaded before the module, and after it. See [`Tree::softdep_lines`].
    pub(crate) fn softdeps(&self, module: &Module) -> (Vec<Module>, Vec<Module>) {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (_, first, then) in self.softdep_lines(module) {
            before.extend(first);
            after.extend(then);
        }
        (before, after)
    }

    /// What each softdep line that fits the module adds to what is to be loaded before it, and after it. The lines add
    /// up in their order; the first line that names a module decides on which side it is, and within a line `pre:` does.
    /// Each word is looked up like any query; one that leads nowhere is dropped.
    pub(crate) fn softdep_lines(&self, module: &Module) -> Vec<(Origin, Vec<Module>, Vec<Module>)> {
        let mut wishes = Wishes::default();
        let lines = self.config().softdeps_for(&module.name);
        lines
            .map(|line| (line.origin, self.add(line.pre(), &mut wishes), self.add(line.post(), &mut wishes)))
            .collect()
    }

    /// The weak dependencies: what may help the module if it is there. Nothing loads them. The lines add up.
    pub(crate) fn weakdeps(&self, module: &Module) -> Vec<Module> {
        let mut wishes = Wishes::default();
        let lines = self.config().weakdeps_for(&module.name);
        lines.flat_map(|line| self.add(line.names(), &mut wishes)).collect()
    }

    /// The modules that `words` lead to and that are not among the wishes yet. Ends where no plan has room for more:
    /// whoever plans with these refuses them.
    fn add<'c>(&self, words: impl Iterator<Item = &'c [u8]>, wishes: &mut Wishes<'c>) -> Vec<Module> {
        let mut modules = Vec::new();
        for word in words {
            if wishes.modules.len() > limits::PLAN_TASKS || wishes.names > limits::PLAN_NAMES {
                break;
            }
            if !wishes.words.insert(word) {
                continue;
            }
            match self.lookup(word) {
                Ok(found) => {
                    wishes.names += found.iter().map(Module::names).sum::<usize>();
                    modules.extend(found.into_iter().filter(|module| wishes.modules.insert(module.key())));
                }
                Err(_) => {
                    let told = bytes!["failed to lookup dependency '", word, "', continuing anyway."];
                    self.sink.log(Priority::Err, &told);
                }
            }
        }
        modules
    }

    /// Whether the configuration or the kernel command line blacklists the module's name.
    pub(crate) fn blacklisted(&self, module: &Module) -> bool {
        self.config().is_blacklisted(&module.name)
    }

    /// Shows every key of an index with each of its values, as `modprobe -c` lists them.
    pub(crate) fn dump(&self, which: Which, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.opened(which).dump(visit);
    }

    /// Which of kmod's readers lookups follow: the one of open indexes (unless said), or the one that reads a file for each.
    pub(crate) fn read_as(&self, reader: Reader) {
        self.reader.set(reader);
    }

    /// Makes the tree notice when the files of indexes that are opened from now on change: for [`Tree::is_stale`] and
    /// [`Tree::renew`].
    pub(crate) fn watch(&mut self) {
        self.indexes.watched = true;
    }

    /// Opens an index now, where it has not been opened yet.
    ///
    /// # Errors
    /// Why it cannot be used: `ENOENT` for a missing file, `ENODATA` for an empty one, `EINVAL` for one that is no index.
    /// Questions are then answered from the text file beside it, if there is one.
    pub(crate) fn load(&self, which: Which) -> Result<()> {
        self.opened(which);
        if self.indexes.is_index(which) { Ok(()) } else { indexes::check(which, &self.dir) }
    }

    /// Whether the file of any index that is open has been replaced or changed since.
    pub(crate) fn is_stale(&self) -> bool {
        indexes::ALL.into_iter().any(|which| self.indexes.is_stale(which, &self.dir))
    }

    /// Closes the indexes whose files have changed; the next question opens them anew.
    pub(crate) fn renew(&mut self) {
        self.indexes.renew(&self.dir);
        self.forget();
    }

    /// Closes all indexes; the next question opens them anew.
    pub(crate) fn close(&mut self) {
        self.indexes.close();
        self.forget();
    }

    fn forget(&mut self) {
        self.permitted.take();
        self.own_names.take();
    }

    fn opened(&self, which: Which) -> Opened<'_> {
        self.indexes.open(which, &self.dir, self.sink)
    }

    /// A path of `modules.dep`: relative ones are below the module directory.
    fn below(&self, path: &[u8]) -> PathBuf {
        if path.first() == Some(&b'/') {
            return into_path(path.to_vec());
        }
        into_path([self.dir.as_os_str().as_bytes(), b"/", path].concat())
    }
}

/// The files that the module of a line of `modules.dep` needs.
fn needs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let colon = line.iter().position(|&b| b == b':');
    let words = colon.map_or(&[][..], |colon| &line[colon + 1..]);
    words.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty())
}

fn folded(query: &[u8]) -> Result<Vec<u8>, Errno> {
    if query.len() > limits::QUERY {
        return Err(Errno::ENAMETOOLONG);
    }
    name::alias(query).ok_or(Errno::EINVAL)
}
