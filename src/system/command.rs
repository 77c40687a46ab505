//! Running an install or remove command the way system(3) does.

use super::{descriptors, start};
use crate::error::{Errno, Result};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

/// Where a shell finds programs when the caller's own word for it is not taken.
const SAFE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs `/bin/sh -c COMMAND` in this process's environment with `changes` made to it, and waits. SIGINT and SIGQUIT
/// are ignored and SIGCHLD is blocked meanwhile, as system(3) does; and SIGCHLD is not ignored, as it is where a careless
/// parent left it: the kernel would keep no exit status. The value is the exit code, 128 + N after signal N.
///
/// A process with more rights than its caller gives the command none of the caller's environment.
///
/// # Errors
/// The errno of fork or exec.
pub fn run_shell(command: &[u8], changes: &[(OsString, OsString)]) -> Result<i32, Errno> {
    if command.contains(&0) {
        return Err(Errno::EINVAL);
    }
    // Starting it takes some descriptors.
    descriptors::give_back();
    let mut child = Command::new("/bin/sh");
    // The name that system(3) gives it, and that the shell's own messages begin with.
    child.arg0("sh").arg("-c").arg(OsStr::from_bytes(command)).envs(changes.iter().map(|(k, v)| (k, v)));
    if start::more_rights_than_the_caller() {
        child.env_clear().env("PATH", SAFE_PATH).envs(changes.iter().map(|(k, v)| (k, v)));
    }
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGCHLD);
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), Some(&mut before))?;
    // SAFETY: the three dispositions are put back below, and no handler of ours runs in between.
    let (int, quit, chld) = unsafe {
        (
            signal(Signal::SIGINT, SigHandler::SigIgn)?,
            signal(Signal::SIGQUIT, SigHandler::SigIgn)?,
            signal(Signal::SIGCHLD, SigHandler::SigDfl)?,
        )
    };
    let size = start::size_signal_was_on();
    // SAFETY: between fork and exec only signal(2) and sigprocmask(2) are called, both async-signal-safe.
    unsafe {
        child.pre_exec(move || {
            signal(Signal::SIGINT, int)?;
            signal(Signal::SIGQUIT, quit)?;
            signal(Signal::SIGCHLD, chld)?;
            if size {
                signal(Signal::SIGXFSZ, SigHandler::SigDfl)?;
            }
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
            Ok(())
        });
    }
    let status = child.status();
    // SAFETY: the dispositions found above are valid ones.
    unsafe {
        signal(Signal::SIGINT, int)?;
        signal(Signal::SIGQUIT, quit)?;
        signal(Signal::SIGCHLD, chld)?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    let status = status.map_err(|e| crate::error::errno_of(&e))?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}
