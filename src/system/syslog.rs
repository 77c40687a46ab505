//! Messages to syslog(3).

use crate::error::Errno;
use nix::syslog::{Facility, LogFlags, Priority, Severity, openlog, syslog};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::sync::Once;

/// Sends one line as `daemon.SEVERITY` (0 to 7). If no daemon listens, it goes to the console (`LOG_CONS`). The C library
/// keeps one name for the process: the `ident` of the first call counts.
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
    use Severity::{LOG_ALERT, LOG_CRIT, LOG_DEBUG, LOG_EMERG, LOG_ERR, LOG_INFO, LOG_NOTICE, LOG_WARNING};
    let known = [LOG_EMERG, LOG_ALERT, LOG_CRIT, LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG];
    let severity = known.into_iter().find(|known| *known as i32 == severity).ok_or(Errno::EINVAL)?;
    // With a newline at its end, as kmod sends it; daemons strip it.
    let priority = Priority::new(severity, Facility::LOG_DAEMON);
    Ok(syslog(priority, OsStr::from_bytes(&crate::log::bytes![text, "\n"]))?)
}
