//! Each line by itself. The parser decides, one line at a time, whether a line is valid, so that the directives are listed
//! in one place only.

use crate::check::finding::shown;
use crate::check::{Context, Finding};
use crate::config::lines::{Line, Lines, Words, without_mark, without_returns};
use crate::config::{Config, Kind};
use crate::formats::kernel_args;
use crate::limits;
use crate::log::bytes;
use crate::system::file::read_whole;
use std::iter::{from_fn, repeat_n};
use std::path::Path;

/// The lines of the files that people write: not of depmod's files, nor of the kernel command line.
pub(super) fn lines(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let mut unknown = 0;
    let cmdline = context.roots.cmdline();
    let is_written = |path: &Path| path != cmdline && !path.starts_with(context.tree.dir());
    for path in context.config().files().iter().filter(|path| is_written(path)) {
        // Files that cannot be read are reported by `unread`.
        let Ok(contents) = read_whole(path, limits::CONFIG_FILE) else { continue };
        let contents = without_mark(&contents);
        physical_lines(path, contents, findings);
        let mut lines = Lines::new(contents);
        while let Some((number, line)) = lines.next() {
            let finding = match line {
                Line::Text(text) => match parsed(text) {
                    (config, true) => in_valid(path, text, &config),
                    (_, false) => in_invalid(path, text, &mut unknown),
                },
                Line::TooLong => {
                    let limit = limits::CONFIG_LINE;
                    let what = format!("the line is longer than {limit} bytes, and is not read");
                    Some(Finding::error(path, what))
                }
            };
            findings.extend(finding.map(|finding| finding.line(number)));
        }
    }
}

/// Bytes that do not do what they seem to, and directives in a comment that a backslash continues. A carriage return inside a
/// line is a part of its words, and in a comment it hides the rest of the line. A zero byte, as a crash leaves it in files,
/// ends its line.
fn physical_lines(path: &Path, contents: &[u8], findings: &mut Vec<Finding>) {
    let (mut goes_on, mut is_comment) = (false, false);
    for (number, line) in (1..).zip(contents.split(|&b| b == b'\n')) {
        let mut found = |what, hint| findings.push(Finding::error(path, what).line(number).hint(hint));
        let trimmed = without_returns(line);
        if trimmed.contains(&b'\r') {
            found("a carriage return within the line does not end it", "end lines with a newline");
        }
        if !line.starts_with(b"#") && line.contains(&0) {
            found("a zero byte ends the line: what is behind it is not read", "remove it");
        }
        if !goes_on {
            is_comment = line.starts_with(b"#");
        } else if is_comment && Words(line).next().is_some_and(is_directive) && parsed(line).1 {
            let what = "the line is not read: the comment above it goes on after its backslash";
            found(what, "remove the backslash");
        }
        // Two backslashes are one that means itself.
        goes_on = trimmed.iter().rev().take_while(|&&b| b == b'\\').count() % 2 == 1;
    }
}

/// What is wrong with an invalid line: an unknown directive, or one that lacks something. `unknown` counts the former.
fn in_invalid(path: &Path, text: &[u8], unknown: &mut u32) -> Option<Finding> {
    /// Of how many unknown words the meaning is guessed, which takes long.
    const GUESSED: u32 = 100;
    let word = Words(text).next()?;
    let named = shown(word);
    let finding = if word.starts_with(b"#") {
        let what = "'#' begins a comment only at the start of a line";
        Finding::warning(path, what).hint("remove the blanks before it")
    } else if is_directive(word) {
        let what = if words(text).any(|word| word.len() > limits::QUERY) {
            format!("a name behind '{named}' is longer than {} bytes", limits::QUERY)
        } else if text.contains(&b'[') || text.contains(&b']') {
            format!("brackets that do not pair up behind '{named}'")
        } else {
            format!("'{named}' lacks a word")
        };
        Finding::error(path, what).hint("modprobe.d(5)")
    } else {
        *unknown += 1;
        let what = format!("unknown directive '{}', the line is not read", start_of(&named));
        let similar = if *unknown <= GUESSED { similar_directive(word) } else { None };
        Finding { hint: similar.map(|similar| format!("{similar}?")), ..Finding::error(path, what) }
    };
    Some(finding)
}

