//! kmod-once: the kernel module tools, in which a module reaches the kernel once.
//!
//! The map of the crate, from the top down; imports only ever go downward:
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | one file per tool: arguments, output, exit status |
//! | `capi` | `libkmod.so.2`: C's handles and error numbers around the rooms below (feature `library`) |
//! | [`check`] | what is wrong with the configuration, the modules and the machine, a small function each |
//! | [`load`], [`depmod`] | a request becomes a plan, the plan is walked; the indexes are made |
//! | [`gate`], [`tree`] | load exactly once; one module directory with its configuration |
//! | [`config`], [`formats`], [`system`] | modprobe.d; bytes into values; the only room that touches the OS |
//! | [`error`], [`log`], [`name`], [`limits`] | what everyone uses |
#![deny(unsafe_code)]

#[cfg(feature = "library")]
pub mod capi;
pub mod check;
pub mod cli;
pub mod config;
pub mod depmod;
pub mod errno;
pub mod error;
pub mod formats;
pub mod gate;
pub mod limits;
pub mod load;
pub mod log;
pub mod name;
pub mod system;
pub mod tree;
