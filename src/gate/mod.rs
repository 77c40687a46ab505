//! The gate: concurrent requests for one module make one kernel call. Without it each call copies, decompresses,
//! verifies and lays out the whole module before the kernel finds that the module is already loaded or coming.
//!
//! [`protocol`] defines what a request does and which properties hold. `driver` carries it out. A request whose module is
//! already live opens no file of the gate and writes nothing ([`is_live`]). A thread holds at most one lock, and none
//! while an install or remove command runs.

pub(crate) mod blame;
pub(crate) mod counters;
pub(crate) mod dir;
mod driver;
pub(crate) mod holder;
pub(crate) mod look;
pub(crate) mod machine;
pub(crate) mod protocol;
pub(crate) mod record;
mod relation;
pub(crate) mod settings;
pub(crate) mod stats;
pub(crate) mod trace;

use crate::error::{Errno, Error, Result};
use crate::limits;
use crate::log::{Priority, Sink};
use crate::name::ModuleName;
use crate::system::{System, file};
use dir::{GateDir, NoGateDir};
pub(crate) use driver::{CallError, Work};
use driver::{Driver, Report};
pub(crate) use look::{is_absent, is_live};
use protocol::{End, FailureCache, Lock, Purpose, Relation, Request};
use record::BootId;
use settings::Settings;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Part of the warning about an untrusted gate directory. `kmod check` searches the libkmod of systemd-udevd for this text to
/// learn whether it has a gate.
pub const MARK: &str = "not used to serialise module loading";

/// One request to load one module.
pub(crate) struct Load<'r> {
    /// The name of the lock file: the name of the module file if the indexes gave it, else the name inside the module.
    pub key: &'r ModuleName,
    /// When the steps before this one ended, on `CLOCK_BOOTTIME`.
    pub since: Duration,
    /// [`record::digest`] of everything that decides the result.
    pub inputs: u64,
    /// [`record::file_digest`] of the module file.
    pub file_digest: u64,
    /// The size of the module file in bytes. A request that makes no kernel call counts it as saved.
    pub bytes: u64,
    /// The open module file. It is locked if the gate's lock file cannot be used.
    pub file: &'r File,
    /// Whether another module needs this one. Then the request may end while the module is still coming.
    pub dependency: bool,
    /// Whether a remembered failure may answer (`kmod.failure_ttl`).
    pub remember: bool,
    /// The argument that the user or the kernel gave: a name, an alias or a path.
    pub request: &'r [u8],
    /// The time limit of the whole request.
    pub budget: &'r WaitBudget,
}

/// How long a whole request may wait for other processes, all waits together. Its own kernel calls and commands do not count.
#[derive(Debug)]
pub(crate) struct WaitBudget {
    begin: Duration,
    /// Time spent in its own kernel calls and commands, in nanoseconds.
    worked: AtomicU64,
}

impl WaitBudget {
    /// The budget of a request that begins now.
    pub(crate) fn new(system: &System<'_>) -> Self {
        WaitBudget { begin: system.clock.boottime(), worked: AtomicU64::new(0) }
    }

    /// Runs `work` and moves the deadline by the time that it took.
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

/// How a successful load ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This request's own call loaded it.
    Loaded,
    /// The module is live, loaded by another process or thread.
    Joined,
    /// The dependency is still coming, and waiting had to end. The kernel itself waits for its symbols.
    StillComing,
}

/// What stays as it is while a process lives, and is so for its children; each is read when it is first needed. What cannot
/// be read is asked for again.
#[derive(Default)]
pub(crate) struct Known {
    settings: OnceLock<Settings>,
    boot: OnceLock<BootId>,
    started_by_kernel: OnceLock<bool>,
}

/// The gate of one process. Threads may share it.
pub(crate) struct Gate<'a> {
    system: System<'a>,
    sink: &'a dyn Sink,
    known: Arc<Known>,
    directory: OnceLock<Option<GateDir>>,
    traced: OnceLock<bool>,
    origin: trace::Origin,
}

impl<'a> Gate<'a> {
    /// A gate with the settings of the kernel command line, which the first request reads. Gates of one process share what
    /// they know.
    pub(crate) fn new(
        system: System<'a>,
        sink: &'a dyn Sink,
        origin: trace::Origin,
        known: Arc<Known>,
    ) -> Self {
        Gate { system, sink, known, directory: OnceLock::new(), traced: OnceLock::new(), origin }
    }

