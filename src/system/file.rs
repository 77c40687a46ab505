//! Opening, reading and writing files; listing directories.

use super::descriptors::{park, retry_on_emfile};
use crate::error::{Errno, Error, Result};
use nix::NixPath;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::libc;
use nix::sys::stat::Mode;
use std::ffi::CString;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// The initial capacity of a read buffer, in bytes. Nearly all configuration files and directories fit.
const INITIAL_CAPACITY: usize = 16 << 10;

/// openat(2) that never waits, whatever is at the path. `O_NONBLOCK` changes nothing for a regular file. A FIFO without a
/// writer opens at once and reads as empty; opening it for writing fails with `ENXIO` unless it has a reader. Adds `O_CLOEXEC`,
/// and `O_LARGEFILE`: else the open of a file of 2 GiB fails with `EOVERFLOW` on a 32-bit machine.
///
/// # Errors
/// The errno of openat(2); `EMFILE` only if no parked descriptor could be closed.
pub(crate) fn open_at<P: ?Sized + NixPath>(
    at: impl AsFd,
    path: &P,
    flags: OFlag,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlag::O_CLOEXEC | OFlag::O_LARGEFILE | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    retry_on_emfile(|| openat(&at, path, flags, mode))
}

/// Opens a file that the user named, which may be a pipe: waits for the writer of a FIFO, and its reads wait for data.
///
/// # Errors
/// As [`open_at`].
pub(super) fn open_operand(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_LARGEFILE | OFlag::O_NOCTTY;
    retry_on_emfile(|| openat(AT_FDCWD, path, flags, Mode::empty()))
}

/// Reads a small attribute file (sysfs, procfs) into `buffer` with one open and one read. A longer content is cut.
pub(crate) fn read_attribute<'b>(path: &Path, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let fd = open_fd(path)?;
    let length = Errno::uninterrupted(|| nix::unistd::read(&fd, buffer))?;
    Ok(&buffer[..length])
}

/// Reads a whole regular or virtual file of at most `limit` bytes.
///
/// # Errors
/// The errno of open or read, `EFBIG` above the limit; with the path.
pub(crate) fn read_whole(path: &Path, limit: u64) -> Result<Vec<u8>> {
    read_to_end(&open(path)?, path, limit, 0)
}

/// Opens `path` for reading. As [`open_at`], it never waits.
pub(crate) fn open(path: &Path) -> Result<File> {
    open_fd(path).map(File::from).map_err(|errno| Error::os(errno).at(path))
}

fn open_fd(path: &Path) -> Result<OwnedFd, Errno> {
    open_at(AT_FDCWD, path, OFlag::O_RDONLY, Mode::empty())
}

/// Reads `file` to its end, at most `limit` bytes. `capacity` is that of the new vector. Errors as [`read_whole`].
pub(super) fn read_to_end(file: &File, path: &Path, limit: u64, capacity: usize) -> Result<Vec<u8>> {
    let mut contents = Vec::with_capacity(capacity);
    file.take(limit + 1).read_to_end(&mut contents).map_err(|e| Error::from(e).at(path))?;
    if contents.len() as u64 > limit {
        return Err(too_large(limit).at(path));
    }
    Ok(contents)
}

/// The error for a file of more than `limit` bytes.
pub(super) fn too_large(limit: u64) -> Error {
    Error::new(Errno::EFBIG, format!("larger than {limit} bytes, refused"))
}

/// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end of the file. The file's own offset does not move.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        let (rest, at) = (&mut buffer[filled..], offset + filled as u64);
        match Errno::uninterrupted(|| file.read_at(rest, at).map_err(|error| Errno::of(&error)))? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Writes `bytes` at `offset` in one pwrite(2); returns how many were written. Nothing is written past `RLIMIT_FSIZE`: the
/// kernel would send SIGXFSZ, which kills the process or the library's host.
///
/// # Errors
/// The errno of pwrite(2); `EFBIG` past `RLIMIT_FSIZE`.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
    within_size_limit(offset + bytes.len() as u64)?;
    Errno::uninterrupted(|| file.write_at(bytes, offset).map_err(|error| Errno::of(&error)))
}

/// Checks that `RLIMIT_FSIZE` allows a file of `length` bytes.
///
/// # Errors
/// `EFBIG` if it does not.
pub(crate) fn within_size_limit(length: u64) -> Result<(), Errno> {
    // getrlimit64, since getrlimit(2) has 32 bits on a 32-bit machine.
    let mut limit = libc::rlimit64 { rlim_cur: u64::MAX, rlim_max: u64::MAX };
    // SAFETY: one struct rlimit64 is written. If the call fails, the value above stays.
    unsafe { libc::getrlimit64(libc::RLIMIT_FSIZE, &mut limit) };
    if length > limit.rlim_cur { Err(Errno::EFBIG) } else { Ok(()) }
}

/// How a reader recognises the end of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eof {
    /// A read that did not fill the buffer. For regular files, and files of procfs with one record.
    Short,
    /// A read of 0 bytes, without blocking. A FIFO that no process has opened for writing is empty.
    Empty,
    /// A read of 0 bytes; blocks until then. For a file that the user named, which may be a pipe.
    Blocking,
}

