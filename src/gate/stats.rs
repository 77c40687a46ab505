//! What the gate saved, and who asked: read from its own files.

use super::counters::Counters;
use super::dir::{GateDir, NoGateDir};
use super::record::Record;
use super::trace;
use crate::error::{Errno, Error, Result};
use crate::system::{System, file};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

/// One module in the gate's books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    pub name: Vec<u8>,
    /// What was counted since boot.
    pub counters: Counters,
    /// The last load, if its record is whole.
    pub last: Option<Record>,
}

impl Module {
    /// The errno of the last load, 0 for success; `None` where none ended.
    pub(crate) fn last_errno(&self) -> Option<i32> {
        let end = self.last.as_ref()?.end?;
        Some(end.failure.map_or(0, |failure| failure.errno.number()))
    }
}

/// The gate's books.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Stats {
    pub modules: Vec<Module>,
    /// What `/sys/kernel/debug/modules/stats` says, where the kernel has it (6.4 with `CONFIG_MODULE_STATS`).
    pub kernel: Option<Vec<u8>>,
}

impl Stats {
    pub(crate) fn total(&self) -> Counters {
        self.modules.iter().fold(Counters::default(), |sum, module| sum.plus(module.counters))
    }

    /// The books as JSON: `{"total": {...}, "modules": [{"name": ..., ...}], "kernel": text or null}`. Times are in
    /// nanoseconds, sizes in bytes.
    pub(crate) fn to_json(&self) -> Value {
        let modules: Vec<Value> = self
            .modules
            .iter()
            .map(|module| {
                let mut object = counters_json(module.counters);
                object["name"] = Value::from(String::from_utf8_lossy(&module.name));
                object["last_errno"] = json!(module.last_errno());
                object
            })
            .collect();
        json!({
            "total": counters_json(self.total()),
            "modules": modules,
            "kernel": self.kernel.as_deref().map(String::from_utf8_lossy),
        })
    }
}

fn counters_json(counters: Counters) -> Value {
    json!({
        "loads": counters.loads,
        "failures": counters.failures,
        "joined": counters.joined,
        "shared_failures": counters.shared,
        "bounds_passed": counters.bounds,
        "fallbacks": counters.fallbacks,
        "bytes_saved": counters.bytes_saved,
        "waited_ns": counters.waited,
    })
}

/// Reads the books. A gate that was never used gives empty ones.
///
/// # Errors
/// `EACCES` for anyone but root; `EPERM` where the directory is not to be trusted; else what reading it said.
pub(crate) fn read(system: &System<'_>) -> Result<Stats> {
    let mut stats = Stats {
        kernel: file::read_whole(&system.roots.sys_fs.join("kernel/debug/modules/stats"), 1 << 20).ok(),
        ..Stats::default()
    };
    let Some(directory) = existing(system)? else { return Ok(stats) };
    let path = system.roots.gate_parent().join("gate");
    for key in directory.modules().map_err(|errno| Error::os(errno).at(&path))? {
        let mut bytes = Vec::new();
        let Ok(file) = directory.read(&key) else { continue };
        if file.take(super::record::FILE_LENGTH as u64).read_to_end(&mut bytes).is_err() {
            continue;
        }
        let (counters, last) = (Counters::parse(&bytes), Record::parse(&bytes));
        stats.modules.push(Module { name: key.as_bytes().to_vec(), counters, last });
    }
    stats.modules.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(stats)
}

fn existing(system: &System<'_>) -> Result<Option<GateDir>> {
    match GateDir::existing(system.roots) {
        Ok(directory) => Ok(Some(directory)),
        Err(NoGateDir::Unavailable(Errno::ENOENT) | NoGateDir::OnDisk) => Ok(None),
        Err(NoGateDir::Unavailable(errno)) => {
            Err(Error::os(errno).at(system.roots.gate_parent().join("gate")))
        }
        Err(NoGateDir::Distrusted(path, why)) => Err(Error::new(Errno::EPERM, why).at(path)),
    }
}

/// One kind of asker in the trace: the names of the process and of its parent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Asker {
    /// Name of the process that started the asking one.
    pub parent: String,
    /// Name of the asking process.
    pub comm: String,
}

/// What one kind of asker asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Asked {
    /// Requests that reached the gate.
    pub requests: u64,
    /// Those that another's call had served.
    pub served: u64,
    /// Requests for each module.
    pub modules: BTreeMap<String, u64>,
    /// Time spent waiting for others.
    pub waited: Duration,
}

/// Sums up the trace by asker, most requests first; the second value counts its broken lines.
pub(crate) fn who(system: &System<'_>) -> Result<(Vec<(Asker, Asked)>, u64)> {
    let (entries, broken) = trace::read(system)?;
    let mut askers: BTreeMap<Asker, Asked> = BTreeMap::new();
    for entry in entries {
        let asked = askers.entry(Asker { parent: entry.parent, comm: entry.comm }).or_default();
        asked.requests += 1;
        asked.served += u64::from(entry.served);
        asked.waited += entry.waited;
        *asked.modules.entry(entry.module).or_default() += 1;
    }
    let mut askers: Vec<_> = askers.into_iter().collect();
    askers.sort_by(|a, b| b.1.requests.cmp(&a.1.requests).then_with(|| a.0.cmp(&b.0)));
    Ok((askers, broken))
}
