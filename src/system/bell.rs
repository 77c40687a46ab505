//! A bell in a file that several processes have open: those who wait sleep until somebody rings it. A library can wait so
//! with a bound and without a signal, where it would otherwise ask again and again.
//!
//! It is a futex(2): four bytes, native order, that count the strikes. A ring adds one and wakes all sleepers.

use super::shared;
use crate::error::Errno;
use memmap2::MmapRaw;
use nix::libc::{self, c_long};
use std::fs::File;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A bell, mapped.
pub(crate) struct Bell {
    map: MmapRaw,
    offset: usize,
}

impl Bell {
    /// The bell at `offset` (a multiple of 4) of `file`.
    ///
    /// # Errors
    /// As [`shared::map`]: `EINVAL` where the file does not reach so far yet, `EACCES` where it may not be mapped.
    pub(crate) fn within(file: &File, offset: usize) -> Result<Self, Errno> {
        if offset % size_of::<u32>() != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Bell { map: shared::map(file, offset + size_of::<u32>())?, offset })
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: the map is at least offset + 4 bytes long, is page-aligned with an offset that is a multiple of 4, and
        // lives as long as self. Other processes access these bytes atomically too.
        unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().add(self.offset).cast()) }
    }

    /// How often it was rung, to be asked before looking whether waiting is needed.
    pub(crate) fn strikes(&self) -> u32 {
        self.word().load(Ordering::Acquire)
    }

    /// Wakes all who wait.
    pub(crate) fn ring(&self) {
        self.word().fetch_add(1, Ordering::Release);
        // SAFETY: the address is valid for as long as self is borrowed; waking takes no other memory.
        unsafe { libc::syscall(libc::SYS_futex, self.word().as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
    }

    /// Sleeps until it is rung again after `strikes`, `time` is over, or a signal came: whichever is first. May return
    /// early.
    pub(crate) fn wait(&self, strikes: u32, time: Duration) {
        // What SYS_futex takes is two longs (futex(2)), also where the C library's timespec has 64 bits and a long has 32. It
        // is a span: 32 bits of seconds are enough.
        let seconds = c_long::try_from(time.as_secs()).unwrap_or(c_long::MAX);
        let nanoseconds = i32::try_from(time.subsec_nanos()).unwrap_or(i32::MAX);
        let time = [seconds, c_long::from(nanoseconds)];
        // SAFETY: both pointers are valid during the call, which only reads what they point to.
        let result = unsafe {
            libc::syscall(libc::SYS_futex, self.word().as_ptr(), libc::FUTEX_WAIT, strikes, time.as_ptr())
        };
        // Where futexes are refused (a seccomp filter), the caller must not turn in circles.
        if result == -1 && !matches!(Errno::last(), Errno::EAGAIN | Errno::EINTR | Errno::ETIMEDOUT) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_woken_through_another_map_and_not_before() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = |file: &File, offset| Bell::within(file, offset).err();
        assert_eq!(error(file.as_file(), 8), Some(Errno::EINVAL), "an empty file has none");
        std::fs::write(file.path(), [0; 16]).unwrap();
        assert_eq!([14, 16].map(|offset| error(file.as_file(), offset)), [Some(Errno::EINVAL); 2]);
        let reading = File::open(file.path()).unwrap();
        assert_eq!(error(&reading, 8), Some(Errno::EACCES), "what may not be written");
        let ringing = Bell::within(file.as_file(), 8).unwrap();
        let strikes = ringing.strikes();
        ringing.wait(strikes, Duration::from_millis(1));
        assert_eq!(ringing.strikes(), strikes, "nobody rang");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let own = Bell::within(&file.reopen().unwrap(), 8).unwrap();
                    while own.strikes() == strikes {
                        own.wait(strikes, Duration::from_secs(3600));
                    }
                });
            }
            ringing.ring();
        });
        ringing.wait(strikes, Duration::from_secs(3600));
        assert_eq!(ringing.strikes(), strikes + 1);
    }
}
