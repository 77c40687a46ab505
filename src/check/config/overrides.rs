//! Lines without effect because of another line. Only this machine's own files are checked: overriding the distribution's
//! lines is intended, but files are read in the order of their names, whatever their directory, so that a local line may
//! lose unexpectedly.

use super::{is_pattern, own};
use crate::check::finding::shown;
use crate::check::{Context, Finding, Severity};
use crate::config::{Entry, Forbids, Kind};
use crate::formats::kernel_args::{self, same_name};
use crate::formats::modinfo::IMPLICIT_PARAMETERS;

/// Commands: the first one that matches a module is run.
pub(super) fn commands(context: &Context<'_>) -> Vec<Finding> {
    let config = context.config();
    let about = |entry: Entry<'_>, first: Option<Entry<'_>>| {
        let first = first.filter(|first| first.origin != entry.origin && first.value != entry.value)?;
        let what = format!(
            "the command for '{}' is not run: {} has one before",
            shown(entry.key),
            context.place(&first)
        );
        Some(context.at(&entry, Severity::Warning, what))
    };
    let installs =
        own(context, Kind::Install).filter_map(|entry| about(entry, config.first(Kind::Install, entry.key)));
    let removes =
        own(context, Kind::Remove).filter_map(|entry| about(entry, config.first(Kind::Remove, entry.key)));
    installs.chain(removes).collect()
}

/// `permit` lines of a name that a `forbid` line has, too: that one counts.
pub(super) fn permits(context: &Context<'_>) -> Vec<Finding> {
    let names = own(context, Kind::Permit).filter(|entry| !is_pattern(entry.key));
    let overridden = names.filter_map(|entry| {
        let Some(Forbids::Name(origin)) = context.config().forbids(entry.key) else { return None };
        let place = context.place(&Entry { origin, ..entry });
        let what = format!("{} is not permitted: {place} forbids it by name", shown(entry.key));
        Some(context.at(&entry, Severity::Warning, what))
    });
    overridden.collect()
}

/// A value of a parameter, and its entry.
struct Given<'c> {
    entry: Entry<'c>,
    name: &'c [u8],
    value: Option<&'c [u8]>,
}

impl Given<'_> {
    fn text(&self) -> String {
        let value = self.value.map_or_else(String::new, |value| format!("={}", shown(value)));
        format!("{}{value}", shown(self.name))
    }
}

/// Options: the last value of a parameter counts.
pub(super) fn options(context: &Context<'_>) -> Vec<Finding> {
    let mut given = Vec::new();
    for entry in context.config().entries(Kind::Options) {
        for (name, value) in kernel_args::parameters(entry.value) {
            if !IMPLICIT_PARAMETERS.into_iter().any(|implicit| same_name(implicit, name)) {
                given.push(Given { entry, name, value });
            }
        }
    }
    let mut findings = Vec::new();
    for (at, one) in given.iter().enumerate() {
        let is_same =
            |other: &&Given<'_>| other.entry.key == one.entry.key && same_name(other.name, one.name);
        let Some(last) = given[at + 1..].iter().rev().find(is_same) else { continue };
        if last.value != one.value && context.is_own_entry(&one.entry) {
            let place = context.place(&last.entry);
            let what = format!("{} does not count: {place} says {}", one.text(), last.text());
            findings.push(context.at(&one.entry, Severity::Warning, what));
        }
    }
    findings
}
