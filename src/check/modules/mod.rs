//! A module directory: whether its indexes are those of its modules, and what is wrong with the modules themselves.

mod files;
mod indexes;
mod kernel;
mod study;

pub(super) use study::Study;

use super::Check;

/// All of them.
pub(super) const CHECKS: &[Check] = &[
    indexes::missing,
    indexes::binaries,
    indexes::files,
    indexes::stale,
    files::unreadable,
    files::duplicates,
    files::builtin_too,
    files::cycles,
    files::vermagic,
    files::symbols,
    files::versions,
    kernel::compression,
    kernel::signatures,
    kernel::firmware,
];
