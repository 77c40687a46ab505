//! Counts what reaches the kernel, with tracefs: no tool under test can hide a call from it.
//!
//! Events: entry and exit of `init_module`, `finit_module` and `delete_module`; `module:module_load`, which names a module
//! once its image was accepted and before its init runs; and a return probe on `kernel_read_file`, whose value is the
//! number of bytes that a `finit_module` call made the kernel read.
//!
//! Lines of the `trace` file look like this (the name of the task may hold blanks and dashes):
//!
//! ```text
//!         modprobe-123     [001] .....    12.345678: sys_finit_module(fd: 3, uargs: 55d0, flags: 4)
//!         modprobe-123     [001] .....    12.346000: kread: (init_module_from_file+0x9b/0x120 <- kernel_read_file) ret=20480
//!         modprobe-123     [001] .....    12.350000: module_load: xfs
//!         modprobe-123     [001] .....    12.360000: sys_finit_module -> 0x0
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

const DIR: &str = "/trace";
/// Per CPU, in KiB. A call leaves about five lines of 100 bytes.
const BUFFER_KIB: &str = "4096";

/// Which of the three calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `init_module(2)`
    Init,
    /// `finit_module(2)`
    Finit,
    /// `delete_module(2)`
    Delete,
}

/// One call that reached the kernel.
#[derive(Clone, Debug)]
pub struct Call {
    /// The caller.
    pub pid: i32,
    /// Which call.
    pub kind: Kind,
    /// `finit_module`'s flags; 0 for the others.
    pub flags: u64,
    /// Bytes of the image that the kernel took over.
    pub bytes: u64,
    /// The module, once the kernel had accepted its image.
    pub name: Option<String>,
    /// 0 or a negative errno; none when the call had not come back.
    pub ret: Option<i64>,
    /// Seconds since boot.
    pub begin: f64,
    /// Seconds since boot.
    pub end: f64,
}

/// Sets the events up. Nothing is recorded yet.
pub fn prepare() -> Result<()> {
    write("buffer_size_kb", BUFFER_KIB)?;
    write("trace_clock", "boot")?;
    // Room for 1024 calls that sleep in kernel_read_file at one moment.
    write("kprobe_events", "r1024:kread kernel_read_file ret=$retval:s64")?;
    write("tracing_on", "0")?;
    for call in ["init_module", "finit_module", "delete_module"] {
        for edge in ["enter", "exit"] {
            write(&format!("events/syscalls/sys_{edge}_{call}/enable"), "1")?;
        }
    }
    write("events/module/module_load/enable", "1")?;
    write("events/kprobes/kread/enable", "1")
}

/// Forgets what was recorded and records from now on.
pub fn start() -> Result<()> {
    write("tracing_on", "0")?;
    write("trace", "\n")?;
    write("tracing_on", "1")
}

/// Stops recording and returns the calls in the order of their begin. A lost event is an error.
pub fn stop() -> Result<Vec<Call>> {
    write("tracing_on", "0")?;
    for cpu in fs::read_dir(Path::new(DIR).join("per_cpu"))? {
        let path = cpu?.path().join("stats");
        let text = fs::read_to_string(&path)?;
        for line in text.lines() {
            let Some((what, number)) = line.split_once(':') else { continue };
            if ["overrun", "commit overrun", "dropped events"].contains(&what.trim()) && number.trim() != "0"
            {
                bail!("{}: {line}: events were lost", path.display());
            }
        }
    }
    // event, hits, misses
    let profile = fs::read_to_string(Path::new(DIR).join("kprobe_profile"))?;
    if let Some(line) = profile.lines().find(|l| l.split_whitespace().nth(2).is_some_and(|n| n != "0")) {
        bail!("kprobe_profile: {line}: probes were missed");
    }
    let text = fs::read(Path::new(DIR).join("trace"))?;
    parse(&String::from_utf8_lossy(&text))
}

fn parse(text: &str) -> Result<Vec<Call>> {
    let mut calls: Vec<Call> = Vec::new();
    // The call that each task is in.
    let mut open: BTreeMap<i32, usize> = BTreeMap::new();
    for line in text.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        let event = line_parts(line).with_context(|| format!("trace line not understood: {line}"))?;
        let (pid, time, what, rest) = event;
        if let Some((kind, edge)) = syscall(what, rest) {
            match edge {
                Edge::Enter(args) => {
                    open.insert(pid, calls.len());
                    let bytes = if kind == Kind::Init { field(args, "len: ") } else { 0 };
                    let flags = if kind == Kind::Finit { field(args, "flags: ") } else { 0 };
                    calls.push(Call {
                        pid,
                        kind,
                        flags,
                        bytes,
                        name: None,
                        ret: None,
                        begin: time,
                        end: time,
                    });
                }
                Edge::Exit(value) => {
                    // A task that was inside when recording began has no entry.
                    if let Some(at) = open.remove(&pid) {
                        calls[at].ret = Some(value);
                        calls[at].end = time;
                    }
                }
            }
        } else if let Some(&at) = open.get(&pid) {
            if what == "module_load:" {
                calls[at].name = rest.split_whitespace().next().map(str::to_owned);
            } else if what == "kread:" && calls[at].kind == Kind::Finit {
                let value: i64 =
                    rest.rsplit_once("ret=").and_then(|(_, v)| v.trim().parse().ok()).unwrap_or(0);
                calls[at].bytes += u64::try_from(value).unwrap_or(0);
            }
        }
    }
    Ok(calls)
}

