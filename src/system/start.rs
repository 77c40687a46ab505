//! How the process was started: which of its standard descriptors were open.
//!
//! The kernel starts modprobe with no descriptors at all. Rust's runtime then opens /dev/null in their places before
//! `main`, so that no file of ours lands on them, and *aborts* where there is no /dev/null: in an initramfs that has not
//! mounted /dev yet, where modprobe must work. Afterwards, too, a closed stderr can no longer be told from one that leads to
//! /dev/null. So this looks, and fills the places, before the runtime does.

use nix::libc;
use std::sync::atomic::{AtomicBool, Ordering};

static STDERR_CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether descriptor 2 was closed when the process started.
pub fn stderr_was_closed() -> bool {
    STDERR_CLOSED.load(Ordering::Relaxed)
}

extern "C" fn look() {
    let asked = |fd| libc::pollfd { fd, events: 0, revents: 0 };
    let mut standard = [asked(0), asked(1), asked(2)];
    // SAFETY: the array is valid for its three entries, and a timeout of 0 returns at once.
    if unsafe { libc::poll(standard.as_mut_ptr(), 3, 0) } <= 0 {
        return;
    }
    // In ascending order: open takes the lowest number that is free, which is then this one.
    for place in standard.iter().filter(|place| place.revents & libc::POLLNVAL != 0) {
        if place.fd == 2 {
            STDERR_CLOSED.store(true, Ordering::Relaxed);
        }
        // SAFETY: both paths are constant C strings. A directory takes no writes and gives no reads, which is what a
        // closed descriptor did; and there always is one.
        unsafe {
            if libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) == -1 {
                libc::open(c"/".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY);
            }
        }
    }
}

// SAFETY: the section holds pointers to C functions that the C library calls, once each, before main; `look` needs
// nothing that is set up later.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;
