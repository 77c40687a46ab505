//! Parsers: module files, their contents, and the files of a module directory.
//!
//! Nothing here reads a file or makes a system call. The input is not trusted: every offset is checked where it is used. No
//! input makes a parser panic, loop for ever, or use more memory than a small multiple of the input or of the given limit
//! (`tests/mutation` and `tests/fuzz`).
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

/// White space of isspace(3) in the C locale.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// The bytes before the first `separator`, and those after it. Not by `memchr::memchr`, which asks what the CPU can first: see
/// `find` in `config/lines.rs`.
fn split_once(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let (before, rest) = bytes.split_at_checked(bytes.iter().position(|&byte| byte == separator)?)?;
    Some((before, rest.get(1..)?))
}
