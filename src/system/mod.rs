//! The operating system: paths, system calls, clocks, locks, memory maps, child processes.
//!
//! The layers above take a [`System`], so that they run in a test on a fixture tree with a scripted kernel.
#![allow(unsafe_code)]

pub(crate) mod clock;
pub(crate) mod command;
pub(crate) mod descriptors;
pub(crate) mod directory;
#[cfg(test)]
pub mod fake;
pub(crate) mod file;
pub(crate) mod flock;
pub(crate) mod futex;
pub(crate) mod kernel;
pub(crate) mod kmsg;
pub(crate) mod map;
#[cfg(any(test, target_env = "musl"))]
mod memory;
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

/// The parts of the system that a test can replace.
#[derive(Clone, Copy)]
pub struct System<'a> {
    pub roots: &'a Roots,
    pub kernel: &'a dyn Kernel,
    pub clock: &'a dyn Clock,
}

/// Memory errors on purpose. `tests/sanitize.sh` runs them alone, to see that memcheck finds such errors.
#[cfg(test)]
mod memcheck_finds {
    use std::hint::black_box;

    #[test]
    #[ignore = "an error on purpose, for tests/sanitize.sh"]
    fn reads_what_was_never_written() {
        let mut buffer: Vec<u8> = black_box(Vec::with_capacity(64));
        // SAFETY: broken on purpose: these bytes are not initialised.
        unsafe { buffer.set_len(64) };
        let odd = buffer.iter().filter(|&&byte| byte % 2 == 1).count();
        // memcheck reports branches that depend on such bytes.
        assert!(odd <= 64);
        if odd > 32 {
            black_box(&buffer);
        }
    }

    #[test]
    #[ignore = "an error on purpose, for tests/sanitize.sh"]
    fn reads_past_the_end() {
        let buffer: Box<[u8]> = black_box(vec![1; 64].into_boxed_slice());
        // SAFETY: broken on purpose: there are only 64 bytes.
        let beyond = unsafe { std::ptr::read_volatile(buffer.as_ptr().wrapping_add(64)) };
        black_box(beyond);
    }
}
