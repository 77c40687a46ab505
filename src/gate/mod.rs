//! Load exactly once. N requests for one module at one moment must cost the kernel one call: it copies,
//! decompresses, verifies and lays out a whole module before it finds that the same one is there or on its way.
//!
//! ```text
//! look     live                                    -> joined; nothing opened, nothing written
//! knock    take the lock of the module's name      -> leader, or follower where somebody holds it
//! follower wait for it, shared and bounded; look   -> joined, or the leader's failure where the two attempts
//!                                                     overlapped and had the same inputs; else knock again
//! leader   look again; call the kernel once; write the result down; let go
//! ```
//!
//! What must hold (a caller may rely on it, a change must not break it):
//! - one process or thread at a time is inside the kernel's load or unload call for one name;
//! - nobody calls the kernel for a module that was live at the last look under the lock;
//! - a load that would have worked never fails because of the gate: where the gate cannot work it stands aside, and
//!   the kernel arbitrates as it always did;
//! - every wait has a bound, and a SIGKILL at any instruction leaves nothing to clean up;
//! - no two locks are held at once in one thread, and none while a command runs: no cycle of waits in user space.

pub mod counters;
pub mod holder;
pub mod record;
pub mod room;
pub mod settings;
pub mod stats;
pub mod trace;
mod wait;

use crate::error::{Errno, Error, Result};
use crate::limits;
use crate::log::{Priority, Sink};
use crate::name::ModuleName;
use crate::system::bell::Bell;
use crate::system::flock::{Mode, Waiter, try_lock, unlock};
use crate::system::sysfs::{self, State};
use crate::system::{System, file};
use counters::Counters;
use record::Record;
use room::{NoRoom, Room};
use settings::Settings;
use std::fs::File;
use std::sync::OnceLock;
use std::time::Duration;
use wait::{Patience, Reason};

/// One request to load one module.
pub struct Load<'r> {
    /// The module's own name.
    pub key: &'r ModuleName,
    /// When the request arrived, on `CLOCK_BOOTTIME`; noted before the first look.
    pub arrival: Duration,
    /// [`record::digest`] of everything that decides the result.
    pub inputs: u64,
    /// The size of the module file: what is saved when it is not handed over again, in bytes.
    pub bytes: u64,
    /// The open module file. It is the lock where the gate's own cannot be had.
    pub file: &'r File,
    /// Whether something else needs this module: then it is enough that it is on its way.
    pub dependency: bool,
    /// Whether a remembered failure may answer (`kmod.failure_ttl`).
    pub remember: bool,
    /// What was asked for, in the words of the request; for the trace.
    pub request: &'r [u8],
}

/// How a load ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// This request's own call loaded it.
    Loaded,
    /// It is live, through somebody else's call.
    Joined,
    /// A dependency that is still on its way when waiting had to end: the kernel itself waits for its symbols.
    StillComing,
}

/// What the end of a request was, for counters and trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Called the kernel.
    Leader,
    /// Was served by another's call.
    Follower,
    /// Called the kernel without the gate's own lock.
    Fallback,
}

/// The gate as one process sees it. It may be shared by threads.
pub struct Gate<'a> {
    system: System<'a>,
    sink: &'a dyn Sink,
    settings: OnceLock<Settings>,
    room: OnceLock<Option<Room>>,
    traced: OnceLock<bool>,
    origin: trace::Origin,
}

/// The lock that a leader holds.
enum Held<'f> {
    /// The gate's own: has a record and counters.
    Gate(&'f File),
    /// That of the module file.
    ModuleFile,
    /// None: the kernel arbitrates.
    Nothing,
}

/// How one turn at a lock ended.
enum Turn {
    Done(Result<Outcome>, Role),
    /// The wait was too long; the next lock is tried.
    GiveUp,
}

impl<'a> Gate<'a> {
    /// A gate with the settings of the kernel command line. Nothing is read or opened before a request gets past the
    /// first look.
    pub fn new(system: System<'a>, sink: &'a dyn Sink, origin: trace::Origin) -> Self {
        let (settings, room, traced) = Default::default();
        Gate { system, sink, settings, room, traced, origin }
    }

