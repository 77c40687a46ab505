//! The clock, which a test can replace.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

pub trait Clock: Sync {
    /// Time since boot, including suspend (`CLOCK_BOOTTIME`): comparable between processes.
    fn boottime(&self) -> Duration;
    fn sleep(&self, time: Duration);
}

impl dyn Clock + '_ {
    /// Runs `work`. The second value is the time that it took.
    pub fn timed<T>(&self, work: impl FnOnce() -> T) -> (T, Duration) {
        let begin = self.boottime();
        let done = work();
        (done, self.boottime().saturating_sub(begin))
    }
}

/// The system clock.
pub struct Real;

impl Clock for Real {
    fn boottime(&self) -> Duration {
        // CLOCK_BOOTTIME exists since Linux 2.6.39. A seccomp filter may refuse it.
        clock_gettime(ClockId::CLOCK_BOOTTIME)
            .or_else(|_| clock_gettime(ClockId::CLOCK_MONOTONIC))
            .map_or(Duration::ZERO, Duration::from)
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}
