//! Shared maps of a file, and counters in them.

use crate::error::Errno;
use memmap2::{MmapOptions, MmapRaw};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Maps the first `length` bytes of `file`, shared with other processes. The file must be open for reading and writing. No
/// process may truncate it while it is mapped.
///
/// # Errors
/// `EINVAL` if the file is shorter or has no blocks: access to a hole on a full tmpfs raises SIGBUS. Else the errno of
/// fstat or mmap.
pub(crate) fn map(file: &File, length: usize) -> Result<MmapRaw, Errno> {
    let meta = file.metadata().map_err(|e| Errno::of(&e))?;
    if meta.len() < length as u64 || meta.blocks() == 0 {
        return Err(Errno::EINVAL);
    }
    MmapOptions::new().len(length).map_raw(file).map_err(|e| Errno::of(&e))
}

/// Counters in a mapped file. Each addition is atomic, so there is no lock and nothing to repair after a crash.
pub(crate) struct SharedCounters {
    map: MmapRaw,
    offset: usize,
    count: usize,
}

impl SharedCounters {
    /// Maps `count` counters of 8 bytes (native byte order) at `offset` of `file`.
    ///
    /// # Errors
    /// `EINVAL` if the offset is not a multiple of 8; else as [`map`].
    pub(crate) fn map(file: &File, offset: usize, count: usize) -> Result<Self, Errno> {
        if offset % 8 != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(SharedCounters { map: map(file, offset + count * 8)?, offset, count })
    }

    /// Adds to counter `index`; an index past the end does nothing.
    pub(crate) fn add(&self, index: usize, amount: u64) {
        if index < self.count {
            // SAFETY: the map is at least offset + 8 * count bytes long, is page-aligned with an offset that is a
            // multiple of 8, and lives as long as self. Other processes access these bytes atomically too.
            let counter =
                unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(self.offset + index * 8).cast()) };
            counter.fetch_add(amount, Ordering::Relaxed);
        }
    }
}
