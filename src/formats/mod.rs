//! Bytes into values: module files, what is in them, and the files of a module directory.
//!
//! Nothing here reads a file, asks the system, or trusts a byte: every offset is checked where it is used, and no input
//! makes a parser panic, loop, or hold more memory than a small multiple of the input (or of the limit it was given).
#![forbid(unsafe_code)]

pub mod compress;
pub mod elf;
pub mod fnv;
pub mod index;
pub mod kernel_args;
pub mod kernel_decoder;
pub mod kmsg;
pub mod modinfo;
pub mod number;
pub mod parameter;
pub mod pattern;
pub mod reading;
pub mod signature;
pub mod text;
