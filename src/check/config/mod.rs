//! The configuration: each line by itself, then what the lines say about modules, and conflicts between lines.

mod blacklist;
mod cmdline;
mod commands;
mod depmod;
mod lines;
mod names;
mod overrides;
mod parameters;
mod unread;

use super::{Check, Context};
use crate::config::{Entry, Kind};
use crate::formats::kernel_args::{parameters, same_name};
use crate::formats::modinfo::IMPLICIT_PARAMETERS;

/// All checks of this part.
pub(super) const CHECKS: &[Check] = &[
    lines::lines,
    depmod::lines,
    unread::files,
    names::access_lines,
    names::options,
    names::commands,
    names::aliases,
    names::dependencies,
    parameters::parameters,
    parameters::builtin,
    overrides::commands,
    overrides::options,
    overrides::permits,
    commands::recursive,
    blacklist::needed,
    blacklist::builtin,
    cmdline::switches,
    cmdline::lists,
    cmdline::module_blacklist,
];

/// The entries of a kind from this machine's own files.
fn own<'c>(context: &'c Context<'_>, kind: Kind) -> impl Iterator<Item = Entry<'c>> {
    context.config().entries(kind).filter(move |entry| context.is_own_entry(entry))
}

/// The parameters in the value of an options entry, without those that every module has.
fn given(options: Entry<'_>) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let is_implicit = |name: &[u8]| IMPLICIT_PARAMETERS.into_iter().any(|other| same_name(other, name));
    parameters(options.value).filter(move |(name, _)| !is_implicit(name))
}

/// Whether a key is a pattern.
fn is_pattern(key: &[u8]) -> bool {
    key.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
}
