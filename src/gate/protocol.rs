//! The protocol of the gate: one request to load or remove one module, as a state machine.
//!
//! The machine (`machine.rs`) does no I/O, has no clock and keeps no memory but its fields. It is told what was seen and says
//! what to do next; `driver.rs` does that on the real system, and `tests/exploration` does it in a model world, where every
//! order of events is tried. Here are the words that they use.
//!
//! ```text
//! knock     try the lock                     got it -> lead        held -> follow
//! follow    read the bell; look; read the record; try the lock; sleep until the bell rings, half a second at most; again
//!             live                           -> joined
//!             a failure that is mine too     -> that failure
//!             got the lock                   -> lead
//!             deadline                       -> the next lock: the module file's, then none
//! lead      read the record; look
//!             live                           -> joined
//!             coming, going                  -> wait for live or gone
//!             gone                           -> write "begun"; call the kernel once; write the result
//!           let go of the lock; ring the bell
//! ```
//!
//! What must hold, in every order of events:
//! - one request at a time is inside the kernel's load or unload call for one module, unless a bound was passed;
//! - nobody calls for a module that was live at the last look under the lock;
//! - a request calls once; twice only if it saw the module come or go after the first call and then be gone;
//! - a failure is shared only with those who would have got it themselves (`Machine::is_mine`);
//! - a wait ends at the deadline, whatever others do; killed or stopped, they leave nothing to clean up.

use crate::error::Errno;
use crate::system::sysfs::State;
use std::time::Duration;

/// The longest sleep between two looks. A leader that is killed rings no bell: this is how long others may not notice.
pub const SLICE: Duration = Duration::from_millis(500);
/// The first sleep, shorter: most loads are over by then.
pub(crate) const FIRST_SLICE: Duration = Duration::from_millis(100);
/// The longest sleep where nobody rings.
pub(crate) const LONGEST_POLL: Duration = Duration::from_millis(32);
/// How long the lock of the module file is waited for. Every reader of the file can hold it.
pub const MODULE_FILE: Duration = Duration::from_secs(2);
/// The same after the deadline, when those whose deadline ended together need one more order among them.
pub const MODULE_FILE_LATE: Duration = Duration::from_secs(1);
/// Failures that say more about who asked, or about the moment, than about the module.
pub const OF_THE_ASKER: [Errno; 9] = [
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
/// What the kernel answers if a symbol is missing (`ENOENT`), or if one has another version or type (`EINVAL`).
pub const OF_SYMBOLS: [Errno; 2] = [Errno::ENOENT, Errno::EINVAL];

/// What is to be done to the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Load it, because it was asked for.
    Load,
    /// Load it, because something else needs it: then it is enough that it is coming.
    LoadDependency,
    Remove,
}

/// Whether an earlier failure may answer a request that did not overlap with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Memory {
    None,
    /// Any failure, so long after its end (`kmod.failure_ttl`).
    Failure(Duration),
    /// `ENODEV`, so long after its end: the request names a kind of CPU, and all CPUs are alike.
    Refusal(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request {
    pub purpose: Purpose,
    /// When everything that this request loads before this module was there (`CLOCK_BOOTTIME`).
    pub since: Duration,
    /// When waiting ends.
    pub deadline: Duration,
    /// A digest of what decides the result: file, parameters, flags.
    pub inputs: u64,
    pub memory: Memory,
}

/// What serialises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lock {
    /// The gate's file of the name that was asked for.
    Key,
    /// The gate's file of the module's own name, which differs from that of its file.
    Own,
    ModuleFile,
    /// Nothing: the kernel arbitrates.
    Nothing,
}

impl Lock {
    /// Whether it is a file of the gate, with a record and a bell.
    pub fn is_gates(self) -> bool {
        matches!(self, Lock::Key | Lock::Own)
    }
}