/// What is wrong with a valid line: surplus words at its end, which are ignored, or a comment, which is taken for a part of it.
fn in_valid(path: &Path, text: &[u8], config: &Config) -> Option<Finding> {
    let kinds = [Kind::Alias, Kind::Blacklist, Kind::Options, Kind::Softdep, Kind::Weakdep];
    let (kind, entry) = kinds.into_iter().find_map(|kind| Some((kind, config.entries(kind).next()?)))?;
    let is_comment = |word: &[u8]| word.starts_with(b"#");
    let meaning = match kind {
        Kind::Alias | Kind::Blacklist => {
            let needed = if kind == Kind::Alias { 3 } else { 2 };
            let word = words(text).nth(needed).filter(|word| !is_comment(word))?;
            let what = format!("'{}' does not count: the line ends before it", shown(word));
            return Some(Finding::error(path, what).hint("a line for each"));
        }
        Kind::Options if kernel_args::parameters(entry.value).any(|(name, _)| is_comment(name)) => {
            "parameters"
        }
        Kind::Softdep | Kind::Weakdep if words(entry.value).any(is_comment) => "names of modules",
        _ => return None,
    };
    let what = format!("a comment behind a line is none, its words are taken for {meaning}");
    Some(Finding::warning(path, what).hint("put it above"))
}

/// Parses one line; whether it is valid.
fn parsed(text: &[u8]) -> (Config, bool) {
    // The line is logical already: its backslashes are literal.
    let text = text.iter().flat_map(|&byte| repeat_n(byte, if byte == b'\\' { 2 } else { 1 }));
    let (config, warnings) = Config::parse([(Path::new(""), text.collect::<Vec<u8>>())], b"");
    (config, warnings.is_empty())
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut words = Words(text);
    from_fn(move || words.next())
}

fn is_directive(word: &[u8]) -> bool {
    // More words than any directive needs. A comment is valid to the parser, too.
    !word.starts_with(b"#") && parsed(&bytes![word, " a b c"]).1
}

/// A word that may be as long as a line, for a message.
fn start_of(word: &str) -> String {
    match word.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &word[..end]),
        None => word.to_owned(),
    }
}

/// The directive that `word` probably is a misspelling of.
fn similar_directive(word: &[u8]) -> Option<String> {
    // Longer words are no misspelled directives.
    if word.len() > 20 {
        return None;
    }
    let similar = one_typing_error_away(&word.to_ascii_lowercase());
    similar.into_iter().find(|similar| is_directive(similar)).map(|similar| shown(&similar))
}

/// The word itself, and all words that differ from it by one typing error.
fn one_typing_error_away(word: &[u8]) -> Vec<Vec<u8>> {
    let mut found = vec![word.to_vec()];
    for at in 0..=word.len() {
        let (start, end) = word.split_at(at);
        let rest = end.get(1..);
        for letter in b'a'..=b'z' {
            found.push(bytes![start, [letter], end]);
            found.extend(rest.map(|rest| bytes![start, [letter], rest]));
        }
        found.extend(rest.map(|rest| bytes![start, rest]));
        if let [first, second, rest @ ..] = end {
            found.push(bytes![start, [*second, *first], rest]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_says_what_a_directive_is() {
        for word in
            ["alias", "blacklist", "forbid", "permit", "options", "install", "remove", "softdep", "weakdep"]
        {
            assert!(is_directive(word.as_bytes()), "{word}");
        }
        for word in ["include", "config", "Alias", "opt", "#"] {
            assert!(!is_directive(word.as_bytes()), "{word}");
        }
        for (slip, meant) in [
            ("blackist", Some("blacklist")),
            ("black-list", Some("blacklist")),
            ("Options", Some("options")),
            ("optoins", Some("options")),
            ("softdeps", Some("softdep")),
            ("foo", None),
            ("", None),
        ] {
            assert_eq!(similar_directive(slip.as_bytes()).as_deref(), meant, "{slip}");
        }
    }

    #[test]
    fn the_backslashes_of_a_line_mean_themselves() {
        let (config, good) = parsed(b"install a /bin/echo \\ b");
        assert!(good);
        assert_eq!(config.entries(Kind::Install).next().unwrap().value, b"/bin/echo \\ b");
    }
}
