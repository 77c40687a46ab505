//! The files of configuration directories (modprobe.d, depmod.d): which are read, in which order, and their contents. The
//! callers parse them.
//!
//! Of several files with one base name the one from the first directory is read and masks the others, even if it is empty.
//! All that are read are sorted by their base names (as bytes), whatever their directories.
//!
//! Each directory is listed once. A file is opened without a stat(2) before: that it is a directory or a dangling link shows
//! when it is read.

use crate::error::Errno;
use crate::limits;
use crate::log::bytes;
use crate::system::file::{EntryType, Eof, read_into, visit_names};
use crate::system::roots::{Roots, into_path};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A file that may be read.
struct Candidate {
    /// The base name.
    name: Vec<u8>,
    path: PathBuf,
    /// How it is read.
    end: Eof,
    /// Whether it masks others even if it cannot be read: it was named by path, or it is one of the module directory's.
    certain: bool,
    /// How many names were found before it: the fewer, the higher its precedence.
    seen: usize,
}

/// The names in a directory that may be those of configuration files.
type Listing = Vec<(Vec<u8>, EntryType)>;

/// Called with the path of a file, and its contents or why it cannot be read.
type Visitor<'v> = dyn FnMut(&Path, Result<&[u8], Errno>) + 'v;

/// Configuration files. Directories and files are added in order of precedence, highest first, and then read.
#[derive(Default)]
pub(crate) struct ConfigFiles {
    found: Vec<Candidate>,
    seen: usize,
    /// Problems of directory entries: how many names were found before, and the message.
    problems: Vec<(usize, Vec<u8>)>,
    /// Reused for every directory and file.
    pub(crate) buffer: Vec<u8>,
}

impl ConfigFiles {
    /// Adds a file that masks others even if it cannot be read.
    pub(crate) fn add_file(&mut self, path: PathBuf, end: Eof) {
        let name = path.file_name().unwrap_or_default().as_bytes().to_vec();
        self.found.push(Candidate { name, path, end, certain: true, seen: self.seen });
        self.seen += 1;
    }

    /// Adds a directory, or a file, that the user named. Reading a FIFO waits for its writer.
    pub(crate) fn add(&mut self, path: &Path) {
        let listing = list(path, &mut self.buffer);
        self.add_listing(path, &listing, Eof::Blocking);
    }

    /// Adds the system's directories, the last of which is below `/lib`.
    pub(crate) fn add_system(&mut self, dirs: Vec<PathBuf>, roots: &Roots) {
        let mut listed: Vec<(PathBuf, Listing)> = Vec::new();
        let last = dirs.len().saturating_sub(1);
        for (index, dir) in dirs.into_iter().enumerate() {
            // On most systems /lib is a link to usr/lib, which has been listed by then: one system call instead of five.
            let same = if index == last { linked(&dir, roots) } else { None };
            let known = same.and_then(|same| listed.iter().find(|(path, _)| *path == same));
            let listing = match known {
                Some((_, listing)) => Ok(listing.clone()),
                None => list(&dir, &mut self.buffer),
            };
            self.add_listing(&dir, &listing, Eof::Empty);
            if let Ok(listing) = listing {
                listed.push((dir, listing));
            }
        }
    }

    /// Adds the names in the directory `path`, or the file `path` if it is no directory, which is then read to `end`.
    fn add_listing(&mut self, path: &Path, listing: &Result<Listing, Errno>, end: Eof) {
        let names = match listing {
            Ok(names) => names,
            Err(Errno::ENOTDIR) if std::fs::metadata(path).is_ok() => {
                return self.add_file(path.to_path_buf(), end);
            }
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG) => return,
            Err(errno) => return self.problems.push((self.seen, not_read(path, *errno))),
        };
        for (name, kind) in names {
            let (path, seen) = (into_path(bytes![path.as_os_str().as_bytes(), "/", name]), self.seen);
            // Another type is a link, which may dangle; a device; or anything, on a file system that does not report types.
            let end = if *kind == EntryType::Regular { Eof::Short } else { Eof::Empty };
            match kind {
                EntryType::Directory => self.is_directory(seen, &path),
                _ => self.found.push(Candidate { name: name.clone(), path, end, certain: false, seen }),
            }
            self.seen += 1;
        }
    }

    /// Reads the file that masks the others of each name, and calls `visit`.
    pub(crate) fn read(&mut self, visit: &mut Visitor<'_>) {
        let mut found = std::mem::take(&mut self.found);
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name).then(a.seen.cmp(&b.seen)));
        let mut taken = None;
        for candidate in &found {
            let Candidate { name, path, end, certain, seen } = candidate;
            if taken == Some(name) {
                // Masked; its problems are reported all the same.
                if !certain && *end == Eof::Empty {
                    self.is_file(*seen, path);
                }
                continue;
            }
            match read_into(path, &mut self.buffer, limits::CONFIG_FILE as usize, *end) {
                Ok(()) => visit(path, Ok(&self.buffer)),
                Err(_) if !certain && !self.is_file(*seen, path) => continue,
                Err(errno) => visit(path, Err(errno)),
            }
            taken = Some(name);
        }
    }

    /// Whether `path` exists and is no directory; otherwise that is a problem.
    fn is_file(&mut self, seen: usize, path: &Path) -> bool {
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => self.is_directory(seen, path),
            Ok(_) => return true,
            Err(_) => {
                let text = bytes!["Cannot stat directory entry: ", path.as_os_str().as_bytes()];
                self.problems.push((seen, text));
            }
        }
        false
    }

    fn is_directory(&mut self, seen: usize, path: &Path) {
        let path = path.as_os_str().as_bytes();
        self.problems.push((seen, bytes!["Directories inside directories are not supported: ", path]));
    }

    /// The messages about directory entries, in the order in which these were found. Complete after [`ConfigFiles::read`].
    pub(crate) fn problems(mut self) -> impl Iterator<Item = Vec<u8>> {
        self.problems.sort_by_key(|(seen, _)| *seen);
        self.problems.into_iter().map(|(_, text)| text)
    }
}

