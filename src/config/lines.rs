//! Logical lines of a configuration file, and the words in them.
//!
//! A backslash before a newline joins two physical lines; both bytes are removed. Before any other byte the backslash is
//! removed and that byte stays, whatever it is (so `a\ b` is then split at the blank like any other); at the end of the
//! file it is removed. There is no other quoting. A NUL ends a line early. Lines without a backslash, which are nearly all,
//! are returned in place.
//!
//! Not part of the content, since editors of other systems add them: carriage returns before the end of a line or of the
//! file, and a UTF-8 byte order mark at the start of the file.

use crate::limits;

/// A logical line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'l> {
    /// Its bytes, without newline, with backslashes resolved.
    Text(&'l [u8]),
    /// Longer than [`limits::CONFIG_LINE`].
    TooLong,
}

/// The logical lines of a file.
pub(crate) struct Lines<'a> {
    rest: &'a [u8],
    /// Whether the whole file has neither a backslash nor a NUL, so that no line is searched for them.
    plain: bool,
    number: u32,
    joined: Vec<u8>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(contents: &'a [u8]) -> Self {
        let contents = without_mark(contents);
        let plain = find(b'\\', contents).is_none() && find(0, contents).is_none();
        Lines { rest: contents, plain, number: 0, joined: Vec::new() }
    }

    /// The next line that is neither empty nor a comment, with the number (from 1) of its last physical line.
    pub(crate) fn next(&mut self) -> Option<(u32, Line<'_>)> {
        while !self.rest.is_empty() {
            let end = find(b'\n', self.rest);
            let line = without_returns(&self.rest[..end.unwrap_or(self.rest.len())]);
            let comment = matches!(line.first(), None | Some(b'#'));
            // Of a comment only its last byte matters: whether it continues in the next line.
            let backslash =
                || if comment { line.last() == Some(&b'\\') } else { find(b'\\', line).is_some() };
            if !self.plain && backslash() {
                let fits = self.join();
                if matches!(self.joined.first(), None | Some(b'#' | 0)) {
                    continue;
                }
                let line = if fits { Line::Text(until_nul(&self.joined)) } else { Line::TooLong };
                return Some((self.number, line));
            }
            self.number = self.number.saturating_add(1);
            self.rest = &self.rest[end.map_or(self.rest.len(), |end| end + 1)..];
            if comment || line[0] == 0 {
                continue;
            }
            let fits = line.len() <= limits::CONFIG_LINE;
            let text = if self.plain { line } else { until_nul(line) };
            return Some((self.number, if fits { Line::Text(text) } else { Line::TooLong }));
        }
        None
    }

    /// Copies a line with backslashes into `joined`; false if it is too long (its start is kept).
    fn join(&mut self) -> bool {
        self.joined.clear();
        let mut fits = true;
        loop {
            // Up to the next special byte.
            let special = self.rest.iter().position(|&b| b == b'\\' || b == b'\n');
            let (text, after) = self.rest.split_at(special.unwrap_or(self.rest.len()));
            let (kept, done, rest): (&[u8], bool, &[u8]) = match after {
                [b'\\', escaped @ ..] => match escaped.iter().position(|&byte| byte != b'\r') {
                    // The end of the file.
                    None => (&[], true, &[]),
                    Some(at) if escaped[at] == b'\n' => (&[], false, &escaped[at + 1..]),
                    Some(_) => (&escaped[..1], false, &escaped[1..]),
                },
                _ => (&[], true, after.get(1..).unwrap_or_default()),
            };
            let text = if done { without_returns(text) } else { text };
            self.rest = rest;
            if kept.is_empty() {
                self.number = self.number.saturating_add(1);
            }
            fits = fits && self.joined.len() + text.len() < limits::CONFIG_LINE;
            if fits {
                self.joined.extend_from_slice(text);
                self.joined.extend_from_slice(kept);
            } else if self.joined.is_empty() {
                self.joined.extend_from_slice(&text[..1]);
            }
            if done {
                return fits;
            }
        }
    }
}

