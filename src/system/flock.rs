//! flock(2) with a bound on the wait.
/// How a bounded wait is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// By a timer whose signal (SIGALRM) interrupts the blocking call: exact and free. For the tools.
    Alarm,
    /// By asking again at growing intervals: for a library, which must not touch its host's signals or timers.
    Poll,
}
