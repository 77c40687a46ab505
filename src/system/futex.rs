//! A futex(2) in memory that several processes share, which counts the wakes. A library can wait on it with a time limit,
//! without signals and without polling.

use crate::error::Errno;
use nix::libc::{self, c_long};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The number of wakes. Read it before you check whether to wait.
pub(crate) fn wakes(futex: &AtomicU32) -> u32 {
    futex.load(Ordering::Acquire)
}

/// Adds one and wakes all waiters.
pub(crate) fn wake_all(futex: &AtomicU32) {
    futex.fetch_add(1, Ordering::Release);
    // SAFETY: the address is valid for as long as it is borrowed. FUTEX_WAKE accesses no other memory.
    unsafe { libc::syscall(libc::SYS_futex, futex.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// Sleeps while the number of wakes is `wakes`, for at most `time`. May return early, for example after a signal.
pub(crate) fn wait(futex: &AtomicU32, wakes: u32, time: Duration) {
    // SYS_futex takes two longs (futex(2)), even if the C library's timespec has 64 bits and a long has 32. 32 bits are
    // enough for the seconds of a relative time.
    let seconds = c_long::try_from(time.as_secs()).unwrap_or(c_long::MAX);
    let nanoseconds = i32::try_from(time.subsec_nanos()).unwrap_or(i32::MAX);
    let time = [seconds, c_long::from(nanoseconds)];
    // SAFETY: both pointers are valid during the call, which only reads what they point to.
    let result =
        unsafe { libc::syscall(libc::SYS_futex, futex.as_ptr(), libc::FUTEX_WAIT, wakes, time.as_ptr()) };
    // If a seccomp filter refuses futex(2), the caller must not loop without a pause.
    if result == -1 && !matches!(Errno::last(), Errno::EAGAIN | Errno::EINTR | Errno::ETIMEDOUT) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::shared::SharedMap;

    #[test]
    fn a_waiter_is_woken_through_another_map_and_not_before() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [0; 16]).unwrap();
        let map = SharedMap::of(file.as_file(), 16).unwrap();
        let waking = map.word(8).unwrap();
        let value = wakes(waking);
        wait(waking, value, Duration::from_millis(1));
        assert_eq!(wakes(waking), value, "no wake");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let map = SharedMap::of(&file.reopen().unwrap(), 16).unwrap();
                    let own = map.word(8).unwrap();
                    while wakes(own) == value {
                        wait(own, value, Duration::from_secs(3600));
                    }
                });
            }
            wake_all(waking);
        });
        wait(waking, value, Duration::from_secs(3600));
        assert_eq!(wakes(waking), value + 1);
    }
}
