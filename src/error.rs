//! The one error type below the tools: what went wrong, the file it is about, and the errno that a C program would see. The
//! tools turn it into a sentence; the C library turns it into a negative number.

use std::fmt;
use std::path::{Path, PathBuf};

pub use crate::errno::Errno;

/// The result of everything that can fail below the tools.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    errno: Errno,
    what: String,
    path: Option<PathBuf>,
}

impl Error {
    /// An error described by `what`, a phrase without a final full stop ("xz: File is corrupt").
    pub fn new(errno: Errno, what: impl Into<String>) -> Self {
        Error { errno, what: what.into(), path: None }
    }

    /// An error that the operating system reported; its text is the errno's own.
    pub fn os(errno: Errno) -> Self {
        Error { errno, what: String::new(), path: None }
    }

    /// The same error, about the file `path`.
    #[must_use]
    pub fn at(mut self, path: impl AsRef<Path>) -> Self {
        self.path = Some(path.as_ref().to_path_buf());
        self
    }

    /// The errno that stands for this error in exit texts and in the C library.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// The description without file or errno text; empty where the errno says it all.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The description, or the errno's text without one. For a message that names the file itself.
    pub fn reason(&self) -> String {
        if self.what.is_empty() { self.errno.to_string() } else { self.what.clone() }
    }

    /// The file that the error is about, if one is known.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        if self.what.is_empty() { self.errno.fmt(f) } else { f.write_str(&self.what) }
    }
}

impl std::error::Error for Error {}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Error::os(errno)
    }
}

impl From<nix::errno::Errno> for Error {
    fn from(errno: nix::errno::Errno) -> Self {
        Error::os(errno.into())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::os(Errno::of(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_file() {
        let error = Error::new(Errno::EINVAL, "bad line").at("/etc/x.conf");
        assert_eq!(error.to_string(), "/etc/x.conf: bad line");
        assert_eq!(Error::os(Errno::EACCES).at("/a").to_string(), "/a: Permission denied");
    }
}
