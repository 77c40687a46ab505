//! Starts many processes at the same moment.
//!
//! Each member is this very program in the mode `hold`: it reports that it is there, blocks on a pipe, and becomes the
//! command under test when the pipe is closed. So all of them are ready before the first one runs, whatever the machine.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, mkfifo, pipe2};

const READY: &str = "/tmp/ready";

/// The mode `hold`: `hold -- COMMAND...`, with the pipe as standard input. Returns only when something failed.
pub fn hold(args: &[String]) -> std::io::Error {
    let go = || -> std::io::Result<()> {
        fs::write(READY, b".")?;
        std::io::stdin().read_to_end(&mut Vec::new())?;
        Ok(())
    };
    if let Err(e) = go() {
        return e;
    }
    match args {
        [dashes, program, rest @ ..] if dashes == "--" => {
            Command::new(program).args(rest).stdin(Stdio::null()).exec()
        }
        _ => std::io::Error::other("hold -- COMMAND..."),
    }
}

/// How one member ended.
#[derive(Clone, Debug)]
pub struct End {
    /// Exit code, or 128 + signal.
    pub code: i32,
    /// What it wrote to standard output and standard error.
    pub said: String,
    /// From the release to its end.
    pub after: Duration,
}

/// How all of them ended.
#[derive(Debug)]
pub struct Ends {
    /// In the order in which they were added.
    pub members: Vec<End>,
    /// From the release to the last end.
    pub wall: Duration,
    /// Processor time the whole guest spent meanwhile, in milliseconds.
    pub cpu_ms: u64,
}

impl Ends {
    /// Whether every member ended with this exit code.
    pub fn all(&self, code: i32) -> bool {
        self.members.iter().all(|m| m.code == code)
    }

    /// The different (exit code, output) pairs with their numbers, for messages.
    pub fn summary(&self) -> String {
        let mut kinds: Vec<((i32, &str), usize)> = Vec::new();
        for member in &self.members {
            let kind = (member.code, member.said.trim());
            match kinds.iter_mut().find(|(k, _)| *k == kind) {
                Some((_, n)) => *n += 1,
                None => kinds.push((kind, 1)),
            }
        }
        let text: Vec<_> =
            kinds.iter().map(|((code, said), n)| format!("{n} x exit {code} {said:?}")).collect();
        text.join(", ")
    }
}

/// Numbers the files that members write to: crowds can overlap.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

struct Member {
    child: Child,
    log: PathBuf,
    end: Option<End>,
}

impl Member {
    fn pid(&self) -> i32 {
        self.child.id() as i32
    }
}

/// Processes that wait for the start.
#[derive(Default)]
pub struct Crowd {
    members: Vec<Member>,
    gate: Option<(OwnedFd, OwnedFd)>,
}

impl Crowd {
    /// Nobody yet. The members of a second crowd are added once the first is released.
    pub fn new() -> Result<Self> {
        if !std::path::Path::new(READY).exists() {
            mkfifo(READY, Mode::from_bits_truncate(0o600)).context(READY)?;
        }
        fs::create_dir_all("/tmp/out")?;
        Ok(Self { members: Vec::new(), gate: Some(pipe2(OFlag::O_CLOEXEC)?) })
    }

