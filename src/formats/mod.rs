//! Bytes into values: module files, what is in them, and the files of a module directory.
//!
//! Nothing here reads a file, asks the system, or trusts a byte: every offset is checked where it is used, and no input
//! makes a parser panic, loop, or hold more memory than a small multiple of the input (or of the limit it was given).
#![forbid(unsafe_code)]

pub(crate) mod compress;
pub(crate) mod elf;
pub(crate) mod fnv;
pub(crate) mod index;
pub(crate) mod kernel_args;
pub(crate) mod kernel_decoder;
pub(crate) mod kmsg;
pub(crate) mod modinfo;
pub(crate) mod number;
pub(crate) mod parameter;
pub(crate) mod pattern;
pub(crate) mod reading;
pub(crate) mod signature;
pub(crate) mod text;