/// pid, time in seconds, the event's first word, the rest.
fn line_parts(line: &str) -> Option<(i32, f64, &str, &str)> {
    let cpu = line.match_indices(" [").map(|(at, _)| at).find(|&at| {
        let inside = &line[at + 2..];
        inside.find(']').is_some_and(|end| end >= 3 && inside[..end].bytes().all(|b| b.is_ascii_digit()))
    })?;
    let pid = line[..cpu].trim().rsplit_once('-')?.1.parse().ok()?;
    let mut words = line[cpu + 2..].splitn(2, ": ");
    let time = words.next()?.split_whitespace().last()?.parse().ok()?;
    let event = words.next()?;
    let (what, rest) = event.split_once([' ', '(']).unwrap_or((event, ""));
    Some((pid, time, what, rest))
}

enum Edge<'a> {
    Enter(&'a str),
    Exit(i64),
}

fn syscall<'a>(what: &str, rest: &'a str) -> Option<(Kind, Edge<'a>)> {
    let kind = match what {
        "sys_init_module" => Kind::Init,
        "sys_finit_module" => Kind::Finit,
        "sys_delete_module" => Kind::Delete,
        _ => return None,
    };
    let edge = match rest.strip_prefix("-> 0x") {
        Some(hex) => Edge::Exit(u64::from_str_radix(hex.trim(), 16).ok()? as i64),
        None => Edge::Enter(rest),
    };
    Some((kind, edge))
}

fn field(args: &str, name: &str) -> u64 {
    let Some((_, after)) = args.split_once(name) else { return 0 };
    let digits: String = after.chars().take_while(char::is_ascii_hexdigit).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

/// The sums that the tables show.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// `init_module` and `finit_module` calls.
    pub calls: usize,
    /// Different modules whose image the kernel accepted.
    pub distinct: usize,
    /// Calls beyond the first for a module: `EEXIST`, `EBUSY`, joined in the kernel, or another try of a failed init.
    pub duplicates: usize,
    /// Calls that ended in `EEXIST`.
    pub eexist: usize,
    /// Calls that ended in `EBUSY`.
    pub ebusy: usize,
    /// Calls that ended in any other error.
    pub errors: usize,
    /// Bytes handed over in calls that ended in `EEXIST` or `EBUSY`.
    pub wasted: u64,
}

impl Counts {
    /// Sums the loading calls up.
    pub fn of(calls: &[Call]) -> Self {
        let loads: Vec<_> = calls.iter().filter(|c| c.kind != Kind::Delete).collect();
        let names: BTreeSet<_> = loads.iter().filter_map(|c| c.name.as_ref()).collect();
        let failed = |errno: i64| loads.iter().filter(|c| c.ret == Some(-errno)).count();
        let (eexist, ebusy) = (failed(EEXIST), failed(EBUSY));
        let errors = loads.iter().filter(|c| c.ret.is_some_and(|r| r < 0)).count() - eexist - ebusy;
        // Read and refused before it was accepted, for a reason that has nothing to do with a second copy. (A call that
        // the kernel joins to another one reads nothing, and shares its error.)
        let refused = loads
            .iter()
            .filter(|c| c.name.is_none() && c.bytes > 0)
            .filter(|c| c.ret.is_some_and(|r| r < 0 && r != -EEXIST && r != -EBUSY))
            .count();
        let wasted =
            loads.iter().filter(|c| [Some(-EEXIST), Some(-EBUSY)].contains(&c.ret)).map(|c| c.bytes).sum();
        Self {
            calls: loads.len(),
            distinct: names.len(),
            duplicates: loads.len() - names.len() - refused,
            eexist,
            ebusy,
            errors,
            wasted,
        }
    }
}

/// The calls that load.
pub fn loads(calls: &[Call]) -> impl Iterator<Item = &Call> {
    calls.iter().filter(|call| call.kind != Kind::Delete)
}

/// The pairs of calls, of those that all concern one module, that were in the kernel at one moment.
pub fn overlaps(calls: &[Call]) -> Vec<(&Call, &Call)> {
    let pairs =
        calls.iter().enumerate().flat_map(|(at, one)| calls[at + 1..].iter().map(move |other| (one, other)));
    pairs.filter(|(one, other)| one.begin < other.end && other.begin < one.end).collect()
}

/// `EEXIST`: a module of that name is there, or on its way.
pub const EEXIST: i64 = 17;
/// `EBUSY`: what `EEXIST` is for a module that failed meanwhile; also the end of 30 s of waiting for symbols.
pub const EBUSY: i64 = 16;

fn write(file: &str, text: &str) -> Result<()> {
    let path = Path::new(DIR).join(file);
    fs::write(&path, text).with_context(|| format!("{}: {text}", path.display()))
}
