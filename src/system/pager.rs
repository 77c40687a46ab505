//! A text shown page by page, as git(1) and systemctl(1) do it.

use super::signal::Ignored;
use super::start;
use nix::sys::signal::Signal;
use std::ffi::OsStr;
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

/// What `less` is told unless `LESS` says otherwise: to end where the text fits one screen, to show escapes, and to leave the
/// screen as it is.
const OPTIONS: &str = "FRX";
/// How a shell ends that cannot start the command.
const NOT_STARTED: [i32; 2] = [126, 127];

/// Hands `text` to a shell's `command`, or else to less(1), and waits for its end. False where nobody was shown anything:
/// stdout is no terminal, or there is no such program. A process with more rights than its caller starts none either, since
/// the caller says which it would be.
pub(crate) fn show(command: Option<&[u8]>, text: &[u8]) -> bool {
    if start::more_rights_than_the_caller() || !std::io::stdout().is_terminal() {
        return false;
    }
    let mut pager = Command::new(if command.is_some() { "/bin/sh" } else { "less" });
    if let Some(command) = command {
        pager.arg("-c").arg(OsStr::from_bytes(command));
    }
    // No shell, no editor, no other file by its keys (less(1), SECURITY): root may have been given this one command.
    pager.env("LESSSECURE", "1");
    if std::env::var_os("LESS").is_none() {
        pager.env("LESS", OPTIONS);
    }
    // A pager that is left before the end reads no further.
    start::no_write_signals();
    let Ok(mut pager) = pager.stdin(Stdio::piped()).spawn() else { return false };
    // The keys are the pager's. It was started before: what is ignored is inherited.
    let _ignored = [Signal::SIGINT, Signal::SIGQUIT].map(Ignored::new);
    if let Some(mut input) = pager.stdin.take() {
        let _ = input.write_all(text);
    }
    let code = pager.wait().ok().and_then(|status| status.code());
    code.is_none_or(|code| !NOT_STARTED.contains(&code))
}
