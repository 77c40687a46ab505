//! How the process starts, and which of its standard descriptors were open.
//!
//! The program's `main` is C's (the macro `entry_point` below): Rust's runtime would read /proc/self/maps, make a
//! stack for signals and two handlers before the first line of ours, which is a fifth of what a whole lookup costs.
//!
//! The kernel starts modprobe with no descriptors at all. Their places are filled, so that no file of ours lands on
//! them, with /dev/null, or with something as mute where there is none: an initramfs may not have mounted /dev yet.

use super::signal::Ignored;
use nix::libc;
use nix::sys::signal::Signal;
use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static STDERR_CLOSED: AtomicBool = AtomicBool::new(false);
/// Signals of failed writes, which stay ignored to the end.
static IGNORED: OnceLock<[Ignored; 2]> = OnceLock::new();

/// Whether the program runs with rights that its caller does not have (`AT_SECURE`, getauxval(3)): started by a set-uid
/// program for example. The environment is then the caller's, and not to be believed.
pub(crate) fn more_rights_than_the_caller() -> bool {
    // SAFETY: the call has no conditions; where the kernel says nothing, the answer is 0.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Whether descriptor 2 was closed when the process started.
pub(crate) fn stderr_was_closed() -> bool {
    STDERR_CLOSED.load(Ordering::Relaxed)
}

/// Fills the places of closed standard descriptors, and remembers whether stderr was among them.
pub extern "C" fn look() {
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

/// What must be settled before the first write to stdout or stderr: a write to a pipe whose reader has gone, or past the
/// size that the caller allows a file (`RLIMIT_FSIZE`), is an error to be handled, and no signal. Most runs of modprobe
/// write nothing, and do without the calls.
pub(crate) fn no_write_signals() {
    IGNORED.get_or_init(|| [Signal::SIGPIPE, Signal::SIGXFSZ].map(Ignored::new));
}

/// The signals that [`no_write_signals`] took away.
pub(super) fn ignored_write_signals() -> &'static [Ignored] {
    IGNORED.get().map_or(&[], |ignored| ignored)
}

/// The words of the command line. Only glibc hands them to std before main, so `main` takes them from C.
///
/// # Safety
/// `argc` and `argv` are those of C's main.
pub unsafe fn arguments(argc: c_int, argv: *const *const c_char) -> Vec<Vec<u8>> {
    (0..usize::try_from(argc).unwrap_or(0))
        .map(|index| {
            // SAFETY: argv has argc pointers to C strings.
            unsafe { CStr::from_ptr(*argv.add(index)) }.to_bytes().to_vec()
        })
        .collect()
}

/// Makes `run`, a `fn(Vec<Vec<u8>>) -> u8` that gets the words of the command line, the whole program; what it returns is
/// the exit status. The crate that uses it is `no_main`.
#[macro_export]
macro_rules! entry_point {
    ($run:path) => {
        // SAFETY: the section holds pointers to C functions that the C library calls, once each, before main; `look`
        // needs nothing that is set up later. Here and not below, since a library must leave its host's descriptors be.
        #[used]
        #[unsafe(link_section = ".init_array")]
        static LOOK: extern "C" fn() = $crate::look;

        /// C's entry point.
        ///
        /// # Safety
        /// `argc` and `argv` are what C hands to main.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn main(
            argc: std::ffi::c_int,
            argv: *const *const std::ffi::c_char,
        ) -> std::ffi::c_int {
            // SAFETY: they are those of C's main.
            let words = unsafe { $crate::arguments(argc, argv) };
            std::ffi::c_int::from($run(words))
        }
    };
}
