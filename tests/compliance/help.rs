//! The help texts. Their wording is our own, so they are not compared; but what kmod 34.2's names, ours names too: every
//! option, and every command of `kmod`.

use std::collections::BTreeSet;

use crate::case::{self, Case};
use crate::root::Root;
use crate::{Suite, run};

/// What prints a help text.
pub const PROGRAMS: [&str; 9] =
    ["modprobe", "insmod", "rmmod", "lsmod", "modinfo", "depmod", "kmod", "kmod list", "kmod static-nodes"];

/// Checks one program's text.
///
/// # Errors
/// What is missing.
pub fn check(suite: &Suite, program: &str) -> Result<(), String> {
    let text = |tools: &crate::tools::Tools| -> Result<String, String> {
        let words: Vec<&str> = program.split(' ').chain(["--help"]).collect();
        let case =
            Case { name: program.to_owned(), commands: vec![case::Command::of(&words)], ..Case::default() };
        let root = Root::new(suite.new_root(tools), tools, &case, None, &suite.release);
        let steps = root.and_then(|root| run::case(&case, &root)).map_err(|error| error.to_string())?;
        Ok(steps[0].transcript.clone())
    };
    let (theirs, ours) = (text(&suite.theirs)?, text(&suite.others[1])?);
    let wanted = names(&theirs);
    let named: BTreeSet<String> = ours
        .replace("\\t", " ")
        .split_whitespace()
        .map(|word| word.trim_end_matches(',').to_owned())
        .collect();
    if wanted.len() < 2 {
        return Err(format!("{program}: no options in kmod's text:\n{theirs}"));
    }
    abbreviated(suite, program, &named)?;
    let missing: Vec<&str> = wanted.difference(&named).map(String::as_str).collect();
    match (missing.is_empty(), ours.ends_with("exit| 0\n") && !ours.contains("err|")) {
        (true, true) => Ok(()),
        _ => Err(format!("{program}: not named: {missing:?}\n{ours}")),
    }
}

/// An option of ours that kmod lacks has no abbreviation: it must not change what an abbreviation of kmod's means.
fn abbreviated(suite: &Suite, program: &str, named: &BTreeSet<String>) -> Result<(), String> {
    let refused = |tools: &crate::tools::Tools, option: &str| -> Result<bool, String> {
        let words: Vec<&str> = program.split(' ').chain([option]).collect();
        let command = case::Command::of(&words);
        let case = Case { name: format!("{program}{option}"), commands: vec![command], ..Case::default() };
        let root = Root::new(suite.new_root(tools), tools, &case, None, &suite.release);
        let steps = root.and_then(|root| run::case(&case, &root)).map_err(|error| error.to_string())?;
        Ok(steps[0].transcript.contains("unrecognized option"))
    };
    for word in named.iter().filter(|word| word.starts_with("--") && word.len() > 3) {
        let option = word.split(|c: char| !c.is_alphanumeric() && c != '-').next().unwrap_or(word);
        if refused(&suite.theirs, option)? && !refused(&suite.others[1], &option[..option.len() - 1])? {
            return Err(format!("{program} takes an abbreviation of {option}"));
        }
    }
    Ok(())
}

/// The options at the beginnings of lines (`-x, --long`), and the first words of lines that begin with two blanks. What is
/// called deprecated need not be named.
fn names(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in
        text.lines().filter_map(|line| line.strip_prefix("out| ")).filter(|line| !line.contains("Deprecated"))
    {
        if let Some(row) = line.strip_prefix("\\t") {
            let options = row.split_whitespace().take(2).take_while(|word| word.starts_with('-'));
            found.extend(
                options.map(|word| word.trim_end_matches(',').split('=').next().unwrap_or(word).to_owned()),
            );
        } else if let Some(row) = line.strip_prefix("  ").filter(|row| !row.starts_with(' ')) {
            found.extend(row.split_whitespace().next().map(str::to_owned));
        }
    }
    found
}
