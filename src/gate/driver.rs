//! Performs the actions of the protocol's machine on the real system.

use super::counters::Counters;
use super::machine::Machine;
use super::protocol::{Action, Attempt, End, Ended, Failure, Lock, Request, SLICE, Seen, next_turn};
use super::record::{FILE_LENGTH, FUTEX_OFFSET, Record, TURN_OFFSET};
use super::{Gate, Load, look, nanoseconds};
use crate::error::{Errno, Error};
use crate::name::ModuleName;
use crate::system::flock::FileLock;
use crate::system::futex;
use crate::system::shared::SharedMap;
use crate::system::sysfs::State;
use std::borrow::Borrow;
use std::fs::File;
use std::ops::ControlFlow::{self, Break, Continue};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// How a kernel call failed.
#[derive(Debug)]
pub(crate) struct CallError {
    pub error: Error,
    /// Whether the kernel's module loader returned it, not a step before it.
    pub by_kernel: bool,
}

impl CallError {
    /// An errno that the kernel's module loader returned.
    pub(crate) fn by_kernel(errno: Errno) -> Self {
        CallError { error: Error::os(errno), by_kernel: true }
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        CallError { error, by_kernel: false }
    }
}

/// The parts of a request that depend on the module file.
pub(crate) trait Work {
    /// Makes the kernel call.
    fn call(&mut self) -> Result<(), CallError>;
    /// The name inside the module file, if it can be read.
    fn own_name(&mut self) -> Option<ModuleName> {
        None
    }
}

impl<F: FnMut() -> Result<(), CallError>> Work for F {
    fn call(&mut self) -> Result<(), CallError> {
        self()
    }
}

/// The result of a request.
pub(crate) struct Report {
    pub end: End,
    /// The error of its own last failed call.
    pub error: Option<Error>,
    /// The last lock that it chose.
    pub lock: Lock,
    /// The number of its kernel calls.
    pub calls: u8,
    /// The time that it slept.
    pub waited: Duration,
    /// The time of its kernel calls.
    pub called: Duration,
}

/// The file of a lock.
enum LockFile<'d> {
    Gate(Rc<File>),
    Module(&'d File),
}

impl Borrow<File> for LockFile<'_> {
    fn borrow(&self) -> &File {
        match self {
            LockFile::Gate(file) => file,
            LockFile::Module(file) => file,
        }
    }
}

/// One request on the real system.
pub(crate) struct Driver<'d, 'a> {
    gate: &'d Gate<'a>,
    key: &'d ModuleName,
    /// `None` for a removal.
    load: Option<&'d Load<'d>>,
    work: &'d mut dyn Work,
    /// The gate's lock file.
    file: Option<Rc<File>>,
    held: Option<FileLock<LockFile<'d>>>,
    /// That file, mapped on first use, or the errno of that.
    map: Option<Result<SharedMap, Errno>>,
    /// The module's own name if it differs from `key`, and the digest of the file that it was read from.
    own_name: Option<(ModuleName, u64)>,
    /// The turn that it took last, in nanoseconds of `CLOCK_BOOTTIME`.
    turn: u64,
    sequence: u64,
    /// Whether the lock's file has no whole record.
    fresh: bool,
    error: Option<Error>,
    waited: Duration,
    called: Duration,
}

impl<'d, 'a> Driver<'d, 'a> {
    /// Runs one request to its end, starting at `lock`. `load` is `None` for a removal.
    pub(crate) fn run(
        gate: &'d Gate<'a>,
        key: &'d ModuleName,
        load: Option<&'d Load<'d>>,
        work: &'d mut dyn Work,
        request: Request,
        lock: Lock,
    ) -> Report {
        let mut driver = Driver {
            gate,
            key,
            load,
            work,
            file: None,
            held: None,
            map: None,
            own_name: None,
            turn: 0,
            sequence: 0,
            fresh: true,
            error: None,
            waited: Duration::ZERO,
            called: Duration::ZERO,
        };
        let clock = gate.system.clock;
        let mut machine = Machine::new(request);
        let mut action = machine.start(lock, clock.boottime());
        loop {
            match driver.act(action, &machine, &request) {
                Continue(seen) => action = machine.next(seen, clock.boottime()),
                Break(end) => {
                    driver.count(end, &machine);
                    let (lock, calls) = (machine.lock(), machine.calls());
                    let Driver { error, waited, called, .. } = driver;
                    return Report { end, error, lock, calls, waited, called };
                }
            }
        }
    }

