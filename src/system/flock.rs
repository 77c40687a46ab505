//! Exclusive locks by flock(2), which never block.
//!
//! A lock belongs to an open file description. The kernel releases it when the last descriptor is closed, also after
//! SIGKILL. Two threads that opened the file separately exclude each other as two processes do.

use super::clock::Clock;
use crate::error::Errno;
use nix::libc;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Takes the lock if it is free: `true`, or `false` where somebody holds it.
///
/// # Errors
/// What flock(2) said, `ENOLCK` or `EBADF` for example.
pub(crate) fn try_lock(file: &File) -> Result<bool, Errno> {
    loop {
        match flock(file, libc::LOCK_EX | libc::LOCK_NB) {
            Ok(()) => return Ok(true),
            Err(Errno::EWOULDBLOCK) => return Ok(false),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Tries again at growing intervals for up to `time`.
pub(crate) fn lock_within(file: &File, time: Duration, clock: &dyn Clock) -> Result<bool, Errno> {
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

/// Gives the lock back.
pub(crate) fn unlock(file: &File) {
    // Nothing can be done about a failure, and closing the file frees the lock anyway.
    let _ = flock(file, libc::LOCK_UN);
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
        assert!(try_lock(first.as_file()).unwrap());
        assert!(!try_lock(&second).unwrap());
        let start = Instant::now();
        assert!(!lock_within(&second, Duration::from_millis(30), &Real).unwrap());
        assert!(start.elapsed() >= Duration::from_millis(25), "it gave up early");
        unlock(first.as_file());
        assert!(lock_within(&second, Duration::from_secs(5), &Real).unwrap());
    }
}
