//! Each line by itself. The parser decides, one line at a time, whether a line is valid, so that the directives are listed
//! in one place only.

use crate::check::finding::shown;
use crate::check::{Context, Finding};
use crate::config::lines::{Line, Lines, Words, without_mark};
use crate::config::{Config, Kind};
use crate::formats::kernel_args;
use crate::limits;
use crate::log::bytes;
use crate::system::file::read_whole;
use std::iter::from_fn;
use std::path::{Path, PathBuf};

/// A line that is neither empty nor a comment.
struct Written {
    file: PathBuf,
    number: u32,
    /// `None` if it is too long to be read.
    text: Option<Vec<u8>>,
}

/// Unknown directives, and directives that lack something.
pub(super) fn directives(context: &Context<'_>) -> Vec<Finding> {
    /// Of how many unknown words the meaning is guessed, which takes long.
    const GUESSED: usize = 100;
    let mut findings = Vec::new();
    let mut unknown = 0;
    for line in written(context) {
        let error = |what: String| Finding::error(&line.file, what).line(line.number);
        let Some(text) = &line.text else {
            findings.push(error(format!(
                "the line is longer than {} bytes, and is not read",
                limits::CONFIG_LINE
            )));
            continue;
        };
        let Some(word) = Words(text).next() else { continue };
        if parsed(text).1 {
            continue;
        }
        let named = shown(word);
        findings.push(if word.first() == Some(&b'#') {
            Finding::warning(&line.file, "'#' begins a comment only at the start of a line")
                .line(line.number)
                .hint("remove the blanks before it")
        } else if is_directive(word) {
            let mut words = Words(text);
            match () {
                () if from_fn(|| words.next()).any(|word| word.len() > limits::QUERY) => {
                    error(format!("a name behind '{named}' is longer than {} bytes", limits::QUERY))
                }
                () if text.contains(&b'[') || text.contains(&b']') => {
                    error(format!("brackets that do not pair up behind '{named}'"))
                }
                () => error(format!("'{named}' lacks a word")),
            }
            .hint("modprobe.d(5)")
        } else {
            unknown += 1;
            let finding = error(format!("unknown directive '{}', the line is not read", start_of(&named)));
            match (unknown <= GUESSED).then(|| similar_directive(word)).flatten() {
                Some(similar) => finding.hint(format!("{similar}?")),
                None => finding,
            }
        });
    }
    findings
}

/// Surplus words at the end of a line, which are ignored.
pub(super) fn words_behind(context: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    each(context, &mut |line, kind, text| {
        let needed = match kind {
            Kind::Blacklist => 2,
            Kind::Alias => 3,
            _ => return,
        };
        let mut words = Words(text);
        let behind = (0..=needed).filter_map(|_| words.next()).nth(needed);
        if let Some(word) = behind.filter(|word| word[0] != b'#') {
            let what = format!("'{}' does not count: the line ends before it", shown(word));
            findings.push(Finding::error(&line.file, what).line(line.number).hint("a line for each"));
        }
    });
    findings
}

/// Comments at the end of a line, which are taken for a part of it.
pub(super) fn comments(context: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    each(context, &mut |line, kind, text| {
        let mut words = Words(text);
        words.next();
        words.next();
        let rest = words.rest().unwrap_or_default();
        let is_comment = |word: &[u8]| word.first() == Some(&b'#');
        let meaning = match kind {
            Kind::Options if kernel_args::parameters(rest).any(|(name, _)| is_comment(name)) => "parameters",
            Kind::Softdep | Kind::Weakdep if rest.split(|&b| b == b' ' || b == b'\t').any(is_comment) => {
                "names of modules"
            }
            _ => return,
        };
        let what = format!("a comment behind a line is none, its words are taken for {meaning}");
        findings.push(Finding::warning(&line.file, what).line(line.number).hint("put it above"));
    });
    findings
}

/// Bytes that do not do what they seem to. A carriage return inside a line is a part of its words, and in a comment it hides
/// the rest of the line. A zero byte, as a crash leaves it in files, ends its line.
pub(super) fn control_characters(context: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, contents) in files(context) {
        for (number, line) in (1..).zip(contents.split(|&b| b == b'\n')) {
            let mut found = |what, hint| findings.push(Finding::error(&path, what).line(number).hint(hint));
            if trimmed(line).contains(&b'\r') {
                found("a carriage return within the line does not end it", "end lines with a newline");
            }
            if !line.starts_with(b"#") && line.contains(&0) {
                found("a zero byte ends the line: what is behind it is not read", "remove it");
            }
        }
    }
    findings
}

