//! Lines without effect because of another line. Only this machine's own files are checked: overriding the distribution's
//! lines is intended, but files are read in the order of their names, whatever their directory, so that a local line may
//! lose unexpectedly.

use super::{given, is_pattern, own};
use crate::check::finding::shown;
use crate::check::{Context, Finding, Severity};
use crate::config::{Entry, Forbids, Kind};
use crate::formats::kernel_args::same_name;

/// Commands: the first one that matches a module is run.
pub(super) fn commands(context: &Context<'_>, findings: &mut Vec<Finding>) {
    for kind in [Kind::Install, Kind::Remove] {
        for entry in own(context, kind) {
            let first = context.config().first(kind, entry.key);
            let other = first.filter(|first| first.origin != entry.origin && first.value != entry.value);
            if let Some(place) = other.map(|other| context.place(&other)) {
                let what =
                    format!("the command for '{}' is not run: {place} has one before", shown(entry.key));
                findings.push(context.at(&entry, Severity::Warning, what));
            }
        }
    }
}

/// `permit` lines of a name that a `forbid` line has, too: that one counts.
pub(super) fn permits(context: &Context<'_>, findings: &mut Vec<Finding>) {
    for entry in own(context, Kind::Permit).filter(|entry| !is_pattern(entry.key)) {
        if let Some(Forbids::Name(origin)) = context.config().forbids(entry.key) {
            let place = context.place(&Entry { origin, ..entry });
            let what = format!("{} is not permitted: {place} forbids it by name", shown(entry.key));
            findings.push(context.at(&entry, Severity::Warning, what));
        }
    }
}

/// Options: the last value of a parameter counts.
pub(super) fn options(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let text = |name: &[u8], value: Option<&[u8]>| match value {
        Some(value) => format!("{}={}", shown(name), shown(value)),
        None => shown(name),
    };
    let options = context.config().entries(Kind::Options);
    let all: Vec<_> =
        options.flat_map(|entry| given(entry).map(move |(name, value)| (entry, name, value))).collect();
    for (at, (entry, name, value)) in all.iter().enumerate() {
        let mut later = all[at + 1..].iter().rev();
        let last = later.find(|(other, same, _)| other.key == entry.key && same_name(same, name));
        let Some((last, last_name, last_value)) = last else { continue };
        if last_value != value && context.is_own_entry(entry) {
            let (this, place, that) = (text(name, *value), context.place(last), text(last_name, *last_value));
            let what = format!("{this} does not count: {place} says {that}");
            findings.push(context.at(entry, Severity::Warning, what));
        }
    }
}