    fn act(&mut self, action: Action, machine: &Machine, request: &Request) -> ControlFlow<End, Seen> {
        Continue(match action {
            Action::Open(lock) => self.open(lock),
            Action::TryLock => match self.lock_file(machine.lock()).map(FileLock::try_on) {
                Some(Ok(held)) => {
                    self.held = held;
                    Seen::Locked(self.held.is_some())
                }
                Some(Err(_)) | None => Seen::Failed,
            },
            Action::ReadFutex => Seen::Futex(self.futex().map(futex::wakes)),
            Action::Look => Seen::State(self.look(machine)),
            Action::ReadRecord => Seen::Record(self.read_record(machine.lock())),
            Action::ReadRelation(leader) => Seen::Relation(self.gate.relation(leader)),
            Action::Sleep(futex, time) => {
                self.sleep(futex, time);
                Seen::Done
            }
            Action::Write(begin, end) => {
                self.write(begin, end, machine, request);
                Seen::Done
            }
            Action::Call => self.call(),
            Action::ReadOwnName => {
                let digest = self.load.map_or(0, |load| load.file_digest);
                let name = self.work.own_name().filter(|name| name != self.key);
                self.own_name = name.map(|name| (name, digest));
                Seen::OtherName(self.own_name.is_some())
            }
            Action::Unlock => {
                self.held = None;
                Seen::Done
            }
            Action::Wake => {
                if let Some(turn) = self.last_turn() {
                    turn.store(0, Ordering::Relaxed);
                }
                if let Some(futex) = self.futex() {
                    futex::wake_all(futex);
                }
                Seen::Done
            }
            Action::Warn => {
                self.gate.warn_of_deadline(self.key, self.waited);
                Seen::Done
            }
            Action::End(end) => return Break(end),
        })
    }

    fn call(&mut self) -> Seen {
        let (answer, time) = self.gate.system.clock.timed(|| self.work.call());
        self.called += time;
        if let Some(load) = self.load {
            load.budget.worked(time);
        }
        Seen::Answer(answer.err().map(|CallError { error, by_kernel }| {
            let errno = error.errno();
            self.error = Some(error);
            Failure { errno, by_kernel }
        }))
    }

    fn open(&mut self, lock: Lock) -> Seen {
        let name = match (lock, &self.own_name) {
            (Lock::Own, Some((name, _))) => name,
            _ => self.key,
        };
        self.map = None;
        self.turn = 0;
        self.fresh = true;
        self.file = self.gate.directory().and_then(|directory| directory.file(name).ok()).map(Rc::new);
        if self.file.is_some() { Seen::Done } else { Seen::Failed }
    }

    /// The memory of the lock's file. A file that is still too short (`EINVAL`) is tried again. Another failure is final:
    /// without our SELinux policy each attempt to map the file adds a line to the audit log.
    fn map(&mut self) -> Option<&SharedMap> {
        if matches!(self.map, None | Some(Err(Errno::EINVAL))) {
            self.map = self.file.as_ref().map(|file| SharedMap::of(file, FILE_LENGTH));
        }
        self.map.as_ref()?.as_ref().ok()
    }

    fn futex(&mut self) -> Option<&AtomicU32> {
        self.map()?.word(FUTEX_OFFSET)
    }

    fn last_turn(&mut self) -> Option<&AtomicU64> {
        self.map()?.long(TURN_OFFSET)
    }

    /// Adds to the counters of the lock's file. A failure is ignored, since it must not stop a load.
    fn add(&mut self, counters: Counters) {
        if let Some(map) = self.map() {
            counters.add_to(map);
        }
    }

