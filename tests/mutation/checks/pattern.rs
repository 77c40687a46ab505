//! Patterns, against the C library's.

use super::{KIB, bounded};
use kmod_once::internals::formats::pattern::fnmatch;
use std::ffi::CString;

/// Pattern and text, with a newline between them: ours says what fnmatch(3) says.
pub fn check(input: &[u8]) -> bool {
    let mut parts = input.splitn(2, |&b| b == b'\n');
    let (pattern, text) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let ours = bounded(input, KIB, 1, || fnmatch(pattern, text));
    // A star at either end can only widen what matches the same text.
    if ours {
        assert!(fnmatch(&[b"*", pattern].concat(), text), "{}", pattern.escape_ascii());
    }
    // Theirs tries all ways of several stars, one inside the other.
    let stars = pattern.iter().filter(|&&b| b == b'*').count();
    let (Ok(theirs), Ok(subject)) = (CString::new(pattern), CString::new(text)) else { return ours };
    if stars <= 4 && text.len() <= 64 {
        // SAFETY: both are strings that live until the call returns.
        let theirs = unsafe { libc::fnmatch(theirs.as_ptr(), subject.as_ptr(), 0) };
        assert_eq!(ours, theirs == 0, "{} on {}", pattern.escape_ascii(), text.escape_ascii());
    }
    ours
}
