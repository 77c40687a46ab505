//! Running an install or remove command the way system(3) does, but for the signals.
//!
//! system(3) blocks SIGCHLD and takes its end from it; a host of the library has its own use for that signal. So a process in
//! between, made by clone(2) with no signal at its end, starts the shell, waits for it, and passes its status on:
//!
//! ```text
//! this process  --clone, no signal-->  waits with SIGCHLD at its default  --clone, execve-->  /bin/sh
//! ```
//!
//! Whatever this process does with SIGCHLD, or a careless parent left it at, is neither changed nor in the way. (The shell
//! alone would not do: execve(2) sets the signal at the end back to SIGCHLD, and where that is ignored no status is kept.)

use super::{descriptors, start};
use crate::error::Errno;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::ptr::{null, null_mut};

/// Where a shell finds programs when the caller's own word for it is not taken.
const SAFE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whose process it is that runs a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// A tool's. As in system(3), it ignores SIGINT and SIGQUIT while the command runs: they are meant for that.
    Tool,
    /// The host of the library, whose signals are its own affair.
    Host,
}

/// Runs `/bin/sh -c COMMAND` in this process's environment with `changes` made to it, and waits. The value is the exit code,
/// 128 + N after signal N; 127 where there is no shell.
///
/// A process with more rights than its caller gives the command none of the caller's environment.
///
/// # Errors
/// The errno of clone or wait; `EINVAL` for a NUL in the command.
pub fn run_shell(command: &[u8], changes: &[(OsString, OsString)], process: Process) -> Result<i32, Errno> {
    let command = CString::new(command).map_err(|_| Errno::EINVAL)?;
    // Starting it takes some descriptors.
    descriptors::give_back();
    let environment = environment(changes);
    // The name that system(3) gives it, and that the shell's own messages begin with.
    let words = [c"sh", c"-c", &command];
    let ignoring = (process == Process::Tool).then(|| [Signal::SIGINT, Signal::SIGQUIT].map(Ignored::new));
    let child =
        start(&Pointers::new(words), &Pointers::new(environment.iter().map(CString::as_c_str)), &ignoring)?;
    loop {
        match waitpid(child, Some(WaitPidFlag::__WALL)).map_err(Errno::from) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as i32),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn environment(changes: &[(OsString, OsString)]) -> Vec<CString> {
    let mut variables: Vec<(OsString, OsString)> = if start::more_rights_than_the_caller() {
        vec![("PATH".into(), SAFE_PATH.into())]
    } else {
        std::env::vars_os().collect()
    };
    variables.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let entry = |(name, value): &(OsString, OsString)| {
        CString::new([name.as_bytes(), b"=", OsStr::as_bytes(value)].concat()).ok()
    };
    variables.iter().chain(changes).filter_map(entry).collect()
}

/// Strings as execve(2) takes them.
struct Pointers(Vec<*const libc::c_char>);

impl Pointers {
    fn new<'s>(strings: impl IntoIterator<Item = &'s CStr>) -> Self {
        Pointers(strings.into_iter().map(CStr::as_ptr).chain([null()]).collect())
    }
}

/// A signal that is ignored until this goes.
pub(super) struct Ignored {
    signal: Signal,
    before: Option<SigAction>,
}

impl Ignored {
    pub(super) fn new(signal: Signal) -> Self {
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        // SAFETY: ignoring a signal installs no code of ours.
        let before = unsafe { sigaction(signal, &ignore) }.ok();
        Ignored { signal, before }
    }

    fn was_ignored(&self) -> bool {
        self.before.is_none_or(|before| matches!(before.handler(), SigHandler::SigIgn))
    }
}

impl Drop for Ignored {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // SAFETY: the action was in force before. It cannot fail for a signal that it was asked of.
            let _ = unsafe { sigaction(self.signal, before) };
        }
    }
}

