//! Error numbers. [`Errno`] keeps the number itself, since the kernel returns more of them than the C library has names for:
//! a module's init may return 512 (`ERESTARTSYS`), 517 (`EPROBE_DEFER`), 524 (`ENOTSUPP`) or any other number up to 4095
//! (include/linux/errno.h, include/linux/err.h).

#[cfg(any(test, not(target_env = "gnu")))]
mod texts;

use nix::libc;
use std::fmt;

/// An error number of the kernel, positive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(i32);

macro_rules! named {
    ($($name:ident)*) => {
        impl Errno {
            $(pub const $name: Errno = Errno(libc::$name);)*
        }
    };
}

named! {
    EACCES EAGAIN EBADF EBADMSG EBUSY ECHILD EEXIST EFBIG EINTR EINVAL EIO EISDIR EKEYREJECTED ELOOP EMFILE ENAMETOOLONG
    ENFILE ENODATA ENODEV ENOENT ENOEXEC ENOKEY ENOMEM ENOPKG ENOSPC ENOSYS ENOTDIR ENOTRECOVERABLE EOPNOTSUPP EPERM
    EPIPE ERANGE ESPIPE ESRCH ETIME ETIMEDOUT EWOULDBLOCK
}

impl Errno {
    /// The error with this number, whose sign is ignored. `EIO` for 0.
    pub fn new(number: i32) -> Self {
        match number.checked_abs() {
            None | Some(0) => Errno::EIO,
            Some(number) => Errno(number),
        }
    }

    /// The number, positive.
    pub fn number(self) -> i32 {
        self.0
    }

    /// The C library's `errno` of this thread.
    pub fn last() -> Self {
        Errno::of(&std::io::Error::last_os_error())
    }

    /// The errno of an I/O error; `EIO` if it has none.
    pub fn of(error: &std::io::Error) -> Self {
        error.raw_os_error().map_or(Errno::EIO, Errno::new)
    }

    /// Sets the C library's `errno`.
    pub fn set(self) {
        nix::errno::Errno::set_raw(self.0);
    }

    /// The value that a system call returned; for -1 the C library's `errno`.
    pub fn result<T: Copy + PartialEq + From<i8>>(value: T) -> Result<T, Errno> {
        if value == T::from(-1) { Err(Errno::last()) } else { Ok(value) }
    }

    /// The result of `call`, which is repeated while a signal interrupts it (`EINTR`).
    pub(crate) fn uninterrupted<T, E: Into<Self>>(mut call: impl FnMut() -> Result<T, E>) -> Result<T, Self> {
        loop {
            match call().map_err(Into::into) {
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }

    /// Its name (`ENODEV`), if the C library has one.
    pub fn name(self) -> Option<String> {
        let known = nix::errno::Errno::from_raw(self.0);
        (known != nix::errno::Errno::UnknownErrno).then(|| format!("{known:?}"))
    }
}

/// glibc's text in the C locale: "No such file or directory", "Unknown error 517".
impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(not(target_env = "gnu"))]
        if let Some((_, text)) = texts::TEXTS.iter().find(|(number, _)| *number == self.0) {
            return f.write_str(text);
        }
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        // std appends " (os error N)" to the text of strerror_r(3).
        match text.rsplit_once(" (os error ").map_or(&text[..], |(text, _)| text) {
            // musl.
            "No error information" => write!(f, "Unknown error {}", self.0),
            text => f.write_str(text),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(&name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl From<nix::errno::Errno> for Errno {
    fn from(errno: nix::errno::Errno) -> Self {
        Errno::new(errno as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_glibc() {
        let texts = [
            (Errno::ENOENT, "No such file or directory"),
            (Errno::EKEYREJECTED, "Key was rejected by service"),
            (Errno::EOPNOTSUPP, "Operation not supported"),
            (Errno::EBUSY, "Device or resource busy"),
            (Errno::ENOPKG, "Package not installed"),
            (Errno::ENOKEY, "Required key not available"),
            (Errno::new(512), "Unknown error 512"),
            (Errno::new(-517), "Unknown error 517"),
            (Errno::new(524), "Unknown error 524"),
        ];
        for (errno, text) in texts {
            assert_eq!(errno.to_string(), text);
        }
    }

    #[test]
    fn no_number_is_lost_and_none_is_success() {
        for number in 1..=4095 {
            assert_eq!(Errno::new(-number).number(), number);
        }
        assert_eq!(Errno::new(0), Errno::EIO);
        assert_eq!(Errno::new(i32::MIN), Errno::EIO);
        assert_eq!(format!("{:?} {:?}", Errno::ENODEV, Errno::new(517)), "ENODEV errno 517");
    }
}
