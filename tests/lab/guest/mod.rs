//! The guest's half of the lab: this program as the init of a virtual machine.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::kmod::{DeleteModuleFlags, ModuleInitFlags, delete_module, finit_module};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::reboot::{RebootMode, reboot};
use serde_json::{Value, json};

use crate::scenarios;
use crate::tool::Tool;

pub mod crowd;
pub mod fault;
pub mod kmsg;
pub mod trace;
pub mod traced;
pub mod watch;

/// What a scenario works with.
pub struct Guest {
    results: File,
    /// The tool under test.
    pub tool: Tool,
    /// The running scenario's name; before the first, all that this boot runs, with commas.
    pub scenario: String,
}

/// The life of process 1. Does not return.
pub fn main() -> ! {
    let result = setup().map(|mut guest| {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&mut guest)));
        match outcome {
            Ok(Ok(())) => guest.say(&json!({"t": "end"})),
            Ok(Err(e)) => guest.say(&json!({"t": "error", "what": format!("{e:#}")})),
            Err(_) => guest.say(&json!({"t": "error", "what": "the guest panicked; see the console"})),
        }
    });
    if let Err(e) = result {
        eprintln!("lab: {e:#}");
    }
    let _ = reboot(RebootMode::RB_POWER_OFF);
    unreachable!("the machine is off")
}

fn setup() -> Result<Guest> {
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tracefs", "/trace")] {
        mount_at(kind, at, MsFlags::empty(), None)?;
    }
    fresh_run_and_tmp()?;
    let mut results = File::options().write(true).open("/dev/ttyS1").context("/dev/ttyS1")?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    writeln!(results, "{}", json!({"t": "hello", "kernel": release.trim()}))?;
    let scenario = std::env::var("LAB_SCENARIO").context("LAB_SCENARIO")?;
    if let Ok(seconds) = std::env::var("LAB_LIMIT") {
        Command::new("/init").args(["watch", &seconds]).spawn().context("/init watch")?;
    }
    Ok(Guest { results, tool: Tool::Ours, scenario })
}

/// Mounts a file system without a device.
pub fn mount_at(kind: &str, at: &str, flags: MsFlags, data: Option<&str>) -> Result<()> {
    mount(Some(kind), at, Some(kind), flags, data).with_context(|| format!("mounting {kind} at {at}"))
}

/// Runs the scenarios of this boot, all of them with each tool.
fn run(guest: &mut Guest) -> Result<()> {
    let names = guest.scenario.clone();
    if names == "hello" {
        return Ok(());
    }
    trace::prepare()?;
    let baseline = modules()?;
    let tools = std::env::var("LAB_TOOLS").context("LAB_TOOLS")?;
    let mut first = true;
    for tool in tools.split(',') {
        guest.tool = Tool::named(tool).with_context(|| format!("no tool {tool}"))?;
        // What the kernel asks for by itself goes to the tool under test, too.
        fs::write("/proc/sys/kernel/modprobe", guest.path("modprobe"))?;
        for name in names.split(',') {
            guest.scenario = name.to_owned();
            let scenario = scenarios::find(name).with_context(|| format!("no scenario {name}"))?;
            if !first {
                unload(&baseline)?;
                fresh_run_and_tmp()?;
            }
            first = false;
            if let Err(e) = (scenario.guest)(guest) {
                guest.say(&json!({"t": "error", "what": format!("with {tool}: {e:#}")}));
            }
        }
    }
    Ok(())
}

/// Empty file systems at /run and /tmp, whatever a scenario left there.
fn fresh_run_and_tmp() -> Result<()> {
    for (at, mode) in [("/run", "mode=755"), ("/tmp", "mode=1777")] {
        while umount2(at, MntFlags::MNT_DETACH).is_ok() {}
        fs::create_dir_all(at)?;
        mount_at("tmpfs", at, MsFlags::empty(), Some(mode))?;
    }
    Ok(())
}

impl Guest {
    /// Sends one line to the host.
    pub fn say(&mut self, line: &Value) {
        let mut line = line.clone();
        line["scenario"] = Value::from(self.scenario.as_str());
        let mut text = line.to_string();
        text.push('\n');
        if let Err(e) = self.results.write_all(text.as_bytes()) {
            eprintln!("lab: /dev/ttyS1: {e}");
        }
    }

    /// Whether the tool under test is ours.
    pub fn ours(&self) -> bool {
        self.tool.suite().is_none()
    }

    /// The path of one of the tool's programs.
    pub fn path(&self, applet: &str) -> String {
        format!("/tools/{}/{applet}", self.tool.name())
    }

    /// A command line of the tool under test.
    pub fn argv(&self, applet: &str, args: &[&str]) -> Vec<String> {
        std::iter::once(self.path(applet)).chain(args.iter().map(|a| (*a).to_owned())).collect()
    }

    /// Runs the tool and returns exit code and output.
    pub fn call(&self, applet: &str, args: &[&str], limit: Duration) -> Result<crowd::End> {
        run_alone(&self.argv(applet, args), limit)
    }

    /// Reports something that must be so for our tool; of another tool it is only told.
    pub fn check(&mut self, ok: bool, what: impl Into<String>) {
        let (tool, what) = (self.tool.name(), what.into());
        let t = if self.ours() { "check" } else { "seen" };
        self.say(&json!({"t": t, "tool": tool, "ok": ok, "what": what}));
    }

