//! Where a context's messages go: to stderr, or to a function of the host.

use super::abi::{c_string, variable};
use crate::log::{Priority, Sink, bytes, threshold};
use std::ffi::{c_char, c_int, c_void};
use std::io::Write;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The host's function. Its real type has a `va_list`, which Rust cannot make; only `shim.c` calls it.
pub(crate) type Function = Option<unsafe extern "C" fn()>;

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
    /// A function, and the address of its data.
    Host(unsafe extern "C" fn(), usize),
}

/// The log of one context.
pub(crate) struct Log {
    /// The least severe priority that is logged, a number of syslog(3).
    pub priority: AtomicI32,
    receiver: Mutex<Receiver>,
}

impl Log {
    /// A log to stderr with the priority of `KMOD_LOG`.
    pub(crate) fn new() -> Self {
        let priority = threshold(variable(c"KMOD_LOG").as_deref());
        Log { priority: AtomicI32::new(priority), receiver: Mutex::new(Receiver::Stderr) }
    }

    pub(crate) fn error(&self, text: &[u8]) {
        self.log(Priority::Err, text);
    }

    /// Sends messages to `function` from now on; `None` discards them.
    pub(crate) fn send_to(&self, function: Function, data: *const c_void) {
        let receiver = match function {
            None => Receiver::Nobody,
            Some(function) => Receiver::Host(function, data.expose_provenance()),
        };
        *self.receiver() = receiver;
        if let Some(function) = function {
            let text = format!("custom logging function {function:p} registered");
            self.log(Priority::Info, text.as_bytes());
        }
    }

    fn receiver(&self) -> MutexGuard<'_, Receiver> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Log {
    fn log(&self, priority: Priority, text: &[u8]) {
        if priority as i32 > self.priority.load(Ordering::Relaxed) {
            return;
        }
        // A copy, since the host's function may set another one.
        let receiver = *self.receiver();
        match receiver {
            Receiver::Nobody => {}
            Receiver::Stderr => {
                let line = bytes!["libkmod: ", priority.name("CRITICAL"), ": ", text, "\n"];
                // If stderr cannot be written, there is no place to report it.
                let _ = std::io::stderr().write_all(&line);
            }
            Receiver::Host(function, data) => {
                let (text, own) = (c_string(&bytes![text, "\n"]), c"libkmod".as_ptr());
                let data = std::ptr::with_exposed_provenance::<c_void>(data);
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

#[cfg(test)]
mod tests {
    /// Stands for the function of `shim.c`, which is not linked here.
    #[unsafe(no_mangle)]
    extern "C" fn kmod_once_log() {}
}
