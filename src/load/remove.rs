//! Removes one module from the kernel, through the gate: the check of its use and the call that removes it happen
//! under the same lock as loads, so that neither sees the other halfway.

use crate::error::{Errno, Error, Result};
use crate::gate::{Gate, Patience};
use crate::name::ModuleName;
use crate::system::System;
use std::ffi::CString;

/// Asks `allowed` and, unless it objects, the kernel, both while nobody else loads or removes this module. `force` is `O_TRUNC`
/// of delete_module(2).
///
/// # Errors
/// `Err(E)` of `allowed` as it is; in `Ok(Err(..))` the kernel's errno (`ENOENT` not loaded, `EAGAIN` in use, `EBUSY` being
/// loaded or removed, `EPERM`).
pub(crate) fn delete_module<E>(
    system: &System<'_>,
    gate: &Gate<'_>,
    name: &[u8],
    force: bool,
    patience: &Patience,
    allowed: impl FnOnce() -> Result<(), E>,
) -> Result<Result<()>, E> {
    let call = || {
        allowed()?;
        let Ok(c_name) = CString::new(name) else { return Ok(Err(Error::os(Errno::ENOENT))) };
        Ok(system.kernel.delete_module(&c_name, force).map_err(Error::os))
    };
    match ModuleName::new(name) {
        Some(key) => gate.remove(&key, patience, call).unwrap_or(Ok(Err(Error::os(Errno::EBUSY)))),
        // Longer than any module's name, or empty: the kernel answers, and there is nothing to serialise.
        None => call(),
    }
}
