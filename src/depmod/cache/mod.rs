//! What was learnt from each module file, kept from one run to the next.
//!
//! **Where.** One file per module directory under `/var/cache/kmod-once/depmod`. Beside the indexes it would be a file
//! that no package knows: it would keep `/lib/modules/VERSION` alive when the kernel is removed, land in images and
//! packages that are built with `depmod -b`. Under /var/cache it may be deleted at any time, as the FHS wants it, and
//! nothing is lost but time.
//!
//! **What counts.** The content of the file, all of it ([`super::digest`]), and nothing else. Inode, size and times are
//! not asked, since two files can agree in all of them:
//!
//! * in images (squashfs, erofs, iso9660, cramfs), which keep one time for each file, or one for all of them where a build is
//!   to be reproducible (`SOURCE_DATE_EPOCH`), and number equal trees equally; the next image is mounted at the same place;
//! * in images of writable file systems that were patched, restored or made by a tool (ext4 by mke2fs -d), below an
//!   overlay, in snapshots that were rolled back while this cache was not, on another disk at the same place;
//! * where the change time is what somebody says: FUSE, network file systems, FAT, a clock that was set back;
//! * where a change does not touch it: through a shared map, always on tmpfs, and on others while the page is dirty anyway;
//!   two changes within one tick of the kernel's clock; a lazy time that a crash took;
//! * and half of a file says nothing of it: two `.ko.xz` can end in the same check, one of them damaged in front of it.
//!
//! So every file is read. For a compressed one that costs a hundredth of decoding it. Others are not kept at all: a `.ko`
//! is understood about as fast as it is read.
//!
//! **Trust.** A cache is used if it belongs to us, nobody else may write it, and its checksum and version are right; otherwise it is as if it were not there, and it is written anew. It is not synced: what a crash leaves fails
//! the checksum.

mod format;

pub use format::{Entry, Remembered, render};

use crate::error::{Errno, Error, Result};
use crate::formats::fnv;
use crate::system::replace;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The largest cache that is read, in bytes; a distribution's kernel takes some 3 MB.
const LARGEST: u64 = 256 << 20;
/// What the name of a cache in the making begins with.
const TEMPORARY: &str = ".kmod-once-depmod.";
/// How many module directories are remembered.
const MOST_FILES: usize = 32;

/// The place of one module directory's cache.
#[derive(Debug, Clone)]
pub struct Place {
    file: PathBuf,
    directory: Vec<u8>,
}

impl Place {
    /// The cache of the module directory `dir` among the caches in `caches`; `None` where `dir` cannot be had.
    pub fn of(caches: &Path, dir: &Path) -> Option<Place> {
        let directory = fs::canonicalize(dir).ok()?;
        let bytes = directory.as_os_str().as_bytes();
        // The hash tells directories of one name apart.
        let hash = fnv::update(fnv::OFFSET_BASIS, bytes);
        let mut file = caches.join(directory.file_name().unwrap_or_default()).into_os_string();
        file.push(format!(".{hash:016x}"));
        Some(Place { file: file.into(), directory: bytes.to_vec() })
    }

    /// The bytes of the cache, if there is one that may be trusted.
    pub fn load(&self) -> Option<Vec<u8>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(nix::libc::O_NOFOLLOW).open(&self.file).ok()?;
        let meta = file.metadata().ok()?;
        let ours = meta.uid() == nix::unistd::geteuid().as_raw() && meta.mode() & 0o022 == 0;
        if !meta.is_file() || !ours || meta.len() > LARGEST {
            return None;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
        file.take(LARGEST).read_to_end(&mut bytes).ok()?;
        format::is_whole(&bytes).then_some(bytes)
    }

    /// Writes the cache, and drops those of directories that are gone. `now` is in nanoseconds since the epoch.
    ///
    /// # Errors
    /// What the system said; the work of the run is not touched by it.
    pub fn store(&self, contents: &[u8], now: i64) -> Result<()> {
        let caches = self.file.parent().unwrap_or(Path::new("."));
        let at = |error: std::io::Error| Error::os(Errno::of(&error)).at(&self.file);
        // Not /var/cache itself, nor what is above: a system without it wants no cache.
        if let Some(parent) = caches.parent() {
            let _ = fs::DirBuilder::new().mode(0o755).create(parent);
        }
        match fs::DirBuilder::new().mode(0o700).create(caches) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(at(error)),
            _ => {}
        }
        prune(caches, &self.file, now);
        let temporary = caches.join(format!("{TEMPORARY}{}", std::process::id()));
        let written = replace::create_new(&temporary, 0o600)
            .and_then(|mut file: File| file.write_all(contents))
            .and_then(|()| fs::rename(&temporary, &self.file));
        written.map_err(|error| {
            // What cannot be removed either will be by a later run.
            let _ = fs::remove_file(&temporary);
            at(error)
        })
    }
}

/// Removes what a killed run left, the caches of directories that are gone, and the oldest beyond what is kept. Other
/// files are left alone: the directory may be any that somebody named.
fn prune(caches: &Path, keep: &Path, now: i64) {
    let Ok(entries) = fs::read_dir(caches) else { return };
    let mut kept = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if path == keep || !meta.is_file() {
            continue;
        }
        let seconds = now / 1_000_000_000 - meta.mtime();
        let obsolete = if entry.file_name().as_bytes().starts_with(TEMPORARY.as_bytes()) {
            seconds > 3600
        } else {
            let Some(directory) = directory_of(&path) else { continue };
            kept.push((meta.mtime(), path.clone()));
            !directory.is_dir()
        };
        if obsolete {
            let _ = fs::remove_file(&path);
        }
    }
    kept.sort();
    let surplus = (kept.len() + 1).saturating_sub(MOST_FILES);
    for (_, path) in kept.into_iter().take(surplus) {
        // One that is gone already does not matter.
        let _ = fs::remove_file(&path);
    }
}

/// The directory that a cache is about, from its first bytes; `None` for a file that is no cache.
fn directory_of(path: &Path) -> Option<PathBuf> {
    let mut start = Vec::new();
    File::open(path).ok()?.take(4096).read_to_end(&mut start).ok()?;
    Some(crate::system::roots::as_path(format::directory(&start)?).to_path_buf())
}

#[cfg(test)]
mod tests;
