//! Parks descriptors that are no longer needed until the process exits.
//!
//! The kernel closes them at exit at less cost than one close(2) for each. A tool parks descriptors below 32, which are all
//! that most requests have. On EMFILE (a low `RLIMIT_NOFILE`) the parked ones are closed and the open is retried.

use crate::error::Errno;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Whether descriptors are parked.
static PARKING: AtomicBool = AtomicBool::new(false);
/// The parked descriptors: bit N is descriptor N.
static PARKED: AtomicU32 = AtomicU32::new(0);

/// Parks descriptors from now on. Only for the tools: the host of the library may run for long.
pub(crate) fn start_parking() {
    PARKING.store(true, Ordering::Relaxed);
}

/// Parks or closes a descriptor that is no longer needed.
pub(crate) fn park(fd: impl Into<OwnedFd>) {
    let fd = fd.into();
    if !PARKING.load(Ordering::Relaxed) {
        return;
    }
    let number = fd.into_raw_fd();
    if let Some(bit) = u32::try_from(number).ok().and_then(|number| 1u32.checked_shl(number)) {
        PARKED.fetch_or(bit, Ordering::Relaxed);
    } else {
        close(number);
    }
}

/// Calls `open`. On EMFILE closes the parked descriptors, and calls it again if there were any.
pub(crate) fn retry_on_emfile<T, E: Into<Errno>>(open: impl Fn() -> Result<T, E>) -> Result<T, Errno> {
    match open().map_err(Into::into) {
        Err(Errno::EMFILE) if close_parked() => open().map_err(Into::into),
        opened => opened,
    }
}

/// Closes the parked descriptors. Returns whether there were any.
pub(crate) fn close_parked() -> bool {
    // The swap gives each bit to one thread, so that each descriptor is closed once.
    let left = PARKED.swap(0, Ordering::Relaxed);
    (0..32).filter(|number| left >> number & 1 == 1).for_each(close);
    left != 0
}

fn close(number: RawFd) {
    // SAFETY: the number comes from OwnedFd::into_raw_fd, and is closed only here.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
}
