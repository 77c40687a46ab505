//! The start of the process: its entry point, its standard descriptors and its signals.
//!
//! The program has C's `main` (the macro `entry_point` below). Rust's runtime would read /proc/self/maps, allocate a
//! signal stack and install two handlers, which costs a fifth of a whole lookup.
//!
//! The kernel starts modprobe without open descriptors. Descriptors 0 to 2 are opened on /dev/null, so that no other file
//! gets these numbers; in an initramfs without /dev, on the directory `/`.

use super::signal::Ignored;
use nix::libc;
use nix::sys::signal::Signal;
use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static STDERR_CLOSED: AtomicBool = AtomicBool::new(false);
/// The signals of failed writes, once [`ignore_write_signals`] has ignored them.
pub(super) static IGNORED: OnceLock<[Ignored; 2]> = OnceLock::new();

/// Whether the program runs in secure-execution mode (`AT_SECURE`, getauxval(3)), with more rights than its caller, for
/// example because it is set-user-ID. Then the environment must not be trusted.
pub(crate) fn is_secure_execution() -> bool {
    // SAFETY: the call has no conditions. It returns 0 if there is no such entry.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Whether descriptor 2 was closed when the process started.
pub(crate) fn stderr_was_closed() -> bool {
    STDERR_CLOSED.load(Ordering::Relaxed)
}

/// Opens closed standard descriptors, and remembers whether stderr was one of them.
pub extern "C" fn open_standard_descriptors() {
    let mut standard = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: the array is valid for its three entries, and a timeout of 0 returns at once.
    if unsafe { libc::poll(standard.as_mut_ptr(), 3, 0) } <= 0 {
        return;
    }
    // In ascending order, since open(2) returns the lowest free number.
    for place in standard.iter().filter(|place| place.revents & libc::POLLNVAL != 0) {
        if place.fd == 2 {
            STDERR_CLOSED.store(true, Ordering::Relaxed);
        }
        // SAFETY: both paths are constant C strings. `/` always exists; its reads and writes fail, as of a closed descriptor.
        unsafe {
            if libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) == -1 {
                libc::open(c"/".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY);
            }
        }
    }
}

/// Ignores SIGPIPE and SIGXFSZ, so that a write to a closed pipe or past `RLIMIT_FSIZE` fails with an errno. Called before
/// the first write to stdout or stderr: most runs of modprobe write nothing, and save the system calls.
pub(crate) fn ignore_write_signals() {
    IGNORED.get_or_init(|| [Signal::SIGPIPE, Signal::SIGXFSZ].map(Ignored::new));
}

/// The words of the command line, from the arguments of C's main. std has them only with glibc.
///
/// # Safety
/// `argc` and `argv` are those of C's main.
pub unsafe fn arguments(argc: c_int, argv: *const *const c_char) -> Vec<Vec<u8>> {
    let indexes = 0..usize::try_from(argc).unwrap_or(0);
    // SAFETY: argv has argc pointers to C strings.
    indexes.map(|index| unsafe { CStr::from_ptr(*argv.add(index)) }.to_bytes().to_vec()).collect()
}

/// Defines the program's entry point. `run`, a `fn(Vec<Vec<u8>>) -> u8`, gets the words of the command line and returns the
/// exit status. The crate that uses it is `no_main`.
#[macro_export]
macro_rules! entry_point {
    ($run:path) => {
        use std::ffi::{c_char, c_int};

        // SAFETY: the section holds pointers to C functions, which the C library calls before main. This one needs nothing that
        // is set up later. In the macro, since the library must not change its host's descriptors.
        #[used]
        #[unsafe(link_section = ".init_array")]
        static OPEN_STANDARD_DESCRIPTORS: extern "C" fn() = $crate::open_standard_descriptors;

        /// C's entry point.
        ///
        /// # Safety
        /// `argc` and `argv` are what C hands to main.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
            // SAFETY: they are those of C's main.
            c_int::from($run(unsafe { $crate::arguments(argc, argv) }))
        }
    };
}
