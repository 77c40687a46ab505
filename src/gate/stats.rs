//! The gate's counters and the processes that made requests, read from its own files.

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

/// The statistics of one module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModuleStats {
    pub name: Vec<u8>,
    pub counters: Counters,
    /// The last load, if its record is whole.
    pub last: Option<Record>,
}

impl ModuleStats {
    /// The errno of the last load, 0 for success. `None` if no load has ended.
    pub(crate) fn last_errno(&self) -> Option<i32> {
        let end = self.last.as_ref()?.end?;
        Some(end.failure.map_or(0, |failure| failure.errno.number()))
    }
}

/// The statistics of all modules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Stats {
    pub modules: Vec<ModuleStats>,
    /// The content of `/sys/kernel/debug/modules/stats` (Linux 6.4 and later with `CONFIG_MODULE_STATS`).
    pub kernel: Option<Vec<u8>>,
}

impl Stats {
    pub(crate) fn total(&self) -> Counters {
        self.modules.iter().fold(Counters::default(), |sum, module| sum.plus(module.counters))
    }

    /// JSON: `{"total": {...}, "modules": [{"name": ..., ...}], "kernel": text or null}`. Times are in nanoseconds, sizes
    /// in bytes.
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

/// Reads the statistics. They are empty if the gate was never used.
///
/// # Errors
/// `EACCES` unless root asks; `EPERM` if the directory is not trusted; else the errno of reading it.
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
        stats.modules.push(ModuleStats { name: key.as_bytes().to_vec(), counters, last });
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

/// The names of a requesting process and of its parent. Requests in the trace are grouped by them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Requester {
    pub parent: String,
    pub comm: String,
}

/// The requests of one [`Requester`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RequesterTotals {
    pub requests: u64,
    /// Requests that made no kernel call.
    pub served: u64,
    /// The number of requests for each module.
    pub modules: BTreeMap<String, u64>,
    /// Time spent waiting for other processes.
    pub waited: Duration,
}

/// Groups the trace by [`Requester`], most requests first. The second value is the number of broken lines.
///
/// # Errors
/// As [`trace::read`].
pub(crate) fn by_requester(system: &System<'_>) -> Result<(Vec<(Requester, RequesterTotals)>, u64)> {
    let (entries, broken) = trace::read(system)?;
    let mut requesters: BTreeMap<Requester, RequesterTotals> = BTreeMap::new();
    for entry in entries {
        let totals = requesters.entry(Requester { parent: entry.parent, comm: entry.comm }).or_default();
        totals.requests += 1;
        totals.served += u64::from(entry.served);
        totals.waited += entry.waited;
        *totals.modules.entry(entry.module).or_default() += 1;
    }
    let mut requesters: Vec<_> = requesters.into_iter().collect();
    requesters.sort_by(|a, b| b.1.requests.cmp(&a.1.requests).then_with(|| a.0.cmp(&b.0)));
    Ok((requesters, broken))
}
