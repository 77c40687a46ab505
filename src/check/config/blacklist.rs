//! Blacklist lines that do not keep their module out. A blacklist stops requests by an alias of the module, and no others.

use super::own;
use crate::check::finding::{abbreviated, shown};
use crate::check::{Context, Finding, Severity};
use crate::config::{Entry, Kind};
use crate::formats::pattern::fnmatch;
use crate::load::command::refuses;
use crate::name;
use crate::tree::{Module, Which};
use std::collections::{BTreeMap, BTreeSet};

/// Blacklisted modules that other modules load, as a dependency or a soft dependency.
pub(super) fn needed(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let listed: BTreeMap<&[u8], Entry<'_>> =
        own(context, Kind::Blacklist).map(|entry| (entry.key, entry)).collect();
    if listed.is_empty() {
        return;
    }
    let config = context.config();
    let is_refused = |name: &[u8]| {
        // The second test may read the module's file.
        config.first(Kind::Install, name).is_some_and(|entry| refuses(entry.value))
            || context.tree.forbidden(&Module::named(name)).is_some()
    };
    let may_load = |name: &[u8]| !config.is_blacklisted(name) && !is_refused(name);
    // For each listed module, those that need it and those with a soft dependency on it.
    let mut loaded_by: BTreeMap<&[u8], (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    let mut modules: Vec<Vec<u8>> = Vec::new();
    context.tree.dump(Which::Dep, &mut |module, line| {
        modules.push(module.to_vec());
        let needs = line.splitn(2, |&b| b == b':').nth(1).unwrap_or_default();
        for need in needs.split(|&b| b == b' ').filter_map(name::from_path) {
            if let Some((&unwanted, _)) = listed.get_key_value(&need[..]).filter(|_| may_load(module)) {
                loaded_by.entry(unwanted).or_default().0.insert(shown(module));
            }
        }
    });
    for soft in config.entries(Kind::Softdep) {
        for word in soft.pre().chain(soft.post()) {
            let found = context.tree.lookup(word).unwrap_or_default();
            for (&unwanted, _) in found.iter().filter_map(|module| listed.get_key_value(&module.name[..])) {
                let asks = |name: &&Vec<u8>| fnmatch(soft.key, name) && may_load(name) && *name != unwanted;
                let asks = modules.iter().filter(asks);
                loaded_by.entry(unwanted).or_default().1.extend(asks.map(|name| shown(name)));
            }
        }
    }
    for (name, (needing, asking)) in loaded_by.into_iter().filter(|(name, _)| !is_refused(name)) {
        let asking: Vec<String> = asking.difference(&needing).cloned().collect();
        let needing: Vec<String> = needing.into_iter().collect();
        let mut through = Vec::new();
        if !needing.is_empty() {
            through.push(format!("{}, for which it is needed", abbreviated(&needing)));
        }
        if !asking.is_empty() {
            through.push(format!("{}, whose soft dependency it is", abbreviated(&asking)));
        }
        let Some(entry) = listed.get(name).filter(|_| !through.is_empty()) else { continue };
        let name = shown(name);
        let what = format!("{name} is loaded all the same with {}", through.join(", and "));
        findings.push(context.at(entry, Severity::Warning, what).hint(format!("forbid {name}")));
    }
}

/// Blacklisted or forbidden modules that are built in.
pub(super) fn builtin(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let lines = own(context, Kind::Blacklist).chain(own(context, Kind::Forbid));
    for entry in lines.filter(|entry| context.is_builtin(entry.key)) {
        let what = format!("{} is built in, which no such line keeps out", shown(entry.key));
        let hint = "initcall_blacklist= on the kernel command line";
        findings.push(context.at(&entry, Severity::Warning, what).hint(hint));
    }
}
