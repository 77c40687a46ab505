//! Running an install or remove command the way system(3) does.

use crate::error::{Errno, Result};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

/// Runs `/bin/sh -c COMMAND` in this process's environment with `changes` made to it, and waits. SIGINT and SIGQUIT
/// are ignored and SIGCHLD is blocked meanwhile, as system(3) does. The value is the exit code, 128 + N after signal N.
///
/// # Errors
/// The errno of fork or exec.
pub fn run_shell(command: &[u8], changes: &[(OsString, OsString)]) -> Result<i32, Errno> {
    if command.contains(&0) {
        return Err(Errno::EINVAL);
    }
    let mut child = Command::new("/bin/sh");
    // The name that system(3) gives it, and that the shell's own messages begin with.
    child.arg0("sh").arg("-c").arg(OsStr::from_bytes(command)).envs(changes.iter().map(|(k, v)| (k, v)));
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGCHLD);
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), Some(&mut before))?;
    // SAFETY: the two dispositions are put back below, and no handler of ours runs in between.
    let (int, quit) = unsafe {
        (signal(Signal::SIGINT, SigHandler::SigIgn)?, signal(Signal::SIGQUIT, SigHandler::SigIgn)?)
    };
    // SAFETY: between fork and exec only signal(2) and sigprocmask(2) are called, both async-signal-safe.
    unsafe {
        child.pre_exec(move || {
            signal(Signal::SIGINT, int)?;
            signal(Signal::SIGQUIT, quit)?;
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
            Ok(())
        });
    }
    let status = child.status();
    // SAFETY: the dispositions found above are valid ones.
    unsafe {
        signal(Signal::SIGINT, int)?;
        signal(Signal::SIGQUIT, quit)?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    let status = status.map_err(|e| crate::error::errno_of(&e))?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}
