//! Descriptors of files that have been read, in a tool that ends in a moment.
//!
//! The kernel closes all descriptors at the end of a process at less cost than one close(2) for each: the first 32, which is
//! all that most requests have, are parked until then. On EMFILE (the caller allows few, `RLIMIT_NOFILE`) the parked ones are
//! closed and the open is retried.

use crate::error::Errno;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Whether this process is a tool, which ends when its work is done.
static ENDS_SOON: AtomicBool = AtomicBool::new(false);
/// The descriptors that are left to the end: bit N is descriptor N.
static LEFT: AtomicU32 = AtomicU32::new(0);

/// Says that this process ends when its work is done. A library must not: its host goes on.
pub(crate) fn ends_soon() {
    ENDS_SOON.store(true, Ordering::Relaxed);
}

/// Gives back a descriptor of a file that has been read, now or at the end.
pub(crate) fn done_with(fd: impl Into<OwnedFd>) {
    let fd = fd.into();
    if !ENDS_SOON.load(Ordering::Relaxed) {
        return;
    }
    let number = fd.into_raw_fd();
    match u32::try_from(number).ok().and_then(|number| 1u32.checked_shl(number)) {
        Some(bit) => {
            LEFT.fetch_or(bit, Ordering::Relaxed);
        }
        None => close(number),
    }
}

/// Opens something; once more where descriptors ran out and some could be given back.
pub(crate) fn opening<T, E: Into<Errno>>(open: impl Fn() -> Result<T, E>) -> Result<T, Errno> {
    match open().map_err(Into::into) {
        Err(Errno::EMFILE) if give_back() => open().map_err(Into::into),
        opened => opened,
    }
}

/// Gives back what was left to the end; whether there was anything.
pub(crate) fn give_back() -> bool {
    // The swap hands each bit to one thread, which alone closes that descriptor.
    let left = LEFT.swap(0, Ordering::Relaxed);
    (0..32).filter(|number| left >> number & 1 == 1).for_each(close);
    left != 0
}

fn close(number: RawFd) {
    // SAFETY: the number comes from an OwnedFd that was given up for it, and is closed here and nowhere else.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
}