/// A file's content without a byte order mark.
pub(crate) fn without_mark(contents: &[u8]) -> &[u8] {
    contents.strip_prefix(b"\xef\xbb\xbf").unwrap_or(contents)
}

/// The line without the carriage returns at its end.
pub(crate) fn without_returns(line: &[u8]) -> &[u8] {
    &line[..line.iter().rposition(|&byte| byte != b'\r').map_or(0, |last| last + 1)]
}

fn until_nul(line: &[u8]) -> &[u8] {
    &line[..find(0, line).unwrap_or(line.len())]
}

/// The position of the first `byte` in `text`, by instructions that every CPU of the architecture has. `memchr::memchr`
/// detects the CPU first, by CPUID, which the hypervisor of a virtual machine executes. That takes 40 microseconds in
/// total, longer than all else that a lookup does in user space.
fn find(byte: u8, text: &[u8]) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    let searcher = memchr::arch::x86_64::sse2::memchr::One::new(byte)?;
    #[cfg(not(target_arch = "x86_64"))]
    let searcher = memchr::arch::all::memchr::One::new(byte);
    searcher.find(text)
}

/// The word has bytes that folding changes or checks.
pub(super) const FOLDS: u8 = 1;
/// The word has bytes that make it a pattern.
pub(super) const WILD: u8 = 2;
/// Separates words.
const SEPARATES: u8 = 4;

/// The meanings of each byte; most bytes have none.
const MEANING: [u8; 256] = {
    let mut table = [0; 256];
    table[b' ' as usize] = SEPARATES;
    table[b'\t' as usize] = SEPARATES;
    table[b'-' as usize] = FOLDS;
    table[b'[' as usize] = FOLDS | WILD;
    table[b']' as usize] = FOLDS;
    table[b'*' as usize] = WILD;
    table[b'?' as usize] = WILD;
    table[b'\\' as usize] = WILD;
    table
};

/// A word, and the meanings of its bytes: [`FOLDS`], [`WILD`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word<'l> {
    pub(super) text: &'l [u8],
    pub(super) meaning: u8,
}

impl<'l> Word<'l> {
    /// The whole text as a word.
    pub(super) fn new(text: &'l [u8]) -> Self {
        Word {
            text,
            meaning: text.iter().fold(0, |meaning, &byte| meaning | MEANING[byte as usize]) & !SEPARATES,
        }
    }
}

/// The words of a line, separated by runs of blanks and tabs.
pub(crate) struct Words<'l>(pub(crate) &'l [u8]);

