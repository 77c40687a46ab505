//! Where a context's messages go: to stderr, or to a function of the host.

use super::abi::{Handle, answer, c_string, variable};
use super::context::Context;
use crate::bytes;
use crate::log::{Priority, Sink, threshold};
use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::io::Write;

/// The host's function. Its true type has a `va_list`, which Rust cannot make; only `shim.c` calls it.
pub type Function = Option<unsafe extern "C" fn()>;

unsafe extern "C" {
    /// `shim.c`: calls `function(data, priority, file, line, name, format, the rest as a va_list)`.
    fn kmod_once_log(
        function: unsafe extern "C" fn(),
        data: *const c_void,
        priority: c_int,
        file: *const c_char,
        line: c_int,
        name: *const c_char,
        format: *const c_char,
        ...
    );
}

/// A receiver of messages.
#[derive(Clone, Copy)]
enum Receiver {
    Stderr,
    Nobody,
    Host(unsafe extern "C" fn(), *const c_void),
}

/// The log of one context.
pub struct Log {
    priority: Cell<c_int>,
    receiver: Cell<Receiver>,
}

// SAFETY: a context is used by one thread at a time, and so is its log.
unsafe impl Sync for Log {}

impl Log {
    /// A log to stderr with the priority that the environment asks for.
    pub fn new() -> Self {
        let priority = threshold(variable(c"KMOD_LOG").as_deref());
        Log { priority: Cell::new(priority), receiver: Cell::new(Receiver::Stderr) }
    }

    /// An error.
    pub fn error(&self, text: &[u8]) {
        self.log(Priority::Err, text);
    }
}

impl Sink for Log {
    fn log(&self, priority: Priority, text: &[u8]) {
        if priority as i32 > self.priority.get() {
            return;
        }
        match self.receiver.get() {
            Receiver::Nobody => {}
            Receiver::Stderr => {
                let level = match priority {
                    Priority::Crit => "CRITICAL",
                    Priority::Err => "ERROR",
                    Priority::Warning => "WARNING",
                    Priority::Notice => "NOTICE",
                    Priority::Info => "INFO",
                    Priority::Debug => "DEBUG",
                };
                // A host without stderr has nobody to tell.
                let _ = std::io::stderr().write_all(&bytes!["libkmod: ", level, ": ", text, "\n"]);
            }
            Receiver::Host(function, data) => {
                let (text, own) = (c_string(&bytes![text, "\n"]), c"libkmod".as_ptr());
                // SAFETY: the host promised a function of this type for as long as it is set, with this data; the
                // strings outlive the call, and the format takes one string.
                unsafe {
                    let format = c"%s".as_ptr();
                    kmod_once_log(function, data, priority as c_int, own, 0, own, format, text.as_ptr());
                }
            }
        }
    }
}

/// Sends messages to `function` from now on; NULL: to nobody.
#[unsafe(no_mangle)]
pub extern "C" fn kmod_set_log_fn(ctx: Handle<Context>, function: Function, data: *const c_void) {
    answer(
        |_| (),
        || {
            let log = ctx.get()?.log();
            log.receiver.set(function.map_or(Receiver::Nobody, |function| Receiver::Host(function, data)));
            if let Some(function) = function {
                let text = format!("custom logging function {function:p} registered");
                log.log(Priority::Info, text.as_bytes());
            }
            Ok(())
        },
    );
}

/// The least severe priority that is logged, a number of syslog(3); -1 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn kmod_get_log_priority(ctx: Handle<Context>) -> c_int {
    answer(|_| -1, || Ok(ctx.get()?.log().priority.get()))
}

/// Sets the least severe priority that is logged.
#[unsafe(no_mangle)]
pub extern "C" fn kmod_set_log_priority(ctx: Handle<Context>, priority: c_int) {
    answer(
        |_| (),
        || {
            ctx.get()?.log().priority.set(priority);
            Ok(())
        },
    );
}
