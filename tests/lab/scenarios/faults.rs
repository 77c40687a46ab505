//! Every system call of one load, and of one removal, goes wrong in turn, in each way that is plausible for it.
//!
//! Whatever the fault, the tool must end in time and not by a signal, must not panic, must say the truth by its exit status,
//! must have called the kernel once at most, and must leave no lock: the next request, with nothing in its way, works.
//!
//! What happens before the program's first own call (`poll`, src/system/start.rs) is the C library's: it ends a process
//! that gets no memory at its start, and is left out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};

use crate::guest::fault::{Fault, plausible};
use crate::guest::traced::{Stop, Traced};
use crate::guest::{Guest, live, modules, trace, unload, until};

const BOUND: Duration = Duration::from_secs(60);
const GATE: &str = "/run/kmod/gate";

/// One command line, and what it does when nothing goes wrong.
struct Work<'a> {
    applet: &'a str,
    args: &'a [&'a str],
    /// What it loads, or removes.
    modules: &'a [&'a str],
    removes: bool,
}

impl Work<'_> {
    /// What the exit status speaks of. A removal takes what is needed no longer along, and may leave it.
    fn done(&self) -> bool {
        if self.removes { !live(self.modules[0]) } else { self.modules.iter().all(|name| live(name)) }
    }
}

/// A module with what it needs, as the distribution compresses them; and one that is decompressed in user space.
pub fn loading(guest: &mut Guest) -> Result<()> {
    quick_removals()?;
    let work = |args, modules| Work { applet: "modprobe", args, modules, removes: false };
    every_call(guest, &work(&CHAIN[..1], &CHAIN))?;
    // Without a network device, whose removal takes long.
    every_call(guest, &work(&["-d", "/alt", "dummy", "numdummies=0"], &["dummy"]))
}

/// modprobe -r of a module with what it needed.
pub fn removing(guest: &mut Guest) -> Result<()> {
    quick_removals()?;
    every_call(guest, &Work { applet: "modprobe", args: &["-r", CHAIN[0]], modules: &CHAIN, removes: true })
}

/// Small, and quickly removed: the second is what the first needs.
const CHAIN: [&str; 2] = ["blowfish_generic", "blowfish_common"];

/// A removal, and an init that fails, wait for all processors, and there are hundreds here: the kernel is asked to hurry.
pub fn quick_removals() -> Result<()> {
    fs::write("/sys/kernel/rcu_expedited", "1").context("/sys/kernel/rcu_expedited")
}

/// What a caller may leave to the tool: limits, descriptors, signals, a directory that is gone.
pub fn callers(guest: &mut Guest) -> Result<()> {
    quick_removals()?;
    let work = Work { applet: "modprobe", args: &CHAIN[..1], modules: &CHAIN, removes: false };
    let mut loaded = 0;
    let mut caller = |guest: &mut Guest, what: &str, mercy: bool, last: Last| -> Result<()> {
        prepare(guest, &work)?;
        fs::create_dir("/run/kmod")?;
        fs::write("/run/kmod/trace", "")?;
        let baseline = modules()?;
        let mut command = Command::new(guest.path(work.applet));
        command.args(work.args);
        // SAFETY: system calls only, in a child of a process with one thread.
        unsafe { command.pre_exec(last) };
        let (code, said) = match command.output() {
            Ok(output) => (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()),
            // The limit does not even let it start.
            Err(e) if mercy => (None, e.to_string()),
            Err(e) => return Err(e).context(what.to_owned()),
        };
        let ended = mercy || code.is_some_and(|code| code <= 1);
        let honest = (code == Some(0)) == work.done();
        let wrong = after(guest, &work)?;
        guest.check(
            ended && honest && wrong.is_empty() && !said.contains("panicked"),
            format!("{what}: {code:?} {} {wrong:?}", said.trim()),
        );
        loaded += usize::from(code == Some(0));
        unload_soon(&baseline)
    };
    for descriptors in 3..16 {
        let last = move || Ok(setrlimit(Resource::RLIMIT_NOFILE, descriptors, descriptors)?);
        caller(guest, &format!("{descriptors} descriptors"), false, Box::new(last))?;
    }
    for bytes in [0, 1, 100, 191, 192, 250] {
        let last = move || Ok(setrlimit(Resource::RLIMIT_FSIZE, bytes, bytes)?);
        caller(guest, &format!("files of {bytes} bytes"), false, Box::new(last))?;
    }
    for mib in [1, 2, 3, 4, 5, 6, 8, 16, 64] {
        let last = move || Ok(setrlimit(Resource::RLIMIT_AS, mib << 20, mib << 20)?);
        caller(guest, &format!("{mib} MiB of addresses"), true, Box::new(last))?;
    }
    for closed in 1..8 {
        let last = move || {
            let ours = (0..3).filter(|fd| closed & (1 << fd) != 0);
            Ok(ours.into_iter().try_for_each(nix::unistd::close)?)
        };
        caller(guest, &format!("closed descriptors {closed:03b}"), false, Box::new(last))?;
    }
    let signals = || {
        for signal in [Signal::SIGALRM, Signal::SIGCHLD, Signal::SIGPIPE, Signal::SIGBUS] {
            // SAFETY: ignoring a signal installs no code of ours.
            unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) }?;
        }
        Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?)
    };
    caller(guest, "signals ignored and blocked", false, Box::new(signals))?;
    let gone = || {
        fs::create_dir("/tmp/gone")?;
        nix::unistd::chdir("/tmp/gone")?;
        fs::remove_dir("/tmp/gone")
    };
    caller(guest, "no working directory", false, Box::new(gone))?;
    guest.check(loaded >= 20, format!("{loaded} of them loaded it all the same"));
    Ok(())
}