/// Reads a whole file of at most `limit` bytes into `buffer`, whose content is replaced.
///
/// # Errors
/// The errno of open or read: `EISDIR` for a directory, `EAGAIN` for a FIFO without data yet; `EFBIG` above the limit.
pub(crate) fn read_into(path: &Path, buffer: &mut Vec<u8>, limit: usize, end: Eof) -> Result<(), Errno> {
    let fd = match end {
        Eof::Blocking => open_operand(path)?,
        Eof::Short | Eof::Empty => open_fd(path)?,
    };
    buffer.clear();
    loop {
        // Read one byte more than the limit, to see whether the file is longer.
        let left = limit.saturating_add(1) - buffer.len();
        if buffer.len() == buffer.capacity() {
            buffer.reserve_exact((buffer.len() * 3).max(INITIAL_CAPACITY).min(left));
        }
        let room = buffer.spare_capacity_mut();
        let most = left.min(room.len());
        let room = &mut room[..most];
        let count = Errno::uninterrupted(|| {
            // SAFETY: the kernel writes at most `room.len()` bytes, and the descriptor is open.
            Errno::result(unsafe { libc::read(fd.as_raw_fd(), room.as_mut_ptr().cast(), room.len()) })
        });
        let count = count?.unsigned_abs();
        let full = count == room.len();
        // SAFETY: the kernel has just written these bytes.
        unsafe { buffer.set_len(buffer.len() + count) };
        if buffer.len() > limit {
            return Err(Errno::EFBIG);
        }
        if count == 0 || (end == Eof::Short && !full) {
            park(fd);
            return Ok(());
        }
    }
}

/// Whether two answers of stat(2) are about one file.
pub(super) fn is_same(one: io::Result<Metadata>, other: io::Result<Metadata>) -> bool {
    matches!((one, other), (Ok(one), Ok(other)) if (one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// The SELinux label of a file, without its NUL; links are not followed. `None` without one.
pub(crate) fn selinux_label(path: &Path) -> Option<Vec<u8>> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut buffer = [0u8; 1024];
    let name = c"security.selinux".as_ptr();
    // SAFETY: both strings end in NUL and live through the call, which writes at most as many bytes as the buffer has.
    let length = unsafe { libc::lgetxattr(path.as_ptr(), name, buffer.as_mut_ptr().cast(), buffer.len()) };
    let label = buffer.get(..usize::try_from(length).ok()?)?;
    label.split(|&byte| byte == 0).next().map(<[u8]>::to_vec)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryType {
    Regular,
    Directory,
    /// Another type, or the file system does not say (`DT_UNKNOWN`).
    Other,
}

/// Takes the name and the type of a directory entry.
type Visit<'v> = &'v mut dyn FnMut(&[u8], EntryType);

/// Calls `visit` for each name in the directory `dir`, in directory order, without `.` and `..`. `buffer` is reused. By
/// getdents64(2), since opendir(3) allocates 32 KiB and calls fstat(2), and readdir(3) fails with `EOVERFLOW` for a large
/// inode or offset on a 32-bit machine.
///
/// # Errors
/// The errno of open or of the first read (`ENOTDIR`). After a later error the rest of the names is missing.
pub(crate) fn visit_names(dir: &Path, buffer: &mut Vec<u8>, visit: Visit<'_>) -> Result<(), Errno> {
    visit_names_at(AT_FDCWD, dir, buffer, visit)
}

/// The names in the directory `dir`, in directory order.
pub(crate) fn names(dir: &Path) -> Result<Vec<Vec<u8>>, Errno> {
    let mut found = Vec::new();
    visit_names(dir, &mut Vec::new(), &mut |name, _| found.push(name.to_vec()))?;
    Ok(found)
}

/// As [`visit_names`], for `dir` relative to the directory `at` (openat(2)).
pub(crate) fn visit_names_at(
    at: impl AsFd,
    dir: &Path,
    buffer: &mut Vec<u8>,
    visit: Visit<'_>,
) -> Result<(), Errno> {
    /// Offsets in `struct linux_dirent64` (getdents(2)): inode and offset, 8 bytes each; length, 2; type, 1; name and NUL.
    const LENGTH: usize = 16;
    const KIND: usize = 18;
    const NAME: usize = 19;
    let fd = open_at(at, dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?;
    let mut first = true;
    loop {
        buffer.clear();
        buffer.reserve(INITIAL_CAPACITY);
        let room = buffer.spare_capacity_mut();
        // SAFETY: the kernel writes at most `room.len()` bytes, and the descriptor is open.
        let count = unsafe {
            libc::syscall(libc::SYS_getdents64, fd.as_raw_fd(), room.as_mut_ptr(), room.len() as libc::c_uint)
        };
        let count = match Errno::result(count) {
            Ok(count) => count.unsigned_abs() as usize,
            Err(errno) if first => return Err(errno),
            Err(_) => 0,
        };
        // SAFETY: the kernel has just written these bytes.
        unsafe { buffer.set_len(count) };
        let mut rest = &buffer[..];
        while rest.len() > NAME {
            let length = usize::from(u16::from_ne_bytes([rest[LENGTH], rest[LENGTH + 1]]));
            let Some(entry) = rest.get(..length).filter(|entry| entry.len() > NAME) else { break };
            let name = entry[NAME..].split(|&b| b == 0).next().unwrap_or_default();
            let kind = match entry[KIND] {
                libc::DT_REG => EntryType::Regular,
                libc::DT_DIR => EntryType::Directory,
                _ => EntryType::Other,
            };
            if name != b"." && name != b".." {
                visit(name, kind);
            }
            rest = &rest[length..];
        }
        if count == 0 {
            park(fd);
            return Ok(());
        }
        first = false;
    }
}
