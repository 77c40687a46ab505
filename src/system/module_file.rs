//! Opening and reading a module file.
//!
//! | type | result |
//! |---|---|
//! | a regular file | its content; the descriptor can be passed to the kernel |
//! | a pipe, a FIFO, a socket | its data, read into memory up to the limit |
//! | a device | `EINVAL`: `/dev/zero` has no end, and data of a terminal or a tape can be read only once |
//! | a directory | `EISDIR` |
//!
//! A regular file of size 0 counts as empty, as for the kernel. Files of procfs have size 0, and some have no end.

use super::descriptors::retry_on_emfile;
use super::file::{self, too_large};
use super::map::{self, Contents};
use crate::error::{Errno, Error, Result};
use crate::limits;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::statfs::{FsType, fstatfs};
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

/// The path that means standard input. A file of this name is `./-`.
pub(crate) const STDIN: &str = "-";

/// An open module file.
#[derive(Debug)]
pub(crate) struct ModuleFile {
    /// The file. If [`ModuleFile::is_stream`], it can be read only once.
    pub file: File,
    /// The metadata at the time of the open.
    pub meta: Metadata,
}

impl ModuleFile {
    /// Opens the file at `path`, or standard input for [`STDIN`]. Does not wait for a FIFO's writer.
    ///
    /// # Errors
    /// The errno of open, `EISDIR` for a directory, `EINVAL` for a device; with the path.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = if path.as_os_str() == STDIN {
            let duplicate = || std::io::stdin().as_fd().try_clone_to_owned().map_err(|e| Errno::of(&e));
            File::from(retry_on_emfile(duplicate).map_err(|errno| Error::os(errno).at(path))?)
        } else {
            file::open(path)?
        };
        let meta = file.metadata().map_err(|e| Error::from(e).at(path))?;
        let kind = meta.file_type();
        if kind.is_dir() {
            return Err(Error::os(Errno::EISDIR).at(path));
        }
        if kind.is_char_device() || kind.is_block_device() {
            return Err(Error::new(Errno::EINVAL, "a device, not a module").at(path));
        }
        Ok(ModuleFile { file, meta })
    }

    /// Whether it is a pipe, a FIFO or a socket.
    pub(crate) fn is_stream(&self) -> bool {
        !self.meta.is_file()
    }

    /// The content, at most `limit` bytes. Waits for data of a pipe up to [`limits::PIPE_WRITER`] and
    /// [`limits::PIPE_SILENCE`]. `path` is for messages only.
    ///
    /// # Errors
    /// As [`map::contents`]; `ETIMEDOUT` if no data comes through a pipe.
    pub(crate) fn contents(&self, path: &Path, limit: u64) -> Result<Contents> {
        if !self.is_stream() {
            if self.meta.len() == 0 {
                return Ok(Contents::Read(Vec::new()));
            }
            return map::contents(&self.file, path, limit);
        }
        let first = if self.is_named_pipe() { limits::PIPE_WRITER } else { limits::PIPE_SILENCE };
        drain(&self.file, limit, first, limits::PIPE_SILENCE).map(Contents::Read).map_err(|e| e.at(path))
    }

    /// Whether it is a FIFO in a directory (fifo(7)), which may have no writer yet. A pipe(2) had one from the start.
    fn is_named_pipe(&self) -> bool {
        /// `PIPEFS_MAGIC` of linux/magic.h.
        const PIPEFS: FsType = FsType(0x5049_5045);
        self.meta.file_type().is_fifo() && fstatfs(&self.file).is_ok_and(|fs| fs.filesystem_type() != PIPEFS)
    }
}

