//! The working directory, and paths relative to it.

use super::file;
use super::roots::into_path;
use crate::error::Errno;
use crate::log::bytes;
use std::fs::metadata;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The path of the working directory, as get_current_dir_name(3): `pwd`, the variable `PWD`, if it is an absolute path of
/// that directory, with its symbolic links; else getcwd(3).
pub(crate) fn working(pwd: Option<Vec<u8>>) -> Result<PathBuf, Errno> {
    match pwd.map(into_path) {
        Some(path) if path.is_absolute() && file::is_same(metadata(&path), metadata(".")) => Ok(path),
        _ => std::env::current_dir().map_err(|error| Errno::of(&error)),
    }
}

/// `path`, below the directory that `working` returns if it is relative. `.` and `..` stay in it, since it is printed.
pub(crate) fn absolute<E>(path: &[u8], working: impl FnOnce() -> Result<PathBuf, E>) -> Result<PathBuf, E> {
    if path.starts_with(b"/") {
        return Ok(into_path(path.to_vec()));
    }
    Ok(into_path(bytes![working()?.as_os_str().as_bytes(), "/", path]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_shells_name_counts_where_it_is_true() {
        let here = std::env::current_dir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink(&here, &link).unwrap();
        let named = |text: &[u8]| working(Some(text.to_vec())).unwrap();
        assert_eq!(named(link.as_os_str().as_bytes()), link);
        let dotted = bytes![link.as_os_str().as_bytes(), "/./"];
        assert_eq!(named(&dotted).as_os_str().as_bytes(), dotted);
        // Another directory, one that does not exist, and paths that are not absolute.
        for odd in [dir.path().as_os_str().as_bytes(), b"/nosuch", b".", b"", b"src/..", b"/a\0b"] {
            assert_eq!(named(odd), here, "{}", String::from_utf8_lossy(odd));
        }
        assert_eq!(working(None).unwrap(), here);
    }

    #[test]
    fn paths_are_put_together_as_text() {
        let below = |path: &[u8]| absolute(path, || Ok::<_, Errno>("/w".into())).unwrap().into_os_string();
        assert_eq!(below(b"./a.ko"), "/w/./a.ko");
        assert_eq!(below(b"../x//y"), "/w/../x//y");
        assert_eq!(below(b"/x//y"), "/x//y");
        assert_eq!(absolute(b"x", || Err(Errno::ENOENT)), Err(Errno::ENOENT));
        assert_eq!(absolute(b"/x", || Err(Errno::ENOENT)), Ok("/x".into()));
    }
}