/// The message about a file or directory that is not read.
pub(crate) fn not_read(path: &Path, errno: Errno) -> Vec<u8> {
    let reason = match errno {
        Errno::EFBIG => format!("larger than {} bytes, ignored", limits::CONFIG_FILE),
        errno => errno.to_string(),
    };
    bytes![path.as_os_str().as_bytes(), ": ", reason]
}

/// Whether a file of this name in a configuration directory is a configuration file: no leading dot, and something before
/// `.conf`.
pub(crate) fn is_config_name(name: &[u8]) -> bool {
    name.len() > b".conf".len() && name[0] != b'.' && name.ends_with(b".conf")
}

/// The names in a directory that may be those of configuration files, in its own order.
fn list(dir: &Path, buffer: &mut Vec<u8>) -> Result<Listing, Errno> {
    let mut listing = Vec::new();
    visit_names(dir, buffer, &mut |name, kind| {
        if is_config_name(name) {
            listing.push((name.to_vec(), kind));
        }
    })?;
    Ok(listing)
}

/// The directory that `dir`, which is below `/lib`, is if `/lib` is a link.
fn linked(dir: &Path, roots: &Roots) -> Option<PathBuf> {
    Some(dir.parent()?.parent()?.join(roots.lib_link()?).join(dir.file_name()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a.conf", "Z.conf", "a.b.conf", "\u{e9}.conf"] {
            assert!(is_config_name(good.as_bytes()), "{good}");
        }
        for bad in [".conf", "conf", ".a.conf", "a.CONF", "a.conf~", "a.alias", "a.conf.dpkg-old", ""] {
            assert!(!is_config_name(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn base_names_decide_across_directories() {
        let root = tempfile::tempdir().unwrap();
        let mut files = ConfigFiles::default();
        let dirs: [(&str, &[&str]); 4] = [
            ("0", &["modules.softdep"]),
            ("1", &["zz.conf", "a.conf"]),
            ("3", &["a.conf"]),
            ("4", &["Z.conf"]),
        ];
        for (dir, names) in dirs {
            let dir = root.path().join(dir);
            std::fs::create_dir(&dir).unwrap();
            names.iter().for_each(|name| std::fs::write(dir.join(name), name).unwrap());
            let listing = names.iter().map(|name| (name.as_bytes().to_vec(), EntryType::Regular)).collect();
            files.add_listing(&dir, &Ok(listing), Eof::Empty);
        }
        let mut read = Vec::new();
        files.read(&mut |path, contents| {
            assert_eq!(contents, Ok(path.file_name().unwrap().as_bytes()));
            read.push(path.strip_prefix(root.path()).unwrap().to_path_buf());
        });
        assert_eq!(read, ["4/Z.conf", "1/a.conf", "0/modules.softdep", "1/zz.conf"].map(PathBuf::from));
    }

    #[test]
    fn a_file_that_cannot_be_reached_is_told_and_masks_nothing() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a.conf"), "reached").unwrap();
        let mut files = ConfigFiles::default();
        // As in a directory that may be listed but not searched: there is a name, and nothing can be learnt of it.
        let listing = Ok(vec![(b"a.conf".to_vec(), EntryType::Regular)]);
        files.add_listing(Path::new("/nowhere"), &listing, Eof::Empty);
        files.add(root.path());
        let mut read = Vec::new();
        files.read(&mut |_, contents| read.push(contents.map(<[u8]>::to_vec)));
        assert_eq!(read, [Ok(b"reached".to_vec())]);
        let problems: Vec<_> = files.problems().collect();
        assert_eq!(problems, [b"Cannot stat directory entry: /nowhere/a.conf"]);
    }

    #[test]
    fn a_fifo_in_place_of_a_directory_is_empty() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("modprobe.d");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut files = ConfigFiles::default();
        files.add_system(vec![path], &Roots::default());
        let mut read = Vec::new();
        files.read(&mut |_, contents| read.push(contents.map(<[u8]>::to_vec)));
        assert_eq!(read, [Ok(Vec::new())]);
    }
}
