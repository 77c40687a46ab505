//! The protocol of the gate: one request to load or remove one module, as a state machine.
//!
//! The machine (`machine.rs`) does no I/O and has no clock. It gets an observation ([`Seen`]) and returns the next
//! [`Action`]. `driver.rs` performs the actions on the real system. `tests/exploration` performs them in a model and tries
//! every order of events. This file defines the types that they share.
//!
//! ```text
//! first     try the lock                     locked -> lead        held by another -> follow
//! follow    read the futex; read the module's state and the record; try the lock; sleep until a leader wakes it or its turn
//!           to look comes; repeat
//!             live                           -> joined; if nobody woke it, wake the other followers
//!             a failure that applies here    -> that failure; the same
//!             locked                         -> lead
//!             deadline                       -> the next lock: the module file's, then none
//! lead      read the record and the module's state
//!             live                           -> joined
//!             coming, going                  -> wait for live or absent
//!             absent                         -> write "begun"; call the kernel once; write the result
//!           unlock; wake the followers
//! ```
//!
//! These properties hold in every order of events; `tests/exploration/rules.rs` checks them:
//! - one request at a time is inside the kernel's load or unload call for one module, unless a deadline has passed;
//! - no request calls the kernel for a module that was live when it was last examined under the lock;
//! - a request makes one call, and a second one only if after the first the module was coming or going and then absent;
//! - a failure answers another request only if that request's own call would have failed the same (`Machine::shared_errno`);
//! - a wait ends at the deadline, whatever other processes do; one that is killed or stopped leaves nothing to clean up.

use super::nanoseconds;
use crate::error::Errno;
use crate::system::sysfs::State;
use std::time::Duration;

/// A killed leader does not wake the followers. They take turns to look, this long apart. With more followers than
/// [`LONGEST_SLICE`] has such turns, several look at once.
pub(crate) const SLICE: Duration = Duration::from_millis(500);
/// The first sleep on the futex. It is shorter, since most loads end sooner.
pub(crate) const FIRST_SLICE: Duration = Duration::from_millis(100);
/// The longest sleep on the futex, however many followers there are. Killed ones leave their turns unused.
pub const LONGEST_SLICE: Duration = Duration::from_secs(5);
/// The longest sleep without a futex.
pub(crate) const LONGEST_POLL: Duration = Duration::from_millis(32);
/// How long to wait for the lock on the module file. Everyone who may read the file can hold that lock.
pub const MODULE_FILE_WAIT: Duration = Duration::from_secs(2);
/// The same after the deadline: requests whose deadlines pass together still queue at this lock.
pub const MODULE_FILE_WAIT_LATE: Duration = Duration::from_secs(1);
/// Errnos that depend on the calling process or on the moment rather than on the module. They are not shared.
pub const CALLER_ERRNOS: [Errno; 9] = [
    Errno::EPERM,
    Errno::EACCES,
    Errno::EINTR,
    Errno::ENOMEM,
    Errno::EMFILE,
    Errno::ENFILE,
    Errno::EAGAIN,
    Errno::EBUSY,
    Errno::EEXIST,
];
/// The kernel's errnos for a missing symbol (`ENOENT`) and for one with another version or type (`EINVAL`).
pub const SYMBOL_ERRNOS: [Errno; 2] = [Errno::ENOENT, Errno::EINVAL];

/// When a follower looks next, in nanoseconds of `CLOCK_BOOTTIME`: a [`SLICE`] after the turn that was taken last (`last`), at
/// most `longest` from now. Without turns each follower would wake up every half second, and on a machine with many CPUs, all
/// of which the leader's call interrupts, that call would take twice as long.
pub(crate) fn next_turn(last: u64, now: u64, longest: u64) -> u64 {
    last.max(now).saturating_add(nanoseconds(SLICE)).min(now.saturating_add(longest))
}

/// What the request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// To load the module that the user or the kernel named.
    Load,
    /// To load a module that another one needs. The request may end while it is still coming.
    LoadDependency,
    Remove,
}

/// Whether a failure may answer a request that began after the failed attempt had ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureCache {
    None,
    /// Any failure, for this long after its end (`kmod.failure_ttl`).
    Any(Duration),
    /// `ENODEV`, for this long after its end: udev sends the same request for each CPU, and all CPUs are alike.
    NoDevice(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request {
    pub purpose: Purpose,
    /// When the steps before this one ended, on `CLOCK_BOOTTIME`.
    pub since: Duration,
    /// When waiting ends, on `CLOCK_BOOTTIME`.
    pub deadline: Duration,
    /// A digest of what decides the result: file, parameters, flags.
    pub inputs: u64,
    pub failure_cache: FailureCache,
}

/// The lock that serialises requests for a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lock {
    /// The gate's file under the requested name.
    Key,
    /// The gate's file under the module's own name, which differs from the requested one.
    Own,
    ModuleFile,
    /// No lock: the kernel arbitrates.
    Nothing,
}

