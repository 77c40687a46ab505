//! Runs an install or remove command as system(3) does, except for SIGCHLD.
//!
//! system(3) blocks SIGCHLD, which a host of the library may use itself. So an intermediate process starts the shell, waits
//! for it and exits with its status. clone(2) creates that process without an exit signal:
//!
//! ```text
//! this process  --clone, no signal-->  waits with SIGCHLD at its default  --clone, execve-->  /bin/sh
//! ```
//!
//! This process's disposition of SIGCHLD is neither changed nor relevant. (Without the intermediate process it would be:
//! execve(2) sets the exit signal back to SIGCHLD, and if that is ignored, the kernel keeps no status.)

use super::signal::Ignored;
use super::{descriptors, start};
use crate::error::Errno;
use crate::log::bytes;
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::{CStr, CString, OsString};
use std::os::unix::ffi::OsStrExt;
use std::ptr::{null, null_mut};

/// `PATH` for a command if the environment is not trusted.
const SAFE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A variable of the environment, with its value.
type Variable = (OsString, OsString);

/// The kind of process that runs a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A tool. As in system(3), it ignores SIGINT and SIGQUIT while the command runs.
    Tool,
    /// The host of the library, whose signal dispositions are not changed.
    Library,
}

/// Runs `/bin/sh -c COMMAND` with this process's environment and `changes` to it, and waits. Returns the exit code: 128 + N
/// after signal N, 127 without a shell.
///
/// In secure-execution mode (`AT_SECURE`) the command gets only [`SAFE_PATH`] and `changes`.
///
/// # Errors
/// The errno of clone or wait; `EINVAL` for a NUL in the command.
pub(crate) fn run_shell(command: &[u8], changes: &[Variable], caller: Caller) -> Result<i32, Errno> {
    let command = CString::new(command).map_err(|_| Errno::EINVAL)?;
    // The shell needs descriptors.
    descriptors::close_parked();
    let environment = environment(changes);
    // As system(3). The shell's own messages begin with the first word.
    let words = [c"sh", c"-c", &command];
    let ignoring = (caller == Caller::Tool).then(|| [Signal::SIGINT, Signal::SIGQUIT].map(Ignored::new));
    let child = spawn(&words, &environment, &ignoring)?;
    loop {
        match Errno::uninterrupted(|| waitpid(child, Some(WaitPidFlag::__WALL)))? {
            WaitStatus::Exited(_, code) => return Ok(code),
            WaitStatus::Signaled(_, signal, _) => return Ok(128 + signal as i32),
            _ => {}
        }
    }
}

fn environment(changes: &[Variable]) -> Vec<CString> {
    let mut variables: Vec<Variable> = if start::is_secure_execution() {
        vec![("PATH".into(), SAFE_PATH.into())]
    } else {
        std::env::vars_os().collect()
    };
    variables.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let entry = |(name, value): &Variable| CString::new(bytes![name.as_bytes(), "=", value.as_bytes()]).ok();
    variables.iter().chain(changes).filter_map(entry).collect()
}

fn spawn(words: &[&CStr], environment: &[CString], ignoring: &Option<[Ignored; 2]>) -> Result<Pid, Errno> {
    // The arrays of execve(2).
    let words: Vec<_> = words.iter().map(|word| word.as_ptr()).chain([null()]).collect();
    let environment: Vec<_> = environment.iter().map(|entry| entry.as_ptr()).chain([null()]).collect();
    // The shell gets back the default actions. execve(2) resets handlers by itself.
    let ignored = ignoring.iter().flatten().chain(start::IGNORED.get().into_iter().flatten());
    let reset: Vec<Signal> = ignored.filter_map(Ignored::signal_to_reset).collect();
    // Block all signals: no handler of the host may run in the child.
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    // SAFETY: until it exits, the child makes only system calls, on memory that was prepared before.
    let child = unsafe { clone() };
    if child == Ok(0) {
        // SAFETY: as above, in both children, which have a copy of all that the pointers point to.
        unsafe {
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            match clone() {
                Ok(0) => {
                    for signal in &reset {
                        libc::signal(*signal as i32, libc::SIG_DFL);
                    }
                    libc::sigprocmask(libc::SIG_SETMASK, mask.as_ref(), null_mut());
                    libc::execve(c"/bin/sh".as_ptr(), words.as_ptr(), environment.as_ptr());
                    libc::_exit(127)
                }
                Ok(shell) => {
                    // Waits for the shell and exits with its status. Only a signal can interrupt the wait, and all are
                    // blocked. Without __WALL, waitpid(2) waits only for children with the exit signal SIGCHLD. The shell
                    // has none if its execve fails.
                    let mut status = 0;
                    let waited = libc::waitpid(shell, &raw mut status, libc::__WALL);
                    let code = match libc::WIFSIGNALED(status) {
                        _ if waited != shell => 127,
                        true => 128 + libc::WTERMSIG(status),
                        false => libc::WEXITSTATUS(status),
                    };
                    libc::_exit(code)
                }
                Err(_) => libc::_exit(127),
            }
        }
    }
    let restored = mask.thread_set_mask();
    let child = Pid::from_raw(child?);
    Ok(restored.map(|()| child)?)
}

