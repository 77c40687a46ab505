//! A module directory: whether its indexes match its modules, and problems of the modules.

mod files;
mod indexes;
mod kernel;
mod study;

pub(super) use study::Study;

use super::finding::at_most_ten;
use super::{Check, Context, Finding};

/// All checks of this part.
pub(super) const CHECKS: &[Check] =
    &[indexes::missing, indexes::binaries, indexes::files, indexes::stale, module_files, kernel::firmware];

/// The checks of the module files.
const OF_FILES: [fn(&Context<'_>, &Study, &mut Vec<Finding>); 11] = [
    files::unreadable,
    files::passed_over,
    files::aliases,
    files::duplicates,
    files::builtin_too,
    files::cycles,
    files::vermagic,
    files::symbols,
    files::versions,
    kernel::compression,
    kernel::signatures,
];

/// Runs these checks, each of which may find something in thousands of files.
fn module_files(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let Some(study) = context.study() else { return };
    for check in OF_FILES {
        let mut found = Vec::new();
        check(context, study, &mut found);
        findings.extend(at_most_ten(found, context.tree.dir()));
    }
}
