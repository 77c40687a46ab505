//! Messages to syslog(3).

use crate::error::Errno;
use nix::syslog::{Facility, LogFlags, Priority, Severity, openlog, syslog};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::sync::Once;

/// Sends one line as `daemon.SEVERITY` under the name `ident`. If no daemon listens, it goes to the console (`LOG_CONS`).
/// `severity` is a syslog number, 0 to 7.
///
/// The C library keeps one name for the process, so the `ident` of the first call counts.
///
/// # Errors
/// `EINVAL`: a NUL in the text, or an unknown severity.
pub(crate) fn send(ident: &[u8], severity: i32, text: &[u8]) -> Result<(), Errno> {
    static OPENED: Once = Once::new();
    OPENED.call_once(|| {
        // openlog(3) keeps the pointer, so the string is never freed.
        let ident = CString::new(ident).map(|ident| &*Box::leak(ident.into_boxed_c_str())).ok();
        // Without LOG_NDELAY it opens nothing, so it cannot fail.
        let _ = openlog(ident, LogFlags::LOG_CONS, Facility::LOG_DAEMON);
    });
    let severity = match severity {
        0 => Severity::LOG_EMERG,
        1 => Severity::LOG_ALERT,
        2 => Severity::LOG_CRIT,
        3 => Severity::LOG_ERR,
        4 => Severity::LOG_WARNING,
        5 => Severity::LOG_NOTICE,
        6 => Severity::LOG_INFO,
        7 => Severity::LOG_DEBUG,
        _ => return Err(Errno::EINVAL),
    };
    // With a newline at its end, as kmod sends it; daemons strip it.
    let priority = Priority::new(severity, Facility::LOG_DAEMON);
    Ok(syslog(priority, OsStr::from_bytes(&crate::log::bytes![text, "\n"]))?)
}
