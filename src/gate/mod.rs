//! Load exactly once. N requests for one module at one moment must cost the kernel one call: it copies,
//! decompresses, verifies and lays out a whole module before it finds that the same one is there or on its way.
//!
//! [`protocol`] says what a request does and what holds; `driver` does it. A request that finds its module live opens nothing
//! and writes nothing ([`is_live`]). No two locks are held at once in one thread, and none while a command runs.

pub(crate) mod blame;
pub(crate) mod counters;
pub(crate) mod dir;
mod driver;
pub(crate) mod holder;
mod kin;
pub(crate) mod look;
pub(crate) mod machine;
pub(crate) mod protocol;
pub(crate) mod record;
pub(crate) mod settings;
pub(crate) mod stats;
pub(crate) mod trace;

use crate::error::{Errno, Error, Result};
use crate::limits;
use crate::log::{Priority, Sink};
use crate::name::ModuleName;
use crate::system::{System, file};
use dir::{GateDir, NoGateDir};
use driver::{Driver, Report};
pub(crate) use driver::{Refused, Work};
pub(crate) use look::{is_absent, is_live};
use protocol::{End, Lock, Memory, Purpose, Request};
use record::BootId;
use settings::Settings;
use std::fs::File;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A part of a message, by which a program or library that has a gate can be told from others.
pub const MARK: &str = "not used to serialise module loading";

/// One request to load one module.
pub(crate) struct Load<'r> {
    /// The name that it was asked for by: of the file, where it was found through the indexes; else the module's own.
    pub key: &'r ModuleName,
    /// When everything that this request loads before was there, on `CLOCK_BOOTTIME`.
    pub since: Duration,
    /// [`record::digest`] of everything that decides the result.
    pub inputs: u64,
    /// [`record::file_digest`] of the module file.
    pub file_digest: u64,
    /// The size of the module file: what is saved when it is not handed over again, in bytes.
    pub bytes: u64,
    /// The open module file. It is the lock where the gate's own cannot be had.
    pub file: &'r File,
    /// Whether something else needs this module: then it is enough that it is on its way.
    pub dependency: bool,
    /// Whether a remembered failure may answer (`kmod.failure_ttl`).
    pub remember: bool,
    /// What was asked for, in the words of the request.
    pub request: &'r [u8],
    /// How long all of this request may wait.
    pub patience: &'r Patience,
}

/// How long a whole request may wait for others, whatever it waits for and however often. What it does itself, kernel calls
/// and commands, does not count.
#[derive(Debug)]
pub(crate) struct Patience {
    begin: Duration,
    /// Nanoseconds of its own work.
    worked: AtomicU64,
}

impl Patience {
    /// That of a request which begins now.
    pub(crate) fn new(system: &System<'_>) -> Self {
        Patience { begin: system.clock.boottime(), worked: AtomicU64::new(0) }
    }

    /// Does some of the request's own work.
    pub(crate) fn work<T>(&self, system: &System<'_>, work: impl FnOnce() -> T) -> T {
        let (done, time) = system.clock.timed(work);
        self.worked(time);
        done
    }

    fn worked(&self, time: Duration) {
        self.worked.fetch_add(nanoseconds(time), Ordering::Relaxed);
    }

    fn deadline(&self, timeout: Duration) -> Duration {
        let worked = Duration::from_nanos(self.worked.load(Ordering::Relaxed));
        self.begin.saturating_add(worked).saturating_add(timeout)
    }
}

/// How a load ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This request's own call loaded it.
    Loaded,
    /// It is live, through somebody else's call.
    Joined,
    /// A dependency that is still on its way when waiting had to end: the kernel itself waits for its symbols.
    StillComing,
}

/// The gate as one process sees it. It may be shared by threads.
pub(crate) struct Gate<'a> {
    system: System<'a>,
    sink: &'a dyn Sink,
    settings: OnceLock<Settings>,
    directory: OnceLock<Option<GateDir>>,
    boot: OnceLock<Option<BootId>>,
    traced: OnceLock<bool>,
    origin: trace::Origin,
}

impl<'a> Gate<'a> {
    /// A gate with the settings of the kernel command line. Nothing is read or opened before a request gets past the
    /// first look.
    pub(crate) fn new(system: System<'a>, sink: &'a dyn Sink, origin: trace::Origin) -> Self {
        let (settings, directory, boot, traced) = Default::default();
        Gate { system, sink, settings, directory, boot, traced, origin }
    }

