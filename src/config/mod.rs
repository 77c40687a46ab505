//! The configuration of the tools: modprobe.d, the soft and weak dependencies that depmod wrote, and the kernel command
//! line.
//!
//! The caller passes in the contents of the files in order of precedence; nothing here reads a file. All words are in one
//! buffer, an entry is two ranges of it: a configuration of some hundred lines costs a handful of allocations. Every run of
//! modprobe at boot pays for this.

mod by_name;
pub(crate) mod cmdline;
pub(crate) mod lines;
mod parse;
#[cfg(test)]
mod tests;

pub(crate) use parse::Parser;

use crate::formats::is_space;
use crate::log::bytes;
use by_name::List;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The directive of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `alias PATTERN MODULE`
    Alias,
    /// `blacklist MODULE`, without a value.
    Blacklist,
    /// `options MODULE TEXT`
    Options,
    /// `install PATTERN COMMAND`
    Install,
    /// `remove PATTERN COMMAND`
    Remove,
    /// `softdep PATTERN [pre: NAME...] [post: NAME...]`
    Softdep,
    /// `weakdep PATTERN NAME...`
    Weakdep,
    /// `forbid PATTERN...`, an entry for each pattern, without a value.
    Forbid,
    /// `permit PATTERN...`, the same.
    Permit,
}

const KINDS: usize = 9;

/// The line that an entry comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The file, for [`Config::file`].
    pub file: u32,
    /// The line number, from 1; for lines joined by backslashes, that of the last. 0 for the kernel command line.
    pub line: u32,
}

/// An entry: names folded, the value as written (in options, tabs become blanks).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'c> {
    /// The module name, or the pattern of module names or aliases.
    pub key: &'c [u8],
    /// The value: the module of an alias, the text of options, the command, the words of softdep and weakdep.
    pub value: &'c [u8],
    /// The line.
    pub origin: Origin,
    /// Whether the key has a byte that is special to fnmatch(3). False for options and blacklist: their keys are names.
    pub wild: bool,
}

/// The `forbid` line that applies to a name. From strong to weak: `forbid` of exactly the name, `permit`, `forbid` of a
/// pattern. `Tree::forbidden` adds what a permitted module needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbids {
    /// It has exactly the name: `permit` does not override it.
    Name(Origin),
    /// It has a pattern that matches: `permit` overrides it.
    Pattern(Origin),
}

/// An [`Entry`] as ranges of [`Config::text`].
#[derive(Debug, Clone)]
struct Raw {
    key: Range<usize>,
    value: Range<usize>,
    origin: Origin,
    wild: bool,
}

/// All entries, in order of precedence.
#[derive(Debug, Clone, Default)]
pub struct Config {
    text: Vec<u8>,
    entries: [List; KINDS],
    files: Vec<PathBuf>,
}

impl Config {
    /// Parses `files` (path and contents, in the order of precedence) and then the kernel command line. The messages, of
    /// priority `Err`, name their files; what they are about was skipped.
    pub fn parse<P: AsRef<Path>, C: AsRef<[u8]>>(
        files: impl IntoIterator<Item = (P, C)>,
        cmdline: &[u8],
    ) -> (Config, Vec<Vec<u8>>) {
        let mut parser = Parser::default();
        for (path, contents) in files {
            parser.file(path.as_ref(), contents.as_ref());
        }
        parser.cmdline(Path::new("/proc/cmdline"), cmdline);
        (parser.config, parser.warnings)
    }