impl Lock {
    /// Whether it is a file of the gate, with a record and a futex.
    pub fn is_gate_file(self) -> bool {
        matches!(self, Lock::Key | Lock::Own)
    }
}

/// The last attempt, from the record in the gate's file. Times are on `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Whether the record is of this boot.
    pub this_boot: bool,
    pub begin: Duration,
    /// How it ended; `None` while it runs, or if its leader died.
    pub end: Option<Ended>,
    /// [`Request::inputs`] of its leader.
    pub inputs: u64,
    /// The leader's thread id.
    pub leader: i32,
    /// Whether the same module file was found to hold a module of another name.
    pub other_name: bool,
}

/// The end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ended {
    pub at: Duration,
    /// `None` for success.
    pub failure: Option<Failure>,
}

/// How a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Failure {
    pub errno: Errno,
    /// Whether the kernel's module loader returned the errno, not a step before it.
    pub by_kernel: bool,
}

/// How this process relates to the leader, the thread that loads the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// The kernel did not start this process.
    Unrelated,
    /// The kernel started this process, and the leader waits for a usermode helper (`call_usermodehelper_exec`).
    MayBeAwaited,
    /// The kernel started this process, and the leader does not wait for a usermode helper.
    NotAwaited,
    /// The kernel started this process, and /proc does not say what the leader waits for.
    Unknown,
}

/// What the driver has to do, with the [`Seen`] that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Open the lock's file: [`Seen::Done`] or [`Seen::Failed`].
    Open(Lock),
    /// Try to take the lock, without waiting: [`Seen::Locked`] or [`Seen::Failed`].
    TryLock,
    /// Read the futex: [`Seen::Futex`].
    ReadFutex,
    /// Read the module's state under the requested name, and under its own name if that is known to differ: [`Seen::State`].
    Look,
    /// Read the record of the lock's file: [`Seen::Record`].
    ReadRecord,
    /// Find out how this process relates to the leader, a thread id: [`Seen::Relation`].
    ReadRelation(Option<i32>),
    /// Sleep until the futex no longer has this value, or it is this follower's [turn](next_turn), or for this long: [`Seen::Done`].
    /// Without a value: only sleep.
    Sleep(Option<u32>, Duration),
    /// Write the record: when the attempt began, and how it ended. [`Seen::Done`], also if the write fails.
    Write(Duration, Option<Ended>),
    /// Make the kernel call: [`Seen::Answer`].
    Call,
    /// Read the module's own name from its file: [`Seen::OtherName`].
    ReadOwnName,
    /// Unlock: [`Seen::Done`].
    Unlock,
    /// Wake all who sleep on the futex: [`Seen::Done`].
    Wake,
    /// Log that the deadline has passed: [`Seen::Done`].
    Warn,
    End(End),
}

/// What the driver observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    Done,
    Failed,
    /// Whether this request holds the lock now.
    Locked(bool),
    /// The value of the futex; `None` if it cannot be mapped.
    Futex(Option<u32>),
    State(State),
    /// The record, if it is whole.
    Record(Option<Attempt>),
    Relation(Relation),
    /// The result of the call; `None` for success.
    Answer(Option<Failure>),
    /// Whether the module's own name differs from the requested one.
    OtherName(bool),
}

/// How a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Its own call succeeded.
    Called,
    /// The module is live, loaded by another process or thread.
    Joined,
    /// The dependency is still coming. The kernel itself waits for its symbols.
    StillComing,
    /// Its own call failed.
    Failed(Failure),
    /// Another request's call failed, and its own would have failed the same.
    Shared(Errno),
    /// The module's own init waits for this request.
    Recursion,
}

/// The rules of the machine. `tests/exploration` removes them one by one, and each time must find a property that breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Guard {
    SecondLook,
    WaitForComing,
    WaitForGoing,
    Deadline,
    DeadlineOfTheModuleFile,
    EndedAfterSince,
    BeganAfterSince,
    SameInputs,
    ByTheKernel,
    NotCallerErrno,
    ThisBoot,
    NotOfTheFuture,
    OnlyNoDevice,
    CacheExpires,
    OwnName,
    OwnLock,
    TransitionSeen,
    OneMoreCall,
    WakeForTheDead,
    RecursionOfDependency,
    RecursionUnknown,
    RecursionOfTarget,
}

/// The set of rules that a machine follows.
pub trait Rules: Copy {
    fn hold(self, guard: Guard) -> bool;
}

/// All rules, as in the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct All;

impl Rules for All {
    #[inline(always)]
    fn hold(self, _: Guard) -> bool {
        true
    }
}
