//! The trace of load requests. With `kmod.gate_trace=1` on the kernel command line, or if the file `/run/kmod/trace`
//! exists, each request that reaches the gate appends one line of JSON to `/run/kmod/gate.trace`, in one `O_APPEND`
//! write, until the file is 8 MiB long ([`limits::GATE_TRACE`]). A process checks for the switch once.
//!
//! | key | value |
//! |---|---|
//! | `time_ns` | when the request reached the gate, on `CLOCK_BOOTTIME` |
//! | `module`, `request` | the module's name; the argument of the request |
//! | `pid`, `ppid` | the ids of this process and of its parent |
//! | `comm`, `parent` | the names of this process and of its parent |
//! | `devpath`, `seqnum` | of the device event, if udev set them |
//! | `kernel` | whether a kernel thread is an ancestor of this process |
//! | `dependency` | whether the module is needed by the requested one |
//! | `role` | `follower` (no kernel call), `leader` (a call with the gate's lock) or `fallback` (a call without it) |
//! | `result`, `errno` | `loaded`, `joined`, `coming` or `failed`, and the errno of the failure |
//! | `wait_ns` | how long the request waited |
//! | `call_ns` | how long its kernel calls took |

use super::dir::GateDir;
use super::driver::Report;
use super::{Gate, Load, Outcome, nanoseconds};
use crate::error::Result;
use crate::limits;
use crate::system::file::{open_at, within_size_limit};
use crate::system::{System, map, process};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use serde_json::{Value, json};
use std::fs::File;
use std::time::Duration;

/// The name of the trace below `/run/kmod`.
pub(crate) const FILE: &str = "gate.trace";
/// The name of the file that switches the trace on.
pub(crate) const SWITCH: &str = "trace";

/// The variables `DEVPATH` and `SEQNUM` that udev sets for the processes it starts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    pub devpath: Option<Vec<u8>>,
    pub seqnum: Option<Vec<u8>>,
}

/// Appends the line of one request.
pub(super) fn append(
    gate: &Gate<'_>,
    directory: &GateDir,
    load: &Load<'_>,
    report: &Report,
    result: &Result<Outcome>,
    begin: Duration,
) {
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NOFOLLOW;
    let mode = Mode::from_bits_retain(0o600);
    let Ok(file) = open_at(directory.parent(), FILE, flags, mode) else { return };
    let file = File::from(file);
    // Anything but a regular file would not keep the trace, and a FIFO would have a stranger as its reader.
    let length = file.metadata().ok().filter(|meta| meta.is_file()).map_or(u64::MAX, |meta| meta.len());
    if length >= limits::GATE_TRACE {
        return;
    }
    let (pid, ppid) = (nix::unistd::getpid().as_raw(), nix::unistd::getppid().as_raw());
    let comm = |pid| process::name(gate.system.roots, pid).as_deref().map(text);
    let line = json!({
        "time_ns": nanoseconds(begin),
        "module": load.key.to_string(),
        "request": text(load.request),
        "pid": pid,
        "ppid": ppid,
        "comm": comm(pid),
        "parent": comm(ppid),
        "devpath": gate.origin.devpath.as_deref().map(text),
        "seqnum": gate.origin.seqnum.as_deref().map(text),
        "kernel": gate.started_by_kernel(),
        "dependency": load.dependency,
        "role": match report.calls {
            0 => "follower",
            _ if report.lock.is_gate_file() => "leader",
            _ => "fallback",
        },
        "result": match result {
            Ok(Outcome::Loaded) => "loaded",
            Ok(Outcome::Joined) => "joined",
            Ok(Outcome::StillComing) => "coming",
            Err(_) => "failed",
        },
        "errno": result.as_ref().err().map(|error| error.errno().number()),
        "wait_ns": nanoseconds(report.waited),
        "call_ns": nanoseconds(report.called),
    });
    let line = format!("{line}\n");
    // A trace that cannot be written (a full /run) must not disturb a load.
    if within_size_limit(length + line.len() as u64).is_ok() {
        let _ = nix::unistd::write(&file, line.as_bytes());
    }
}

/// One line of the trace; see the table above. A missing text is `?`, a missing number 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TraceEntry {
    /// `time_ns`
    pub at: Duration,
    pub module: String,
    pub request: String,
    pub pid: u64,
    pub comm: String,
    pub parent: String,
    pub devpath: Option<String>,
    pub kernel: bool,
    pub dependency: bool,
    /// Whether the role is `follower`.
    pub served: bool,
    pub errno: Option<i64>,
    /// `wait_ns`
    pub waited: Duration,
    /// `call_ns`
    pub called: Duration,
}

/// The trace, and the number of its lines that are no entries (a write cut off by a full file system).
///
/// # Errors
/// `ENOENT` if nothing was traced; else the errno of reading it.
pub(crate) fn read(system: &System<'_>) -> Result<(Vec<TraceEntry>, u64)> {
    let text = map::open(&system.roots.gate_parent().join(FILE), 2 * limits::GATE_TRACE)?;
    let mut broken = 0;
    let lines = text.split(|&b| b == b'\n').filter(|line| !line.is_empty());
    let entries = lines.filter_map(|line| {
        let entry = serde_json::from_slice(line).ok().and_then(|line| entry(&line));
        broken += u64::from(entry.is_none());
        entry
    });
    let entries = entries.collect();
    Ok((entries, broken))
}

/// An entry; `None` if the line says neither which module was requested nor when.
fn entry(line: &Value) -> Option<TraceEntry> {
    let word = |key: &str| line[key].as_str().unwrap_or("?").to_owned();
    let time = |key: &str| Duration::from_nanos(line[key].as_u64().unwrap_or(0));
    line["time_ns"].as_u64()?;
    Some(TraceEntry {
        at: time("time_ns"),
        module: line["module"].as_str()?.to_owned(),
        request: word("request"),
        pid: line["pid"].as_u64().unwrap_or(0),
        comm: word("comm"),
        parent: word("parent"),
        devpath: line["devpath"].as_str().map(str::to_owned),
        kernel: line["kernel"] == true,
        dependency: line["dependency"] == true,
        served: line["role"] == "follower",
        errno: line["errno"].as_i64(),
        waited: time("wait_ns"),
        called: time("call_ns"),
    })
}

fn text(bytes: &[u8]) -> Value {
    // An argument may be a megabyte long.
    Value::from(String::from_utf8_lossy(&bytes[..bytes.len().min(limits::QUERY)]))
}
