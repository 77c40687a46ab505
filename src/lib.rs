//! kmod-once: the kernel module tools, in which a module reaches the kernel once.
//!
//! One static program, whose tool is chosen by the name it is called by, and one shared library. A request flows one way:
//!
//! ```text
//! argv -> cli -> tree.lookup -> plan -> steps -> gate -> kernel -> outcome -> text and exit status
//! ```
//!
//! The map, from the top down; imports only run downward, and tests/architecture.rs holds them to it:
//!
//! | module | what it is |
//! |---|---|
//! | `cli` | one file per tool: arguments as GNU getopt reads them, output, exit status |
//! | `capi` | `libkmod.so.2`: C's handles, lists and error numbers around the rooms below (feature `library`); knows nothing of `cli`, nor `cli` of it |
//! | `check` | what is wrong with configuration, modules and machine |
//! | `load` | a request becomes a plan (pure; `-D`, `-n`, `-v` print it), which is walked through the gate; threads load ahead of the walk |
//! | `depmod` | makes the indexes |
//! | `gate` | load exactly once: the protocol, its record, counters, trace |
//! | `tree` | one module directory with its configuration: lookup, dependencies |
//! | `config` | modprobe.d and the kernel command line |
//! | `formats` | bytes into values: ELF, modinfo, indexes, compression, signatures; no I/O, no `unsafe` |
//! | `system` | what the operating system gives; all `unsafe` but that of C's border |
//! | `error`, `errno`, `log`, `name`, `limits` | what everyone uses |
//!
//! Nothing below `cli` and `capi` prints, exits, or reads the environment, so that a whole tool runs inside a unit test on a
//! fixture.
//!
//! The crate is a program and a C library. To Rust it is only [`program`], and what its own tests see (`internals`).
#![deny(unsafe_code)]
// The pages are for those who work on it, and made with what is private.
#![allow(rustdoc::private_intra_doc_links)]
#![cfg_attr(not(test), warn(unreachable_pub))]
// What only the C library calls is dead without it.
#![cfg_attr(not(any(test, feature = "library")), allow(dead_code))]

#[cfg(any(test, feature = "library"))]
mod capi;
mod check;
mod cli;
mod config;
mod depmod;
mod errno;
mod error;
mod formats;
mod gate;
#[doc(hidden)]
pub mod internals;
mod limits;
mod load;
mod log;
mod name;
mod system;
mod tree;

pub use cli::program;
#[doc(hidden)]
pub use system::start::{arguments, open_standard_descriptors};