fn start(words: &Pointers, environment: &Pointers, ignoring: &Option<[Ignored; 2]>) -> Result<Pid, Errno> {
    // What the shell gets back. A handler ends with execve(2) anyway.
    let mut reset = [(0, false); 4];
    for (place, ignored) in reset.iter_mut().zip(ignoring.iter().flatten()) {
        *place = (ignored.signal as i32, !ignored.was_ignored());
    }
    reset[2] = (Signal::SIGPIPE as i32, start::pipe_signal_was_on());
    reset[3] = (Signal::SIGXFSZ as i32, start::size_signal_was_on());
    // No handler of the host may run in a copy of it.
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    // SAFETY: the child makes only system calls, on memory that was prepared before, until it is gone.
    let child = unsafe { clone() };
    if child == Ok(0) {
        // SAFETY: in the children, as above. The pointers lead to strings in frames of which the children have a copy.
        unsafe {
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            match clone() {
                Ok(0) => {
                    for (signal, _) in reset.iter().filter(|(_, back)| *back) {
                        libc::signal(*signal, libc::SIG_DFL);
                    }
                    libc::sigprocmask(libc::SIG_SETMASK, mask.as_ref(), null_mut());
                    libc::execve(c"/bin/sh".as_ptr(), words.0.as_ptr(), environment.0.as_ptr());
                    libc::_exit(127)
                }
                Ok(shell) => pass_on(shell),
                Err(_) => libc::_exit(127),
            }
        }
    }
    let restored = mask.thread_set_mask();
    let child = Pid::from_raw(child?);
    Ok(restored.map(|()| child)?)
}

/// fork(2) without a signal at the child's end, and without what the C library does around it.
///
/// # Safety
/// In the child there is a copy of this thread alone, and of memory that others may have been changing: it may make system
/// calls, and end or become another program.
unsafe fn clone() -> Result<libc::pid_t, Errno> {
    // SAFETY: with no flags and no stack this is fork(2), on every architecture, whatever the order of its arguments there.
    let child = unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) };
    Errno::result(child).map(|child| child as libc::pid_t)
}

/// Waits for the shell and ends as it did.
///
/// # Safety
/// As [`clone`], in the child.
unsafe fn pass_on(shell: libc::pid_t) -> ! {
    let mut status = 0;
    // SAFETY: status is valid. Only a signal can interrupt the wait, and all are blocked.
    unsafe {
        // Without __WALL only children that end with SIGCHLD are waited for, and this one may fail before it is the shell.
        let waited = libc::waitpid(shell, &raw mut status, libc::__WALL);
        let code = match libc::WIFSIGNALED(status) {
            _ if waited != shell => 127,
            true => 128 + libc::WTERMSIG(status),
            false => libc::WEXITSTATUS(status),
        };
        libc::_exit(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_the_environment_with_its_changes_and_gives_its_code() {
        let changes = [("MODPROBE_MODULE".into(), "a b".into())];
        let ran = |command: &str| run_shell(command.as_bytes(), &changes, Process::Tool);
        assert_eq!(ran("test \"$MODPROBE_MODULE\" = 'a b' && test -n \"$PATH\" && exit 7"), Ok(7));
        assert_eq!(ran("kill -9 $$"), Ok(128 + 9));
        assert_eq!(run_shell(b"a\0b", &[], Process::Host), Err(Errno::EINVAL));
    }

    #[test]
    fn handlers_come_back_whole() {
        extern "C" fn handler(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGUSR1);
        let action =
            SigAction::new(SigHandler::SigAction(handler), SaFlags::SA_SIGINFO | SaFlags::SA_RESTART, mask);
        // SAFETY: the handlers do nothing.
        let before =
            unsafe { [Signal::SIGINT, Signal::SIGQUIT].map(|signal| sigaction(signal, &action).unwrap()) };
        for process in [Process::Tool, Process::Host] {
            assert_eq!(run_shell(b"exit 0", &[], process), Ok(0));
        }
        for (signal, before) in [Signal::SIGINT, Signal::SIGQUIT].into_iter().zip(before) {
            // SAFETY: what was in force before.
            let found = unsafe { sigaction(signal, &before) }.unwrap();
            assert!(matches!(found.handler(), SigHandler::SigAction(_)));
            assert!(found.flags().contains(SaFlags::SA_SIGINFO | SaFlags::SA_RESTART));
            assert!(found.mask().contains(Signal::SIGUSR1));
        }
    }

    #[test]
    fn a_parent_that_ignores_sigchld_loses_no_code() {
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        // In a process of its own, since others in this one wait for children, too.
        // SAFETY: the child makes system calls only, but for the command under test, and this test is alone in it.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 5)));
            }
            nix::unistd::ForkResult::Child => {
                // SAFETY: no code of ours is installed, and the process ends here.
                unsafe {
                    let _ = sigaction(Signal::SIGCHLD, &ignore);
                    let code = run_shell(b"exit 5", &[], Process::Host).unwrap_or(99);
                    libc::_exit(code)
                }
            }
        }
    }
}