    /// A gate with the given settings.
    pub fn with_settings(
        system: System<'a>,
        sink: &'a dyn Sink,
        origin: trace::Origin,
        settings: Settings,
    ) -> Self {
        Gate { settings: OnceLock::from(settings), ..Self::new(system, sink, origin) }
    }

    /// The state of a module, from sysfs, else from `/proc/modules`; where neither can tell, it counts as absent and
    /// the kernel arbitrates.
    pub fn state(&self, name: &[u8]) -> State {
        look(&self.system, name)
    }

    /// Opens the room now. Threads that share a gate would else race to be the one that is told what is wrong with it.
    pub fn open(&self) {
        if self.settings().enabled {
            self.room();
        }
    }

    /// Loads a module through the gate. `call` hands it to the kernel; it runs at most a few times, and more than
    /// once only when the kernel said that the module exists and it then vanished.
    ///
    /// # Errors
    /// What `call` said, here or in the attempt of another that overlapped with this one. `EBUSY` for a module whose
    /// own init waits for this request.
    pub fn load(&self, load: &Load<'_>, call: &mut dyn FnMut() -> Result<()>) -> Result<Outcome> {
        let begin = self.system.clock.boottime();
        let mut patience = Patience::new(self.settings());
        let (result, role) = self.through_a_lock(load, call, &mut patience);
        if self.traced() {
            let waited = patience.waited;
            trace::append(&self.system, self.room(), &self.origin, load, &result, role, begin, waited);
        }
        result
    }

    fn through_a_lock(
        &self,
        load: &Load<'_>,
        call: &mut dyn FnMut() -> Result<()>,
        patience: &mut Patience,
    ) -> (Result<Outcome>, Role) {
        if !self.settings().enabled {
            return (self.lead(load, &Held::Nothing, call, patience), Role::Fallback);
        }
        let own = self.room().and_then(|room| room.file(load.key).ok());
        if let Some(file) = &own {
            if let Turn::Done(result, role) = self.turn(load, &Held::Gate(file), call, patience) {
                return (result, role);
            }
            Counters { bounds: 1, fallbacks: 1, ..Counters::default() }.add_to(file);
        }
        patience.shorten();
        if let Turn::Done(result, role) = self.turn(load, &Held::ModuleFile, call, patience) {
            return (result, if role == Role::Leader { Role::Fallback } else { role });
        }
        (self.lead(load, &Held::Nothing, call, patience), Role::Fallback)
    }

    /// One lock: knock, then lead or follow, until there is a result or patience ends.
    fn turn(
        &self,
        load: &Load<'_>,
        held: &Held<'_>,
        call: &mut dyn FnMut() -> Result<()>,
        patience: &mut Patience,
    ) -> Turn {
        let lock = match held {
            Held::Gate(file) => file,
            Held::ModuleFile => load.file,
            Held::Nothing => return Turn::GiveUp,
        };
        loop {
            match try_lock(lock, Mode::Exclusive) {
                Ok(true) => {
                    let result = self.lead(load, held, call, patience);
                    unlock(lock);
                    if let Held::Gate(file) = held {
                        ring(file);
                    }
                    return Turn::Done(result, Role::Leader);
                }
                Ok(false) => {}
                Err(_) => return Turn::GiveUp,
            }
            match self.follow(load, held, lock, patience) {
                Some(turn) => return turn,
                // Followers that found nothing to share all knock again; the pause keeps them from doing it in step
                // while each one's shared lock is in the way of the others.
                None => self.system.clock.sleep(patience.pause()),
            }
        }
    }

