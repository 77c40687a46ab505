//! The five indexes of a module directory, each opened at its first lookup, and the text files that replace a missing or
//! broken index.

use crate::error::{Errno, Error, Result};
use crate::formats::index::{Index, Reader};
use crate::formats::text;
use crate::limits;
use crate::log::{Priority, Sink, bytes};
use crate::system::file::{Eof, read_into};
use crate::system::map::{self, Contents};
use crate::system::roots::into_path;
use std::cell::OnceCell;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Which index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// `modules.dep`: names of modules to path and dependencies.
    Dep,
    /// `modules.alias`: patterns to names of modules.
    Alias,
    /// `modules.symbols`: `symbol:NAME` to names of modules.
    Symbols,
    /// `modules.builtin`: names of built-in modules.
    Builtin,
    /// `modules.builtin.alias`: patterns to names of built-in modules. It has no text form.
    BuiltinAlias,
}

/// All of them.
pub(super) const ALL: [Which; 5] =
    [Which::Dep, Which::Alias, Which::Symbols, Which::Builtin, Which::BuiltinAlias];

const NAMES: [&str; 5] =
    ["modules.dep", "modules.alias", "modules.symbols", "modules.builtin", "modules.builtin.alias"];

/// Device, inode, size and modification time of a file: depmod replaces files, other programs may rewrite them.
type Stamp = (u64, u64, u64, i64, i64);

/// The file that answers lookups.
pub(super) enum Source {
    /// The `.bin` file, whose header is valid, and its stamp from before it was opened.
    Index(Contents, Option<Stamp>),
    /// The text file.
    Text(Contents),
    Nothing,
}

/// The indexes of one directory.
#[derive(Default)]
pub(super) struct Indexes {
    pub(super) sources: [OnceCell<Source>; 5],
    /// Whether stamps are taken. The tools, which end soon, do not need them.
    pub(super) watched: bool,
}

/// One open index. Results borrow from it.
pub(super) struct Opened<'t> {
    which: Which,
    index: Option<Index<'t>>,
    /// The text file; empty if the index is there, or neither.
    text: &'t [u8],
}

impl Indexes {
    /// The index, opened if it was not yet. An invalid one is reported once; the text file then replaces it.
    pub(super) fn open(&self, which: Which, dir: &Path, sink: &dyn Sink) -> Opened<'_> {
        let source = self.sources[which as usize].get_or_init(|| open(which, dir, self.watched, sink));
        // The header is parsed again at each lookup, which costs less than keeping a borrow of the contents.
        let (index, text): (_, &[u8]) = match source {
            Source::Index(contents, _) => (Index::open(contents).ok(), &[]),
            Source::Text(contents) => (None, contents),
            Source::Nothing => (None, &[]),
        };
        Opened { which, index, text }
    }

    /// Closes the indexes whose files have changed, and those that a text file replaces.
    pub(super) fn renew(&mut self, dir: &Path) {
        for which in ALL {
            if self.is_stale(which, dir) || !self.is_index(which) {
                self.sources[which as usize].take();
            }
        }
    }

    /// Whether the index is open and its file has changed since. False if a text file replaces it.
    pub(super) fn is_stale(&self, which: Which, dir: &Path) -> bool {
        let changed = |opened| opened != stamp(&place(which, dir, ".bin"));
        matches!(self.sources[which as usize].get(), Some(Source::Index(_, opened)) if changed(*opened))
    }

    /// Whether the index itself is open, and not a text file in its place.
    pub(super) fn is_index(&self, which: Which) -> bool {
        matches!(self.sources[which as usize].get(), Some(Source::Index(..)))
    }
}

fn place(which: Which, dir: &Path, suffix: &str) -> PathBuf {
    into_path(bytes![dir.as_os_str().as_bytes(), "/", NAMES[which as usize], suffix])
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
}

/// The contents of an index with a valid header.
fn index(which: Which, path: &Path) -> Result<Contents> {
    // The index of built-in modules is small and part of every request that loads something: one read costs less than a
    // map.
    let contents = if which == Which::Builtin {
        let mut contents = Vec::new();
        read_into(path, &mut contents, limits::TEXT_FILE as usize, Eof::Short)
            .map_err(|errno| Error::os(errno).at(path))?;
        Contents::Read(contents)
    } else {
        map::open(path, limits::TEXT_FILE)?
    };
    Index::open(&contents)?;
    Ok(contents)
}

/// Why the index cannot be used, if it cannot.
pub(super) fn check(which: Which, dir: &Path) -> Result<()> {
    index(which, &place(which, dir, ".bin")).map(drop)
}

fn open(which: Which, dir: &Path, watched: bool, sink: &dyn Sink) -> Source {
    let path = place(which, dir, ".bin");
    // The stamp first, so that a later replacement is noticed.
    let stamp = if watched { stamp(&path) } else { None };
    match index(which, &path) {
        Ok(contents) => return Source::Index(contents, stamp),
        Err(error) => match error.errno() {
            // No problem: one that does not or cannot exist, or that depmod left empty because its input was missing.
            Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG | Errno::ENODATA => {}
            _ => sink.log(Priority::Err, &bytes![path.as_os_str().as_bytes(), ": ", error.reason()]),
        },
    }
    if which == Which::BuiltinAlias {
        return Source::Nothing;
    }
    map::open(&place(which, dir, ""), limits::TEXT_FILE).map_or(Source::Nothing, Source::Text)
}

impl<'t> Opened<'t> {
    /// [`Which::Dep`]: the line of the module `name`.
    pub(super) fn line(&self, name: &[u8]) -> Option<&'t [u8]> {
        match self.index {
            Some(index) => index.exact(name),
            None => text::dep_line(self.text, name),
        }
    }

    /// [`Which::Builtin`]: whether it has the module `name`.
    pub(super) fn contains(&self, name: &[u8]) -> bool {
        match self.index {
            Some(index) => index.exact(name).is_some(),
            None => text::builtin_contains(self.text, name),
        }
    }

    /// The others: the names of the modules that `query` leads to, in order of priority.
    pub(super) fn search(&self, query: &[u8], reader: Reader) -> Vec<&'t [u8]> {
        match self.index {
            Some(index) => index.search_as(query, reader).into_iter().map(|found| found.value).collect(),
            None => text::alias_search(self.text, query),
        }
    }

    /// Calls `visit` with all keys and values, in the order of the index or the text.
    pub(super) fn dump(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        match (self.index, self.which) {
            (Some(index), _) => index.dump(visit),
            (None, Which::Dep) => {
                for line in self.text.split(|&b| b == b'\n') {
                    let path = line.iter().position(|&b| b == b':').map(|colon| &line[..colon]);
                    if let Some(name) = path.and_then(crate::name::from_path) {
                        visit(&name, line);
                    }
                }
            }
            (None, Which::Builtin) => text::builtins(self.text).for_each(|name| visit(&name, b"")),
            (None, _) => text::aliases(self.text).for_each(|(pattern, name)| visit(pattern, name)),
        }
    }
}
