//! The only room that touches the operating system: paths, system calls, clocks, locks, maps, child processes.
//!
//! Everything above takes a [`System`] and so runs in a test on a fixture tree with a scripted kernel.
#![allow(unsafe_code)]

pub mod clock;
pub mod command;
pub mod fake;
pub mod file;
pub mod flock;
pub mod kernel;
pub mod kmsg;
pub mod map;
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
    /// How to wait for a lock without waiting for ever.
    pub wait: flock::Wait,
}
