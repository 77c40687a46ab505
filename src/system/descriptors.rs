//! Descriptors of files that have been read, in a tool that ends in a moment.
//!
//! What the kernel takes back in one go at the end of a process need not be given back piece by piece: the first few
//! descriptors, which is all that most requests have, are left to it. Where one is missing for that, since the caller
//! allows few of them (`RLIMIT_NOFILE`), they are given back and the open is made again: nobody notices but a counter of
//! system calls.

use crate::error::Errno;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Whether this process is a tool, which ends when its work is done.
static ENDS_SOON: AtomicBool = AtomicBool::new(false);
/// The descriptors that are left to the end: bit N is descriptor N.
static LEFT: AtomicU32 = AtomicU32::new(0);

/// Says that this process ends when its work is done. A library must not: its host goes on.
pub fn ends_soon() {
    ENDS_SOON.store(true, Ordering::Relaxed);
}

/// Gives back a descriptor of a file that has been read, now or at the end.
pub fn done_with(fd: impl Into<OwnedFd>) {
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
///
/// # Errors
/// What `open` said.
pub fn opening<T, E: Into<Errno>>(open: impl Fn() -> Result<T, E>) -> Result<T, Errno> {
    match open().map_err(Into::into) {
        Err(Errno::EMFILE) if give_back() => open().map_err(Into::into),
        opened => opened,
    }
}

/// Gives back what was left to the end; whether there was anything.
pub fn give_back() -> bool {
    // Whoever takes the bits closes their descriptors, and nobody else does.
    let left = LEFT.swap(0, Ordering::Relaxed);
    (0..32).filter(|number| left >> number & 1 == 1).for_each(close);
    left != 0
}

fn close(number: RawFd) {
    // SAFETY: the number comes from an OwnedFd that was given up for it, and is closed here and nowhere else.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
}
