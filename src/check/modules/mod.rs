//! A module directory: whether its indexes match its modules, and problems of the modules.

mod files;
mod indexes;
mod kernel;
mod study;

pub(super) use study::Study;

use super::Check;

/// All checks of this part.
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