    #[cfg(test)]
    pub(crate) fn with_settings(
        system: System<'a>,
        sink: &'a dyn Sink,
        origin: trace::Origin,
        settings: Settings,
    ) -> Self {
        let known = Known { settings: OnceLock::from(settings), ..Known::default() };
        Self::new(system, sink, origin, Arc::new(known))
    }

    /// Opens the directory now, so that a warning about it is logged by this thread and not by one of several workers.
    pub(crate) fn open(&self) {
        if self.settings().enabled {
            self.directory();
        }
    }

    /// Loads a module through the gate. `work` makes the kernel call.
    ///
    /// # Errors
    /// The error of `work`, or the errno of another process's attempt that answers this request too. `EBUSY` if the
    /// module's own init waits for this request.
    pub(crate) fn load(&self, load: &Load<'_>, work: &mut dyn Work) -> Result<Outcome> {
        let settings = self.settings();
        let begin = self.system.clock.boottime();
        let failure_cache = match load {
            _ if load.remember && !settings.failure_ttl.is_zero() => FailureCache::Any(settings.failure_ttl),
            _ if load.request.starts_with(b"cpu:") => FailureCache::NoDevice(limits::CPU_REFUSAL),
            _ => FailureCache::None,
        };
        let request = Request {
            purpose: if load.dependency { Purpose::LoadDependency } else { Purpose::Load },
            since: load.since,
            deadline: load.budget.deadline(settings.timeout),
            inputs: load.inputs,
            failure_cache,
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

    /// Runs `work` while no other user of the gate loads or removes this module. After the deadline `work` runs without
    /// the lock, and the kernel arbitrates.
    pub(crate) fn remove<T>(
        &self,
        key: &ModuleName,
        budget: &WaitBudget,
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
            deadline: budget.deadline(self.settings().timeout),
            inputs: 0,
            failure_cache: FailureCache::None,
        };
        Driver::run(self, key, None, &mut call, request, self.first_lock());
        done
    }

    fn first_lock(&self) -> Lock {
        if self.settings().enabled { Lock::Key } else { Lock::Nothing }
    }

    fn settings(&self) -> Settings {
        let read = || {
            let cmdline = file::read_whole(&self.system.roots.cmdline(), limits::CMDLINE_FILE).ok()?;
            Some(Settings::from_cmdline(&cmdline))
        };
        once(&self.known.settings, read).copied().unwrap_or_default()
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
        let read = || {
            let mut buffer = [0; 64];
            record::boot_id(file::read_attribute(&self.system.roots.boot_id(), &mut buffer).ok()?)
        };
        once(&self.known.boot, read).copied()
    }

    /// Whether the kernel started this process. If that cannot be told, the answer is yes: a request that does not wait is safe,
    /// since the kernel arbitrates, and one that waits for itself is not.
    fn started_by_kernel(&self) -> bool {
        once(&self.known.started_by_kernel, || relation::started_by_kernel(&self.system))
            .is_none_or(|&yes| yes)
    }

    /// How this process relates to the thread whose call loads the module.
    fn relation(&self, leader: Option<i32>) -> Relation {
        match self.started_by_kernel() {
            true => relation::to_leader(&self.system, leader),
            false => Relation::Unrelated,
        }
    }

    fn trace(&self, load: &Load<'_>, report: &Report, result: &Result<Outcome>, begin: Duration) {
        let switch = || self.system.roots.gate_parent().join(trace::SWITCH).exists();
        if *self.traced.get_or_init(|| self.settings().trace || switch()) {
            if let Some(directory) = self.directory() {
                trace::append(self, directory, load, report, result, begin);
            }
        }
    }

    fn warn_of_deadline(&self, key: &ModuleName, waited: Duration) {
        let text = format!("{key}: waited {} s for another process to load it, going on", waited.as_secs());
        self.sink.log(Priority::Warning, text.as_bytes());
    }
}

/// What is known, or what `read` now finds.
fn once<T>(known: &OnceLock<T>, read: impl FnOnce() -> Option<T>) -> Option<&T> {
    if known.get().is_none() {
        // Another thread may have been faster; it found the same.
        let _ = known.set(read()?);
    }
    known.get()
}

/// A time as the gate's files and JSON store it.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
