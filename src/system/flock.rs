//! Exclusive locks by flock(2), which never block.
//!
//! A lock belongs to an open file description. The kernel releases it when the last descriptor is closed, also after
//! SIGKILL. Two threads that opened the file separately exclude each other as two processes do.

use super::clock::Clock;
use crate::error::Errno;
use nix::libc;
use std::borrow::Borrow;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// A lock that is held. Dropping it unlocks the file.
#[derive(Debug)]
#[must_use = "dropping it unlocks the file"]
pub(crate) struct FileLock<F: Borrow<File>>(F);

impl<F: Borrow<File>> FileLock<F> {
    /// Locks `file` if it is free; `None` if another open file description holds the lock.
    ///
    /// # Errors
    /// The errno of flock(2), for example `ENOLCK` or `EBADF`.
    pub(crate) fn try_on(file: F) -> Result<Option<Self>, Errno> {
        Ok(try_lock(file.borrow())?.then(|| FileLock(file)))
    }
}

impl<F: Borrow<File>> Drop for FileLock<F> {
    fn drop(&mut self) {
        // A failure cannot be handled. Closing the file unlocks it anyway.
        let _ = flock(self.0.borrow(), libc::LOCK_UN);
    }
}

/// As [`FileLock::try_on`], without a guard: the caller owns the file, and closing it unlocks it.
pub(super) fn try_lock(file: &File) -> Result<bool, Errno> {
    match Errno::uninterrupted(|| flock(file, libc::LOCK_EX | libc::LOCK_NB)) {
        Err(Errno::EWOULDBLOCK) => Ok(false),
        result => result.map(|()| true),
    }
}

/// Repeats [`try_lock`] at growing intervals for up to `time`.
pub(super) fn lock_within(file: &File, time: Duration, clock: &dyn Clock) -> Result<bool, Errno> {
    const LONGEST_PAUSE: Duration = Duration::from_millis(16);
    let end = clock.boottime().saturating_add(time);
    let mut pause = Duration::from_millis(1);
    loop {
        let now = clock.boottime();
        if try_lock(file)? {
            return Ok(true);
        }
        if now >= end {
            return Ok(false);
        }
        clock.sleep(pause.min(end - now));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn flock(file: &File, operation: libc::c_int) -> Result<(), Errno> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed; the call has no other argument.
    Errno::result(unsafe { libc::flock(file.as_raw_fd(), operation) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock::Real;
    use std::time::Instant;

    #[test]
    fn a_wait_ends_at_its_bound_and_takes_a_lock_that_is_given_back() {
        let first = tempfile::NamedTempFile::new().unwrap();
        let second = File::open(first.path()).unwrap();
        let lock = FileLock::try_on(first.as_file()).unwrap();
        assert!(lock.is_some() && FileLock::try_on(&second).unwrap().is_none());
        let start = Instant::now();
        assert!(!lock_within(&second, Duration::from_millis(30), &Real).unwrap());
        assert!(start.elapsed() >= Duration::from_millis(25), "it gave up early");
        drop(lock);
        assert!(lock_within(&second, Duration::from_secs(5), &Real).unwrap());
    }
}
