//! Module names and aliases: the three ways in which kmod folds them, and which names may become file names.
//!
//! All work on bytes. The kernel's own name of a module never holds `-`; file names and people use both.

use crate::limits;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The extensions of module files, longest match last (`.ko.xz` is not `.ko`).
pub(crate) const EXTENSIONS: [&[u8]; 4] = [b".ko", b".ko.gz", b".ko.xz", b".ko.zst"];

/// A module's canonical name: `text` up to the first `.` or NUL, with every `-` as `_`.
pub fn canonical(text: &[u8]) -> Vec<u8> {
    let end = text.iter().position(|&b| b == b'.' || b == 0).unwrap_or(text.len()).min(limits::QUERY);
    text[..end].iter().map(|&b| if b == b'-' { b'_' } else { b }).collect()
}

/// The canonical name of the module in the file `path`; `None` if the path ends in `/` or is empty.
pub fn from_path(path: &[u8]) -> Option<Vec<u8>> {
    let base = path.iter().rposition(|&b| b == b'/').map_or(path, |slash| &path[slash + 1..]);
    (!base.is_empty()).then(|| canonical(base))
}

/// A query, alias or word of the configuration: every `-` as `_` except between `[` and `]`. `None` if brackets do not pair
/// up, or if the text is longer than [`limits::QUERY`].
pub fn alias(text: &[u8]) -> Option<Vec<u8>> {
    let mut folded = text.to_vec();
    fold_alias(&mut folded).then_some(folded)
}

/// As [`alias`], in place. If it fails, the bytes before the offending one have been folded already.
pub(crate) fn fold_alias(text: &mut [u8]) -> bool {
    if text.len() > limits::QUERY {
        return false;
    }
    let mut inside = false;
    for byte in text {
        match *byte {
            b']' if !inside => return false,
            b']' => inside = false,
            b'[' => inside = true,
            b'-' if !inside => *byte = b'_',
            _ => {}
        }
    }
    !inside
}

/// Whether a file of this name is a module: one of [`EXTENSIONS`] with at least one byte before it.
pub fn is_module_file(name: &[u8]) -> bool {
    EXTENSIONS.iter().any(|ext| name.len() > ext.len() && name.ends_with(ext))
}

/// A name that is safe as a file name and possible as a loaded module's: 1 to 55 bytes, neither `.` nor `..`, no `/`,
/// no NUL. Its form is canonical. It is the key of the gate.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleName(Vec<u8>);

impl ModuleName {
    /// Checks a name that is canonical already (from [`canonical`], [`from_path`] or the kernel). A `-` still becomes `_`.
    pub fn new(name: &[u8]) -> Option<Self> {
        let fits = !name.is_empty() && name.len() <= limits::MODULE_NAME;
        let safe = name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0);
        (fits && safe).then(|| ModuleName(name.iter().map(|&b| if b == b'-' { b'_' } else { b }).collect()))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as a path of one component.
    pub fn as_path(&self) -> &Path {
        Path::new(std::ffi::OsStr::from_bytes(&self.0))
    }
}

impl fmt::Debug for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_foldings() {
        assert_eq!(canonical(b"snd-hda-intel"), b"snd_hda_intel");
        assert_eq!(canonical(b"a.b-c.ko"), b"a");
        assert_eq!(canonical(b".x.ko"), b"");
        assert_eq!(from_path(b"kernel/a/mod-a.ko.xz").unwrap(), b"mod_a");
        assert_eq!(from_path(b"kernel/a/"), None);
        assert_eq!(alias(b"x-y[0-9a-f]-z").unwrap(), b"x_y[0-9a-f]_z");
        assert_eq!(alias(b"bad[x"), None);
        assert_eq!(alias(b"bad]x"), None);
        assert_eq!(alias(&[b'a'; 4096]), None);
    }

    #[test]
    fn module_files() {
        assert!(is_module_file(b"a.ko") && is_module_file(b".x.ko.zst"));
        assert!(!is_module_file(b".ko") && !is_module_file(b"a.ko.lz4") && !is_module_file(b"a.KO"));
    }

    #[test]
    fn keys_that_could_leave_the_directory_are_refused() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"../../etc/passwd", b"a\0b", &[b'a'; 56]] {
            assert_eq!(ModuleName::new(bad), None, "{bad:?}");
        }
        assert_eq!(ModuleName::new(&[b'a'; 55]).unwrap().as_bytes().len(), 55);
        assert_eq!(ModuleName::new(b"snd-hda").unwrap().as_bytes(), b"snd_hda");
    }
}
