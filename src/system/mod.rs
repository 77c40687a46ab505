//! What the operating system gives: paths, system calls, clocks, locks, maps, child processes.
//!
//! Everything above takes a [`System`] and so runs in a test on a fixture tree with a scripted kernel.
#![allow(unsafe_code)]

pub(crate) mod bell;
pub(crate) mod clock;
pub(crate) mod command;
pub(crate) mod descriptors;
pub(crate) mod directory;
#[cfg(test)]
pub mod fake;
pub(crate) mod file;
pub(crate) mod flock;
pub(crate) mod kernel;
pub(crate) mod kmsg;
pub(crate) mod map;
pub(crate) mod module_file;
pub(crate) mod pager;
pub(crate) mod proc_modules;
pub(crate) mod process;
pub(crate) mod regex;
pub(crate) mod replace;
pub(crate) mod roots;
pub(crate) mod shared;
mod signal;
pub(crate) mod start;
pub(crate) mod sysfs;
pub(crate) mod syslog;

pub(crate) use clock::Clock;
pub(crate) use kernel::Kernel;
pub use roots::Roots;

/// The outside world as the tools see it.
#[derive(Clone, Copy)]
pub struct System<'a> {
    /// Where everything lies.
    pub roots: &'a Roots,
    /// The three calls that change which modules are loaded.
    pub kernel: &'a dyn Kernel,
    /// Time and sleep.
    pub clock: &'a dyn Clock,
}

/// Errors on purpose: tests/sanitize.sh runs them, and only them, to see that memcheck finds such things.
#[cfg(test)]
mod memcheck_finds {
    use std::hint::black_box;

    #[test]
    #[ignore = "an error on purpose, for tests/sanitize.sh"]
    fn reads_what_was_never_written() {
        let mut buffer: Vec<u8> = black_box(Vec::with_capacity(64));
        // SAFETY: broken on purpose: nobody wrote these bytes.
        unsafe { buffer.set_len(64) };
        let odd = buffer.iter().filter(|&&byte| byte % 2 == 1).count();
        // A branch that depends on them.
        assert!(odd <= 64);
        if odd > 32 {
            black_box(&buffer);
        }
    }

    #[test]
    #[ignore = "an error on purpose, for tests/sanitize.sh"]
    fn reads_past_the_end() {
        let buffer: Box<[u8]> = black_box(vec![1; 64].into_boxed_slice());
        // SAFETY: broken on purpose: there are 64 bytes.
        let beyond = unsafe { std::ptr::read_volatile(buffer.as_ptr().wrapping_add(64)) };
        black_box(beyond);
    }
}
