//! How the process was started: whether stderr was open.
//!
//! The kernel starts modprobe with no descriptors at all. Rust's runtime opens /dev/null in the place of closed
//! standard descriptors before `main`, so that no file of ours lands on them; afterwards a closed stderr can no longer be
//! told from one that leads to /dev/null. This looks before the runtime does.

use nix::libc;
use std::sync::atomic::{AtomicBool, Ordering};

static STDERR_CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether descriptor 2 was closed when the process started.
pub fn stderr_was_closed() -> bool {
    STDERR_CLOSED.load(Ordering::Relaxed)
}

extern "C" fn look() {
    // SAFETY: F_GETFD takes no argument, touches no memory, and may be asked of any number.
    let flags = unsafe { libc::fcntl(2, libc::F_GETFD) };
    STDERR_CLOSED.store(flags == -1, Ordering::Relaxed);
}

// SAFETY: the section holds pointers to C functions that the C library calls, once each, before main; `look` needs
// nothing that is set up later.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;