    /// A gate with the given settings.
    #[cfg(test)]
    pub(crate) fn with_settings(
        system: System<'a>,
        sink: &'a dyn Sink,
        origin: trace::Origin,
        settings: Settings,
    ) -> Self {
        Gate { settings: OnceLock::from(settings), ..Self::new(system, sink, origin) }
    }

    /// Opens the directory now. Threads that share a gate would else race to be the one that is told what is wrong with it.
    pub(crate) fn open(&self) {
        if self.settings().enabled {
            self.directory();
        }
    }

    /// Loads a module through the gate; `work` hands it to the kernel.
    ///
    /// # Errors
    /// What `work` said, here or in the attempt of another that overlapped with this one. `EBUSY` for a module whose
    /// own init waits for this request.
    pub(crate) fn load(&self, load: &Load<'_>, work: &mut dyn Work) -> Result<Outcome> {
        let settings = self.settings();
        let begin = self.system.clock.boottime();
        let memory = match load {
            _ if load.remember && !settings.failure_ttl.is_zero() => Memory::Failure(settings.failure_ttl),
            _ if load.request.starts_with(b"cpu:") => Memory::Refusal(limits::CPU_REFUSAL),
            _ => Memory::None,
        };
        let request = Request {
            purpose: if load.dependency { Purpose::LoadDependency } else { Purpose::Load },
            since: load.since,
            deadline: load.patience.deadline(settings.timeout),
            inputs: load.inputs,
            memory,
        };
        let mut report = Driver::run(self, load.key, Some(load), work, request, self.first_lock());
        let result = match report.end {
            End::Called => Ok(Outcome::Loaded),
            End::Joined => Ok(Outcome::Joined),
            End::StillComing => Ok(Outcome::StillComing),
            End::Failed(failure) => Err(report.error.take().unwrap_or(Error::os(failure.errno))),
            End::Shared(errno) => Err(Error::os(errno)),
            End::Recursion => {
                let text = format!("the module's own init waits for this request to load {}", load.key);
                Err(Error::new(Errno::EBUSY, text))
            }
        };
        self.trace(load, &report, &result, begin);
        result
    }

    /// Runs `work` while no load or removal of this module by others that use the gate is under way. Past the deadline the
    /// work is done all the same, and the kernel arbitrates.
    pub(crate) fn remove<T>(
        &self,
        key: &ModuleName,
        patience: &Patience,
        work: impl FnOnce() -> T,
    ) -> Option<T> {
        let (mut work, mut done) = (Some(work), None);
        let mut call = || {
            done = work.take().map(|work| work());
            Ok(())
        };
        let request = Request {
            purpose: Purpose::Remove,
            since: Duration::ZERO,
            deadline: patience.deadline(self.settings().timeout),
            inputs: 0,
            memory: Memory::None,
        };
        Driver::run(self, key, None, &mut call, request, self.first_lock());
        done
    }

    fn first_lock(&self) -> Lock {
        if self.settings().enabled { Lock::Key } else { Lock::Nothing }
    }

    fn settings(&self) -> &Settings {
        self.settings.get_or_init(|| {
            let cmdline = file::read_whole(&self.system.roots.cmdline(), limits::CMDLINE_FILE);
            Settings::from_cmdline(&cmdline.unwrap_or_default())
        })
    }

    fn directory(&self) -> Option<&GateDir> {
        self.directory
            .get_or_init(|| match GateDir::open(self.system.roots) {
                Ok(directory) => Some(directory),
                Err(NoGateDir::Unavailable(_) | NoGateDir::OnDisk) => None,
                Err(distrusted) => {
                    self.sink.log(Priority::Warning, format!("{distrusted}: {MARK}").as_bytes());
                    None
                }
            })
            .as_ref()
    }

    fn boot(&self) -> Option<BootId> {
        *self.boot.get_or_init(|| {
            let mut buffer = [0; 64];
            let text = file::read_attribute(&self.system.roots.boot_id(), &mut buffer).ok()?;
            record::boot_id(text)
        })
    }

    fn trace(&self, load: &Load<'_>, report: &Report, result: &Result<Outcome>, begin: Duration) {
        let switch = || self.system.roots.gate_parent().join(trace::SWITCH).exists();
        if *self.traced.get_or_init(|| self.settings().trace || switch()) {
            if let Some(directory) = self.directory() {
                trace::append(&self.system, directory, &self.origin, load, report, result, begin);
            }
        }
    }

    fn warn_of_bound(&self, key: &ModuleName, waited: Duration) {
        let text = format!("{key}: waited {} s for another process to load it, going on", waited.as_secs());
        self.sink.log(Priority::Warning, text.as_bytes());
    }
}

/// A time as the gate's files have it.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