    /// Reports something worth knowing.
    pub fn note(&mut self, what: impl Into<String>) {
        let (tool, what) = (self.tool.name(), what.into());
        self.say(&json!({"t": "note", "tool": tool, "what": what}));
    }

    /// Reports the calls and the sums of one measurement, and returns the sums.
    pub fn row(
        &mut self,
        requests: usize,
        wall: Duration,
        cpu_ms: u64,
        calls: &[trace::Call],
    ) -> trace::Counts {
        self.row_of(None, requests, wall, cpu_ms, calls)
    }

    /// The same of a machine with so many CPUs, where they are not all emulated.
    pub fn row_of(
        &mut self,
        cpus: Option<usize>,
        requests: usize,
        wall: Duration,
        cpu_ms: u64,
        calls: &[trace::Call],
    ) -> trace::Counts {
        for call in calls {
            self.say(&json!({
                "t": "call", "tool": self.tool.name(), "pid": call.pid, "kind": format!("{:?}", call.kind),
                "flags": call.flags, "bytes": call.bytes, "name": call.name, "ret": call.ret,
                "begin": call.begin, "end": call.end,
            }));
        }
        let counts = trace::Counts::of(calls);
        let emulated = std::thread::available_parallelism().map_or(0, usize::from);
        let cpus = cpus.unwrap_or(emulated);
        self.say(&json!({
            "t": "row", "tool": self.tool.name(), "cpus": cpus, "requests": requests, "calls": counts.calls,
            "distinct": counts.distinct, "duplicates": counts.duplicates, "eexist": counts.eexist, "ebusy": counts.ebusy,
            "errors": counts.errors, "wasted": counts.wasted,
            "wall_ms": u64::try_from(wall.as_millis()).unwrap_or(u64::MAX), "cpu_ms": cpu_ms,
        }));
        counts
    }
}

/// Inserts a helper module (tests/lab/modules) by a call of our own: no tool under test has a part in it.
pub fn insert_helper(name: &str, parameters: &str) -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let path = format!("/lib/modules/{}/updates/{name}.ko", release.trim());
    let file = fs::File::open(&path).with_context(|| path.clone())?;
    let parameters = std::ffi::CString::new(parameters)?;
    finit_module(&file, &parameters, ModuleInitFlags::empty()).with_context(|| path)
}

/// The names in /proc/modules.
pub fn modules() -> Result<Vec<String>> {
    let text = fs::read_to_string("/proc/modules")?;
    Ok(text.lines().filter_map(|l| l.split_whitespace().next()).map(str::to_owned).collect())
}

/// `coming`, `live` or `going`; nothing for a module that is not there.
pub fn state(name: &str) -> String {
    fs::read_to_string(format!("/sys/module/{name}/initstate")).unwrap_or_default().trim().to_owned()
}

/// Whether the module's init has succeeded.
pub fn live(name: &str) -> bool {
    state(name) == "live"
}

/// Whether the module's init runs.
pub fn coming(name: &str) -> bool {
    state(name) == "coming"
}

/// Whether everything is asked for, and not the samples that keep a run short.
pub fn everything() -> bool {
    std::env::var_os("LAB_FULL").is_some()
}

/// Runs the program that is linked to our library (tests/lab/library.c) to its end.
pub fn client(args: &[&str]) -> Result<crowd::End> {
    run_alone(&[&["/lab/client"], args].concat(), scenarios::LIMIT)
}

fn run_alone(argv: &[impl AsRef<str>], limit: Duration) -> Result<crowd::End> {
    let mut crowd = crowd::Crowd::new()?;
    crowd.add(argv)?;
    crowd.run(limit)?.members.pop().context("nobody ended")
}

/// Removes all modules but those of the baseline, users first.
pub fn unload(baseline: &[String]) -> Result<()> {
    loop {
        let mut removed = false;
        let mut left = Vec::new();
        for name in modules()?.into_iter().filter(|n| !baseline.contains(n)) {
            let c_name = std::ffi::CString::new(name.clone())?;
            match delete_module(&c_name, DeleteModuleFlags::O_NONBLOCK) {
                Ok(()) => removed = true,
                Err(e) => left.push(format!("{name} ({e})")),
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        if !removed {
            bail!("cannot be removed: {}", left.join(", "));
        }
    }
}

/// Waits until something is so, looking every few milliseconds; an error after `limit`.
pub fn until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let begin = Instant::now();
    while !is_so() {
        if begin.elapsed() > limit {
            bail!("waited {limit:?} for: {what}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Makes `path` a link to `target`, whatever was there.
pub fn relink(target: &str, path: &str) -> Result<()> {
    if Path::new(path).symlink_metadata().is_ok() {
        fs::remove_file(path)?;
    }
    symlink(target, path).with_context(|| path.to_owned())
}

/// Runs a program of the guest to its end; an error if it fails.
pub fn system(program: &str, args: &[&str]) -> Result<()> {
    let status = Command::new(program).args(args).status().with_context(|| program.to_owned())?;
    if !status.success() {
        bail!("{program} {}: {status}", args.join(" "));
    }
    Ok(())
}
