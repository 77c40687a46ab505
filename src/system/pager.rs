//! Shows a text through a pager, as git(1) and systemctl(1) do.

use super::signal::Ignored;
use super::start;
use nix::sys::signal::Signal;
use std::ffi::OsStr;
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

/// The options of less(1) if `LESS` is not set: quit if the text fits one screen, pass colours, do not clear the screen.
const OPTIONS: &str = "FRX";

/// Pipes `text` to the shell command `command`, or else to less(1), and waits. Returns false if the text was not shown: stdout
/// is not a terminal, the pager does not exist, or the process is in secure-execution mode, since the caller chose the command.
pub(crate) fn show(command: Option<&[u8]>, text: &[u8]) -> bool {
    if start::is_secure_execution() || !std::io::stdout().is_terminal() {
        return false;
    }
    let mut pager = Command::new(if command.is_some() { "/bin/sh" } else { "less" });
    if let Some(command) = command {
        pager.arg("-c").arg(OsStr::from_bytes(command));
    }
    // Disables the keys for a shell, an editor and other files (less(1), SECURITY): sudo may allow only this one command.
    pager.env("LESSSECURE", "1");
    if std::env::var_os("LESS").is_none() {
        pager.env("LESS", OPTIONS);
    }
    // The user may quit the pager before the end of the text.
    start::ignore_write_signals();
    let Ok(mut pager) = pager.stdin(Stdio::piped()).spawn() else { return false };
    // SIGINT and SIGQUIT of the terminal are for the pager. Ignore them after its start, since it would inherit that.
    let _ignored = [Signal::SIGINT, Signal::SIGQUIT].map(Ignored::new);
    if let Some(mut input) = pager.stdin.take() {
        let _ = input.write_all(text);
    }
    // A shell that cannot start the command exits with one of these.
    !matches!(pager.wait().ok().and_then(|status| status.code()), Some(126 | 127))
}
