//! Runs a tool one system call at a time, so that a test can do something at exactly one moment: kill it, let a call
//! fail, change a file.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::stage::Ended;

/// A process that stops at each of its system calls. All calls must come from the thread that started it.
pub struct Traced {
    child: Child,
    pid: Pid,
    stderr: PathBuf,
    ended: Option<String>,
}

/// A system call that is about to be made.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Which.
    pub number: libc::c_long,
    /// Its arguments.
    pub args: [u64; 6],
}

/// The numbers of the calls that newer architectures have only in a form with more arguments.
#[cfg(any(target_arch = "x86_64", target_arch = "x86", target_arch = "arm", target_arch = "s390x"))]
const OLD: (libc::c_long, libc::c_long) = (libc::SYS_rename, libc::SYS_unlink);
#[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "arm", target_arch = "s390x")))]
const OLD: (libc::c_long, libc::c_long) = (-1, -1);

impl Call {
    /// Whether it renames a file.
    pub fn renames(&self) -> bool {
        [OLD.0, libc::SYS_renameat2].contains(&self.number)
    }

    /// Where the name of the file is that it removes, if it does.
    pub fn removes(&self) -> Option<u64> {
        match self.number {
            number if number == OLD.1 => Some(self.args[0]),
            number if number == libc::SYS_unlinkat => Some(self.args[1]),
            _ => None,
        }
    }
}

/// The registers of a stopped process that hold the number of its system call and the result.
#[cfg(target_arch = "x86_64")]
mod registers {
    use super::{Pid, ptrace};

    /// The call is not made: no call has this number.
    pub fn skip(pid: Pid) -> nix::Result<()> {
        let registers = ptrace::getregs(pid)?;
        ptrace::setregs(pid, libc::user_regs_struct { orig_rax: u64::MAX, ..registers })
    }

    /// What the call gives back.
    pub fn answer(pid: Pid, result: i64) -> nix::Result<()> {
        let registers = ptrace::getregs(pid)?;
        ptrace::setregs(pid, libc::user_regs_struct { rax: result as u64, ..registers })
    }
}
#[cfg(not(target_arch = "x86_64"))]
mod registers {
    use super::{Errno, Pid};

    pub fn skip(_: Pid) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }

    pub fn answer(_: Pid, _: i64) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }
}

impl Traced {
    /// Starts `command` and stops it before its first call. What it complains of goes to the file `stderr`.
    ///
    /// # Errors
    /// It could not be started or traced.
    pub fn start(mut command: Command, stderr: PathBuf) -> Result<Traced, String> {
        let problem = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
        let file = File::create(&stderr).map_err(|e| problem("stderr", &e))?;
        command.stdout(Stdio::null()).stderr(file);
        // SAFETY: ptrace(2) may be called between fork and exec.
        unsafe { command.pre_exec(|| ptrace::traceme().map_err(Into::into)) };
        let child = command.spawn().map_err(|e| problem("start", &e))?;
        let pid = Pid::from_raw(child.id() as i32);
        match waitpid(pid, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) => {}
            other => return Err(format!("not stopped at exec: {other:?}")),
        }
        let options = ptrace::Options::PTRACE_O_TRACESYSGOOD | ptrace::Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(pid, options).map_err(|e| problem("options", &e))?;
        Ok(Traced { child, pid, stderr, ended: None })
    }

    /// Lets it run to its next system call; `None` once it has ended.
    pub fn next(&mut self) -> Option<Call> {
        loop {
            self.stop()?;
            let info = ptrace::syscall_info(self.pid).expect("it is stopped at a call");
            if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
                // SAFETY: `op` says which part of the union is there.
                let entry = unsafe { info.u.entry };
                return Some(Call { number: entry.nr as libc::c_long, args: entry.args });
            }
        }
    }

    /// Lets the call that it is stopped before fail without being made.
    pub fn fail(&mut self, errno: Errno) {
        registers::skip(self.pid).expect("it is stopped, and this machine's registers are known");
        if self.stop().is_some() {
            registers::answer(self.pid, -i64::from(errno as i32)).expect("it is stopped");
        }
    }

    /// Resumes it until it stops at the entry or the exit of a call.
    fn stop(&mut self) -> Option<()> {
        let mut signal = None;
        loop {
            if self.ended.is_some() {
                return None;
            }
            ptrace::syscall(self.pid, signal.take()).expect("it is stopped");
            match waitpid(self.pid, Some(WaitPidFlag::__WALL)).expect("it is ours") {
                WaitStatus::PtraceSyscall(_) => return Some(()),
                WaitStatus::Stopped(_, other) => signal = Some(other),
                WaitStatus::Exited(_, code) => self.ended = Some(format!("exit status: {code}")),
                WaitStatus::Signaled(_, signal, _) => self.ended = Some(format!("signal: {signal}")),
                other => panic!("unexpected: {other:?}"),
            }
        }
    }

    /// A string that an argument points to.
    pub fn string(&self, address: u64) -> PathBuf {
        let mut bytes = Vec::new();
        let mut at = address;
        while bytes.len() < 4096 {
            let Ok(word) = ptrace::read(self.pid, at as ptrace::AddressType) else { break };
            let word = word.to_ne_bytes();
            match word.iter().position(|&byte| byte == 0) {
                Some(end) => {
                    bytes.extend_from_slice(&word[..end]);
                    break;
                }
                None => bytes.extend_from_slice(&word),
            }
            at += word.len() as u64;
        }
        OsString::from_vec(bytes).into()
    }

    /// Kills it where it is.
    pub fn kill(mut self) {
        if self.ended.is_none() {
            self.child.kill().expect("it is ours");
            // The last stop may still be reported before the death.
            while !matches!(
                waitpid(self.pid, Some(WaitPidFlag::__WALL)),
                Ok(WaitStatus::Signaled(..) | WaitStatus::Exited(..)) | Err(_)
            ) {}
        }
    }

    /// Lets it run to its end.
    pub fn finish(mut self) -> Ended {
        while self.stop().is_some() {}
        let mut stderr = String::new();
        if let Ok(mut file) = File::open(&self.stderr) {
            let _ = file.read_to_string(&mut stderr);
        }
        Ended { status: self.ended.take().unwrap_or_default(), stdout: Vec::new(), stderr }
    }
}
