//! Which compressed files the kernel's own decoders accept (kernel/module/decompress.c and the decoders in its lib/). They
//! support less than the libraries of the compression tools:
//!
//! | | never accepted | depends on the build and on memory | only the first part is decoded |
//! |---|---|---|---|
//! | xz | a check other than CRC32, the filter `--delta`, a start offset | filters for machine code, a large dictionary | several streams |
//! | gzip | header fields other than the name; cut off data | | several members |
//! | zstd | a window of more than 128 MiB | | several frames |
//!
//! [`may_take`] checks the start of the file before the kernel gets it, for most of the first column. [`takes_all_of`] reads
//! the whole file; it is used after the kernel has refused the file.
//!
//! ```text
//! xz block header     size / 4 - 1; flags: bits 0-1 number of filters - 1, bits 6 and 7 which of the two sizes follow;
//!                     those sizes; for each filter: id, length of its properties, properties   (numbers as in the index)
//! gzip member         1F 8B, method 8, flags: 1 checksum of the header, 2 extra field, 3 name, 4 comment
//! zstd frame          28 B5 2F FD; descriptor: 0-1 size of the dictionary's id, 5 single segment, 6-7 size of the size;
//!                     window: 3-7 exponent - 10, 0-2 eighths (not in a single segment); id of the dictionary; size
//! ```
//!
//! Documentation/staging/xz.rst; RFC 1952; RFC 8878.

use super::compress::{Compression, detect, xz_blocks, xz_number};
use std::io::Read;
use zstd::zstd_safe::find_frame_compressed_size;

/// The number of bytes that [`may_take`] reads.
pub const HEAD: usize = 64;

/// The largest window that the kernel's zstd decoder accepts, in bytes.
const ZSTD_WINDOW: u64 = (1 << 27) + 1;

/// The default dictionary of xz(1), in bytes. The kernel's decoder needs contiguous memory for it. If it gets none, the errno
/// is the same as for a damaged file.
const XZ_DICTIONARY: u64 = 8 << 20;

/// Whether a kernel with a decoder for this compression may accept a file that begins with `head`: its first [`HEAD`] bytes,
/// or all if it is shorter.
pub fn may_take(head: &[u8]) -> bool {
    match detect(head) {
        Compression::None => true,
        Compression::Xz => {
            // The check is in the low half of byte 7: 0 none, 1 CRC32, 4 CRC64 (xz's own default), 10 SHA-256.
            head.get(7).is_none_or(|flags| flags & 15 <= 1)
                && xz_filters(head.get(12..).unwrap_or(&[])) != Some(Filters::Refused)
        }
        // No checksum of the header, extra field or comment.
        Compression::Gzip => head.get(3).is_none_or(|flags| flags & (1 << 1 | 1 << 2 | 1 << 4) == 0),
        Compression::Zstd => zstd_window(head).is_none_or(|window| window <= ZSTD_WINDOW),
    }
}

/// Whether a kernel with a decoder for this compression decodes the whole module in the file `content`. Then its refusal is
/// about the module. Decodes a gzip file, at most `limit` bytes.
pub fn takes_all_of(content: &[u8], limit: u64) -> bool {
    may_take(content)
        && match detect(content) {
            Compression::None => true,
            Compression::Xz => xz_is_plain(content),
            Compression::Gzip => gzip_is_one(content, limit),
            Compression::Zstd => find_frame_compressed_size(content) == Ok(content.len()),
        }
}

/// The filters of an xz block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filters {
    /// Every kernel with an xz decoder supports them.
    Plain,
    /// Support depends on the build or on free memory.
    Perhaps,
    /// No kernel supports them.
    Refused,
}

/// The filters of the block that begins with `block`; `None` if it is cut off or not a block.
fn xz_filters(block: &[u8]) -> Option<Filters> {
    // An index begins with 0.
    let (&[_, flags], mut rest) = block.split_first_chunk::<2>().filter(|(head, _)| head[0] != 0)?;
    for _ in 0..(flags >> 6).count_ones() {
        xz_number(&mut rest)?;
    }
    let count = usize::from(flags & 3) + 1;
    let mut found = Filters::Plain;
    for number in 1..=count {
        let id = xz_number(&mut rest)?;
        let length = usize::try_from(xz_number(&mut rest)?).ok()?;
        let properties;
        (properties, rest) = rest.split_at_checked(length)?;
        found = match (id, properties) {
            // LZMA2, always the last one. The size of the dictionary is 2 or 3 times a power of two.
            (0x21, &[dictionary]) if number == count => {
                let size = (2 | u64::from(dictionary & 1)) << (u32::from(dictionary.min(40)) / 2 + 11);
                if size > XZ_DICTIONARY { Filters::Perhaps } else { found }
            }
            // Filters for machine code.
            (0x04..=0x0b, []) if number == 1 && count == 2 => Filters::Perhaps,
            _ => return Some(Filters::Refused),
        };
    }
    Some(found)
}

/// Whether this is one stream, with or without padding after it, whose filters every kernel supports.
fn xz_is_plain(content: &[u8]) -> bool {
    let mut stream = content;
    while let Some(rest) = stream.strip_suffix(&[0; 4]) {
        stream = rest;
    }
    let Some(blocks) = xz_blocks(stream) else { return false };
    let mut rest = stream.get(12..).unwrap_or(&[]);
    blocks.iter().all(|&(packed, _)| {
        let plain = xz_filters(rest) == Some(Filters::Plain);
        rest = usize::try_from(packed).ok().and_then(|packed| rest.get(packed..)).unwrap_or(&[]);
        plain
    })
}

/// Whether this is one whole member. Data after it is ignored, unless it is another member.
fn gzip_is_one(content: &[u8], limit: u64) -> bool {
    let mut decoder = flate2::bufread::GzDecoder::new(content);
    let whole = std::io::copy(&mut (&mut decoder).take(limit), &mut std::io::sink()).is_ok();
    whole && detect(decoder.into_inner()) != Compression::Gzip
}

/// The window of the zstd frame that begins with `frame`, in bytes.
fn zstd_window(frame: &[u8]) -> Option<u64> {
    let (&descriptor, rest) = frame.get(4..)?.split_first()?;
    if descriptor >> 5 & 1 == 0 {
        let &window = rest.first()?;
        let base = 1u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    let id = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let length = 1usize << (descriptor >> 6);
    let field = rest.get(id..)?.get(..length)?;
    let number = field.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte));
    // A size in two bytes is stored minus 256.
    Some(if length == 2 { number + 256 } else { number })
}

#[cfg(test)]
#[path = "kernel_decoder_tests.rs"]
mod tests;
