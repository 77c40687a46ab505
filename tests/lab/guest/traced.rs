//! A process that is run from system call to system call, so that it can be stopped or killed at a known place.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

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
