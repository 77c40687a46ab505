//! The configuration of the tools: modprobe.d, the soft and weak dependencies that depmod wrote, and the kernel command
//! line.
//!
//! The caller passes in the contents of the files in order of precedence; nothing here reads a file. All words are in one
//! buffer, an entry is two ranges of it: a configuration of some hundred lines costs a handful of allocations. Every run of
//! modprobe at boot pays for this.

mod by_name;
pub(crate) mod cmdline;
pub(crate) mod files;
mod forbid;
pub(crate) mod lines;
mod parse;
#[cfg(test)]
mod tests;

pub use forbid::Forbids;
pub(crate) use parse::Parser;

use crate::formats::is_space;
use by_name::List;
use std::ops::Range;
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
}

/// A part of the configuration that was skipped. None is fatal; the text is complete and names its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The sentence, of priority `Err`.
    pub text: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Raw {
    key: Range<usize>,
    value: Range<usize>,
    origin: Origin,
    /// Whether the key has a byte that is special to fnmatch(3).
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
    /// Parses `files` (path and contents, in the order of [`files::order`]) and then the kernel command line.
    pub fn parse<P: AsRef<Path>, C: AsRef<[u8]>>(
        files: impl IntoIterator<Item = (P, C)>,
        cmdline: &[u8],
    ) -> (Config, Vec<Warning>) {
        let mut parser = Parser::new();
        for (path, contents) in files {
            parser.file(path.as_ref(), contents.as_ref());
        }
        parser.cmdline(Path::new("/proc/cmdline"), cmdline);
        parser.finish()
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

    /// The entries of a kind whose key matches `name` (folded already), as a pattern if the kind has patterns, in order. The key
    /// of an alias is what its module counts as found by. For the words of a softdep see [`Entry::pre`] and [`Entry::post`], for
    /// those of a weakdep [`Entry::names`].
    pub fn matching<'c, 'q>(
        &'c self,
        kind: Kind,
        name: &'q [u8],
    ) -> impl Iterator<Item = Entry<'c>> + use<'c, 'q> {
        let list = &self.entries[kind as usize];
        list.matching(&self.text, name).map(|at| self.entry(&list.entries[at]))
    }

    /// The first of these, which is the one that is run of install and remove commands.
    pub fn first(&self, kind: Kind, name: &[u8]) -> Option<Entry<'_>> {
        self.matching(kind, name).next()
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
        // The kernel command line can have an empty text (`module.`), which counts as none.
        let texts =
            found.into_iter().map(|at| self.entry(&list.entries[at]).value).filter(|text| !text.is_empty());
        let texts: Vec<&[u8]> = texts.collect();
        (!texts.is_empty()).then(|| texts.join(&b' '))
    }

    /// The first entry of a kind whose key is exactly `name`, even if that reads as a pattern. A name with an install or
    /// remove command of its own is known although no index has it.
    pub fn named(&self, kind: Kind, name: &[u8]) -> Option<Entry<'_>> {
        let list = &self.entries[kind as usize];
        let at = list.exact(&self.text, name).next()?;
        Some(self.entry(&list.entries[at]))
    }

    /// Whether the module `name` is blacklisted.
    pub fn is_blacklisted(&self, name: &[u8]) -> bool {
        self.named(Kind::Blacklist, name).is_some()
    }

    fn entry(&self, raw: &Raw) -> Entry<'_> {
        Entry { key: &self.text[raw.key.clone()], value: &self.text[raw.value.clone()], origin: raw.origin }
    }
}

/// The lists that `pre:` and `post:` begin in a softdep.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Pre,
    Post,
}

impl<'c> Entry<'c> {
    /// The words of a softdep's `pre:` lists, as written.
    pub fn pre(self) -> impl Iterator<Item = &'c [u8]> {
        self.list(Side::Pre)
    }

    /// The words of a softdep's `post:` lists, as written.
    pub fn post(self) -> impl Iterator<Item = &'c [u8]> {
        self.list(Side::Post)
    }

    /// All words of a weakdep, as written.
    pub fn names(self) -> impl Iterator<Item = &'c [u8]> {
        words(self.value)
    }

    fn list(self, wanted: Side) -> impl Iterator<Item = &'c [u8]> {
        self.sided().filter(move |(side, _)| *side == wanted).map(|(_, word)| word)
    }

    /// Each word with its list. Words before the first `pre:` or `post:` are in none.
    fn sided(self) -> impl Iterator<Item = (Side, &'c [u8])> {
        let mut current = None;
        words(self.value).filter_map(move |word| {
            match word {
                b"pre:" => current = Some(Side::Pre),
                b"post:" => current = Some(Side::Post),
                _ => return current.map(|side| (side, word)),
            }
            None
        })
    }

    /// The value as `modprobe -c` and the C library show it: a softdep's lists as `pre: a bpost: c`, a weakdep's words
    /// joined by one blank, others as they are. Programs parse softdeps with kmod's two flaws: there is no blank before
    /// `post:`, and if a line switches back and forth, each list is shown with the words between its first and its last
    /// one.
    pub fn shown(self, kind: Kind) -> Vec<u8> {
        let mut text = Vec::new();
        match kind {
            Kind::Softdep => {
                let words: Vec<(Side, &[u8])> = self.sided().collect();
                for (label, wanted) in [(&b"pre:"[..], Side::Pre), (b"post:", Side::Post)] {
                    let is_wanted = |(side, _): &(Side, &[u8])| *side == wanted;
                    let (Some(first), Some(last)) =
                        (words.iter().position(is_wanted), words.iter().rposition(is_wanted))
                    else {
                        continue;
                    };
                    text.extend_from_slice(label);
                    for (_, word) in &words[first..=last] {
                        text.push(b' ');
                        text.extend_from_slice(word);
                    }
                }
            }
            Kind::Weakdep => text = self.names().collect::<Vec<_>>().join(&b' '),
            _ => text.extend_from_slice(self.value),
        }
        text
    }
}

/// The words of a softdep or weakdep, separated by any white space.
///
/// One blank at the very start, directly followed by a word, is part of that word. As in all versions of kmod,
/// `softdep a  pre: b` (two blanks after `a`) has no effect, since ` pre:` begins no list.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let odd = text.len() > 1 && is_space(text[0]) && !is_space(text[1]);
    let first =
        if odd { 1 + text[1..].iter().position(|&b| is_space(b)).unwrap_or(text.len() - 1) } else { 0 };
    let (first, rest) = text.split_at(first);
    let rest = rest.split(|&b| is_space(b));
    [first].into_iter().chain(rest).filter(|word| !word.is_empty())
}
