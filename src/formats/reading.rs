//! Reads a module file, and decompresses only as much of it as the caller needs.
//!
//! Only xz files are read in part. Decoding them is most of depmod's work on a tree of `.ko.xz`; zstd and gzip cost a tenth
//! of that. And the index at the end of an xz file states the size of the module. The size shows a file that was cut off,
//! and whether a signature follows the section headers.

use super::compress::{self, Compression};
use super::elf::{Early, Search, SearchStatus};
use crate::error::Result;
use std::borrow::Cow;

pub enum Reading<'b> {
    /// The data in the first part of the module. The rest was not read and may be damaged.
    Early(Early<'b>),
    /// The whole module, uncompressed.
    Whole(&'b [u8]),
}

/// The part of a module that the caller needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Its symbols, without the CRCs of exports, and `.modinfo`.
    Symbols,
    /// The same and the signature. A signed module is read whole.
    Signature,
    Whole,
}

/// Reads the module in the file content `content`. Decompresses at most `limit` bytes into `buffer`, whose old content is lost.
///
/// # Errors
/// As [`compress::image`], for the part that is read.
pub fn read<'b>(content: &'b [u8], limit: u64, depth: Depth, buffer: &'b mut Vec<u8>) -> Result<Reading<'b>> {
    let size = compress::xz_size(content).filter(|&size| size <= limit && depth != Depth::Whole);
    let Some(size) = size else {
        return Ok(Reading::Whole(match compress::image(content, limit)? {
            Cow::Borrowed(image) => image,
            Cow::Owned(image) => {
                *buffer = image;
                buffer
            }
        }));
    };
    let mut search = Search::new(size, depth == Depth::Signature);
    let wanted = &mut |so_far: &[u8]| match search.look(so_far) {
        SearchStatus::More(bytes) => Some(bytes),
        SearchStatus::Found => None,
        SearchStatus::Never => Some(usize::MAX),
    };
    let image = compress::inflate(Compression::Xz, content, limit, buffer, wanted)?;
    Ok(search.found(image).map_or(Reading::Whole(image), Reading::Early))
}
