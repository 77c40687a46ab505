//! The result of a check, and how it is shown.

use crate::log::printable;
use std::fmt;
use std::path::{Path, PathBuf};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something configured will not take effect, or a module cannot be found or loaded.
    Error,
    /// It works, but perhaps not as intended.
    Warning,
}

impl Severity {
    /// The word in text and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One thing that is wrong. Shown as `FILE:LINE: error|warning: WHAT (HINT)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, or the directory, that it is about.
    pub file: PathBuf,
    /// The line, from 1; for lines joined by backslashes, the last. `None` if it is about the whole file.
    pub line: Option<u32>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, as a clause.
    pub what: String,
    /// What to do about it, or where to look.
    pub hint: Option<String>,
}

impl Finding {
    /// An error about a file.
    pub fn error(file: impl AsRef<Path>, what: impl Into<String>) -> Self {
        Finding::new(file.as_ref(), Severity::Error, what.into())
    }

    /// A warning about a file.
    pub fn warning(file: impl AsRef<Path>, what: impl Into<String>) -> Self {
        Finding::new(file.as_ref(), Severity::Warning, what.into())
    }

    pub(super) fn new(file: &Path, severity: Severity, what: String) -> Self {
        Finding { file: file.to_path_buf(), line: None, severity, what, hint: None }
    }

    /// The same about a line; 0 means the whole file.
    #[must_use]
    pub fn line(mut self, line: u32) -> Self {
        self.line = (line > 0).then_some(line);
        self
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `{"file", "line", "severity", "what", "hint"}`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "file": self.file.display().to_string(),
            "line": self.line,
            "severity": self.severity.word(),
            "what": self.what,
            "hint": self.hint,
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line.map_or_else(String::new, |line| format!(":{line}"));
        let hint = self.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
        let text = format!("{}{line}: {}: {}{hint}", self.file.display(), self.severity.word(), self.what);
        f.write_str(&printable(&text))
    }
}

/// Bytes from elsewhere as text.
pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The first three names, and how many more there are: `a, b, c and 4 more`.
pub(super) fn abbreviated(names: &[String]) -> String {
    let (first, rest) = names.split_at(names.len().min(3));
    let first = first.join(", ");
    if rest.is_empty() { first } else { format!("{first} and {} more", rest.len()) }
}

/// The first ten findings, and a last one that counts the rest: what is wrong with one module of a tree is often wrong with
/// thousands.
pub(super) fn at_most_ten(mut findings: Vec<Finding>, dir: &Path) -> Vec<Finding> {
    const MOST: usize = 10;
    if findings.len() > MOST + 1 {
        let next = &findings[MOST];
        let file = if next.file == dir { String::new() } else { format!("{}: ", next.file.display()) };
        let what = format!("{} more, such as {file}{}", findings.len() - MOST, next.what);
        let more = Finding::new(dir, next.severity, what);
        findings.truncate(MOST);
        findings.push(more);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line() {
        let finding = Finding::error("/etc/a\n.conf", "bad \x1b[2J").line(3).hint("why");
        assert_eq!(finding.to_string(), "/etc/a?.conf:3: error: bad ?[2J (why)");
        assert_eq!(Finding::warning("/a", "b").line(0).to_string(), "/a: warning: b");
    }

    #[test]
    fn many_are_counted() {
        let many = |count: usize| (0..count).map(|n| Finding::error(format!("/{n}"), "x")).collect();
        assert_eq!(at_most_ten(many(11), Path::new("/d")).len(), 11);
        let shown = at_most_ten(many(500), Path::new("/d"));
        assert_eq!(shown.len(), 11);
        assert_eq!(shown[10].to_string(), "/d: error: 490 more, such as /10: x");
        let names: Vec<String> = (0..5).map(|n| n.to_string()).collect();
        assert_eq!(
            (abbreviated(&names), abbreviated(&names[..3])),
            ("0, 1, 2 and 2 more".into(), "0, 1, 2".into())
        );
    }
}