    /// Waits for whoever holds the lock. `None`: knock again.
    fn follow(&self, load: &Load<'_>, held: &Held<'_>, lock: &File, patience: &mut Patience) -> Option<Turn> {
        let began = self.system.clock.boottime();
        let ended = self.wait_for_holder(load, held, lock, patience);
        let waited = self.system.clock.boottime().saturating_sub(began);
        patience.waited += waited;
        let count = |counters: Counters| {
            if let Held::Gate(file) = held {
                counters.waited(waited).add_to(file);
            }
        };
        let saved = Counters { bytes_saved: load.bytes, ..Counters::default() };
        match ended {
            Reason::Live => {
                count(Counters { joined: 1, ..saved });
                Some(Turn::Done(Ok(Outcome::Joined), Role::Follower))
            }
            Reason::Free => {
                let shared = if let Held::Gate(file) = held { self.shareable(load, file) } else { None };
                unlock(lock);
                let errno = shared?;
                count(Counters { shared: 1, ..saved });
                Some(Turn::Done(Err(Error::os(errno)), Role::Follower))
            }
            Reason::Recursion if load.dependency => {
                count(Counters::default());
                Some(Turn::Done(Ok(Outcome::StillComing), Role::Follower))
            }
            Reason::Recursion => {
                let text = format!("the module's own init waits for this request to load {}", load.key);
                Some(Turn::Done(Err(Error::new(Errno::EBUSY, text)), Role::Follower))
            }
            Reason::Bound => {
                count(Counters::default());
                self.warn_of_bound(load.key, patience.waited);
                if patience.coming_is_over() && load.dependency {
                    return Some(Turn::Done(Ok(Outcome::StillComing), Role::Follower));
                }
                Some(Turn::GiveUp)
            }
        }
    }

    fn wait_for_holder(
        &self,
        load: &Load<'_>,
        held: &Held<'_>,
        lock: &File,
        patience: &mut Patience,
    ) -> Reason {
        const LONGEST_SLICE: Duration = Duration::from_secs(8);
        const LONGEST_SLICE_OF_A_HELPER: Duration = Duration::from_millis(250);
        let mut waiter = self.waiter();
        if let Held::Gate(_) = held {
            waiter = waiter.listening(record::BELL_OFFSET);
        }
        let began = self.system.clock.boottime();
        // Each look around costs some system calls, and hundreds may wait at once: whoever cannot be part of a recursion
        // need only look for the bound, and for a leader that never lets go. They came together and should not look
        // together: on a machine with many processors that wakes them all, and the leader's call waits for each.
        let mut helper = None;
        let mut slice = Patience::spread(Duration::from_millis(100));
        loop {
            match waiter.wait(lock, Mode::Shared, slice) {
                Ok(true) if self.state(load.key.as_bytes()) == State::Live => {
                    unlock(lock);
                    return Reason::Live;
                }
                Ok(true) => return Reason::Free,
                Ok(false) => {}
                Err(_) => return Reason::Bound,
            }
            let now = self.system.clock.boottime();
            let state = self.state(load.key.as_bytes());
            if state == State::Live {
                // The leader has not let go yet, and may never (stopped by a debugger): the module is there.
                return Reason::Live;
            }
            if let Held::Gate(file) = held {
                if let Some(ran) = wait::leader_ran(&self.system, file) {
                    patience.note_holder(ran, now);
                }
            }
            let expired = patience.expired(state, began, now);
            let may_be_helper = *helper.get_or_insert_with(|| wait::started_by_kernel(&self.system));
            let longest =
                if may_be_helper { LONGEST_SLICE_OF_A_HELPER } else { Patience::spread(LONGEST_SLICE) };
            if let Held::Gate(file) = held {
                // What needs the module can go on at once: the kernel waits for its symbols. A request for the module
                // itself may be a bystander's, so it waits as if nothing showed in sysfs, and only then gives up.
                let enough = load.dependency || patience.holder_bound_is_over(began, now);
                if may_be_helper && enough && wait::leader_waits_for_helper(&self.system, file) {
                    return Reason::Recursion;
                }
            }
            if expired {
                return Reason::Bound;
            }
            slice = (slice * 2).min(longest).min(patience.remaining(began, now));
        }
    }

