//! Small reads and guarded opens.

use crate::error::{Errno, Error, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Reads a small attribute file (sysfs, procfs) into `buffer` with one open and one read; what does not fit is cut.
pub fn read_attribute<'b>(path: &Path, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let fd = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let length = loop {
        match nix::unistd::read(&fd, buffer) {
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
pub fn read_whole(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|e| Error::from(e).at(path))?;
    let mut contents = Vec::new();
    file.take(limit + 1).read_to_end(&mut contents).map_err(|e| Error::from(e).at(path))?;
    if contents.len() as u64 > limit {
        return Err(Error::new(Errno::EFBIG, format!("larger than {limit} bytes, refused")).at(path));
    }
    Ok(contents)
}

/// Reads up to `buffer.len()` bytes at `offset` without moving the file's own offset; short only at the end.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(crate::error::errno_of(&error)),
        }
    }
    Ok(filled)
}

/// How the end of a file is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
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
pub fn read_into(path: &Path, buffer: &mut Vec<u8>, limit: usize, end: End) -> Result<(), Errno> {
    let wait = if end == End::Patient { OFlag::empty() } else { OFlag::O_NONBLOCK };
    let fd = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | wait, Mode::empty())?;
    buffer.clear();
    loop {
        if buffer.len() == buffer.capacity() {
            buffer.reserve((buffer.len() * 3).max(16 << 10));
        }
        let room = buffer.spare_capacity_mut();
        // SAFETY: the kernel writes at most as many bytes as the room has, and the descriptor is open.
        let count = unsafe { nix::libc::read(fd.as_raw_fd(), room.as_mut_ptr().cast(), room.len()) };
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
            return Ok(());
        }
    }
}
