//! The only room that touches the operating system: paths, system calls, clocks, locks, maps, child processes.
//!
//! Everything above takes a [`System`] and so runs in a test on a fixture tree with a scripted kernel.
#![allow(unsafe_code)]

pub mod bell;
pub mod clock;
pub mod command;
pub mod descriptors;
pub mod directory;
pub mod fake;
pub mod file;
pub mod flock;
pub mod kernel;
pub mod kmsg;
pub mod map;
pub mod module_file;
pub mod pager;
pub mod regex;
pub mod replace;
pub mod roots;
pub mod start;
pub mod sysfs;
pub mod syslog;

pub use clock::Clock;
pub use kernel::Kernel;
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