/// fork(2) without an exit signal, and without the fork handlers of the C library.
///
/// # Safety
/// The child may only make system calls: it has a copy of this thread alone, and of memory that others may have been changing.
unsafe fn clone() -> Result<libc::pid_t, Errno> {
    // SAFETY: without flags and stack this is fork(2). The order of arguments, which differs between machines, does not
    // matter: all are 0.
    let child = unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) };
    Errno::result(child).map(|child| child as libc::pid_t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, sigaction};

    #[test]
    fn a_command_has_the_environment_with_its_changes_and_gives_its_code() {
        let changes = [("MODPROBE_MODULE".into(), "a b".into())];
        let ran = |command: &str| run_shell(command.as_bytes(), &changes, Caller::Tool);
        assert_eq!(ran("test \"$MODPROBE_MODULE\" = 'a b' && test -n \"$PATH\" && exit 7"), Ok(7));
        assert_eq!(ran("kill -9 $$"), Ok(128 + 9));
        assert_eq!(run_shell(b"a\0b", &[], Caller::Library), Err(Errno::EINVAL));
    }

    /// Runs a test of this module in a process of its own, since what it changes belongs to the process, and other tests run
    /// commands and wait for children beside it. Returns false in that process.
    fn runs_alone(test: &str) -> bool {
        const ALONE: &str = "KMOD_ONCE_TEST_ALONE";
        if std::env::var_os(ALONE).is_some() {
            return false;
        }
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        let name = format!("system::command::tests::{test}");
        let said = alone.args(["--exact", &name]).env(ALONE, "").output().unwrap();
        let said = String::from_utf8_lossy(&said.stdout);
        assert!(said.contains("1 passed"), "{said}");
        true
    }

    #[test]
    fn handlers_come_back_whole() {
        if runs_alone("handlers_come_back_whole") {
            return;
        }
        extern "C" fn handler(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGUSR1);
        let action =
            SigAction::new(SigHandler::SigAction(handler), SaFlags::SA_SIGINFO | SaFlags::SA_RESTART, mask);
        // SAFETY: the handlers do nothing.
        let before =
            unsafe { [Signal::SIGINT, Signal::SIGQUIT].map(|signal| sigaction(signal, &action).unwrap()) };
        for caller in [Caller::Tool, Caller::Library] {
            assert_eq!(run_shell(b"exit 0", &[], caller), Ok(0));
        }
        for (signal, before) in [Signal::SIGINT, Signal::SIGQUIT].into_iter().zip(before) {
            // SAFETY: restores the earlier action.
            let found = unsafe { sigaction(signal, &before) }.unwrap();
            assert!(matches!(found.handler(), SigHandler::SigAction(_)));
            assert!(found.flags().contains(SaFlags::SA_SIGINFO | SaFlags::SA_RESTART));
            assert!(found.mask().contains(Signal::SIGUSR1));
        }
    }

    #[test]
    fn a_parent_that_ignores_sigchld_loses_no_code() {
        if runs_alone("a_parent_that_ignores_sigchld_loses_no_code") {
            return;
        }
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        // SAFETY: ignoring a signal installs no handler.
        unsafe { sigaction(Signal::SIGCHLD, &ignore) }.unwrap();
        assert_eq!(run_shell(b"exit 5", &[], Caller::Library), Ok(5));
    }
}
