//! What a tool uses of the process that it runs in. It is passed in, so that a whole tool runs inside a test.

use super::streams::Streams;
use crate::error::{Errno, Result};
use crate::log::Priority;
use crate::system::{self, System};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Everything outside a tool.
pub struct World<'a> {
    /// The command line, with `argv[0]`.
    pub args: &'a [Vec<u8>],
    /// The operating system, as the modules below `cli` use it.
    pub system: System<'a>,
    /// The rest of the process.
    pub host: &'a dyn Host,
    /// stdout and stderr.
    pub streams: Streams,
}

/// The parts of a process that only tools use. Each is read when it is needed: reading it costs time at start.
pub trait Host: Sync {
    /// An environment variable. `None` for all of them if the process has more rights than its caller (`AT_SECURE`).
    fn variable(&self, name: &str) -> Option<Vec<u8>>;
    /// The working directory as the shell names it (`PWD`).
    fn directory(&self) -> Result<PathBuf, Errno>;
    /// What `uname -r` prints.
    fn release(&self) -> Result<Vec<u8>, Errno>;
    /// Whether the process was started without stderr.
    fn stderr_closed(&self) -> bool;
    /// Sends a line to the system log as `program`.
    fn syslog(&self, program: &[u8], priority: Priority, text: &[u8]);
    /// Runs a command as system(3) does, with changes to its environment; its exit code, 128 + N after signal N.
    fn run_shell(&self, command: &[u8], changes: &[(OsString, OsString)]) -> Result<i32, Errno>;
    /// Shows a text page by page, by `command` or by less(1), and waits. False if that is not possible, for example because
    /// stdout is no terminal; then nothing was shown.
    fn page(&self, command: Option<&[u8]>, text: &[u8]) -> bool;
}

/// The process itself.
pub(crate) struct ProcessHost;

impl Host for ProcessHost {
    fn variable(&self, name: &str) -> Option<Vec<u8>> {
        let value = std::env::var_os(OsStr::new(name))?;
        (!system::start::is_secure_execution()).then(|| value.into_vec())
    }

    fn directory(&self) -> Result<PathBuf, Errno> {
        system::directory::working(self.variable("PWD"))
    }

    fn release(&self) -> Result<Vec<u8>, Errno> {
        system::kernel::release()
    }

    fn stderr_closed(&self) -> bool {
        system::start::stderr_was_closed()
    }

    fn syslog(&self, program: &[u8], priority: Priority, text: &[u8]) {
        // If the system log does not take the line, there is no place to report it.
        let _ = system::syslog::send(program, priority as i32, text);
    }

    fn run_shell(&self, command: &[u8], changes: &[(OsString, OsString)]) -> Result<i32, Errno> {
        system::command::run_shell(command, changes, system::command::Caller::Tool)
    }

    fn page(&self, command: Option<&[u8]>, text: &[u8]) -> bool {
        system::pager::show(command, text)
    }
}