    /// All entries of one kind, in order.
    pub fn entries(&self, kind: Kind) -> impl DoubleEndedIterator<Item = Entry<'_>> + ExactSizeIterator {
        self.entries[kind as usize].entries.iter().map(|raw| self.entry(raw))
    }

    /// The paths of all files that were read, in order, the kernel command line's among them.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The path of the file that an [`Origin`] names.
    pub fn file(&self, origin: Origin) -> &Path {
        self.files.get(origin.file as usize).map_or(Path::new(""), PathBuf::as_path)
    }

    /// The line of an entry as messages name it: `FILE line N`, or the kernel command line.
    pub fn place(&self, origin: Origin) -> Vec<u8> {
        match origin.line {
            0 => b"the kernel command line".to_vec(),
            line => bytes![self.file(origin).as_os_str().as_bytes(), " line ", line.to_string()],
        }
    }

    /// The entries of a kind whose key matches `name` (folded already), as a pattern if the kind has patterns, in order. The key
    /// of an alias is what its module counts as found by.
    pub fn matching(&self, kind: Kind, name: &[u8]) -> impl Iterator<Item = Entry<'_>> {
        self.entries[kind as usize].matching(&self.text, name).map(|raw| self.entry(raw))
    }

    /// The first of these, which is the one that is run of install and remove commands.
    pub fn first(&self, kind: Kind, name: &[u8]) -> Option<Entry<'_>> {
        self.matching(kind, name).next()
    }

    /// The first entry of a kind whose key is exactly `name`, even if that reads as a pattern. A name with an install or
    /// remove command of its own is known although no index has it.
    pub fn named(&self, kind: Kind, name: &[u8]) -> Option<Entry<'_>> {
        let list = &self.entries[kind as usize];
        list.exact(&self.text, name).next().map(|at| self.entry(&list.entries[at]))
    }

    /// The options of the module `name`, found by `alias` if it was: the texts of all entries of either name in order,
    /// joined by one blank. `None` if there are none.
    pub fn options_for(&self, name: &[u8], alias: Option<&[u8]>) -> Option<Vec<u8>> {
        let list = &self.entries[Kind::Options as usize];
        let mut found: Vec<usize> = list.exact(&self.text, name).collect();
        if let Some(alias) = alias {
            found.extend(list.exact(&self.text, alias));
            found.sort_unstable();
            found.dedup();
        }
        let texts = found.into_iter().map(|at| self.entry(&list.entries[at]).value);
        // The kernel command line can have an empty text (`module.`), which counts as none.
        let texts: Vec<&[u8]> = texts.filter(|text| !text.is_empty()).collect();
        (!texts.is_empty()).then(|| texts.join(&b' '))
    }

    /// Whether the module `name` is blacklisted.
    pub fn is_blacklisted(&self, name: &[u8]) -> bool {
        self.named(Kind::Blacklist, name).is_some()
    }

    /// The line that forbids the module `name`. Free if there is no `forbid` line.
    pub fn forbids(&self, name: &[u8]) -> Option<Forbids> {
        // Of equals it is the first.
        let line = self.matching(Kind::Forbid, name).min_by_key(|line| line.wild)?;
        Some(if line.wild { Forbids::Pattern(line.origin) } else { Forbids::Name(line.origin) })
    }

    /// Whether a `permit` line matches the module `name`.
    pub fn permits(&self, name: &[u8]) -> bool {
        self.first(Kind::Permit, name).is_some()
    }

    fn entry(&self, raw: &Raw) -> Entry<'_> {
        let (key, value) = (&self.text[raw.key.clone()], &self.text[raw.value.clone()]);
        Entry { key, value, origin: raw.origin, wild: raw.wild }
    }
}

impl<'c> Entry<'c> {
    /// The words of a softdep's `pre:` lists, as written.
    pub fn pre(self) -> impl Iterator<Item = &'c [u8]> {
        self.list(b"pre:")
    }

    /// The words of a softdep's `post:` lists, as written.
    pub fn post(self) -> impl Iterator<Item = &'c [u8]> {
        self.list(b"post:")
    }

    /// All words of a weakdep, as written.
    pub fn names(self) -> impl Iterator<Item = &'c [u8]> {
        words(self.value)
    }

    fn list(self, wanted: &'static [u8]) -> impl Iterator<Item = &'c [u8]> {
        self.labelled().filter(move |(label, _)| *label == wanted).map(|(_, word)| word)
    }

    /// Each word of a softdep with the label of its list, `pre:` or `post:`. Words before the first label are in no list.
    fn labelled(self) -> impl Iterator<Item = (&'c [u8], &'c [u8])> {
        let mut label = None;
        words(self.value).filter_map(move |word| {
            if matches!(word, b"pre:" | b"post:") {
                label = Some(word);
                return None;
            }
            Some((label?, word))
        })
    }

    /// The value as `modprobe -c` and the C library show it: a softdep's lists as `pre: a bpost: c`, a weakdep's words
    /// joined by one blank, others as they are. Programs parse softdeps with kmod's two flaws: there is no blank before
    /// `post:`, and if a line switches back and forth, each list is shown with the words between its first and its last
    /// one.
    pub fn shown(self, kind: Kind) -> Vec<u8> {
        match kind {
            Kind::Softdep => {
                let words: Vec<(&[u8], &[u8])> = self.labelled().collect();
                let mut text = Vec::new();
                for wanted in [&b"pre:"[..], b"post:"] {
                    let within = |(label, _): &(&[u8], &[u8])| *label == wanted;
                    let Some(first) = words.iter().position(within) else { continue };
                    let last = words.iter().rposition(within).unwrap_or(first);
                    text.extend_from_slice(wanted);
                    words[first..=last].iter().for_each(|(_, word)| text.extend(bytes![" ", word]));
                }
                text
            }
            Kind::Weakdep => self.names().collect::<Vec<_>>().join(&b' '),
            _ => self.value.to_vec(),
        }
    }
}

/// The words of a softdep or weakdep, separated by any white space.
///
/// One blank at the very start, directly followed by a word, is part of that word. As in all versions of kmod,
/// `softdep a  pre: b` (two blanks after `a`) has no effect, since ` pre:` begins no list.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let odd = matches!(text, [first, second, ..] if is_space(*first) && !is_space(*second));
    let end = text.iter().skip(1).position(|&b| is_space(b)).map_or(text.len(), |at| at + 1);
    let (first, rest) = text.split_at(if odd { end } else { 0 });
    [first].into_iter().chain(rest.split(|&b| is_space(b))).filter(|word| !word.is_empty())
}
