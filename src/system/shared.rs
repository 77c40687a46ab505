//! Memory of a file that several processes map: atomic words in it.

use crate::error::Errno;
use memmap2::{MmapOptions, MmapRaw};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// A shared map of the beginning of a file.
pub(crate) struct SharedMap(MmapRaw);

impl SharedMap {
    /// Maps the first `length` bytes of `file`. The file must be open for reading and writing. No process may truncate it
    /// while it is mapped.
    ///
    /// # Errors
    /// `EINVAL` if the file is shorter or has no blocks: access to a hole on a full tmpfs raises SIGBUS. `EACCES` if mapping it
    /// is not permitted. Else the errno of fstat or mmap.
    pub(crate) fn of(file: &File, length: usize) -> Result<Self, Errno> {
        let meta = file.metadata().map_err(|e| Errno::of(&e))?;
        if meta.len() < length as u64 || meta.blocks() == 0 {
            return Err(Errno::EINVAL);
        }
        MmapOptions::new().len(length).map_raw(file).map(SharedMap).map_err(|e| Errno::of(&e))
    }

    /// The word of 4 bytes (native byte order) at `offset`; `None` if it is not aligned or not all within the map.
    pub(crate) fn word(&self, offset: usize) -> Option<&AtomicU32> {
        // SAFETY: as `at` says. Other processes access these bytes atomically, too.
        self.at(offset).map(|word| unsafe { &*word })
    }

    /// The word of 8 bytes (native byte order) at `offset`; `None` as in [`SharedMap::word`].
    pub(crate) fn long(&self, offset: usize) -> Option<&AtomicU64> {
        // SAFETY: as `at` says. Other processes access these bytes atomically, too.
        self.at(offset).map(|word| unsafe { &*word })
    }

    /// Where a `T` at `offset` lies: within the map, which lives as long as self, and aligned, since the map is to a page.
    fn at<T>(&self, offset: usize) -> Option<*const T> {
        let end = offset.checked_add(size_of::<T>())?;
        let fits = offset % align_of::<T>() == 0 && end <= self.0.len();
        fits.then(|| self.0.as_ptr().wrapping_add(offset).cast())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_mapped_can_be_had() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = |file: &File, length| SharedMap::of(file, length).err();
        assert_eq!(error(file.as_file(), 16), Some(Errno::EINVAL), "an empty file");
        assert_eq!(file.as_file().metadata().unwrap().len(), 0, "it is left alone");
        file.as_file().set_len(16).unwrap();
        assert_eq!(error(file.as_file(), 16), Some(Errno::EINVAL), "a hole");
        std::fs::write(file.path(), [0; 16]).unwrap();
        assert_eq!(error(file.as_file(), 17), Some(Errno::EINVAL), "a short file");
        let reading = File::open(file.path()).unwrap();
        assert_eq!(error(&reading, 16), Some(Errno::EACCES), "what may not be written");
        let map = SharedMap::of(file.as_file(), 16).unwrap();
        assert!(map.word(12).is_some() && map.long(8).is_some());
        for offset in [1, 2, 13, 14, 16, usize::MAX] {
            assert!(map.word(offset).is_none() && map.long(offset).is_none(), "{offset}");
        }
        assert!(map.long(4).is_none() && map.long(12).is_none());
    }
}