    /// The part that at most one runs at a time: look again, call, write down.
    fn lead(
        &self,
        load: &Load<'_>,
        held: &Held<'_>,
        call: &mut dyn FnMut() -> Result<()>,
        patience: &mut Patience,
    ) -> Result<Outcome> {
        let file = if let Held::Gate(file) = held { Some(*file) } else { None };
        let before = file.and_then(Record::read);
        let count = |counters: Counters| {
            if let Some(file) = file {
                counters.add_to(file);
            }
        };
        let saved = Counters { bytes_saved: load.bytes, ..Counters::default() };
        let loads_before = before.map_or(0, |record| record.sequence);
        let mut fresh = before.is_none();
        const ATTEMPTS: u32 = 3;
        for attempt in 1..=ATTEMPTS {
            match self.settle(load, patience) {
                State::Live => {
                    count(Counters { joined: 1, ..saved }.waited(patience.waited));
                    return Ok(Outcome::Joined);
                }
                State::Coming if load.dependency => return Ok(Outcome::StillComing),
                _ => {}
            }
            if attempt == 1 {
                if let Some(errno) = before.and_then(|record| self.answers(load, &record)) {
                    count(Counters { shared: 1, ..saved });
                    return Err(Error::os(errno));
                }
            }
            let mut record = Record {
                sequence: loads_before + u64::from(attempt),
                begin: self.system.clock.boottime(),
                end: None,
                inputs: load.inputs,
                leader: nix::unistd::gettid().as_raw(),
            };
            let mut write = |record: Record| {
                if let Some(file) = file {
                    // Without a record (a full /run) failures are not shared, and loading goes on.
                    fresh &= record.write(file, fresh).is_err();
                }
            };
            write(record);
            let result = call();
            let errno = result.as_ref().err().map_or(0, |error| error.errno() as i32);
            let exists = errno == Errno::EEXIST as i32;
            let live = exists && self.settle(load, patience) == State::Live;
            let recorded = if live { 0 } else { errno };
            record.end = Some((self.system.clock.boottime(), recorded));
            write(record);
            count(Counters { loads: 1, failures: u64::from(recorded != 0), ..Counters::default() });
            match result {
                Ok(()) => return Ok(Outcome::Loaded),
                Err(_) if live => return Ok(Outcome::Joined),
                Err(error) if !exists || attempt == ATTEMPTS => return Err(error),
                // It existed at the call and is gone again: somebody removed it, or its own init failed.
                Err(_) => {}
            }
        }
        Err(Error::os(Errno::EEXIST))
    }

    /// The failure in the gate's record, if it may answer this request.
    fn shareable(&self, load: &Load<'_>, file: &File) -> Option<Errno> {
        Record::read(file).and_then(|record| self.answers(load, &record))
    }

    /// The errno of `record` if that attempt overlapped with this request and had the same inputs, so that running
    /// alone could have given the same; or if the administrator asked for failures to be remembered that long.
    fn answers(&self, load: &Load<'_>, record: &Record) -> Option<Errno> {
        let (end, errno) = record.end?;
        if errno == 0 || record.inputs != load.inputs {
            return None;
        }
        let overlapped = end >= load.arrival;
        let ttl = self.settings().failure_ttl;
        let remembered =
            load.remember && !ttl.is_zero() && self.system.clock.boottime().saturating_sub(end) < ttl;
        (overlapped || remembered).then(|| Errno::from_raw(errno))
    }

