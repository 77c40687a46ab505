//! kmod-once: the kernel module tools, in which a module reaches the kernel once.
//!
//! One static program, whose tool is chosen by the name it is called by, and one shared library. A request flows one way:
//!
//! ```text
//! argv -> cli -> tree.lookup -> plan -> steps -> gate -> kernel -> outcome -> text and exit status
//! ```
//!
//! The modules, from the top down. Imports run downward only; tests/architecture.rs checks it.
//!
//! | module | what it is |
//! |---|---|
//! | `cli` | one file per tool: arguments as GNU getopt reads them, output, exit status |
//! | `capi` | `libkmod.so.2`: C's handles, lists and error numbers over the modules below (feature `library`); independent of `cli` |
//! | `check` | finds problems of configuration, modules and machine |
//! | `load` | makes a plan of a request (pure; `-D`, `-n`, `-v` print it) and walks it through the gate; threads load ahead of the walk |
//! | `depmod` | makes the indexes |
//! | `gate` | load exactly once: the protocol, its record, counters, trace |
//! | `tree` | one module directory with its configuration: lookup, dependencies |
//! | `config` | modprobe.d and the kernel command line |
//! | `formats` | bytes into values: ELF, modinfo, indexes, compression, signatures; no I/O, no `unsafe` |
//! | `system` | the operating system: calls, files, /proc and /sys; all `unsafe` code except that of `capi` |
//! | `error`, `errno`, `log`, `name`, `limits` | what all modules share |
//!
//! Below `cli` and `capi` nothing prints or ends the process, so that a whole tool runs inside a unit test on a fixture.
//! Only `system` reads the process's environment.
//!
//! The crate is a program and a C library. Its Rust interface is [`program`]; `internals` exists for the crate's own tests.
#![deny(unsafe_code)]
// The documentation is for developers of the crate and is built with its private items.
#![allow(rustdoc::private_intra_doc_links)]
#![cfg_attr(not(test), warn(unreachable_pub))]
// Without the feature `library`, what only the C library calls is dead code.
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
