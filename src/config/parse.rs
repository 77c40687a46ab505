//! From lines to entries.
//!
//! | line | needs | stored as |
//! |---|---|---|
//! | `alias PATTERN MODULE` | two words | both folded |
//! | `blacklist MODULE` | a word | folded |
//! | `options MODULE TEXT` | a word and something after its blank | folded; tabs become blanks |
//! | `install`, `remove PATTERN COMMAND` | the same | folded; as written |
//! | `softdep`, `weakdep PATTERN WORDS` | the same | folded; as written |
//! | `forbid`, `permit PATTERN...` | a word | an entry for each, folded; a word that begins with `#` ends the line |
//! | `include`, `config` | | reported as obsolete |
//!
//! Surplus words after those that a line needs are ignored. Any other line is reported and skipped.

use super::lines::{FOLDS, Line, Lines, WILD, Word, Words};
use super::{Config, Kind, Origin, Raw, cmdline};
use crate::limits;
use crate::log::bytes;
use crate::name::fold_alias;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Parses the files one after the other, then the kernel command line.
#[derive(Default)]
pub(crate) struct Parser {
    pub(crate) config: Config,
    /// In the order in which they were found.
    pub(crate) warnings: Vec<Vec<u8>>,
}

impl Parser {
    /// Adds the entries of the file `path`. Bad lines become warnings.
    pub(crate) fn file(&mut self, path: &Path, contents: &[u8]) {
        let file = self.register(path);
        let mut lines = Lines::new(contents);
        // The entries are not longer than the file. Large files are mostly comments or mostly entries.
        self.config.text.reserve(contents.len().min(64 << 10));
        while let Some((line, text)) = lines.next() {
            let origin = Origin { file, line };
            let Line::Text(text) = text else {
                let (place, limit) = (self.config.place(origin), limits::CONFIG_LINE.to_string());
                self.warn(bytes![place, ": ignoring a line of more than ", limit, " bytes"]);
                continue;
            };
            let mut words = Words(text);
            let Some(word) = words.next() else { continue };
            if matches!(word, b"include" | b"config") {
                let path = path.as_os_str().as_bytes();
                self.warn(bytes![path, ": command ", word, " is deprecated and not parsed anymore"]);
            } else if self.directive(word, words, origin).is_none() {
                let place = self.config.place(origin);
                self.warn(bytes![place, ": ignoring bad line starting with '", word, "'"]);
            }
        }
    }

    /// Adds the entries of the kernel command line: `text` is the content of the file `path`.
    pub(crate) fn cmdline(&mut self, path: &Path, text: &[u8]) {
        let origin = Origin { file: self.register(path), line: 0 };
        cmdline::parse(text, &mut |option| self.option(origin, option));
    }

    /// Adds a warning, also one from choosing or reading the files.
    pub(crate) fn warn(&mut self, text: Vec<u8>) {
        match self.warnings.len() {
            ..limits::CONFIG_WARNINGS => self.warnings.push(text),
            limits::CONFIG_WARNINGS => self.warnings.push(bytes![text, "; no more of the kind is told"]),
            _ => {}
        }
    }

    fn register(&mut self, path: &Path) -> u32 {
        self.config.files.push(path.to_path_buf());
        u32::try_from(self.config.files.len() - 1).unwrap_or(u32::MAX)
    }

    /// Adds one line; `None` if it is bad.
    fn directive(&mut self, word: &[u8], mut words: Words<'_>, origin: Origin) -> Option<()> {
        let kind = match word {
            b"alias" => Kind::Alias,
            b"blacklist" => Kind::Blacklist,
            b"options" => Kind::Options,
            b"install" => Kind::Install,
            b"remove" => Kind::Remove,
            b"softdep" => Kind::Softdep,
            b"weakdep" => Kind::Weakdep,
            b"forbid" => return self.patterns(Kind::Forbid, words, origin),
            b"permit" => return self.patterns(Kind::Permit, words, origin),
            _ => return None,
        };
        // A bad line may leave its words in the buffer; no entry refers to them.
        let word = words.next_word()?;
        let key = self.fold(word)?;
        let value = match kind {
            Kind::Alias => self.fold(words.next_word()?)?,
            Kind::Blacklist => 0..0,
            _ => self.keep(words.rest()?),
        };
        self.add(kind, key, word.meaning & WILD != 0, value, origin);
        Some(())
    }

    /// Adds an entry for each word; `None` if there is none. A bad word is reported, and the others count: a module that
    /// the line forbids must not be allowed because of another word. No module name begins with `#`, so a comment may follow.
    fn patterns(&mut self, kind: Kind, mut words: Words<'_>, origin: Origin) -> Option<()> {
        let mut some = None;
        while let Some(word) = words.next_word().filter(|word| word.text[0] != b'#') {
            if self.pattern(kind, word, origin).is_none() {
                let place = self.config.place(origin);
                self.warn(bytes![place, ": ignoring bad name '", word.text, "'"]);
            }
            some = Some(());
        }
        some
    }

    fn pattern(&mut self, kind: Kind, word: Word<'_>, origin: Origin) -> Option<()> {
        let key = self.fold(word)?;
        self.add(kind, key, word.meaning & WILD != 0, 0..0, origin);
        Some(())
    }

    fn option(&mut self, origin: Origin, option: cmdline::Option<'_>) {
        let start = self.config.text.len();
        let added = match option {
            cmdline::Option::Name(Kind::Blacklist, name) => {
                // A name, not a pattern: brackets are literal.
                let key = self.keep(name.iter().map(|byte| if *byte == b'-' { &b'_' } else { byte }));
                self.add(Kind::Blacklist, key, false, 0..0, origin);
                return;
            }
            cmdline::Option::Name(kind, name) => self.pattern(kind, Word::new(name), origin),
            cmdline::Option::Parameter { module, text } => self.fold(Word::new(module)).map(|key| {
                let value = self.keep(text.into_iter().flatten());
                self.add(Kind::Options, key, false, value, origin);
            }),
        };
        if added.is_none() {
            const TOLD: &str = "Ignoring bad option on kernel command line while parsing module name: '";
            self.warn(bytes![TOLD, self.config.text[start..], "'"]);
        }
    }

    fn add(&mut self, kind: Kind, key: Range<usize>, wild: bool, value: Range<usize>, origin: Origin) {
        if kind == Kind::Options {
            let tabs = self.config.text[value.clone()].iter_mut().filter(|byte| **byte == b'\t');
            tabs.for_each(|byte| *byte = b' ');
        }
        // The keys of these two are compared, not matched.
        let wild = wild && !matches!(kind, Kind::Options | Kind::Blacklist);
        self.config.entries[kind as usize].entries.push(Raw { key, value, origin, wild });
    }

    /// Keeps a word and folds it; `None` if its brackets do not pair up or it is too long. The bytes before the error stay
    /// folded.
    fn fold(&mut self, word: Word<'_>) -> Option<Range<usize>> {
        let kept = self.keep(word.text);
        let plain = word.meaning & FOLDS == 0 && word.text.len() <= limits::QUERY;
        (plain || fold_alias(&mut self.config.text[kept.clone()])).then_some(kept)
    }

    fn keep<'t>(&mut self, text: impl IntoIterator<Item = &'t u8>) -> Range<usize> {
        let start = self.config.text.len();
        self.config.text.extend(text);
        start..self.config.text.len()
    }
}
