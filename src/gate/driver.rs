//! Does on the real system what the protocol's machine says.

use super::counters::Counters;
use super::machine::Machine;
use super::protocol::{Action, Attempt, End, Ended, Failure, Lock, Request, Seen};
use super::record::{BELL_OFFSET, Record};
use super::{Gate, Load, kin, look};
use crate::error::{Errno, Error};
use crate::name::ModuleName;
use crate::system::bell::Bell;
use crate::system::flock::{try_lock, unlock};
use crate::system::sysfs::State;
use std::fs::File;
use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Duration;

/// How a kernel call failed.
#[derive(Debug)]
pub(crate) struct Refused {
    pub error: Error,
    /// Whether the kernel's module loader gave it, not something on the way there.
    pub by_kernel: bool,
}

impl Refused {
    /// The kernel's own answer to the call.
    pub(crate) fn by_kernel(errno: Errno) -> Self {
        Refused { error: Error::os(errno), by_kernel: true }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused { error, by_kernel: false }
    }
}

/// What the driver cannot know by itself.
pub(crate) trait Work {
    fn call(&mut self) -> Result<(), Refused>;
    /// The name inside the module file, if it can be had.
    fn own_name(&mut self) -> Option<ModuleName> {
        None
    }
}

impl<F: FnMut() -> Result<(), Refused>> Work for F {
    fn call(&mut self) -> Result<(), Refused> {
        self()
    }
}

/// What came of a request.
pub(crate) struct Report {
    pub end: End,
    /// The error of its own last call.
    pub error: Option<Error>,
    /// The lock that it was at in the end.
    pub lock: Lock,
    /// How many kernel calls it made.
    pub calls: u8,
    /// How long it slept.
    pub waited: Duration,
    /// How long its kernel calls took.
    pub called: Duration,
}

/// One request on the real system.
pub(crate) struct Driver<'d, 'a> {
    gate: &'d Gate<'a>,
    key: &'d ModuleName,
    /// `None` for a removal.
    load: Option<&'d Load<'d>>,
    work: &'d mut dyn Work,
    file: Option<File>,
    /// Mapped when it is first needed, or why it cannot be.
    bell: Option<Result<Bell, Errno>>,
    /// The module's own name where it differs, and the digest of the file that says so.
    own_name: Option<(ModuleName, u64)>,
    sequence: u64,
    /// Whether the lock's file has no record yet.
    fresh: bool,
    descends: Option<bool>,
    error: Option<Error>,
    waited: Duration,
    called: Duration,
}

impl<'d, 'a> Driver<'d, 'a> {
    /// Runs one request to its end, beginning at `lock`; `load` is `None` for a removal.
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
            bell: None,
            own_name: None,
            sequence: 0,
            fresh: true,
            descends: None,
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
            Action::TryLock => match self.lock_file(machine.lock()).map(try_lock) {
                Some(Ok(held)) => Seen::Locked(held),
                Some(Err(_)) | None => Seen::Failed,
            },
            Action::ReadBell => Seen::Bell(self.bell().map(Bell::strikes)),
            Action::Look => Seen::State(self.look(machine)),
            Action::ReadRecord => Seen::Record(self.read_record(machine.lock())),
            Action::ReadKin(leader) => Seen::Kin(kin::find(&self.gate.system, leader, &mut self.descends)),
            Action::Sleep(bell, time) => {
                self.sleep(bell, time);
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
                if let Some(file) = self.lock_file(machine.lock()) {
                    unlock(file);
                }
                Seen::Done
            }
            Action::Ring => {
                if let Some(bell) = self.bell() {
                    bell.ring();
                }
                Seen::Done
            }
            Action::Warn => {
                self.gate.warn_of_bound(self.key, self.waited);
                Seen::Done
            }
            Action::End(end) => return Break(end),
        })
    }

    fn call(&mut self) -> Seen {
        let (answer, time) = self.gate.system.clock.timed(|| self.work.call());
        self.called += time;
        if let Some(load) = self.load {
            load.patience.worked(time);
        }
        Seen::Answer(answer.err().map(|Refused { error, by_kernel }| {
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
        self.bell = None;
        self.fresh = true;
        self.file = self.gate.directory().and_then(|directory| directory.file(name).ok());
        if self.file.is_some() { Seen::Done } else { Seen::Failed }
    }

    /// The bell of the lock's file. What does not reach so far yet may do so at the next look; what may not be mapped (SELinux
    /// without our policy) is not asked again, since each refusal is a line in the audit log.
    fn bell(&mut self) -> Option<&Bell> {
        if matches!(self.bell, None | Some(Err(Errno::EINVAL))) {
            self.bell = self.file.as_ref().map(|file| Bell::within(file, BELL_OFFSET));
        }
        self.bell.as_ref()?.as_ref().ok()
    }

    fn lock_file(&self, lock: Lock) -> Option<&File> {
        match lock {
            Lock::Key | Lock::Own => self.file.as_ref(),
            Lock::ModuleFile => self.load.map(|load| load.file),
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
        let record = self.file.as_ref().and_then(Record::read);
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
        // What a success shows of the name is more than what the record said.
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
        // Without a record (a full /run) failures are not shared, and loading goes on.
        self.fresh &= record.write(file, self.fresh).is_err();
        if let Some(end) = end {
            let failures = u64::from(end.failure.is_some());
            Counters { loads: 1, failures, ..Counters::default() }.add_to(file);
        }
    }

    fn sleep(&mut self, strikes: Option<u32>, time: Duration) {
        let clock = self.gate.system.clock;
        let ((), slept) = clock.timed(|| match (&self.bell, strikes) {
            (Some(Ok(bell)), Some(strikes)) => bell.wait(strikes, jittered(time)),
            _ => clock.sleep(time),
        });
        self.waited += slept;
    }

    /// Books the request in the file of its lock.
    fn count(&self, end: End, machine: &Machine) {
        let Some(file) = &self.file else { return };
        let mut counters = Counters::default().waited(self.waited);
        counters.bounds = u64::from(machine.is_late());
        counters.fallbacks = u64::from(!machine.lock().is_gates());
        match end {
            End::Joined => counters.joined = 1,
            End::Shared(_) => counters.shared = 1,
            End::Called | End::Failed(_) | End::StillComing | End::Recursion => {}
        }
        if matches!(end, End::Joined | End::Shared(_)) && machine.calls() == 0 {
            counters.bytes_saved = self.load.map_or(0, |load| load.bytes);
        }
        counters.add_to(file);
    }
}

/// Jitter: up to a seventh less, by thread id. Waiters woken at once compete with the leader, whose load interrupts every CPU.
fn jittered(time: Duration) -> Duration {
    let place = nix::unistd::gettid().as_raw().unsigned_abs() % 7;
    time - time * place / 42
}