/// What is done in the child before it becomes the tool.
type Last = Box<dyn FnMut() -> std::io::Result<()> + Send + Sync>;

fn every_call(guest: &mut Guest, work: &Work<'_>) -> Result<()> {
    let argv = guest.argv(work.applet, work.args);
    let line = format!("{} {}", work.applet, work.args.join(" "));
    // What each process was given, by its id.
    let mut given: BTreeMap<i32, String> = BTreeMap::new();
    let mut wrong: Vec<String> = Vec::new();
    let baseline = modules()?;
    trace::start()?;
    let mut calls = 0;
    for point in 0.. {
        let mut choice = 0;
        let mut count = 1;
        while choice < count {
            prepare(guest, work)?;
            let mut run = Traced::start(&argv)?;
            let Some(nr) = run_to_call(&mut run, point)? else {
                bail!("{line}: ended before its system call {point}, which it made a moment ago");
            };
            let (name, faults) = plausible(nr);
            count = faults.len();
            let Some(fault) = faults.get(choice) else {
                run.kill()?;
                break;
            };
            let what = format!("{fault:?} for {name}, call {point}");
            given.insert(run.pid(), what.clone());
            let about = judge(guest, work, run, *fault)?;
            wrong.extend(about.into_iter().map(|about| format!("{what}: {about}")));
            unload_soon(&baseline)?;
            choice += 1;
        }
        calls = point;
        if count == 0 {
            break;
        }
    }
    let traced = trace::stop()?;
    for (pid, what) in &given {
        let its: Vec<_> = traced.iter().filter(|call| call.pid == *pid).collect();
        if its.len() > work.modules.len() {
            wrong.push(format!("{what}: {} kernel calls: {its:?}", its.len()));
        }
        for module in work.modules {
            let same = its.iter().filter(|call| call.name.as_deref() == Some(module)).count();
            if same > 1 {
                wrong.push(format!("{what}: {same} kernel calls for {module}"));
            }
        }
    }
    let some = wrong.iter().take(12).map(String::as_str).collect::<Vec<_>>().join("; ");
    let faults = given.len();
    guest.note(format!("{line}: {faults} faults at {calls} system calls, {} went wrong", wrong.len()));
    guest.check(wrong.is_empty(), format!("{line}: {faults} faults at {calls} system calls: {some}"));
    guest.check(faults > 40 && calls > 20, format!("{line}: {faults} faults at {calls} system calls"));
    Ok(())
}

/// Everything as before the first run: no gate, and the modules loaded that are to be removed.
fn prepare(guest: &Guest, work: &Work<'_>) -> Result<()> {
    if Path::new("/run/kmod").exists() {
        fs::remove_dir_all("/run/kmod")?;
    }
    if work.removes {
        let first = work.modules[0];
        let output = Command::new(guest.path("modprobe")).arg(first).output()?;
        if !output.status.success() {
            bail!("modprobe {first}: {}", String::from_utf8_lossy(&output.stderr));
        }
        // The kernel tests what a cipher's module brought, and uses it meanwhile.
        let count = format!("/sys/module/{first}/refcnt");
        until("nobody uses it", BOUND, || fs::read_to_string(&count).is_ok_and(|n| n.trim() == "0"))?;
    }
    Ok(())
}

/// [`unload`], once the kernel has tested what the modules brought.
fn unload_soon(baseline: &[String]) -> Result<()> {
    let mut result = Ok(());
    let _ = until("nobody uses them", BOUND, || {
        result = unload(baseline);
        result.is_ok()
    });
    result
}

/// Runs to the program's own system call of that number, and returns which it is; none if there are fewer.
fn run_to_call(run: &mut Traced, point: usize) -> Result<Option<i64>> {
    let mut left = point;
    let mut own = false;
    loop {
        match run.step()? {
            Stop::Enter(nr, _) => {
                own |= nr == libc::SYS_poll;
                if own && left == 0 {
                    return Ok(Some(nr));
                }
                left -= usize::from(own);
            }
            Stop::Exit(..) => {}
            Stop::Gone(_) => return Ok(None),
        }
    }
}

/// Lets it go wrong, and lists what must not have happened.
fn judge(guest: &Guest, work: &Work<'_>, run: Traced, fault: Fault) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let code = match run.run_with(fault, BOUND) {
        Ok(code) => code,
        Err(e) => {
            wrong.push(format!("{e:#}"));
            -1
        }
    };
    let said = fs::read_to_string("/tmp/traced").unwrap_or_default();
    let said = said.trim();
    if !(0..=1).contains(&code) {
        wrong.push(format!("exit status {code}: {said}"));
    }
    if said.contains("panicked") {
        wrong.push(said.to_owned());
    }
    if (code == 0) != work.done() {
        wrong.push(format!("exit status {code}, but done is {}: {said}", work.done()));
    }
    wrong.extend(after(guest, work)?);
    Ok(wrong)
}

/// What must be so whatever happened: no lock is held, and a second attempt, with nothing in its way, works.
fn after(guest: &Guest, work: &Work<'_>) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for item in fs::read_dir(GATE).into_iter().flatten() {
        let path = item?.path();
        if Flock::lock(File::open(&path)?, FlockArg::LockExclusiveNonblock).is_err() {
            wrong.push(format!("{} is locked", path.display()));
        }
    }
    if !work.done() {
        let output =
            Command::new(guest.path(work.applet)).args(work.args).output().context("the second attempt")?;
        if !output.status.success() || !work.done() {
            let said = String::from_utf8_lossy(&output.stderr);
            wrong.push(format!("the second attempt: {} {}", output.status, said.trim()));
        }
    }
    Ok(wrong)
}