    fn lock_file(&self, lock: Lock) -> Option<LockFile<'d>> {
        match lock {
            Lock::Key | Lock::Own => self.file.clone().map(LockFile::Gate),
            Lock::ModuleFile => self.load.map(|load| LockFile::Module(load.file)),
            Lock::Nothing => None,
        }
    }

    fn look(&self, machine: &Machine) -> State {
        let system = &self.gate.system;
        match (look::look(system, self.key.as_bytes()), &self.own_name) {
            (State::Absent, Some((name, _))) if machine.knows_other_name() => {
                look::look(system, name.as_bytes())
            }
            (state, _) => state,
        }
    }

    fn read_record(&mut self, lock: Lock) -> Option<Attempt> {
        let record = self.file.as_deref().and_then(Record::read);
        self.fresh = record.is_none();
        let record = record?;
        self.sequence = record.sequence;
        let this_boot = self.gate.boot().is_some_and(|boot| boot == record.boot);
        let mut other_name = false;
        if lock == Lock::Key && this_boot {
            let digest = self.load.map(|load| load.file_digest);
            other_name =
                record.own_name.as_ref().is_some_and(|(name, of)| Some(*of) == digest && name != self.key);
            self.own_name = record.own_name;
        }
        let Record { begin, end, inputs, leader, .. } = record;
        Some(Attempt { this_boot, begin, end, inputs, leader, other_name })
    }

    fn write(&mut self, begin: Duration, end: Option<Ended>, machine: &Machine, request: &Request) {
        let Some(file) = &self.file else { return };
        if end.is_none() {
            self.sequence = self.sequence.wrapping_add(1);
        }
        // After a success the name in sysfs has been checked, so an older own name in the record is wrong.
        let shown = end.is_some_and(|end| end.failure.is_none()) && !machine.knows_other_name();
        let own_name = if machine.lock() == Lock::Own || shown { None } else { self.own_name.clone() };
        let record = Record {
            sequence: self.sequence,
            begin,
            end,
            inputs: request.inputs,
            leader: nix::unistd::gettid().as_raw(),
            own_name,
            boot: self.gate.boot().unwrap_or_default(),
        };
        // If the record cannot be written (a full /run), failures are not shared and loading goes on.
        self.fresh &= record.write(file, self.fresh).is_err();
        if let Some(end) = end {
            let failures = u64::from(end.failure.is_some());
            self.add(Counters { loads: 1, failures, ..Counters::default() });
        }
    }

    fn sleep(&mut self, value: Option<u32>, longest: Duration) {
        let clock = self.gate.system.clock;
        let time = if value.is_some() { self.until_its_turn(longest) } else { longest };
        let ((), slept) = clock.timed(|| match value.and_then(|value| Some((self.futex()?, value))) {
            Some((futex, wakes)) => futex::wait(futex, wakes, time),
            None => clock.sleep(time),
        });
        self.waited += slept;
    }

    /// How long to sleep on the futex. A sleep of more than a [`SLICE`] ends when it is this follower's turn. If a sleep ended
    /// early (a signal, a wake that was not for it), it keeps the turn that it has.
    fn until_its_turn(&mut self, longest: Duration) -> Duration {
        let longest = jittered(longest);
        let (now, own) = (nanoseconds(self.gate.system.clock.boottime()), self.turn);
        match self.last_turn() {
            Some(last) if longest > SLICE => {
                let next = |last| next_turn(last, now, nanoseconds(longest));
                let take = |last| (own <= now || last < own).then(|| next(last));
                self.turn = last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map_or(own, next);
                Duration::from_nanos(self.turn - now).min(longest)
            }
            _ => longest,
        }
    }

    /// Adds the request to the counters in the file of its lock.
    fn count(&mut self, end: End, machine: &Machine) {
        let mut counters = Counters { waited: nanoseconds(self.waited), ..Counters::default() };
        counters.bounds = u64::from(machine.is_late());
        counters.fallbacks = u64::from(!machine.lock().is_gate_file());
        match end {
            End::Joined => counters.joined = 1,
            End::Shared(_) => counters.shared = 1,
            End::Called | End::Failed(_) | End::StillComing | End::Recursion => {}
        }
        if matches!(end, End::Joined | End::Shared(_)) && machine.calls() == 0 {
            counters.bytes_saved = self.load.map_or(0, |load| load.bytes);
        }
        self.add(counters);
    }
}

/// Jitter: up to a seventh less, by thread id. Waiters that wake at once compete with the leader, whose load interrupts
/// every CPU.
fn jittered(time: Duration) -> Duration {
    let place = nix::unistd::gettid().as_raw().unsigned_abs() % 7;
    time - time * place / 42
}
