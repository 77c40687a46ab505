//! Reading a module file no further than it takes to know what is asked of it.
//!
//! Only xz: decoding it is most of the work on a tree of such files, and the index at the end of the file says how large the
//! module is, which guards against files that were cut off, and tells whether a signature follows the section headers.
//! Decoding zstd or gzip costs a tenth of it.

use super::compress::{self, Compression};
use super::elf::{Early, Look, Search};
use crate::error::Result;

/// A module file that was read.
pub enum Reading<'b> {
    /// What its beginning tells; the rest was not looked at, and may be damaged.
    Early(Early<'b>),
    /// All of it, uncompressed.
    Whole(&'b [u8]),
}

/// How much of a module is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Its symbols, without the CRCs of exports, and what it says about itself.
    Symbols,
    /// The same, and its signature: all of a module that has one is read.
    Signature,
    /// Everything.
    Whole,
}

/// Reads the module in the file content `content`. What is inflated goes into `buffer`, whose contents do not matter, at
/// most `limit` bytes.
///
/// # Errors
/// As [`compress::image`], as far as the file is read.
pub fn read<'b>(content: &'b [u8], limit: u64, depth: Depth, buffer: &'b mut Vec<u8>) -> Result<Reading<'b>> {
    let size = compress::xz_size(content).filter(|&size| size <= limit && depth != Depth::Whole);
    let mut search = match (compress::detect(content), size) {
        (Compression::Xz, Some(size)) => Search::new(size, depth == Depth::Signature),
        _ => {
            return Ok(Reading::Whole(match compress::image(content, limit)? {
                std::borrow::Cow::Borrowed(image) => image,
                std::borrow::Cow::Owned(image) => {
                    *buffer = image;
                    buffer
                }
            }));
        }
    };
    let wanted = &mut |so_far: &[u8]| match search.look(so_far) {
        Look::More(bytes) => Some(bytes),
        Look::Found => None,
        Look::Never => Some(usize::MAX),
    };
    let image = compress::inflate(Compression::Xz, content, limit, buffer, wanted)?;
    Ok(match search.found(image) {
        Some(early) => Reading::Early(early),
        None => Reading::Whole(image),
    })
}