impl<'l> Words<'l> {
    /// The next word; the one separator that ended it is consumed.
    pub(crate) fn next(&mut self) -> Option<&'l [u8]> {
        self.next_word().map(|word| word.text)
    }

    /// The next word, with the meanings of its bytes.
    pub(super) fn next_word(&mut self) -> Option<Word<'l>> {
        let start = self.0.iter().position(|&byte| MEANING[byte as usize] != SEPARATES)?;
        let line = &self.0[start..];
        let mut meaning = 0;
        for (end, &byte) in line.iter().enumerate() {
            match MEANING[byte as usize] {
                SEPARATES => {
                    self.0 = &line[end + 1..];
                    return Some(Word { text: &line[..end], meaning });
                }
                other => meaning |= other,
            }
        }
        self.0 = &[];
        Some(Word { text: line, meaning })
    }

    /// The rest of the line, leading and trailing blanks included; `None` if nothing is left.
    pub(crate) fn rest(self) -> Option<&'l [u8]> {
        (!self.0.is_empty()).then_some(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(contents: &[u8]) -> Vec<(u32, Option<Vec<u8>>)> {
        let mut lines = Lines::new(contents);
        let mut all = Vec::new();
        while let Some((number, line)) = lines.next() {
            all.push((number, if let Line::Text(text) = line { Some(text.to_vec()) } else { None }));
        }
        all
    }

    fn texts(contents: &[u8]) -> Vec<(u32, String)> {
        let text = |line: Option<Vec<u8>>| String::from_utf8(line.unwrap()).unwrap();
        lines(contents).into_iter().map(|(number, line)| (number, text(line))).collect()
    }

    fn expect(contents: &[u8], want: &[(u32, &str)]) {
        let got = texts(contents);
        assert_eq!(got.iter().map(|(n, t)| (*n, t.as_str())).collect::<Vec<_>>(), want, "{contents:?}");
    }

    #[test]
    fn physical_and_logical_lines() {
        expect(b"", &[]);
        expect(b"a\n\n#x\nb", &[(1, "a"), (4, "b")]);
        expect(b"a\\\nb\nc", &[(2, "ab"), (3, "c")]);
        expect(b"a\\\\\nb\n", &[(1, "a\\"), (2, "b")]);
        expect(b"a\\ b\\", &[(1, "a b")]);
        expect(b"a\\\n", &[(2, "a")]);
        expect(b"a\\\n\\\n\\\nb\nc\n", &[(4, "ab"), (5, "c")]);
        expect(b"\\#a\n", &[]);
    }

    #[test]
    fn lines_of_other_systems() {
        expect(b"\xef\xbb\xbfa\r\n\r\n#x\r\nb \r\r\nc\r", &[(1, "a"), (4, "b "), (5, "c")]);
        expect(b"\xef\xbb\xbf#a\r\n\xef\xbb\xbfb\n", &[(2, "\u{feff}b")]);
        expect(b"\xef\xbb\xbf", &[]);
        // A backslash joins such lines, too: those of a comment, and the last one.
        expect(b"a \\\r\nb\r\nc\r\n", &[(2, "a b"), (3, "c")]);
        expect(b"#a\\\r\nb\r\nc\\\r", &[(3, "c")]);
        expect(b"a\\x\r\nb\\\\\r\nc\\\r\n\r\nd", &[(1, "ax"), (2, "b\\"), (4, "c"), (5, "d")]);
        // Inside a line they are bytes like others.
        expect(b"a\rb\r\nc\\\rd\n\re\n", &[(1, "a\rb"), (2, "c\rd"), (3, "\re")]);
    }

    #[test]
    fn a_comment_goes_on_after_a_backslash() {
        expect(b"#x\\\nalias a b\nalias c d\n", &[(3, "alias c d")]);
        expect(b"#x\\\\\nalias a b\n", &[(2, "alias a b")]);
        expect(b"#a\\b\nc\n", &[(2, "c")]);
        expect(b"\\\n#x\nb\n", &[(3, "b")]);
    }

    #[test]
    fn nul_ends_a_line_early() {
        expect(
            b"alias a b\0 c\n\0foo\nalias f\0 g\nfoo\\\0bar\n",
            &[(1, "alias a b"), (3, "alias f"), (4, "foo")],
        );
    }

    #[test]
    fn a_line_over_the_limit_is_told_and_the_next_one_read() {
        let long = vec![b'x'; limits::CONFIG_LINE + 1];
        let fits = &long[1..];
        assert_eq!(lines(&[&long[..], b"\nb"].concat()), [(1, None), (2, Some(b"b".to_vec()))]);
        assert_eq!(lines(fits), [(1, Some(fits.to_vec()))]);
        let joined = [&long[..], b"\\\n", &long[..], b"\nb"].concat();
        assert_eq!(lines(&joined), [(2, None), (3, Some(b"b".to_vec()))]);
        let many: Vec<u8> = b"0123456789abcde\\\n".repeat(limits::CONFIG_LINE / 10);
        assert_eq!(lines(&many).len(), 1);
        // A comment is a comment however long it is.
        assert_eq!(
            lines(&[b"#", &long[..], b"\\\n", &long[..], b"\nb"].concat()),
            [(3, Some(b"b".to_vec()))]
        );
    }

    #[test]
    fn words_and_rest() {
        let mut words = Words(b" \toptions  m-* \t x ");
        assert_eq!(words.next(), Some(&b"options"[..]));
        assert_eq!(words.next_word(), Some(Word { text: b"m-*", meaning: FOLDS | WILD }));
        assert_eq!(words.rest(), Some(&b"\t x "[..]));
        let mut words = Words(b"a ");
        words.next();
        assert_eq!(words.rest(), None);
        assert_eq!(Words(b"  ").next(), None);
    }
}
