//! Unknown names. A name that is similar to a known one is an error: that one was meant. Any other may belong to a module
//! that is not installed; it is a warning, where the line is meant to have an effect.

use super::{is_pattern, own};
use crate::check::finding::shown;
use crate::check::{Context, Finding, Severity};
use crate::config::{Entry, Kind};
use crate::tree::Module;

/// Lines that blacklist, forbid or permit unknown names. A misspelled name, or an alias, makes such a line ineffective. Any
/// other unknown name does no harm in a blacklist, and lists of a hundred such names are usual. In `forbid` and `permit` it
/// is told, except for a name that a command has, too: that pair is how to keep out a module of any kernel.
pub(super) fn access_lines(context: &Context<'_>) -> Vec<Finding> {
    let config = context.config();
    let kinds = [
        (Kind::Blacklist, "blacklist", "nothing is blacklisted"),
        (Kind::Forbid, "forbid", "nothing is forbidden"),
        (Kind::Permit, "permit", "nothing is permitted"),
    ];
    let lines = kinds.into_iter().flat_map(|(kind, word, so)| {
        let is_name = move |key: &[u8]| kind == Kind::Blacklist || !is_pattern(key) || is_quoted(key);
        let names = own(context, kind).filter(move |entry| is_name(entry.key) && !context.exists(entry.key));
        names.map(move |entry| (entry, word, so))
    });
    lines
        .filter_map(|(entry, word, so)| {
            let name = shown(entry.key);
            let what = format!("no module is called '{name}', so {so}");
            if let Some(finding) = misspelled(context, &entry, entry.key, Severity::Error, what.clone()) {
                return Some(finding);
            }
            let modules = context.tree.lookup(entry.key).unwrap_or_default();
            // The file of a module may have another name; forbid also compares the module's own.
            let is_own = |module: &Module| context.tree.own_name(module).as_deref() == Some(entry.key);
            if word == "forbid" && modules.iter().any(is_own) {
                return None;
            }
            // An alias may lead to nothing (`alias x off`), and a command makes a name known without any module.
            if let Some(module) = modules.iter().find(|module| context.exists(&module.name)) {
                let what = format!("'{name}' is an alias, and '{word}' goes by the module's name");
                let hint = format!("{word} {}", shown(&module.name));
                return Some(context.at(&entry, Severity::Error, what).hint(hint));
            }
            let has_command =
                [Kind::Install, Kind::Remove].into_iter().any(|kind| config.named(kind, entry.key).is_some());
            let is_told = word != "blacklist" && !has_command;
            is_told.then(|| context.at(&entry, Severity::Warning, what))
        })
        .collect()
}

/// Options of unknown names.
pub(super) fn options(context: &Context<'_>) -> Vec<Finding> {
    // The kernel command line has parameters of other programs, too.
    let unknown =
        own(context, Kind::Options).filter(|entry| entry.origin.line > 0 && !is_known(context, entry.key));
    unknown
        .map(|entry| {
            let name = shown(entry.key);
            let what = format!("nothing is called '{name}', so its options do nothing");
            unknown_name(context, &entry, entry.key, what)
        })
        .collect()
}

/// Install and remove commands of unknown names. Such names are legitimate (a command can define one), so only misspellings
/// are reported.
pub(super) fn commands(context: &Context<'_>) -> Vec<Finding> {
    let both = own(context, Kind::Install).chain(own(context, Kind::Remove));
    let unknown = both.filter(|entry| !is_pattern(entry.key) && !context.exists(entry.key));
    unknown
        .filter_map(|entry| {
            let name = shown(entry.key);
            let what = format!("no module is called '{name}', so the command is run for nothing else");
            misspelled(context, &entry, entry.key, Severity::Warning, what)
        })
        .collect()
}

/// Aliases of unknown modules. `off` is an old convention.
pub(super) fn aliases(context: &Context<'_>) -> Vec<Finding> {
    let config = context.config();
    let is_there = |name: &[u8]| context.exists(name) || config.first(Kind::Install, name).is_some();
    let nowhere = own(context, Kind::Alias).filter(|entry| entry.value != b"off" && !is_there(entry.value));
    nowhere
        .map(|entry| {
            let (alias, name) = (shown(entry.key), shown(entry.value));
            let what = format!("the alias '{alias}' leads to '{name}', which no module is called");
            unknown_name(context, &entry, entry.value, what)
        })
        .collect()
}

/// Soft and weak dependencies on unknown names.
pub(super) fn dependencies(context: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let soft = own(context, Kind::Softdep).map(|entry| (entry, entry.pre().chain(entry.post()).collect()));
    let weak = own(context, Kind::Weakdep).map(|entry| (entry, entry.names().collect()));
    for (entry, words) in soft.chain(weak) {
        let words: Vec<&[u8]> = words;
        if words.is_empty() {
            let what = "no name follows 'pre:' or 'post:', so the line does nothing".to_owned();
            findings.push(context.at(&entry, Severity::Error, what).hint("modprobe.d(5)"));
            continue;
        }
        // Comments are reported by another check.
        let words = words.iter().take_while(|word| word[0] != b'#');
        let unknown = words.filter(|word| !is_known(context, word));
        findings.extend(unknown.map(|word| {
            let what = format!("it asks for '{}', and nothing is called so", shown(word));
            unknown_name(context, &entry, word, what)
        }));
        let key = entry.key;
        if !is_pattern(key) && !context.exists(key) {
            let what = format!("no module is called '{}', so the line does nothing", shown(key));
            findings.extend(misspelled(context, &entry, key, Severity::Error, what));
        }
    }
    findings
}

/// A finding about an unknown name: an error if it is similar to a known one.
fn unknown_name(context: &Context<'_>, entry: &Entry<'_>, name: &[u8], what: String) -> Finding {
    let folded = crate::name::alias(name).unwrap_or_default();
    misspelled(context, entry, &folded, Severity::Error, what.clone())
        .unwrap_or_else(|| context.at(entry, Severity::Warning, what))
}

/// A finding about a name that is similar to a known one, which is the hint, or that was quoted or listed as in other files.
fn misspelled(
    context: &Context<'_>,
    entry: &Entry<'_>,
    name: &[u8],
    severity: Severity,
    what: String,
) -> Option<Finding> {
    let hint = match context.similar(name) {
        _ if is_quoted(name) => "quotes and commas are a part of the name here".to_owned(),
        similar => format!("{}?", similar?),
    };
    Some(context.at(entry, severity, what).hint(hint))
}

/// Whether a word has quotes or commas, which separate nothing in these files. No module name has them, but aliases of
/// devices do, which have a colon.
fn is_quoted(word: &[u8]) -> bool {
    word.iter().any(|byte| matches!(byte, b'"' | b'\'' | b',')) && !word.contains(&b':')
}

/// Whether a name or alias is known.
fn is_known(context: &Context<'_>, word: &[u8]) -> bool {
    context.tree.lookup(word).is_ok_and(|found| !found.is_empty())
}
