//! A futex(2) in a file that several processes map: four bytes, native order, which count the wakes. A library can wait on
//! it with a time limit, without signals and without polling.

use super::shared;
use crate::error::Errno;
use memmap2::MmapRaw;
use nix::libc::{self, c_long};
use std::fs::File;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A mapped futex.
pub(crate) struct Futex {
    map: MmapRaw,
    offset: usize,
}

impl Futex {
    /// Maps the futex at `offset` (a multiple of 4) of `file`.
    ///
    /// # Errors
    /// As [`shared::map`]: `EINVAL` if the file is still too short, `EACCES` if mapping it is not permitted.
    pub(crate) fn within(file: &File, offset: usize) -> Result<Self, Errno> {
        if offset % size_of::<u32>() != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Futex { map: shared::map(file, offset + size_of::<u32>())?, offset })
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: the map is at least offset + 4 bytes long, is page-aligned with an offset that is a multiple of 4, and
        // lives as long as self. Other processes access these bytes atomically too.
        unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().add(self.offset).cast()) }
    }

    /// The number of wakes. Read it before you check whether to wait.
    pub(crate) fn value(&self) -> u32 {
        self.word().load(Ordering::Acquire)
    }

    /// Adds one and wakes all waiters.
    pub(crate) fn wake_all(&self) {
        self.word().fetch_add(1, Ordering::Release);
        // SAFETY: the address is valid for as long as self is borrowed. FUTEX_WAKE accesses no other memory.
        unsafe { libc::syscall(libc::SYS_futex, self.word().as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
    }

    /// Sleeps while the value is `value`, for at most `time`. May return early, for example after a signal.
    pub(crate) fn wait(&self, value: u32, time: Duration) {
        // SYS_futex takes two longs (futex(2)), even if the C library's timespec has 64 bits and a long has 32. 32 bits are
        // enough for the seconds of a relative time.
        let seconds = c_long::try_from(time.as_secs()).unwrap_or(c_long::MAX);
        let nanoseconds = i32::try_from(time.subsec_nanos()).unwrap_or(i32::MAX);
        let time = [seconds, c_long::from(nanoseconds)];
        // SAFETY: both pointers are valid during the call, which only reads what they point to.
        let result = unsafe {
            libc::syscall(libc::SYS_futex, self.word().as_ptr(), libc::FUTEX_WAIT, value, time.as_ptr())
        };
        // If a seccomp filter refuses futex(2), the caller must not loop without a pause.
        if result == -1 && !matches!(Errno::last(), Errno::EAGAIN | Errno::EINTR | Errno::ETIMEDOUT) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_is_woken_through_another_map_and_not_before() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = |file: &File, offset| Futex::within(file, offset).err();
        assert_eq!(error(file.as_file(), 8), Some(Errno::EINVAL), "an empty file has none");
        std::fs::write(file.path(), [0; 16]).unwrap();
        assert_eq!([14, 16].map(|offset| error(file.as_file(), offset)), [Some(Errno::EINVAL); 2]);
        let reading = File::open(file.path()).unwrap();
        assert_eq!(error(&reading, 8), Some(Errno::EACCES), "what may not be written");
        let waking = Futex::within(file.as_file(), 8).unwrap();
        let value = waking.value();
        waking.wait(value, Duration::from_millis(1));
        assert_eq!(waking.value(), value, "no wake");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let own = Futex::within(&file.reopen().unwrap(), 8).unwrap();
                    while own.value() == value {
                        own.wait(value, Duration::from_secs(3600));
                    }
                });
            }
            waking.wake_all();
        });
        waking.wait(value, Duration::from_secs(3600));
        assert_eq!(waking.value(), value + 1);
    }
}
