//! Runs a case with one set of tools and writes down what happened.

use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::{ffi::CString, ffi::OsString};

use crate::case;
use crate::kernel::Answers;
use crate::root::Root;
use crate::transcript;

/// Seconds after which a command counts as hung.
const PATIENCE: u32 = 30;

/// What one command did, or what all of them left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The command line, or `files`.
    pub title: String,
    /// See transcript.rs.
    pub transcript: String,
}

/// Runs all commands of a case in a root made for it.
///
/// # Errors
/// A command could not be started, or the root could not be read.
pub fn case(case: &case::Case, root: &Root) -> io::Result<Vec<Step>> {
    let answers =
        Answers::new(&case.kernel).map_err(|what| io::Error::other(format!("{}: {what}", case.place)))?;
    let mut steps = Vec::new();
    for command in &case.commands {
        let mut transcript = self::command(command, &root.path, &answers)?;
        if let Some(log) = &root.log {
            let at = transcript.rfind("exit|").unwrap_or(transcript.len());
            transcript.insert_str(at, &drain(log)?);
        }
        steps.push(Step { title: format!("$ {}", command.shown), transcript });
    }
    steps.push(Step { title: "files".to_owned(), transcript: root.changes()? });
    Ok(steps)
}

/// Runs one command in a root directory; its transcript.
///
/// # Errors
/// It could not be started.
pub fn command(command: &case::Command, root: &Path, answers: &Answers) -> io::Result<String> {
    let word = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let root = CString::new(root.as_os_str().as_encoded_bytes())?;
    let cwd = CString::new(command.cwd.as_str())?;
    let answers = answers.clone();
    let (no_stdout, no_stderr) = (command.no_stdout, command.no_stderr);
    let mut process = Command::new("/bin/kmod");
    process
        .arg0(word(&command.words[0]))
        .args(command.words[1..].iter().map(|bytes| word(bytes)))
        .env_clear()
        .envs([("HOME", "/"), ("TERM", "linux"), ("PATH", "/sbin:/usr/sbin:/bin:/usr/bin")])
        .envs(command.env.iter().map(|(name, value)| (name, word(value))))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let prepare = move || {
        // SAFETY: alarm(2), chroot(2), chdir(2) and close(2) with strings that live as long as the closure; all of them
        // may be called between fork and exec.
        unsafe {
            libc::alarm(PATIENCE);
            if libc::chroot(root.as_ptr()) != 0 || libc::chdir(cwd.as_ptr()) != 0 {
                return Err(io::Error::last_os_error());
            }
            if no_stdout {
                libc::close(1);
            }
            if no_stderr {
                libc::close(2);
            }
        }
        answers.install()
    };
    // SAFETY: `prepare` makes system calls only: no allocation, no lock.
    unsafe { process.pre_exec(prepare) };
    let output = process
        .spawn()
        .and_then(|child| child.wait_with_output())
        .map_err(|error| io::Error::other(format!("{}: {error}", command.shown)))?;
    let mut text = transcript::lines("out", &output.stdout);
    text.push_str(&transcript::lines("err", &output.stderr));
    text.push_str(&ended(output.status));
    Ok(text)
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit| {code}\n"),
        (None, Some(libc::SIGALRM)) => format!("exit| still running after {PATIENCE} s\n"),
        (None, signal) => format!("exit| killed by signal {}\n", signal.unwrap_or(0)),
    }
}

/// What arrived at /dev/log, without the time, `<26>Nov 22 11:49:18 modprobe: text`, and without a newline at the end, which
/// the daemons drop.
fn drain(log: &UnixDatagram) -> io::Result<String> {
    let mut out = String::new();
    let mut buffer = vec![0; 8192];
    loop {
        let size = match log.recv(&mut buffer) {
            Ok(size) => size,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(out),
            Err(error) => return Err(error),
        };
        let message = buffer[..size].strip_suffix(b"\n").unwrap_or(&buffer[..size]);
        let end = message.iter().position(|byte| *byte == b'>').map_or(0, |at| at + 1);
        let time =
            message.get(end..end + 16).filter(|time| time[3] == b' ' && time[9] == b':' && time[15] == b' ');
        let rest = if time.is_some() { &message[end + 16..] } else { &message[end..] };
        out.push_str(&transcript::lines("log", &[&message[..end], rest, b"\n"].concat()));
    }
}
