//! The output files, each built in memory as a whole.

mod builtin;
mod dep;
mod devname;
mod info;
mod symbols;

use super::Failure;
use super::interner::{InternedFacts, Interner};
use super::scan::Module;
use crate::error::Error;
use crate::formats::index::IndexBuilder;
use crate::limits;
use crate::log::{Priority, Sink, bytes};
use std::cell::Cell;
use std::collections::HashSet;

/// A file of the module directory.
pub struct File {
    pub name: &'static str,
    pub contents: Vec<u8>,
}

/// The input of the output files.
pub struct Sources<'a> {
    /// The module directory.
    pub dir: &'a [u8],
    /// The modules, in order.
    pub modules: &'a [Module],
    /// The facts about each.
    pub known: &'a [InternedFacts<'a>],
    /// The names they refer to.
    pub interner: &'a Interner<'a>,
    /// Direct dependencies of each.
    pub dependencies: &'a [Vec<u32>],
    /// The number of each, see [`super::resolve::topological_numbers`].
    pub numbers: &'a [u32],
    /// Symbols that modules provide: the number of the name, the place of the module.
    pub provided: &'a [(u32, u32)],
    /// `modules.builtin`, or why it cannot be read.
    pub builtin: Result<&'a [u8], &'a Error>,
    /// `modules.builtin.modinfo`, or why it cannot be read.
    pub builtin_info: Result<&'a [u8], &'a Error>,
    /// Report an entry that appears twice.
    pub warn_duplicates: bool,
    /// How many entries do not fit into the indexes; each is reported.
    pub left_out: Cell<usize>,
}

/// The names of all files.
pub(crate) const NAMES: [&str; 11] = [
    "modules.dep",
    "modules.alias",
    "modules.alias.bin",
    "modules.softdep",
    "modules.weakdep",
    "modules.symbols",
    "modules.symbols.bin",
    "modules.builtin.bin",
    "modules.builtin.alias.bin",
    "modules.devname",
    "modules.dep.bin",
];

/// The files that `-n` prints, in its order.
pub(crate) fn texts(sources: &Sources<'_>, sink: &dyn Sink) -> Vec<File> {
    vec![
        dep::text(sources, |_, _| {}),
        info::aliases(sources),
        info::softdeps(sources),
        info::weakdeps(sources),
        symbols::text(sources),
        devname::text(sources, sink),
    ]
}

/// All files, in the order in which they are replaced. `modules.dep.bin` is the last: the modules that it names must be in
/// the other files by then.
///
/// # Errors
/// If an index would be too large.
pub fn all(sources: &Sources<'_>, sink: &dyn Sink) -> Result<Vec<File>, Failure> {
    let (dep, dep_index) = dep::both(sources, sink)?;
    Ok(vec![
        dep,
        info::aliases(sources),
        info::alias_index(sources, sink)?,
        info::softdeps(sources),
        info::weakdeps(sources),
        symbols::text(sources),
        symbols::index(sources, sink)?,
        builtin::names(sources, sink)?,
        builtin::aliases(sources, sink)?,
        devname::text(sources, sink),
        dep_index,
    ])
}

/// An index under construction. Entries that do not fit are reported and left out; the others are kept.
struct Index<'s> {
    builder: IndexBuilder,
    /// The entries so far, if duplicates are reported.
    seen: Option<HashSet<(Vec<u8>, Vec<u8>)>>,
    left_out: &'s Cell<usize>,
    sink: &'s dyn Sink,
}

impl<'s> Index<'s> {
    fn new(sources: &'s Sources<'_>, warn_duplicates: bool, sink: &'s dyn Sink) -> Self {
        let seen = warn_duplicates.then(HashSet::new);
        Index { builder: IndexBuilder::new(), seen, left_out: &sources.left_out, sink }
    }

    /// Adds an entry that comes from the file at `path`.
    fn insert(&mut self, path: &[u8], key: &[u8], value: &[u8], priority: u32) {
        if let Err(error) = self.builder.insert(key, value, priority) {
            return self.refuse(path, key, error.what());
        }
        if let Some(seen) = &mut self.seen {
            if !seen.insert((key.to_vec(), value.to_vec())) {
                self.sink.log(Priority::Warning, &bytes!["duplicate module alias:\n", key, " ", value]);
            }
        }
    }

    /// Adds an alias. One whose brackets do not pair up is reported, as by kmod, and does not count as left out.
    fn insert_alias(&mut self, path: &[u8], alias: &[u8], value: &[u8], priority: u32) {
        match crate::name::alias(alias) {
            Some(key) => self.insert(path, &key, value, priority),
            None if alias.len() > limits::QUERY => self.refuse(path, alias, "longer than what is looked up"),
            None => self.sink.log(Priority::Warning, &bytes!["Unmatched bracket in ", alias]),
        }
    }

    fn refuse(&self, path: &[u8], key: &[u8], why: &str) {
        self.left_out.set(self.left_out.get() + 1);
        let start = &key[..key.len().min(100)];
        self.sink.log(Priority::Err, &bytes![path, ": ", start, ": ", why]);
    }

    fn file(self, name: &'static str) -> Result<File, Failure> {
        let fail = |error: Error| Failure::Fatal(bytes![name, ": ", error.what()]);
        Ok(File { name, contents: self.builder.write().map_err(fail)? })
    }
}

fn append(contents: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| contents.extend_from_slice(part));
}