    /// Adds a process that will run `argv`.
    pub fn add(&mut self, argv: &[impl AsRef<str>]) -> Result<()> {
        let Some((reader, _)) = &self.gate else { bail!("the crowd has started") };
        let log = PathBuf::from(format!("/tmp/out/{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let file = File::create(&log)?;
        let child = Command::new("/init")
            .args(["hold", "--"])
            .args(argv.iter().map(AsRef::as_ref))
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(reader.try_clone()?)
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        self.members.push(Member { child, log, end: None });
        Ok(())
    }

    /// The process ids, in the order in which they were added.
    pub fn pids(&self) -> Vec<i32> {
        self.members.iter().map(Member::pid).collect()
    }

    /// Waits until all are ready and lets them go.
    pub fn release(mut self) -> Result<Running> {
        // The own writing end keeps the FIFO open between two members.
        let mut ready = File::options().read(true).write(true).open(READY)?;
        ready.read_exact(&mut vec![0; self.members.len()])?;
        let cpu = cpu_ms().unwrap_or(0);
        let begin = Instant::now();
        self.gate = None;
        Ok(Running { members: self.members, begin, cpu })
    }

    /// [`Self::release`], then [`Running::wait`].
    pub fn run(self, limit: Duration) -> Result<Ends> {
        self.release()?.wait(limit)
    }
}

/// Who has ended, with exit code (or 128 + signal) and time, until a crowd asks for its own. Crowds can overlap, and
/// waiting for anybody is the only way to wait for hundreds with one system call.
static ENDED: Mutex<BTreeMap<i32, (i32, Instant)>> = Mutex::new(BTreeMap::new());

/// Collects everybody who has ended. Orphans that process 1 inherited stay in the table.
fn collect(ended: &mut BTreeMap<i32, (i32, Instant)>) -> Result<()> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => ended.insert(pid.as_raw(), (code, Instant::now())),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                ended.insert(pid.as_raw(), (128 + signal as i32, Instant::now()))
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
            Ok(_) => None,
            Err(e) => return Err(e.into()),
        };
    }
}

/// Processes that were let go.
pub struct Running {
    members: Vec<Member>,
    begin: Instant,
    cpu: u64,
}

impl Running {
    /// Notes who has ended; says whether all have. One system call while nobody ends: looking must not slow them down.
    pub fn poll(&mut self) -> Result<bool> {
        let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
        collect(&mut ended)?;
        for member in self.members.iter_mut().filter(|m| m.end.is_none()) {
            if let Some((code, at)) = ended.remove(&member.pid()) {
                let said = String::from_utf8_lossy(&fs::read(&member.log)?).into_owned();
                member.end = Some(End { code, said, after: at.saturating_duration_since(self.begin) });
            }
        }
        Ok(self.members.iter().all(|m| m.end.is_some()))
    }

    /// How many have ended, as of the last [`Self::poll`].
    pub fn ended(&self) -> usize {
        self.members.iter().filter(|m| m.end.is_some()).count()
    }

    /// Waits for all of them; an error if one is still there after `limit`, counted from the release.
    pub fn wait(mut self, limit: Duration) -> Result<Ends> {
        while !self.poll()? {
            if self.begin.elapsed() > limit {
                let stuck: Vec<_> =
                    self.members.iter().filter(|m| m.end.is_none()).map(|m| m.child.id()).collect();
                let threads: Vec<_> = stuck.iter().flat_map(|pid| threads(*pid)).collect();
                // What comes after this scenario is not to suffer from them.
                for pid in &stuck {
                    let _ = kill(Pid::from_raw(*pid as i32), Signal::SIGKILL);
                }
                bail!(
                    "{} of {} still running after {limit:?}: {}",
                    stuck.len(),
                    self.members.len(),
                    threads.join("; ")
                );
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let cpu_ms = cpu_ms().unwrap_or(0).saturating_sub(self.cpu);
        let members: Vec<End> = self.members.into_iter().filter_map(|m| m.end).collect();
        let wall = members.iter().map(|m| m.after).max().unwrap_or_default();
        Ok(Ends { members, wall, cpu_ms })
    }
}

/// Processor time of all CPUs since boot, without idling, in milliseconds; an error where /proc is missing. The first line of /proc/stat is
/// `cpu user nice system idle iowait irq softirq ...` in hundredths of a second.
pub fn cpu_ms() -> Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|w| w.parse().ok()).collect();
    let [user, nice, system, _, _, irq, softirq, ..] = ticks[..] else { bail!("/proc/stat: {line}") };
    Ok((user + nice + system + irq + softirq) * 10)
}

/// What each thread of a process is at: the system call that it is in, and where the kernel keeps it.
pub fn threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let shown = |task: fs::DirEntry| {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let stack: Vec<_> =
            read("stack").lines().filter_map(|line| Some(line.split_once("] ")?.1.to_owned())).collect();
        format!(
            "{pid}/{} syscall {} in {}",
            task.file_name().to_string_lossy(),
            read("syscall").trim(),
            stack.join(" < ")
        )
    };
    tasks.map(shown).collect()
}
