//! POSIX extended regular expressions, as depmod.d(5) promises them: the C library's own, so that an expression means
//! what it means to kmod. No crate speaks this dialect (`[\]`, equivalence classes, leading `*`).

use nix::libc;
use std::ffi::CString;
use std::mem::MaybeUninit;

/// Whether the extended regular expression `pattern` matches anywhere in `text`; `None` where it does not compile. A NUL
/// in either compiles or matches nothing.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> Option<bool> {
    let (pattern, text) = (CString::new(pattern).ok()?, CString::new(text).ok()?);
    let mut compiled = MaybeUninit::<libc::regex_t>::uninit();
    // SAFETY: both pointers are valid; regcomp initialises what the first points to where it returns 0.
    let failed = unsafe {
        libc::regcomp(compiled.as_mut_ptr(), pattern.as_ptr(), libc::REG_EXTENDED | libc::REG_NOSUB)
    };
    if failed != 0 {
        return None;
    }
    // SAFETY: regcomp succeeded; with REG_NOSUB the array of matches is not written to and may be null. The memory that
    // regcomp took is freed exactly once, after its last use.
    unsafe {
        let mut compiled = compiled.assume_init();
        let found = libc::regexec(&compiled, text.as_ptr(), 0, std::ptr::null_mut(), 0) == 0;
        libc::regfree(&mut compiled);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn expressions_are_unanchored_and_extended() {
        assert_eq!(matches(b"2.3", b"1.2.3-t"), Some(true));
        assert_eq!(matches(b"2[.]3", b"1.2.3-t"), Some(true));
        assert_eq!(matches(b"2.2", b"1.2.3-t"), Some(false));
        assert_eq!(matches(b"^6\\.(1|12)\\.[[:digit:]]+", b"6.12.117+deb12-amd64"), Some(true));
        assert_eq!(matches(b"[\\]", b"a\\b"), Some(true));
        assert_eq!(matches(b"(", b"1.2.3"), None);
        assert_eq!(matches(b"a\0b", b"a"), None);
    }
}
