//! The output files, each made in memory as a whole. Spec formats.md 3, 4.10.

mod alias;
mod builtin;
mod dep;
mod devname;
mod lines;
mod symbols;

use super::Failure;
use super::library::{Known, Library};
use super::scan::Module;
use crate::bytes;
use crate::formats::index::{self, IndexBuilder};
use crate::log::{Priority, Sink};
use std::collections::HashSet;

/// A file of the module directory.
pub struct File {
    /// Its name.
    pub name: &'static str,
    /// What is in it.
    pub contents: Vec<u8>,
}

/// All that the files are made of.
pub struct Sources<'a> {
    /// The module directory, for messages.
    pub dir: &'a [u8],
    /// The modules, in order.
    pub modules: &'a [Module],
    /// What is known of each.
    pub known: &'a [Known<'a>],
    /// The names they refer to.
    pub library: &'a Library<'a>,
    /// Direct dependencies of each.
    pub dependencies: &'a [Vec<u32>],
    /// The number of each, see [`super::resolve::number`].
    pub numbers: &'a [u32],
    /// Symbols that modules provide: the number of the name, the place of the module.
    pub provided: &'a [(u32, u32)],
    /// `modules.builtin`, if it is there.
    pub builtin: Option<&'a [u8]>,
    /// `modules.builtin.modinfo`, if it is there.
    pub builtin_info: Option<&'a [u8]>,
    /// Tell of values that a key gets twice.
    pub warn_duplicates: bool,
}

/// The files that `-n` prints, in its order.
pub fn texts(sources: &Sources<'_>, sink: &dyn Sink) -> Vec<File> {
    vec![
        dep::text(sources),
        alias::text(sources),
        lines::softdep(sources),
        lines::weakdep(sources),
        symbols::text(sources),
        devname::text(sources, sink),
    ]
}

/// All files, in the order in which they are replaced. `modules.dep.bin` is the last: what it names, the others know by
/// then.
///
/// # Errors
/// For a name that the index format cannot hold.
pub fn all(sources: &Sources<'_>, sink: &dyn Sink) -> Result<Vec<File>, Failure> {
    let dep = dep::both(sources)?;
    let alias = alias::index(sources, sink)?;
    let symbols = symbols::index(sources, sink)?;
    Ok(vec![
        dep.0,
        alias::text(sources),
        alias,
        lines::softdep(sources),
        lines::weakdep(sources),
        symbols::text(sources),
        symbols,
        builtin::names(sources, sink)?,
        builtin::aliases(sources, sink)?,
        devname::text(sources, sink),
        dep.1,
    ])
}

/// An index in the making, with kmod's words for what goes wrong.
struct Index<'s> {
    builder: IndexBuilder,
    /// What was inserted so far, where duplicates are told.
    seen: Option<HashSet<(Vec<u8>, Vec<u8>)>>,
    sink: &'s dyn Sink,
}

impl<'s> Index<'s> {
    fn new(warn_duplicates: bool, sink: &'s dyn Sink) -> Self {
        Index { builder: IndexBuilder::new(), seen: warn_duplicates.then(HashSet::new), sink }
    }

    fn insert(&mut self, key: &[u8], value: &[u8], priority: u32) -> Result<(), Failure> {
        if let Some((text, byte)) =
            [key, value].into_iter().find_map(|text| Some((text, index::unfit(text)?)))
        {
            let byte_text = format!("'=0x{byte:x} - only 7-bit ASCII is supported:\n");
            return Err(Failure::Fatal(bytes![
                "Module index: bad character '",
                [byte],
                byte_text,
                text,
                "\n"
            ]));
        }
        if let Some(seen) = &mut self.seen {
            if !seen.insert((key.to_vec(), value.to_vec())) {
                let text = bytes!["duplicate module alias:\n", key, " ", value];
                self.sink.log(Priority::Warning, &text);
            }
        }
        let fail = |error: crate::error::Error| Failure::Fatal(error.what().as_bytes().to_vec());
        self.builder.insert(key, value, priority).map_err(fail)
    }

    fn file(self, name: &'static str) -> Result<File, Failure> {
        match self.builder.write() {
            Ok(contents) => Ok(File { name, contents }),
            Err(error) => Err(Failure::Fatal(bytes![name, ": ", error.what()])),
        }
    }
}

/// A key of one of the alias indexes; `None`, and told, where its brackets do not pair up.
fn alias_key(alias: &[u8], sink: &dyn Sink) -> Option<Vec<u8>> {
    let key = crate::name::alias(alias);
    if key.is_none() {
        sink.log(Priority::Warning, &bytes!["Unmatched bracket in ", alias]);
    }
    key
}
