//! The trace, grouped by module: how long each module kept others waiting.

use super::nanoseconds;
use super::trace::TraceEntry;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A period of time since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub begin: Duration,
    pub end: Duration,
}

/// All requests for one module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Module {
    /// The earliest request.
    pub first: TraceEntry,
    pub requests: u64,
    /// The time of all kernel calls together.
    pub called: Duration,
    /// The time that all requests waited, together.
    pub waited: Duration,
    /// The errno of the last request that made a call; `None` if that succeeded.
    pub errno: Option<i64>,
    /// When kernel calls were running.
    pub calls: Vec<Span>,
    /// When requests were waiting.
    pub waits: Vec<Span>,
}

/// The modules in a trace, longest call time first.
pub(crate) fn modules(mut entries: Vec<TraceEntry>) -> Vec<Module> {
    // A line is written when its request ends, so the lines are not in the order in which requests began.
    entries.sort_by_key(|entry| entry.at);
    let mut modules: BTreeMap<String, Module> = BTreeMap::new();
    for entry in entries {
        let module = modules
            .entry(entry.module.clone())
            .or_insert_with(|| Module { first: entry.clone(), ..Module::default() });
        let called_at = entry.at + entry.waited;
        module.requests += 1;
        module.called += entry.called;
        module.waited += entry.waited;
        if !entry.waited.is_zero() {
            module.waits.push(Span { begin: entry.at, end: called_at });
        }
        if !entry.served {
            module.errno = entry.errno;
            module.calls.push(Span { begin: called_at, end: called_at + entry.called });
        }
    }
    let mut modules: Vec<Module> = modules.into_values().collect();
    modules.sort_by_key(|module| std::cmp::Reverse((module.called, module.waited)));
    modules
}

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestSource<'e> {
    Kernel,
    /// udev, for the device with this devpath.
    Device(&'e str),
    Process,
}

impl TraceEntry {
    pub(crate) fn by(&self) -> RequestSource<'_> {
        match &self.devpath {
            Some(path) => RequestSource::Device(path),
            None if self.kernel => RequestSource::Kernel,
            None => RequestSource::Process,
        }
    }
}

impl Module {
    /// A JSON object. Times are in nanoseconds.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "name": self.first.module,
            "call_ns": nanoseconds(self.called),
            "waited_ns": nanoseconds(self.waited),
            "requests": self.requests,
            "first_ns": nanoseconds(self.first.at),
            "last_errno": self.errno,
            "request": self.first.request,
            "dependency": self.first.dependency,
            "by": match self.first.by() {
                RequestSource::Kernel => "kernel",
                RequestSource::Device(_) => "device",
                RequestSource::Process => "process",
            },
            "devpath": self.first.devpath,
            "pid": self.first.pid,
            "comm": self.first.comm,
            "parent": self.first.parent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(module: &str, at: u64, waited: u64, called: u64) -> TraceEntry {
        let time = Duration::from_millis;
        TraceEntry {
            module: module.into(),
            at: time(at),
            waited: time(waited),
            called: time(called),
            served: called == 0,
            ..TraceEntry::default()
        }
    }

    #[test]
    fn requests_are_summed_up_by_module() {
        let first = TraceEntry { kernel: true, ..entry("xfs", 100, 0, 50) };
        // Written in the order in which they ended.
        let found = modules(vec![
            entry("loop", 10, 0, 20),
            entry("xfs", 110, 40, 0),
            first.clone(),
            entry("xfs", 120, 30, 0),
            TraceEntry { errno: Some(19), ..entry("xfs", 300, 5, 7) },
        ]);
        let time = Duration::from_millis;
        let span = |begin, end| Span { begin: time(begin), end: time(end) };
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0],
            Module {
                first,
                requests: 4,
                called: time(57),
                waited: time(75),
                errno: Some(19),
                calls: vec![span(100, 150), span(305, 312)],
                waits: vec![span(110, 150), span(120, 150), span(300, 305)],
            }
        );
        assert_eq!((found[1].first.module.as_str(), found[1].called), ("loop", time(20)));
    }

    #[test]
    fn a_device_comes_before_the_kernel_and_the_kernel_before_its_helper() {
        let mut entry = entry("xfs", 0, 0, 1);
        assert_eq!(entry.by(), RequestSource::Process);
        entry.kernel = true;
        assert_eq!(entry.by(), RequestSource::Kernel);
        entry.devpath = Some("/devices/x".into());
        assert_eq!(entry.by(), RequestSource::Device("/devices/x"));
    }
}
