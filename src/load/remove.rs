//! Removes one module from the kernel. Its check and delete_module(2) run under the gate's lock: no load runs meanwhile.

use crate::error::{Errno, Error, Result};
use crate::gate::{Gate, WaitBudget};
use crate::name::ModuleName;
use crate::system::System;
use std::ffi::CString;

/// Calls `allowed` and, if that succeeds, delete_module(2). `force` is `O_TRUNC` of delete_module(2).
///
/// # Errors
/// The error of `allowed`. In `Ok(Err(..))` the kernel's errno: `EPERM`, `ENOENT` not loaded, `EAGAIN` in use, `EBUSY` not live.
pub(crate) fn delete_module<E>(
    system: &System<'_>,
    gate: &Gate<'_>,
    name: &[u8],
    force: bool,
    budget: &WaitBudget,
    allowed: impl FnOnce() -> Result<(), E>,
) -> Result<Result<()>, E> {
    let call = || {
        allowed()?;
        let Ok(c_name) = CString::new(name) else { return Ok(Err(Error::os(Errno::ENOENT))) };
        Ok(system.kernel.delete_module(&c_name, force).map_err(Error::os))
    };
    match ModuleName::new(name) {
        Some(key) => gate.remove(&key, budget, call).unwrap_or(Ok(Err(Error::os(Errno::EBUSY)))),
        // No module can have this name, so there is nothing to serialise. The kernel answers.
        None => call(),
    }
}