/// A line without the carriage returns at its end.
fn trimmed(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|&b| b != b'\r').map_or(0, |last| last + 1);
    &line[..end]
}

/// Directives in a comment that a backslash continues.
pub(super) fn swallowed(context: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, contents) in files(context) {
        let (mut goes_on, mut is_comment) = (false, false);
        for (number, line) in (1..).zip(contents.split(|&b| b == b'\n')) {
            if !goes_on {
                is_comment = line.starts_with(b"#");
            } else if is_comment && Words(line).next().is_some_and(is_directive) && parsed(line).1 {
                let what = "the line is not read: the comment above it goes on after its backslash";
                findings.push(Finding::error(&path, what).line(number).hint("remove the backslash"));
            }
            // Two backslashes are one that means itself.
            goes_on = trimmed(line).iter().rev().take_while(|&&b| b == b'\\').count() % 2 == 1;
        }
    }
    findings
}

/// The path and contents of each file that people write: neither depmod's files nor the kernel command line.
fn files(context: &Context<'_>) -> impl Iterator<Item = (PathBuf, Vec<u8>)> {
    let cmdline = context.system.roots.cmdline();
    let written = context.config().files().iter().filter(move |path| **path != cmdline);
    let written = written.filter(move |path| !path.starts_with(context.tree.dir()));
    // Files that cannot be read are reported by `unread`.
    written.filter_map(|path| {
        let contents = read_whole(path, limits::CONFIG_FILE).ok()?;
        Some((path.clone(), without_mark(&contents).to_vec()))
    })
}

fn written(context: &Context<'_>) -> Vec<Written> {
    let mut found = Vec::new();
    for (file, contents) in files(context) {
        let mut lines = Lines::new(&contents);
        while let Some((number, line)) = lines.next() {
            let text = if let Line::Text(text) = line { Some(text.to_vec()) } else { None };
            found.push(Written { file: file.clone(), number, text });
        }
    }
    found
}

/// Calls `visit` for each valid line, with its kind.
fn each(context: &Context<'_>, visit: &mut dyn FnMut(&Written, Kind, &[u8])) {
    const KINDS: [Kind; 5] = [Kind::Alias, Kind::Blacklist, Kind::Options, Kind::Softdep, Kind::Weakdep];
    for line in written(context) {
        let Some(text) = &line.text else { continue };
        let config = parsed(text).0;
        if let Some(kind) = KINDS.into_iter().find(|&kind| config.entries(kind).len() > 0) {
            visit(&line, kind, text);
        }
    }
}

/// Parses one line; whether it is valid.
fn parsed(text: &[u8]) -> (Config, bool) {
    // The line is logical already: its backslashes are literal.
    let text = text.iter().flat_map(|&byte| if byte == b'\\' { vec![byte, byte] } else { vec![byte] });
    let (config, warnings) = Config::parse([(Path::new(""), text.collect::<Vec<u8>>())], b"");
    (config, warnings.is_empty())
}

fn is_directive(word: &[u8]) -> bool {
    // More words than any directive needs. A comment is valid to the parser, too.
    word.first() != Some(&b'#') && parsed(&bytes![word, " a b c"]).1
}

/// A word that may be as long as a line, for a message.
fn start_of(word: &str) -> String {
    const SHOWN: usize = 60;
    match word.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &word[..end]),
        None => word.to_owned(),
    }
}

/// The directive that `word` probably is a misspelling of.
fn similar_directive(word: &[u8]) -> Option<String> {
    let word = word.to_ascii_lowercase();
    one_typing_error_away(&word)
        .into_iter()
        .find(|similar| is_directive(similar))
        .map(|similar| shown(&similar))
}

/// The word itself, and all words that differ from it by one typing error.
fn one_typing_error_away(word: &[u8]) -> Vec<Vec<u8>> {
    let mut found = vec![word.to_vec()];
    // Longer words are no misspelled directives.
    if word.len() > 20 {
        return found;
    }
    for at in 0..=word.len() {
        let (start, end) = word.split_at(at);
        for letter in b'a'..=b'z' {
            found.push(bytes![start, [letter], end]);
            if let Some((_, rest)) = end.split_first() {
                found.push(bytes![start, [letter], rest]);
            }
        }
        if let Some((_, rest)) = end.split_first() {
            found.push(bytes![start, rest]);
        }
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
