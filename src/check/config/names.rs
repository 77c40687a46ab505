//! Unknown names. A name that is similar to a known one is an error: that one was meant. Any other may belong to a module
//! that is not installed; it is a warning, where the line is meant to have an effect.

use super::{is_pattern, own};
use crate::check::finding::shown;
use crate::check::{Context, Finding, Severity};
use crate::config::{Entry, Kind};
use crate::tree::Module;

/// Lines that blacklist, forbid or permit unknown names. A misspelled name, or an alias, makes such a line ineffective. Any
/// other unknown name does no harm in a blacklist, and lists of a hundred such names are usual. In `forbid` and `permit` it
/// is reported, unless a command has the name, too: that pair keeps out a module of any kernel.
pub(super) fn access_lines(context: &Context<'_>, findings: &mut Vec<Finding>) {
    for (kind, word, so) in [
        (Kind::Blacklist, "blacklist", "nothing is blacklisted"),
        (Kind::Forbid, "forbid", "nothing is forbidden"),
        (Kind::Permit, "permit", "nothing is permitted"),
    ] {
        let is_name = |key: &[u8]| kind == Kind::Blacklist || !is_pattern(key) || is_quoted(key);
        for entry in own(context, kind).filter(|entry| is_name(entry.key) && !context.exists(entry.key)) {
            let name = shown(entry.key);
            let what = format!("no module is called '{name}', so {so}");
            if let Some(hint) = meant(context, entry.key) {
                findings.push(context.at(&entry, Severity::Error, what).hint(hint));
                continue;
            }
            let modules = context.tree.lookup(entry.key).unwrap_or_default();
            // The file of a module may have another name; forbid also compares the module's own.
            let is_own = |module: &Module| context.tree.own_name(module).as_deref() == Some(entry.key);
            if kind == Kind::Forbid && modules.iter().any(is_own) {
                continue;
            }
            let has = |command| context.config().named(command, entry.key).is_some();
            // An alias may lead to nothing (`alias x off`), and a command makes a name known without any module.
            if let Some(module) = modules.iter().find(|module| context.exists(&module.name)) {
                let what = format!("'{name}' is an alias, and '{word}' goes by the module's name");
                let hint = format!("{word} {}", shown(&module.name));
                findings.push(context.at(&entry, Severity::Error, what).hint(hint));
            } else if kind != Kind::Blacklist && !has(Kind::Install) && !has(Kind::Remove) {
                findings.push(context.at(&entry, Severity::Warning, what));
            }
        }
    }
}

/// Options of unknown names.
pub(super) fn options(context: &Context<'_>, findings: &mut Vec<Finding>) {
    for entry in own(context, Kind::Options) {
        // The kernel command line has parameters of other programs, too.
        if entry.origin.line > 0 && !is_known(context, entry.key) {
            let what = format!("nothing is called '{}', so its options do nothing", shown(entry.key));
            findings.push(unknown_name(context, &entry, entry.key, what));
        }
    }
}

/// Install and remove commands of unknown names. Such names are legitimate (a command can define one), so only misspellings
/// are reported.
pub(super) fn commands(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let both = own(context, Kind::Install).chain(own(context, Kind::Remove));
    for entry in both.filter(|entry| !is_pattern(entry.key) && !context.exists(entry.key)) {
        if let Some(hint) = meant(context, entry.key) {
            let name = shown(entry.key);
            let what = format!("no module is called '{name}', so the command is run for nothing else");
            findings.push(context.at(&entry, Severity::Warning, what).hint(hint));
        }
    }
}

/// Aliases of unknown modules. `off` is an old convention.
pub(super) fn aliases(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let is_there =
        |name: &[u8]| context.exists(name) || context.config().first(Kind::Install, name).is_some();
    for entry in own(context, Kind::Alias).filter(|entry| entry.value != b"off" && !is_there(entry.value)) {
        let (alias, name) = (shown(entry.key), shown(entry.value));
        let what = format!("the alias '{alias}' leads to '{name}', which no module is called");
        findings.push(unknown_name(context, &entry, entry.value, what));
    }
}

/// Soft and weak dependencies on unknown names.
pub(super) fn dependencies(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let soft = own(context, Kind::Softdep).map(|entry| (entry, entry.pre().chain(entry.post()).collect()));
    let weak = own(context, Kind::Weakdep).map(|entry| (entry, entry.names().collect::<Vec<_>>()));
    for (entry, words) in soft.chain(weak) {
        if words.is_empty() {
            let what = "no name follows 'pre:' or 'post:', so the line does nothing".to_owned();
            findings.push(context.at(&entry, Severity::Error, what).hint("modprobe.d(5)"));
            continue;
        }
        // Comments are reported by another check.
        let names = words.into_iter().take_while(|word| word[0] != b'#');
        for name in names.filter(|name| !is_known(context, name)) {
            let what = format!("it asks for '{}', and nothing is called so", shown(name));
            findings.push(unknown_name(context, &entry, name, what));
        }
        if !is_pattern(entry.key) && !context.exists(entry.key) {
            if let Some(hint) = meant(context, entry.key) {
                let what = format!("no module is called '{}', so the line does nothing", shown(entry.key));
                findings.push(context.at(&entry, Severity::Error, what).hint(hint));
            }
        }
    }
}

/// A finding about an unknown name: an error if something else was meant.
fn unknown_name(context: &Context<'_>, entry: &Entry<'_>, name: &[u8], what: String) -> Finding {
    let folded = crate::name::alias(name).unwrap_or_default();
    match meant(context, &folded) {
        Some(hint) => context.at(entry, Severity::Error, what).hint(hint),
        None => context.at(entry, Severity::Warning, what),
    }
}

/// The hint for an unknown name that is similar to a known one, or that was quoted or listed as in other files.
fn meant(context: &Context<'_>, name: &[u8]) -> Option<String> {
    if is_quoted(name) {
        return Some("quotes and commas are a part of the name here".to_owned());
    }
    context.similar(name).map(|similar| format!("{similar}?"))
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
