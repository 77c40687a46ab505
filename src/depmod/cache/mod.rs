//! The facts about module files, kept from one run to the next.
//!
//! **Where.** One file per module directory in `/var/cache/kmod-once/depmod`. In the module directory it would belong to no
//! package: it would keep `/lib/modules/VERSION` when the kernel is removed, and get into images and packages that are
//! built with `depmod -b`. Files in /var/cache may be deleted at any time (Filesystem Hierarchy Standard); that costs only
//! time.
//!
//! **Key.** The whole content of the file ([`super::digest`]), and nothing else. Inode, size and times are not used, since
//! two files can agree in all of them:
//!
//! * in read-only images (squashfs, erofs, iso9660, cramfs): a reproducible build gives all files one time
//!   (`SOURCE_DATE_EPOCH`), equal trees get equal inode numbers, and the next image is mounted at the same place;
//! * in writable images that were patched, restored or made by a tool (ext4 by mke2fs -d), below an overlay, after a
//!   snapshot of the modules but not of this cache was rolled back, on another disk mounted at the same place;
//! * if the change time can be set: FUSE, network file systems, FAT, a clock that was set back;
//! * if a change does not update the times: through a shared map (always on tmpfs, on others while the page is dirty
//!   anyway), a second change within one tick of the kernel's clock, a lazy time that was lost in a crash.
//!
//! A part of the file is not enough either: two `.ko.xz` can end in the same check, and one of them be damaged before it.
//!
//! So every compressed file is read, which takes a hundredth of the time of decompressing it. Uncompressed files are not
//! cached: parsing a `.ko` takes about as long as reading it.
//!
//! **Trust.** A cache is used if this user owns it, no one else may write it, and its checksum and version are right;
//! otherwise it is ignored and rewritten. It is not synced: a crash leaves a wrong checksum.

mod format;

pub use format::{Remembered, render};

use crate::error::{Error, Result};
use crate::formats::fnv;
use crate::system::{file, replace};
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::Mode;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The largest cache that is read, in bytes; a distribution's kernel takes some 3 MB.
const LARGEST: u64 = 256 << 20;
/// The prefix of temporary files.
const TEMPORARY: &str = ".kmod-once-depmod.";
/// How many module directories are cached.
const MOST_FILES: usize = 32;

/// The cache file of one module directory.
#[derive(Debug, Clone)]
pub struct CacheFile {
    file: PathBuf,
    directory: Vec<u8>,
}

impl CacheFile {
    /// The cache of the module directory `dir` in the directory `caches`; `None` if `dir` cannot be resolved.
    pub fn of(caches: &Path, dir: &Path) -> Option<CacheFile> {
        let directory = fs::canonicalize(dir).ok()?;
        let bytes = directory.as_os_str().as_bytes();
        // The hash distinguishes directories of one name.
        let hash = fnv::update(fnv::OFFSET_BASIS, bytes);
        let mut file = caches.join(directory.file_name().unwrap_or_default()).into_os_string();
        file.push(format!(".{hash:016x}"));
        Some(CacheFile { file: file.into(), directory: bytes.to_vec() })
    }

    /// The bytes of the cache; `None` if there is none or it is not trusted.
    pub fn load(&self) -> Option<Vec<u8>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW;
        let file = File::from(file::open_at(AT_FDCWD, &self.file, flags, Mode::empty()).ok()?);
        let meta = file.metadata().ok()?;
        let ours = meta.uid() == nix::unistd::geteuid().as_raw() && meta.mode() & 0o022 == 0;
        if !meta.is_file() || !ours || meta.len() > LARGEST {
            return None;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
        file.take(LARGEST).read_to_end(&mut bytes).ok()?;
        format::is_whole(&bytes).then_some(bytes)
    }

    /// Writes the cache, and removes those of deleted directories. `now` is in nanoseconds since the epoch.
    ///
    /// # Errors
    /// The errno of the failed call. The output files are not affected.
    pub fn store(&self, contents: &[u8], now: i64) -> Result<()> {
        let caches = self.file.parent().unwrap_or(Path::new("."));
        let at = |error: std::io::Error| Error::from(error).at(&self.file);
        // Not /var/cache itself: a system without it wants no cache.
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
            // If it cannot be removed either, a later run does it.
            let _ = fs::remove_file(&temporary);
            at(error)
        })
    }
}

/// Removes the temporary files of killed runs, the caches of deleted directories, and the oldest caches beyond the limit.
/// Other files are left alone: `--cache-dir` may name any directory.
fn prune(caches: &Path, keep: &Path, now: i64) {
    let Ok(entries) = fs::read_dir(caches) else { return };
    let mut kept = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if path == keep || !meta.is_file() {
            continue;
        }
        let obsolete = if entry.file_name().as_bytes().starts_with(TEMPORARY.as_bytes()) {
            now / 1_000_000_000 - meta.mtime() > 3600
        } else {
            let Some(directory) = directory_of(&path) else { continue };
            let exists = directory.is_dir();
            if exists {
                kept.push((meta.mtime(), path.clone()));
            }
            !exists
        };
        if obsolete {
            let _ = fs::remove_file(&path);
        }
    }
    kept.sort();
    let surplus = (kept.len() + 1).saturating_sub(MOST_FILES);
    for (_, path) in kept.into_iter().take(surplus) {
        // A file that is already gone is no problem.
        let _ = fs::remove_file(&path);
    }
}

/// The directory that a cache is about; `None` if the file is no cache.
fn directory_of(path: &Path) -> Option<PathBuf> {
    let mut start = Vec::new();
    file::open(path).ok()?.take(4096).read_to_end(&mut start).ok()?;
    Some(crate::system::roots::as_path(format::directory(&start)?).to_path_buf())
}

#[cfg(test)]
mod tests;
