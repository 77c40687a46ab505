//! A process that is run from system call to system call, so that it can be stopped or killed at a known place.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::fault::Fault;

/// The mode `traceme`: `traceme -- COMMAND...`. Asks to be traced by its parent and becomes the command. Returns only
/// when something failed.
pub fn traceme(args: &[String]) -> std::io::Error {
    if let Err(e) = ptrace::traceme() {
        return e.into();
    }
    match args {
        [dashes, program, rest @ ..] if dashes == "--" => Command::new(program).args(rest).exec(),
        _ => std::io::Error::other("traceme -- COMMAND..."),
    }
}

/// Where the process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Before this system call, with its second argument.
    Enter(i64, u64),
    /// After this system call, with its second argument and result.
    Exit(i64, u64, i64),
    /// It has ended with this exit code, or 128 + signal.
    Gone(i32),
}

impl Stop {
    /// Before a call that loads a module.
    pub fn loads(self) -> bool {
        matches!(self, Self::Enter(nr, _) if nr == libc::SYS_init_module || nr == libc::SYS_finit_module)
    }

    /// After `flock` gave an exclusive lock.
    pub fn locked(self) -> bool {
        matches!(self, Self::Exit(nr, how, 0) if nr == libc::SYS_flock && how & 2 != 0)
    }
}

/// A traced process. Its death is the caller's business; it is killed should process 1 go first.
pub struct Traced {
    pid: Pid,
    inside: bool,
}

