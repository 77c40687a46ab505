//! Small reads and guarded opens.

use crate::error::{Errno, Error, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::Read;
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

/// Reads a whole file of at most `limit` bytes into the front of `buffer`, which grows as needed and is reused from
/// file to file, with one open and as few reads as that takes. A file that is not there yet to be read, such as a FIFO
/// without a writer, is waited for only if `patient` is set; otherwise it is empty or `EAGAIN`.
///
/// # Errors
/// What open or read said (`EISDIR` for a directory), `EFBIG` past the limit.
pub fn read_into<'b>(
    path: &Path,
    buffer: &'b mut Vec<u8>,
    limit: usize,
    patient: bool,
) -> Result<&'b [u8], Errno> {
    let wait = if patient { OFlag::empty() } else { OFlag::O_NONBLOCK };
    let fd = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | wait, Mode::empty())?;
    let mut filled = 0;
    loop {
        if filled == buffer.len() {
            // A page more than the limit at most: room to see that the file goes on.
            buffer.resize((filled * 4).clamp(16 << 10, limit.saturating_add(4096)), 0);
        }
        match nix::unistd::read(&fd, &mut buffer[filled..]) {
            Ok(0) => return Ok(&buffer[..filled]),
            Ok(count) => filled += count,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        if filled > limit {
            return Err(Errno::EFBIG);
        }
    }
}
