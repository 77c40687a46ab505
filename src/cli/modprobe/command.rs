//! Install and remove commands.

use super::{Session, args};
use crate::error::Errno;
use crate::limits;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Counts how deep commands are nested. Without a limit, a command that starts modprobe for its own module without
/// `--ignore-install` would recurse for ever.
const NESTING: &str = "KMOD_ONCE_COMMANDS";

/// Runs a command for `module`, after flushing stdout. Returns its exit code, or 128 + N after signal N.
///
/// # Errors
/// `ELOOP` if commands are nested too deeply; else why the shell could not be started.
pub(crate) fn run(session: &Session<'_>, module: &[u8], command: &[u8]) -> Result<i32, Errno> {
    let host = session.call.world.host;
    let depth =
        host.variable(NESTING).and_then(|text| String::from_utf8(text).ok()?.parse().ok()).unwrap_or(0);
    if depth >= limits::COMMAND_NESTING {
        return Err(Errno::ELOOP);
    }
    let mut changes: Vec<(OsString, OsString)> = vec![
        ("MODPROBE_MODULE".into(), OsString::from_vec(module.to_vec())),
        (NESTING.into(), (depth + 1).to_string().into()),
    ];
    let options = session.request.exported.clone();
    changes.extend(options.map(|options| (args::VARIABLE.into(), OsString::from_vec(options))));
    session.call.world.streams.flush();
    host.run_shell(command, &changes)
}