impl Traced {
    /// Starts `argv`; it stands at its first instruction.
    pub fn start(argv: &[String]) -> Result<Self> {
        let log = File::create("/tmp/traced")?;
        let child = Command::new("/init")
            .args(["traceme", "--"])
            .args(argv)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let pid = Pid::from_raw(child.id() as i32);
        match waitpid(pid, None)? {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
            other => bail!("{argv:?}: {other:?} instead of a stop at its first instruction"),
        }
        ptrace::setoptions(pid, ptrace::Options::PTRACE_O_TRACESYSGOOD | ptrace::Options::PTRACE_O_EXITKILL)?;
        Ok(Self { pid, inside: false })
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Runs to the next edge of a system call.
    pub fn step(&mut self) -> Result<Stop> {
        let mut signal = None;
        loop {
            ptrace::syscall(self.pid, signal).context("PTRACE_SYSCALL")?;
            match waitpid(self.pid, None)? {
                WaitStatus::PtraceSyscall(_) => break,
                WaitStatus::Stopped(_, s) => signal = Some(s),
                WaitStatus::Exited(_, code) => return Ok(Stop::Gone(code)),
                WaitStatus::Signaled(_, s, _) => return Ok(Stop::Gone(128 + s as i32)),
                _ => signal = None,
            }
        }
        self.inside = !self.inside;
        let regs = ptrace::getregs(self.pid)?;
        let (nr, second) = (regs.orig_rax as i64, regs.rsi);
        Ok(if self.inside { Stop::Enter(nr, second) } else { Stop::Exit(nr, second, regs.rax as i64) })
    }

    /// Steps until `is_there`; an error if the process ends before.
    pub fn run_to(&mut self, is_there: impl Fn(Stop) -> bool) -> Result<Stop> {
        loop {
            let stop = self.step()?;
            if is_there(stop) {
                return Ok(stop);
            }
            if let Stop::Gone(code) = stop {
                let said = std::fs::read_to_string("/tmp/traced").unwrap_or_default();
                bail!("it ended with {code} before it came there: {}", said.trim());
            }
        }
    }

    /// Lets the system call before which it stands go wrong, and then runs to the end: the exit code, or 128 + signal.
    /// An error, and its death, where it has no end within `limit`.
    pub fn run_with(mut self, fault: Fault, limit: Duration) -> Result<i32> {
        assert!(self.inside, "only a system call can go wrong");
        let end = Instant::now() + limit;
        let number = ptrace::getregs(self.pid)?.orig_rax;
        let again = matches!(fault, Fault::FailsFromHereOn(_));
        let mut next = Some(fault);
        // The wait for each stop is bounded, unlike that of `step`: a fault may leave it waiting for something.
        loop {
            let before = ptrace::getregs(self.pid)?;
            let mut regs = before;
            let mut result = None;
            if self.inside {
                match next.take() {
                    Some(Fault::Fails(errno) | Fault::FailsFromHereOn(errno)) => {
                        // A number that no system call has: nothing is done.
                        regs.orig_rax = u64::MAX;
                        result = Some(-i64::from(errno));
                    }
                    Some(Fault::SaysItFailed(errno)) => result = Some(-i64::from(errno)),
                    Some(Fault::Short) => regs.rdx = (regs.rdx / 2).max(1),
                    Some(Fault::Unchanged) => regs.rdi = 0,
                    None => {}
                }
                ptrace::setregs(self.pid, regs)?;
                if let Some(code) = self.advance(end)? {
                    return Ok(code);
                }
                let mut regs = ptrace::getregs(self.pid)?;
                // All but the result is as it was: the program counts on it.
                (regs.rdi, regs.rdx, regs.orig_rax) = (before.rdi, before.rdx, before.orig_rax);
                if let Some(result) = result {
                    regs.rax = result as u64;
                }
                ptrace::setregs(self.pid, regs)?;
            }
            if !again {
                ptrace::cont(self.pid, None)?;
                return self.collect(end);
            }
            if let Some(code) = self.advance(end)? {
                return Ok(code);
            }
            if self.inside && ptrace::getregs(self.pid)?.orig_rax == number {
                next = Some(fault);
            }
        }
    }

    /// To the next edge of a system call; the exit code if it ends before.
    fn advance(&mut self, end: Instant) -> Result<Option<i32>> {
        let mut signal = None;
        loop {
            ptrace::syscall(self.pid, signal)?;
            match self.wait_until(end)? {
                WaitStatus::PtraceSyscall(_) => break,
                WaitStatus::Stopped(_, s) => signal = Some(s),
                WaitStatus::Exited(_, code) => return Ok(Some(code)),
                WaitStatus::Signaled(_, s, _) => return Ok(Some(128 + s as i32)),
                _ => signal = None,
            }
        }
        self.inside = !self.inside;
        Ok(None)
    }

    /// To its end, with the signals that it gets.
    fn collect(&self, end: Instant) -> Result<i32> {
        loop {
            match self.wait_until(end)? {
                WaitStatus::Exited(_, code) => return Ok(code),
                WaitStatus::Signaled(_, s, _) => return Ok(128 + s as i32),
                WaitStatus::Stopped(_, s) => ptrace::cont(self.pid, s)?,
                _ => ptrace::cont(self.pid, None)?,
            }
        }
    }

    fn wait_until(&self, end: Instant) -> Result<WaitStatus> {
        loop {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG))? {
                WaitStatus::StillAlive if Instant::now() > end => {
                    kill(self.pid, Signal::SIGKILL)?;
                    let _ = waitpid(self.pid, None);
                    bail!("it has no end");
                }
                WaitStatus::StillAlive => std::thread::sleep(Duration::from_micros(200)),
                status => return Ok(status),
            }
        }
    }

    /// Lets it run on to the next edge of a system call without waiting for it.
    pub fn go(&self) -> Result<()> {
        ptrace::syscall(self.pid, None).context("PTRACE_SYSCALL")
    }

    /// Kills it where it stands and collects it.
    pub fn kill(self) -> Result<()> {
        kill(self.pid, Signal::SIGKILL)?;
        loop {
            match waitpid(self.pid, None)? {
                WaitStatus::Signaled(..) | WaitStatus::Exited(..) => return Ok(()),
                _ => {}
            }
        }
    }

    /// Leaves it stopped by SIGSTOP, no longer traced. It must stand after a system call, not before one.
    pub fn leave_stopped(self) -> Result<Pid> {
        assert!(!self.inside, "a process that stands before a system call would make it first");
        kill(self.pid, Signal::SIGSTOP)?;
        ptrace::cont(self.pid, None)?;
        match waitpid(self.pid, None)? {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => {}
            other => bail!("{other:?} instead of SIGSTOP"),
        }
        ptrace::detach(self.pid, Signal::SIGSTOP)?;
        Ok(self.pid)
    }
}