/// Reads a pipe to its end, at most `limit` bytes. Waits up to `first` for the first bytes, then up to `silence` for more.
///
/// A poll(2) comes before each read: the read of a FIFO without a writer returns 0 as at the end, and the read of an
/// inherited pipe may block for ever. `O_NONBLOCK` of an inherited pipe is not changed, since other processes share it.
fn drain(mut file: &File, limit: u64, first: Duration, silence: Duration) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // As large as a pipe by default.
    let mut chunk = vec![0; 64 << 10];
    loop {
        let patience = if bytes.is_empty() { first } else { silence };
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        let mut asked = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        if Errno::uninterrupted(|| poll(&mut asked, timeout))? == 0 {
            let text = format!("nothing came through this pipe for {} s", patience.as_secs());
            return Err(Error::new(Errno::ETIMEDOUT, text));
        }
        match file.read(&mut chunk) {
            Ok(0) => return Ok(bytes),
            Ok(count) => {
                bytes.try_reserve(count).map_err(|_| Error::os(Errno::ENOMEM))?;
                bytes.extend_from_slice(&chunk[..count]);
            }
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error.into()),
        }
        if bytes.len() as u64 > limit {
            return Err(too_large(limit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::OFlag;
    use nix::sys::stat::Mode;
    use std::fs;
    use std::io::Write;
    use std::path::PathBuf;
    use std::time::Instant;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);

    fn fifo() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.ko");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        (dir, path)
    }

    fn errno(path: &Path) -> Errno {
        ModuleFile::open(path).unwrap_err().errno()
    }

    #[test]
    fn devices_and_directories_are_refused_through_links_too() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("m.ko");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        for path in ["/dev/zero", "/dev/null", link.to_str().unwrap()] {
            assert_eq!(errno(path.as_ref()), Errno::EINVAL, "{path}");
        }
        assert_eq!(errno(dir.path()), Errno::EISDIR);
        assert_eq!(errno(&dir.path().join("none")), Errno::ENOENT);
    }

    #[test]
    fn a_file_without_a_size_is_empty_whatever_can_be_read_from_it() {
        for path in ["/proc/self/pagemap", "/proc/self/maps"] {
            let module = ModuleFile::open(path.as_ref()).unwrap();
            assert_eq!(&*module.contents(path.as_ref(), 1 << 30).unwrap(), b"", "{path}");
        }
    }

    #[test]
    fn a_fifo_that_nobody_writes_to_is_given_up() {
        let (_dir, path) = fifo();
        let module = ModuleFile::open(&path).unwrap();
        assert!(module.is_stream() && module.is_named_pipe());
        let error = drain(&module.file, 100, SHORT, LONG).unwrap_err();
        assert_eq!(error.errno(), Errno::ETIMEDOUT);
        assert_eq!(error.to_string(), "nothing came through this pipe for 0 s");
    }

    #[test]
    fn a_writer_that_comes_late_and_writes_in_parts_is_waited_for() {
        let (_dir, path) = fifo();
        let module = ModuleFile::open(&path).unwrap();
        let writer = std::thread::spawn(move || {
            let mut to = fs::OpenOptions::new().write(true).open(path).unwrap();
            for part in [&b"one"[..], &[7; 200_000], b"two"] {
                to.write_all(part).unwrap();
            }
        });
        let bytes = drain(&module.file, 1 << 20, LONG, LONG).unwrap();
        writer.join().unwrap();
        assert_eq!(
            (bytes.len(), &bytes[..4], &bytes[200_002..]),
            (200_006, &b"one\x07"[..], &b"\x07two"[..])
        );
    }

    #[test]
    fn a_writer_that_falls_silent_is_given_up() {
        let (from, to) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        nix::unistd::write(&to, b"the beginning").unwrap();
        let error = drain(&File::from(from), 100, LONG, SHORT).unwrap_err();
        assert_eq!(error.errno(), Errno::ETIMEDOUT);
    }

    #[test]
    fn a_pipe_may_be_empty_and_may_not_be_endless() {
        let (from, to) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        drop(to);
        assert_eq!(drain(&File::from(from), 100, LONG, LONG).unwrap(), b"");
        let (from, to) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        // Ends with EPIPE.
        let writer = std::thread::spawn(move || while nix::unistd::write(&to, &[0; 4096]).is_ok() {});
        let start = Instant::now();
        assert_eq!(drain(&File::from(from), 1 << 20, LONG, LONG).unwrap_err().errno(), Errno::EFBIG);
        writer.join().unwrap();
        assert!(start.elapsed() < LONG);
    }

    #[test]
    fn a_pipe_that_a_process_made_has_a_writer() {
        let (from, _to) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        let file = File::from(from);
        let meta = file.metadata().unwrap();
        assert!(!ModuleFile { file, meta }.is_named_pipe());
    }
}
