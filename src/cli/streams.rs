//! stdout and stderr of a tool.
//!
//! stdout is buffered. It is flushed before a complaint and before a child process runs, so that the order is right even if
//! both streams lead to one file. A reader that has closed the pipe (`lsmod | head -1`) is no failure; a full disk is one.

use crate::error::Errno;
use crate::system::start::ignore_write_signals;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The size of the buffer of stdout, in bytes.
const HELD: usize = 64 << 10;

/// Both output streams.
pub struct Streams(Mutex<Inner>);

struct Inner {
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    held: Vec<u8>,
    /// Set after a write to stdout failed: the error, or `None` inside if the reader has closed the pipe.
    broken: Option<Option<Errno>>,
}

impl Streams {
    /// Streams onto these two writers. Neither should buffer by itself.
    pub fn new(stdout: impl Write + Send + 'static, stderr: impl Write + Send + 'static) -> Self {
        let (stdout, stderr) = (Box::new(stdout), Box::new(stderr));
        Streams(Mutex::new(Inner { stdout, stderr, held: Vec::new(), broken: None }))
    }

    /// Prints to stdout.
    pub fn print(&self, bytes: &[u8]) {
        let mut inner = self.inner();
        inner.held.extend_from_slice(bytes);
        if inner.held.len() >= HELD {
            inner.flush();
        }
    }

    /// Prints one line to stderr: `line` and a newline, in one write, after all that was printed to stdout so far.
    pub fn complain(&self, line: &[u8]) {
        let mut inner = self.inner();
        inner.flush();
        // If stderr cannot be written, there is no place to report it.
        let _ = inner.stderr.write_all(&crate::log::bytes![line, "\n"]);
    }

    /// Writes to stderr without adding a newline: for a line that is drawn over.
    pub fn draw(&self, bytes: &[u8]) {
        let _ = self.inner().stderr.write_all(bytes);
    }

    /// Writes the buffer. Called before a child process may write to the same file.
    pub fn flush(&self) {
        self.inner().flush();
    }

    /// Writes the buffer, and reports a failed write to stdout, except one for want of a reader.
    ///
    /// # Errors
    /// The error of the first failed write.
    pub fn finish(&self) -> Result<(), Errno> {
        let mut inner = self.inner();
        inner.flush();
        inner.broken.flatten().map_or(Ok(()), Err)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn flush(&mut self) {
        if self.broken.is_none() && !self.held.is_empty() {
            let failed = self.stdout.write_all(&self.held).err().map(|error| Errno::of(&error));
            // Not a failure: the reader has closed the pipe (EPIPE), or stdout was closed from the start (EBADF).
            self.broken = failed.map(|e| Some(e).filter(|e| !matches!(*e, Errno::EPIPE | Errno::EBADF)));
        }
        self.held.clear();
    }
}

/// A stream of the process, by the function that returns it (`std::io::stdout`), without a buffer of its own.
pub(crate) struct Unbuffered<F>(pub fn() -> F);

impl<F: AsFd> Write for Unbuffered<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        ignore_write_signals();
        Ok(nix::unistd::write((self.0)(), bytes)?)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A buffer in memory that replaces a stream, or both after `2>&1`: clones share the buffer.
#[derive(Clone, Default)]
pub struct Memory(std::sync::Arc<Mutex<Vec<u8>>>);

impl Memory {
    /// Takes what was written so far; the buffer is empty afterwards.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A file whose writes all fail; it counts them.
    #[derive(Clone)]
    struct Refusing(Errno, Arc<AtomicUsize>);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Err(std::io::Error::from_raw_os_error(self.0.number()))
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_and_is_asked_once() {
        let gone = Refusing(Errno::EPIPE, Arc::default());
        let streams = Streams::new(gone.clone(), Memory::default());
        streams.print(b"one");
        streams.flush();
        streams.print(b"two");
        assert_eq!(streams.finish(), Ok(()));
        assert_eq!(gone.1.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_full_disk_is_a_failure() {
        let streams = Streams::new(Refusing(Errno::ENOSPC, Arc::default()), Memory::default());
        streams.print(&vec![b'x'; HELD]);
        assert_eq!(streams.finish(), Err(Errno::ENOSPC));
    }

    #[test]
    fn complaints_come_after_what_was_printed_before_them() {
        let place = Memory::default();
        let streams = Streams::new(place.clone(), place.clone());
        streams.print(b"1\n");
        streams.complain(b"2");
        streams.print(b"3\n");
        streams.flush();
        assert_eq!(place.take(), b"1\n2\n3\n");
    }
}
