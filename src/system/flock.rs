//! flock(2) with a bound on the wait.
//!
//! A lock belongs to one open file description: the kernel frees it when the last descriptor goes, also on SIGKILL,
//! and two threads that opened the file apart exclude each other like two processes.

use super::bell::Bell;
use super::clock::Clock;
use crate::error::Errno;
use nix::libc;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// How a bounded wait is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// By a timer whose signal (SIGALRM) interrupts the blocking call: exact and free. For the tools.
    Alarm,
    /// By a bell in the locked file, and where it has none by asking again at growing intervals: for a library, which must
    /// not touch its host's signals or timers.
    Poll,
}

/// Shared or exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Any number of holders.
    Shared,
    /// One holder.
    Exclusive,
}

impl Mode {
    fn operation(self) -> libc::c_int {
        match self {
            Mode::Shared => libc::LOCK_SH,
            Mode::Exclusive => libc::LOCK_EX,
        }
    }
}

/// Takes the lock if it is free: `true`, or `false` where somebody holds it.
///
/// # Errors
/// What flock(2) said, `ENOLCK` or `EBADF` for example.
pub fn try_lock(file: &File, mode: Mode) -> Result<bool, Errno> {
    loop {
        match flock(file, mode.operation() | libc::LOCK_NB) {
            Ok(()) => return Ok(true),
            Err(Errno::EWOULDBLOCK) => return Ok(false),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Gives the lock back.
pub fn unlock(file: &File) {
    // Nothing can be done about a failure, and closing the file frees the lock anyway.
    let _ = flock(file, libc::LOCK_UN);
}

fn flock(file: &File, operation: libc::c_int) -> Result<(), Errno> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed; the call has no other argument.
    Errno::result(unsafe { libc::flock(file.as_raw_fd(), operation) }).map(drop)
}

/// Waits for a lock in slices of bounded length, so that the caller can look around in between.
pub struct Waiter<'a> {
    clock: &'a dyn Clock,
    alarm: Option<alarm::Alarm>,
    bell_at: Option<usize>,
    bell: Option<Bell>,
}

impl<'a> Waiter<'a> {
    /// Prepares a wait. Where no timer can be had, it polls.
    pub fn new(wait: Wait, clock: &'a dyn Clock) -> Self {
        let alarm = if wait == Wait::Alarm { alarm::Alarm::new().ok() } else { None };
        Waiter { clock, alarm, bell_at: None, bell: None }
    }

    /// The same, for files that have a [`Bell`] at `offset` which is rung whenever their lock is given back.
    #[must_use]
    pub fn listening(mut self, offset: usize) -> Self {
        self.bell_at = Some(offset);
        self
    }

    /// Waits for the lock for about `slice`: `true` once it is held, `false` when the slice is over. A bell is not rung by a
    /// holder that is killed, so that who listens to one may find the lock free only when the slice is over.
    ///
    /// # Errors
    /// As [`try_lock`].
    pub fn wait(&mut self, file: &File, mode: Mode, slice: Duration) -> Result<bool, Errno> {
        if let Some(alarm) = &mut self.alarm {
            if alarm.arm(slice).is_ok() {
                let result = flock(file, mode.operation());
                alarm.disarm();
                return match result {
                    Ok(()) => Ok(true),
                    Err(Errno::EINTR) => Ok(false),
                    Err(errno) => Err(errno),
                };
            }
        }
        self.poll(file, mode, slice)
    }

    fn poll(&mut self, file: &File, mode: Mode, slice: Duration) -> Result<bool, Errno> {
        const LONGEST_PAUSE: Duration = Duration::from_millis(16);
        let end = self.clock.boottime() + slice;
        let mut pause = Duration::from_millis(1);
        loop {
            if self.bell.is_none() {
                self.bell = self.bell_at.and_then(|offset| Bell::within(file, offset));
            }
            // Before the look at the lock: one that is given back in between has been rung by then.
            let bell = self.bell.as_ref().map(|bell| (bell, bell.strikes()));
            if try_lock(file, mode)? {
                return Ok(true);
            }
            let now = self.clock.boottime();
            if now >= end {
                return Ok(false);
            }
            if let Some((bell, strikes)) = bell {
                bell.wait(strikes, end - now);
            } else {
                self.clock.sleep(pause.min(end - now));
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// A timer that interrupts this thread's blocking system call.
mod alarm {
    use crate::error::Errno;
    use nix::sys::signal::{
        SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, SigmaskHow, Signal, pthread_sigmask,
        sigaction,
    };
    use nix::sys::time::TimeSpec;
    use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
    use nix::time::ClockId;
    use std::time::Duration;

    pub struct Alarm(Timer);

    impl Alarm {
        pub fn new() -> Result<Self, Errno> {
            extern "C" fn interrupt(_: nix::libc::c_int) {}
            // Without SA_RESTART, so that flock(2) returns EINTR instead of going on.
            let action = SigAction::new(SigHandler::Handler(interrupt), SaFlags::empty(), SigSet::empty());
            // SAFETY: the handler does nothing at all.
            unsafe { sigaction(Signal::SIGALRM, &action) }?;
            // A parent may have left the signal blocked, and the wait would then have no end.
            let mut set = SigSet::empty();
            set.add(Signal::SIGALRM);
            pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&set), None)?;
            let notify = SigevNotify::SigevThreadId {
                signal: Signal::SIGALRM,
                thread_id: nix::unistd::gettid().as_raw(),
                si_value: 0,
            };
            Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(notify)).map(Alarm)
        }

        /// Interrupts after `slice`, and again at short intervals: a signal that arrives just before the thread
        /// enters the call would be lost, and the call would then have no end.
        pub fn arm(&mut self, slice: Duration) -> Result<(), Errno> {
            let first = TimeSpec::from_duration(slice.max(Duration::from_millis(1)));
            let again = TimeSpec::from_duration(Duration::from_millis(20));
            self.0.set(Expiration::IntervalDelayed(first, again), TimerSetTimeFlags::empty())
        }

        pub fn disarm(&mut self) {
            // A zero expiration switches a timer off; if that fails, a stray SIGALRM finds a handler that does nothing.
            let off = Expiration::OneShot(TimeSpec::from_duration(Duration::ZERO));
            let _ = self.0.set(off, TimerSetTimeFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock::Real;
    use std::time::Instant;

    fn two_descriptions() -> (tempfile::NamedTempFile, File) {
        let first = tempfile::NamedTempFile::new().unwrap();
        let second = File::open(first.path()).unwrap();
        (first, second)
    }

    #[test]
    fn both_waits_end_at_their_bound_and_take_a_lock_that_is_given_back() {
        for wait in [Wait::Alarm, Wait::Poll] {
            let (first, second) = two_descriptions();
            assert!(try_lock(first.as_file(), Mode::Exclusive).unwrap());
            assert!(!try_lock(&second, Mode::Shared).unwrap());
            let mut waiter = Waiter::new(wait, &Real);
            let start = Instant::now();
            assert!(!waiter.wait(&second, Mode::Shared, Duration::from_millis(30)).unwrap(), "{wait:?}");
            assert!(start.elapsed() >= Duration::from_millis(25), "{wait:?} gave up early");
            unlock(first.as_file());
            assert!(waiter.wait(&second, Mode::Shared, Duration::from_secs(5)).unwrap(), "{wait:?}");
        }
    }

    #[test]
    fn a_bell_ends_the_wait_when_the_lock_is_given_back() {
        let (first, second) = two_descriptions();
        std::fs::write(first.path(), [0; 8]).unwrap();
        let second = File::options().read(true).write(true).open(first.path()).unwrap_or(second);
        assert!(try_lock(first.as_file(), Mode::Exclusive).unwrap());
        let (waiting, heard) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut waiter = Waiter::new(Wait::Poll, &Real).listening(4);
                assert!(!waiter.wait(&second, Mode::Shared, Duration::from_millis(5)).unwrap());
                waiting.send(()).unwrap();
                assert!(waiter.wait(&second, Mode::Shared, Duration::from_secs(3600)).unwrap());
            });
            heard.recv().unwrap();
            unlock(first.as_file());
            Bell::within(first.as_file(), 4).unwrap().ring();
        });
    }

    #[test]
    fn a_blocked_alarm_signal_does_not_make_the_wait_endless() {
        use nix::sys::signal::{SigSet, Signal};
        let (first, second) = two_descriptions();
        assert!(try_lock(first.as_file(), Mode::Exclusive).unwrap());
        std::thread::spawn(move || {
            let mut set = SigSet::empty();
            set.add(Signal::SIGALRM);
            set.thread_block().unwrap();
            let mut waiter = Waiter::new(Wait::Alarm, &Real);
            assert!(!waiter.wait(&second, Mode::Exclusive, Duration::from_millis(20)).unwrap());
        })
        .join()
        .unwrap();
    }
}
