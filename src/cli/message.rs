//! A tool's messages: `PROGRAM: LEVEL: text` on stderr, or `LEVEL: text` in the system log, down to a threshold.

use super::Exit;
use super::world::World;
use crate::error::Error;
use crate::log::{self, Message, Priority, Sink, bytes};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};

/// The level of [`Priority::Crit`].
const FATAL: &str = "FATAL";

/// The threshold until the command line has been parsed (`LOG_WARNING`).
pub(crate) const START: i32 = Priority::Warning as i32;

/// A tool's log: where messages go, and the threshold.
pub(crate) struct Log<'a> {
    world: &'a World<'a>,
    program: &'a [u8],
    threshold: AtomicI32,
    syslog: AtomicBool,
    /// The messages of threads inside [`Log::capture`].
    captured: Mutex<Vec<(ThreadId, Vec<Message>)>>,
}

impl<'a> Log<'a> {
    /// The log of the tool `program`: to stderr, warnings and more severe messages.
    pub(crate) fn new(world: &'a World<'a>, program: &'a [u8]) -> Self {
        let (threshold, syslog) = (AtomicI32::new(START), AtomicBool::new(false));
        Log { world, program, threshold, syslog, captured: Mutex::default() }
    }

    /// Runs `work` and returns the messages that this thread logged meanwhile instead of showing them. The caller logs them
    /// in order.
    pub(crate) fn capture<T>(&self, work: impl FnOnce() -> T) -> (T, Vec<Message>) {
        let me = thread::current().id();
        let lock = || self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        lock().push((me, Vec::new()));
        let result = work();
        let mut captured = lock();
        let mine = captured.iter().position(|(thread, _)| *thread == me);
        (result, mine.map(|mine| captured.swap_remove(mine).1).unwrap_or_default())
    }

    /// Keeps the message if this thread is inside [`Log::capture`]; whether it did.
    fn keep(&self, priority: Priority, text: &[u8]) -> bool {
        let mut captured = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        // The list is usually empty; then nothing asks for the thread's id.
        let mine = captured.iter_mut().find(|(owner, _)| *owner == thread::current().id());
        mine.map(|(_, messages)| messages.push((priority, text.to_vec()))).is_some()
    }

    /// Sends everything from now on to the system log.
    pub(crate) fn use_syslog(&self) {
        self.syslog.store(true, Ordering::Relaxed);
    }

    /// Shows messages up to the priority `threshold`, a syslog number: the smaller, the fewer.
    pub(crate) fn set_threshold(&self, threshold: i32) {
        self.threshold.store(threshold, Ordering::Relaxed);
    }

    /// An ERROR.
    pub(crate) fn error(&self, text: &[u8]) {
        self.log(Priority::Err, text);
    }

    /// An ERROR that ends the tool with status 1.
    pub(crate) fn end(&self, text: &[u8]) -> Exit {
        self.error(text);
        Exit(1)
    }

    /// An ERROR, if `error` has more to say than its errno.
    pub(crate) fn detail(&self, error: &Error) {
        if !error.what().is_empty() {
            self.error(error.to_string().as_bytes());
        }
    }

    /// A WARNING.
    pub(crate) fn warning(&self, text: &[u8]) {
        self.log(Priority::Warning, text);
    }

    /// A FATAL, which ends the tool if it is shown. One that `-q` suppresses does not: `modprobe -qr nosuch loop` goes on
    /// to `loop`, `modprobe -r nosuch loop` does not.
    ///
    /// # Errors
    /// Status 1 if the message was shown.
    pub(crate) fn fatal(&self, text: &[u8]) -> Result<(), Exit> {
        self.log(Priority::Crit, text);
        if self.shows(Priority::Crit) { Err(Exit(1)) } else { Ok(()) }
    }

    fn shows(&self, priority: Priority) -> bool {
        priority as i32 <= self.threshold.load(Ordering::Relaxed)
    }

    fn line(&self, priority: Priority, text: &[u8]) -> Vec<u8> {
        bytes![self.program, ": ", priority.name(FATAL), ": ", text]
    }
}

impl Sink for Log<'_> {
    fn log(&self, priority: Priority, text: &[u8]) {
        if !self.shows(priority) || self.keep(priority, text) {
        } else if self.syslog.load(Ordering::Relaxed) {
            self.world.host.syslog(self.program, priority, &bytes![priority.name(FATAL), ": ", text]);
        } else {
            self.world.streams.complain(&self.line(priority, text));
        }
    }
}

/// The sink of a tool's module directory. While the configuration is read it shows errors only, and always on stderr,
/// whatever `-q`, `-v` and `-s` say: a mistake in modprobe.d must be seen although udev passes `-q`. `KMOD_LOG` changes
/// that threshold. After [`TreeLog::config_read`] messages go to the tool's own log.
pub(crate) struct TreeLog<'a> {
    log: &'a Log<'a>,
    threshold: i32,
    config_read: AtomicBool,
}

impl<'a> TreeLog<'a> {
    /// The sink for reading the configuration.
    pub(crate) fn new(log: &'a Log<'a>) -> Self {
        let threshold = log::threshold(log.world.host.variable("KMOD_LOG").as_deref());
        TreeLog { log, threshold, config_read: AtomicBool::new(false) }
    }

    /// The configuration has been read.
    pub(crate) fn config_read(&self) {
        self.config_read.store(true, Ordering::Relaxed);
    }
}

impl Sink for TreeLog<'_> {
    fn log(&self, priority: Priority, text: &[u8]) {
        if self.config_read.load(Ordering::Relaxed) {
            self.log.log(priority, text);
        } else if priority as i32 <= self.threshold {
            self.log.world.streams.complain(&self.log.line(priority, text));
        }
    }
}