/// The last attempt, as the gate's file tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Whether it was made since this boot.
    pub this_boot: bool,
    pub begin: Duration,
    /// How it ended; `None` while it runs, or if its leader died.
    pub end: Option<Ended>,
    /// [`Request::inputs`] of its leader.
    pub inputs: u64,
    /// The leader's thread id.
    pub leader: i32,
    /// Whether this very file was found to hold a module of another name.
    pub other_name: bool,
}

/// The end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ended {
    pub at: Duration,
    /// `None`: success.
    pub failure: Option<Failure>,
}

/// How a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Failure {
    pub errno: Errno,
    /// Whether the kernel's module loader gave it, not something on the way there.
    pub by_kernel: bool,
}

/// What this process has to do with the one that loads the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kin {
    /// The kernel did not start this process.
    Stranger,
    /// The kernel started this process, and the leader waits for such a one (`call_usermodehelper_exec`).
    Helper,
    /// The kernel started this process, and the leader does something else.
    Bystander,
    /// The kernel started this process; what the leader does cannot be told.
    Unknown,
}

/// What the machine wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Open the lock's file: [`Seen::Done`] or [`Seen::Failed`].
    Open(Lock),
    /// Try to take the lock, without waiting: [`Seen::Locked`] or [`Seen::Failed`].
    TryLock,
    /// Read how often the bell was rung: [`Seen::Bell`].
    ReadBell,
    /// Look at the module's state under its name, and under its own name where that is known to differ: [`Seen::State`].
    Look,
    /// Read the record of the lock's file: [`Seen::Record`].
    ReadRecord,
    /// Find out who this process is to the leader: [`Seen::Kin`].
    ReadKin(Option<i32>),
    /// Sleep until the bell was rung once more than that, or for so long: [`Seen::Done`]. Without a bell: just sleep.
    Sleep(Option<u32>, Duration),
    /// Write the record: an attempt that began then, and how it ended. [`Seen::Done`], also where it cannot be written.
    Write(Duration, Option<Ended>),
    /// Make the kernel call: [`Seen::Answer`].
    Call,
    /// Read the module's own name from its file: [`Seen::OtherName`].
    ReadOwnName,
    /// Let go of the lock: [`Seen::Done`].
    Unlock,
    /// Ring the bell: [`Seen::Done`].
    Ring,
    /// Say that a bound was passed: [`Seen::Done`].
    Warn,
    End(End),
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    Done,
    Failed,
    /// Whether the lock is ours now.
    Locked(bool),
    /// How often the bell was rung; `None` where there is none.
    Bell(Option<u32>),
    State(State),
    /// The record, if there is a whole one.
    Record(Option<Attempt>),
    Kin(Kin),
    /// What the call gave; `None`: success.
    Answer(Option<Failure>),
    /// Whether the file holds a module of another name than it was asked for by.
    OtherName(bool),
}

/// How a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Its own call did it.
    Called,
    /// The module is live through somebody else's call.
    Joined,
    /// A dependency that is still coming: the kernel itself waits for its symbols.
    StillComing,
    /// Its own call failed so.
    Failed(Failure),
    /// Another's call failed, and so would its own.
    Shared(Errno),
    /// The module's own init waits for this request.
    Recursion,
}

/// The rules of the machine that the exploration takes out one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Guard {
    SecondLook,
    WaitForComing,
    WaitForGoing,
    Deadline,
    DeadlineOfTheModuleFile,
    EndedAfterMyLastStep,
    BeganAfterMyLastStep,
    SameInputs,
    ByTheKernel,
    NotOfTheAsker,
    ThisBoot,
    NotOfTheFuture,
    OnlyRefusals,
    MemoryEnds,
    OwnName,
    OwnLock,
    TransitionSeen,
    OneMoreCall,
    RecursionOfDependency,
    RecursionInTheDark,
    RecursionOfTarget,
}

/// Which rules hold.
pub trait Rules: Copy {
    /// Whether this one does.
    fn hold(self, guard: Guard) -> bool;
}

/// All of them: the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct All;

impl Rules for All {
    #[inline(always)]
    fn hold(self, _: Guard) -> bool {
        true
    }
}
