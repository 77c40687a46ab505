//! Small reads and guarded opens.

use super::descriptors::{done_with, opening};
use crate::error::{Errno, Error, Result};
use nix::NixPath;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::libc;
use nix::sys::stat::Mode;
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The room that a reader begins with, in bytes: nearly all configuration files and directories fit.
const ROOM: usize = 16 << 10;

/// Opens `path` as the directory `at` has it; a program that this one starts does not get the descriptor. Every open that std
/// has no flags for comes through here: without `O_LARGEFILE`, a 32-bit machine answers `EOVERFLOW` to a file of 2 GiB.
///
/// # Errors
/// What openat(2) said, `EMFILE` only where no descriptor could be given back.
pub(crate) fn open_at<P: ?Sized + NixPath>(
    at: impl AsFd,
    path: &P,
    flags: OFlag,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlag::O_CLOEXEC | OFlag::O_LARGEFILE;
    opening(|| openat(&at, path, flags, mode))
}

/// Reads a small attribute file (sysfs, procfs) into `buffer` with one open and one read; what does not fit is cut.
pub(crate) fn read_attribute<'b>(path: &Path, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let fd = open_at(AT_FDCWD, path, OFlag::O_RDONLY, Mode::empty())?;
    let length = loop {
        match nix::unistd::read(&fd, buffer).map_err(Errno::from) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    Ok(&buffer[..length])
}

/// Reads a whole regular or virtual file of at most `limit` bytes.
///
/// # Errors
/// The errno of open or read, `EFBIG` past the limit, each with the path.
pub(crate) fn read_whole(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = opening(|| File::open(path).map_err(|e| Errno::of(&e))).map_err(|e| Error::os(e).at(path))?;
    let mut contents = Vec::new();
    file.take(limit + 1).read_to_end(&mut contents).map_err(|e| Error::from(e).at(path))?;
    if contents.len() as u64 > limit {
        return Err(Error::new(Errno::EFBIG, format!("larger than {limit} bytes, refused")).at(path));
    }
    Ok(contents)
}

/// Reads up to `buffer.len()` bytes at `offset` without moving the file's own offset; short only at the end.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Errno::of(&error)),
        }
    }
    Ok(filled)
}

/// Writes `bytes` at `offset` in one call; short only where the file takes no more. Past the size that `RLIMIT_FSIZE` allows
/// a file nothing is written: the kernel would send SIGXFSZ, which ends the process, and in a library the host's.
///
/// # Errors
/// What pwrite(2) said, `EFBIG` for what is past that size.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
    within_size_limit(offset + bytes.len() as u64)?;
    loop {
        match file.write_at(bytes, offset) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result.map_err(|error| Errno::of(&error)),
        }
    }
}

/// Whether this process may make a file `length` bytes long.
///
/// # Errors
/// `EFBIG` where it may not.
pub(crate) fn within_size_limit(length: u64) -> Result<(), Errno> {
    // getrlimit(2) knows 32 bits on a 32-bit machine.
    let mut limit = libc::rlimit64 { rlim_cur: u64::MAX, rlim_max: u64::MAX };
    // SAFETY: one struct rlimit64 is written. Where the kernel refuses, the value above stays.
    unsafe { libc::getrlimit64(libc::RLIMIT_FSIZE, &mut limit) };
    if length > limit.rlim_cur { Err(Errno::EFBIG) } else { Ok(()) }
}

/// How the end of a file is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By a read that did not fill the buffer. For what is a regular file, or one of procfs that has one record.
    Short,
    /// By a read that got nothing. Where nothing is there yet, as in a FIFO without a writer, that is the end.
    Nothing,
    /// The same, but what is not there yet is waited for. For what somebody named, which may be a pipe.
    Patient,
}

