//! Install and remove commands.

use super::{Session, args};
use crate::error::Errno;
use crate::limits;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// What a command may hold in the place of the module's options.
const PLACEHOLDER: &[u8] = b"$CMDLINE_OPTS";

/// Counts how many commands have started each other; a command that starts modprobe for its own module without
/// `--ignore-install` would otherwise go on for ever.
const NESTING: &str = "KMOD_ONCE_COMMANDS";

/// The command with the module's options in place of every `$CMDLINE_OPTS`. One pass: options that themselves hold the
/// word are left alone.
pub fn fill_in(command: &[u8], options: &[u8]) -> Vec<u8> {
    let mut filled = Vec::with_capacity(command.len() + options.len());
    let mut rest = command;
    while let Some(at) = rest.windows(PLACEHOLDER.len()).position(|window| window == PLACEHOLDER) {
        filled.extend_from_slice(&rest[..at]);
        filled.extend_from_slice(options);
        rest = &rest[at + PLACEHOLDER.len()..];
    }
    filled.extend_from_slice(rest);
    filled
}

/// Runs a command for `module`, after all that was printed so far has been written. Its exit code, 128 + N after
/// signal N.
///
/// # Errors
/// `ELOOP` where too many commands have started each other; else why the shell could not be started.
pub fn run(session: &Session<'_>, module: &[u8], command: &[u8]) -> Result<i32, Errno> {
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
    if let Some(options) = &session.request.exported {
        changes.push((args::VARIABLE.into(), OsString::from_vec(options.clone())));
    }
    session.call.world.streams.flush();
    host.run_shell(command, &changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_filled_once() {
        let filled = |command: &str, options: &str| {
            String::from_utf8(fill_in(command.as_bytes(), options.as_bytes())).unwrap()
        };
        assert_eq!(filled("insmod x $CMDLINE_OPTS; echo $CMDLINE_OPTS", "a=1 "), "insmod x a=1 ; echo a=1 ");
        assert_eq!(filled("echo $CMDLINE_OPTS_X ${CMDLINE_OPTS}", "v"), "echo v_X ${CMDLINE_OPTS}");
        assert_eq!(filled("echo $CMDLINE_OPTS", "$CMDLINE_OPTS"), "echo $CMDLINE_OPTS", "one pass");
        assert_eq!(filled("$CMDLINE_OPT", "v"), "$CMDLINE_OPT");
    }
}
