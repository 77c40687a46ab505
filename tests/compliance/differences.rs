//! Reads DIFFERENCES.md: the differences that are meant to be there. Everything else that differs is a failure, and so is
//! an entry that explains nothing any more.
//!
//! An entry is a heading of level three with the entry's name, then a list, then the reason in prose:
//!
//! ```text
//! ### name
//! - who: ours                       which tools differ from kmod 34.2: `ours` or `30`
//! - cases: config/*, args/x         in which cases; `*` stands for any text
//! - commands: *lsmod *             ... and for which command lines; every one unless said
//! - theirs: `^err\| (.*) oops$`     a regular expression on the transcript of one command (transcript.rs) ...
//! - ours: `err| $1`                 ... and what it becomes; `\n` is a newline
//! - both: `0x[0-9a-f]+`             or: what is replaced on both sides before they are compared ...
//! - as: `0x...`                     ... and by what
//! - skip: the whole case            or: the case is not compared (only for `30`, which is not the target)
//! ```
//!
//! The pairs may be repeated. `^` and `$` match at line ends. The expressions are tried only where
//! the transcripts differ as they are.

use std::sync::atomic::{AtomicBool, Ordering};

use regex_lite::{Regex, RegexBuilder};

/// All entries.
pub struct Differences {
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    line: usize,
    who: String,
    cases: Vec<String>,
    commands: Vec<String>,
    rewrites: Vec<(Regex, String)>,
    blots: Vec<(Regex, String)>,
    skip: bool,
    used: AtomicBool,
}

impl Differences {
    /// Reads the text of DIFFERENCES.md.
    ///
    /// # Errors
    /// A sentence naming the line that cannot be understood.
    pub fn parse(text: &str) -> Result<Differences, String> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut fenced = false;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            if line.starts_with("```") {
                fenced = !fenced;
            }
            if fenced {
                continue;
            }
            if let Some(name) = line.strip_prefix("### ") {
                entries.push(Entry::new(name, number));
                continue;
            }
            if line.starts_with('#') {
                // a new chapter: what follows is prose until the next entry
                entries.push(Entry::new("", number));
                continue;
            }
            let Some(entry) = entries.last_mut().filter(|entry| !entry.name.is_empty()) else {
                continue;
            };
            let Some((key, value)) = line.strip_prefix("- ").and_then(|item| item.split_once(": ")) else {
                continue;
            };
            entry.item(key, value).map_err(|what| format!("DIFFERENCES.md:{number}: {what}"))?;
        }
        entries.retain(|entry| !entry.name.is_empty());
        for entry in &entries {
            let acts = !entry.rewrites.is_empty() || !entry.blots.is_empty() || entry.skip;
            if !acts || entry.cases.is_empty() || !["ours", "30"].contains(&entry.who.as_str()) {
                return Err(format!("DIFFERENCES.md:{}: entry {} is not complete", entry.line, entry.name));
            }
            if entry.skip && entry.who != "30" {
                return Err(format!("DIFFERENCES.md:{}: {} may not skip a case", entry.line, entry.name));
            }
            if entry.rewrites.iter().any(|(_, to)| to == UNPAIRED) {
                return Err(format!("DIFFERENCES.md:{}: {}: theirs without ours", entry.line, entry.name));
            }
        }
        Ok(Differences { entries })
    }

    fn applying<'a>(&'a self, who: &str, case: &str) -> impl Iterator<Item = &'a Entry> {
        let (who, case) = (who.to_owned(), case.to_owned());
        self.entries
            .iter()
            .filter(move |entry| entry.who == who && entry.cases.iter().any(|glob| matches(glob, &case)))
    }

    /// Whether a case is left out for these tools.
    pub fn skips(&self, who: &str, case: &str) -> bool {
        match self.applying(who, case).find(|entry| entry.skip) {
            Some(entry) => {
                entry.used.store(true, Ordering::Relaxed);
                true
            }
            None => false,
        }
    }

    /// Compares what kmod 34.2 did (`theirs`) with what `who` did at one command of a case (or `files` at its end). The answer is `None` if they agree, perhaps by way of
    /// the entries; else both texts as they were compared.
    pub fn compare(
        &self,
        who: &str,
        (case, command): (&str, &str),
        theirs: &str,
        other: &str,
    ) -> Option<(String, String)> {
        if theirs == other {
            return None;
        }
        let (mut expected, mut seen) = (theirs.to_owned(), other.to_owned());
        let mut used = Vec::new();
        for entry in self.applying(who, case).filter(|entry| entry.covers(command)) {
            let before = (expected.clone(), seen.clone());
            for (from, to) in &entry.blots {
                expected = from.replace_all(&expected, to).into_owned();
                seen = from.replace_all(&seen, to).into_owned();
            }
            for (from, to) in &entry.rewrites {
                expected = from.replace_all(&expected, to).into_owned();
            }
            if before != (expected.clone(), seen.clone()) {
                used.push(entry);
            }
        }
        if expected != seen {
            return Some((expected, seen));
        }
        for entry in used {
            entry.used.store(true, Ordering::Relaxed);
        }
        None
    }

    /// Names of the entries for `who` that explained nothing.
    pub fn unused(&self, who: &str) -> Vec<&str> {
        let idle = |entry: &&Entry| entry.who == who && !entry.used.load(Ordering::Relaxed);
        self.entries.iter().filter(idle).map(|entry| entry.name.as_str()).collect()
    }
}

/// Stands in for the replacement of an expression until the line after it is read.
const UNPAIRED: &str = "\0";

impl Entry {
    fn new(name: &str, line: usize) -> Entry {
        Entry {
            name: name.to_owned(),
            line,
            who: String::new(),
            cases: Vec::new(),
            commands: Vec::new(),
            rewrites: Vec::new(),
            blots: Vec::new(),
            skip: false,
            used: AtomicBool::new(false),
        }
    }

    fn covers(&self, command: &str) -> bool {
        self.commands.is_empty() || self.commands.iter().any(|glob| matches(glob, command))
    }

    fn item(&mut self, key: &str, value: &str) -> Result<(), String> {
        let value = value.trim();
        let code = || {
            let inner = value.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
            inner.ok_or_else(|| "put the text between back-quotes".to_owned())
        };
        let regex =
            |text: &str| RegexBuilder::new(text).multi_line(true).build().map_err(|error| error.to_string());
        match key {
            "who" => self.who = value.to_owned(),
            "cases" => self.cases.extend(value.split(", ").map(str::to_owned)),
            "commands" => self.commands.extend(value.split(", ").map(str::to_owned)),
            "theirs" => self.rewrites.push((regex(code()?)?, UNPAIRED.to_owned())),
            "ours" => match self.rewrites.last_mut() {
                Some((_, to)) if to == UNPAIRED => *to = code()?.replace("\\n", "\n"),
                _ => return Err("ours without theirs".to_owned()),
            },
            "both" => self.blots.push((regex(code()?)?, UNPAIRED.to_owned())),
            "as" => match self.blots.last_mut() {
                Some((_, to)) if to == UNPAIRED => *to = code()?.replace("\\n", "\n"),
                _ => return Err("as without both".to_owned()),
            },
            "skip" => self.skip = true,
            _ => return Err(format!("unknown item {key}")),
        }
        Ok(())
    }
}

/// Whether `glob`, in which `*` stands for any text, matches all of `text`.
fn matches(glob: &str, text: &str) -> bool {
    match glob.split_once('*') {
        None => glob == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len()).any(|at| tail.is_char_boundary(at) && matches(rest, &tail[at..]))
        }),
    }
}