/// Reads a whole file of at most `limit` bytes into `buffer`, whose room is reused from file to file, with one open and
/// as few reads as that takes.
///
/// # Errors
/// What open or read said (`EISDIR` for a directory, `EAGAIN` for a FIFO with a silent writer), `EFBIG` past the limit.
pub(crate) fn read_into(path: &Path, buffer: &mut Vec<u8>, limit: usize, end: End) -> Result<(), Errno> {
    let wait = if end == End::Patient { OFlag::empty() } else { OFlag::O_NONBLOCK };
    let fd = open_at(AT_FDCWD, path, OFlag::O_RDONLY | OFlag::O_NOCTTY | wait, Mode::empty())?;
    buffer.clear();
    loop {
        // One byte more than the limit: that there is more is only seen by reading it.
        let left = limit.saturating_add(1) - buffer.len();
        if buffer.len() == buffer.capacity() {
            buffer.reserve_exact((buffer.len() * 3).max(ROOM).min(left));
        }
        let room = buffer.spare_capacity_mut();
        let most = left.min(room.len());
        let room = &mut room[..most];
        // SAFETY: the kernel writes at most as many bytes as the room has, and the descriptor is open.
        let count = unsafe { libc::read(fd.as_raw_fd(), room.as_mut_ptr().cast(), room.len()) };
        let (count, full) = match Errno::result(count) {
            Ok(count) => (count.unsigned_abs(), count.unsigned_abs() == room.len()),
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno),
        };
        // SAFETY: the kernel has just written these bytes.
        unsafe { buffer.set_len(buffer.len() + count) };
        if buffer.len() > limit {
            return Err(Errno::EFBIG);
        }
        if count == 0 || (end == End::Short && !full) {
            done_with(fd);
            return Ok(());
        }
    }
}

/// The label that SELinux has for a file, without its NUL.
pub(crate) fn label(path: &Path) -> Option<Vec<u8>> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut buffer = vec![0u8; 1024];
    let name = c"security.selinux".as_ptr();
    // SAFETY: both strings end in NUL and live through the call, which writes at most as many bytes as the buffer has.
    let length = unsafe { libc::lgetxattr(path.as_ptr(), name, buffer.as_mut_ptr().cast(), buffer.len()) };
    buffer.truncate(usize::try_from(length).ok()?);
    let end = buffer.iter().position(|&byte| byte == 0).unwrap_or(buffer.len());
    buffer.truncate(end);
    Some(buffer)
}

/// What a directory says of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// Something else, or a file system that does not say.
    Other,
}

/// Calls `visit` with the names in the directory `dir`, in its own order, without `.` and `..`. `buffer` is room that is
/// reused: opendir(3) allocates 32 KiB, and asks once more what it has opened. And on a 32-bit machine readdir(3) refuses what
/// has a large inode or offset (`EOVERFLOW`), which getdents64(2) does not.
///
/// # Errors
/// What open or the first read of the directory said (`ENOTDIR`); what comes after a later failure is not shown.
pub(crate) fn visit_names(
    dir: &Path,
    buffer: &mut Vec<u8>,
    visit: &mut dyn FnMut(&[u8], Entry),
) -> Result<(), Errno> {
    visit_names_at(AT_FDCWD, dir, buffer, visit)
}

/// The names in the directory `dir`, in its own order.
pub(crate) fn names(dir: &Path) -> Result<Vec<Vec<u8>>, Errno> {
    let mut found = Vec::new();
    visit_names(dir, &mut Vec::new(), &mut |name, _| found.push(name.to_vec()))?;
    Ok(found)
}

/// The same for `dir` as the directory `at` has it (openat(2)).
pub(crate) fn visit_names_at(
    at: impl AsFd,
    dir: &Path,
    buffer: &mut Vec<u8>,
    visit: &mut dyn FnMut(&[u8], Entry),
) -> Result<(), Errno> {
    /// Where the parts of a `struct linux_dirent64` begin: inode and offset of 8 bytes each come first, then its length
    /// in 2 bytes, the kind in one, and the name, ended by NUL (getdents(2)).
    const LENGTH: usize = 16;
    const KIND: usize = 18;
    const NAME: usize = 19;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NONBLOCK;
    let fd = open_at(at, dir, flags, Mode::empty())?;
    buffer.clear();
    buffer.reserve(ROOM);
    let mut first = true;
    loop {
        buffer.clear();
        let room = buffer.spare_capacity_mut();
        // SAFETY: the kernel writes at most as many bytes as the room has, and the descriptor is open.
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
            if name != b"." && name != b".." {
                visit(
                    name,
                    match entry[KIND] {
                        libc::DT_REG => Entry::Regular,
                        libc::DT_DIR => Entry::Directory,
                        _ => Entry::Other,
                    },
                );
            }
            rest = &rest[length..];
        }
        if count == 0 {
            done_with(fd);
            return Ok(());
        }
        first = false;
    }
}