    /// Waits, bounded, until the module is live or gone: whoever else loads it does not know of the gate.
    fn settle(&self, load: &Load<'_>, patience: &mut Patience) -> State {
        let began = self.system.clock.boottime();
        let mut pause = Duration::from_millis(1);
        loop {
            let state = self.state(load.key.as_bytes());
            let now = self.system.clock.boottime();
            if !matches!(state, State::Coming | State::Going) {
                patience.waited += now.saturating_sub(began);
                return state;
            }
            if patience.expired(state, began, now) {
                patience.waited += now.saturating_sub(began);
                self.warn_of_bound(load.key, patience.waited);
                return state;
            }
            self.system.clock.sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Runs `work` while no load or unload of this module by others that use the gate is under way. Bounded like a
    /// load; past the bound the work is done all the same, and the kernel arbitrates.
    pub fn exclusive<T>(&self, key: &ModuleName, work: impl FnOnce() -> T) -> T {
        let file =
            if self.settings().enabled { self.room().and_then(|room| room.file(key).ok()) } else { None };
        if let Some(file) = &file {
            let mut patience = Patience::new(self.settings());
            let began = self.system.clock.boottime();
            let mut waiter = None;
            let mut held = try_lock(file, Mode::Exclusive);
            while held == Ok(false) {
                let waiter = waiter.get_or_insert_with(|| self.waiter().listening(record::BELL_OFFSET));
                held = waiter.wait(file, Mode::Exclusive, Duration::from_millis(250));
                let now = self.system.clock.boottime();
                if held == Ok(false) && patience.expired(self.state(key.as_bytes()), began, now) {
                    self.warn_of_bound(key, now.saturating_sub(began));
                    break;
                }
            }
            let result = work();
            if held == Ok(true) {
                unlock(file);
                ring(file);
            }
            return result;
        }
        work()
    }

    fn waiter(&self) -> Waiter<'a> {
        Waiter::new(self.system.wait, self.system.clock)
    }

    fn settings(&self) -> &Settings {
        self.settings.get_or_init(|| {
            let cmdline = file::read_whole(&self.system.roots.cmdline(), limits::CMDLINE_FILE);
            Settings::from_cmdline(&cmdline.unwrap_or_default())
        })
    }

    fn traced(&self) -> bool {
        let switch = || self.system.roots.gate_parent().join(trace::SWITCH).exists();
        *self.traced.get_or_init(|| self.settings().trace || switch())
    }

    fn room(&self) -> Option<&Room> {
        self.room
            .get_or_init(|| match Room::open(self.system.roots) {
                Ok(room) => Some(room),
                Err(NoRoom::Unavailable(_)) => None,
                Err(NoRoom::Distrusted(path, why)) => {
                    let text = format!("{} {why}: not used to serialise module loading", path.display());
                    self.sink.log(Priority::Warning, text.as_bytes());
                    None
                }
            })
            .as_ref()
    }

    fn warn_of_bound(&self, key: &ModuleName, waited: Duration) {
        let text = format!("{key}: waited {} s for another process to load it, going on", waited.as_secs());
        self.sink.log(Priority::Warning, text.as_bytes());
    }
}

/// Whether a module is live: the cheapest look that can say yes. Where it says no and the module is on its way, the gate
/// looks again, properly, and waits.
pub fn is_live(system: &System<'_>, name: &[u8]) -> bool {
    // What cannot be a module's name is none that is loaded, and no path is built of it.
    ModuleName::new(name).is_some() && {
        let mut buffer = [0; 16];
        match file::read_attribute(&system.roots.sys_module(name, "initstate"), &mut buffer) {
            Ok(state) => state == b"live\n",
            Err(_) => {
                !sysfs::available(system.roots)
                    && sysfs::state_from_proc(system.roots, name) == Ok(State::Live)
            }
        }
    }
}

/// Wakes those who wait for the lock of a gate file without a timer of their own; it has just been given back.
fn ring(file: &File) {
    if let Some(bell) = Bell::within(file, record::BELL_OFFSET) {
        bell.ring();
    }
}

/// The state of a module as the system shows it; see [`Gate::state`]. Never [`State::Nascent`].
pub fn look(system: &System<'_>, name: &[u8]) -> State {
    let mut state = glance(system, name);
    // The directory appears a moment before the attribute, and vanishes a moment after it.
    for _ in 0..3 {
        if state != State::Nascent {
            return state;
        }
        system.clock.sleep(Duration::from_micros(500));
        state = glance(system, name);
    }
    if state == State::Nascent { State::Absent } else { state }
}

/// [`look`] without a second look at what is [`State::Nascent`].
pub fn glance(system: &System<'_>, name: &[u8]) -> State {
    asked(system, name).unwrap_or(State::Absent)
}

/// Whether a module is not there, for whoever would do nothing then. Where that cannot be told (no descriptors are left, a
/// read fails) it may well be there, and the kernel has to be asked.
pub fn is_absent(system: &System<'_>, name: &[u8]) -> bool {
    match asked(system, name) {
        Ok(State::Absent) | Err(Errno::ENOENT) => true,
        Ok(State::Nascent) => look(system, name) == State::Absent,
        Ok(_) | Err(_) => false,
    }
}

fn asked(system: &System<'_>, name: &[u8]) -> Result<State, Errno> {
    match sysfs::state(system.roots, name) {
        Ok(State::Absent) | Err(_) if !sysfs::available(system.roots) => {
            sysfs::state_from_proc(system.roots, name).map_err(|error| error.errno())
        }
        Ok(state) => Ok(state),
        Err(error) => Err(error.errno()),
    }
}

#[cfg(test)]
mod tests;
