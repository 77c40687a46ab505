//! POSIX extended regular expressions for depmod.d(5), through regcomp(3) of the C library, so that an expression means the
//! same as in kmod. Rust's regex crates have another syntax (`[\]`, equivalence classes, leading `*`).

use nix::libc;
use std::ffi::CString;
use std::mem::MaybeUninit;

/// Whether `pattern` matches anywhere in `text`. `None` if it does not compile, or if one of them contains a NUL.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> Option<bool> {
    let (pattern, text) = (CString::new(pattern).ok()?, CString::new(text).ok()?);
    let mut compiled = MaybeUninit::<libc::regex_t>::uninit();
    // SAFETY: both pointers are valid. regcomp initialises `compiled` if it returns 0.
    let failed = unsafe {
        libc::regcomp(compiled.as_mut_ptr(), pattern.as_ptr(), libc::REG_EXTENDED | libc::REG_NOSUB)
    };
    if failed != 0 {
        return None;
    }
    // SAFETY: regcomp succeeded. With REG_NOSUB the array of matches may be null. regfree is called once, after the last use.
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
