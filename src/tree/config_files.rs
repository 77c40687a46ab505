//! The files of configuration directories (modprobe.d, depmod.d): which are read, in which order, and their contents. The
//! callers parse them.
//!
//! Each directory is listed once. A file is opened without a stat(2) before: that it is a directory or a dangling link shows
//! when it is read.

use crate::config::files::{self, Candidate, FileKind};
use crate::error::Errno;
use crate::limits;
use crate::log::bytes;
use crate::system::file::{EntryType, Eof, read_into, visit_names};
use crate::system::roots::{Roots, into_path};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where files come from; [`Candidate::place`] counts these.
enum Place {
    Dir(PathBuf),
    /// A file, and how it is read.
    File(PathBuf, Eof),
}

/// The names in a directory that may be those of configuration files.
type Listing = Vec<(Vec<u8>, FileKind)>;

/// Called with the path of a file, and its contents or why it cannot be read.
type Visitor<'v> = dyn FnMut(&Path, Result<&[u8], Errno>) + 'v;

/// Configuration files. Directories and files are added in order of precedence, highest first, and then read.
#[derive(Default)]
pub(crate) struct ConfigFiles {
    places: Vec<Place>,
    found: Vec<Candidate>,
    seen: usize,
    /// Problems of directory entries: how many names were found before, and the message.
    problems: Vec<(usize, Vec<u8>)>,
    /// Reused for every directory and file.
    pub(crate) buffer: Vec<u8>,
}

impl ConfigFiles {
    /// Adds files of the directory `dir` that mask others even if they cannot be read.
    pub(crate) fn add_certain(&mut self, dir: &Path, names: &[&str]) {
        let listing = names.iter().map(|name| (name.as_bytes().to_vec(), FileKind::Certain)).collect();
        self.add_listing(dir, &Ok(listing), Eof::Empty);
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
        match listing {
            Ok(names) => {
                self.places.push(Place::Dir(path.to_path_buf()));
                names.iter().for_each(|(name, kind)| self.add_name(name, *kind));
            }
            Err(Errno::ENOTDIR) if std::fs::metadata(path).is_ok() => {
                self.places.push(Place::File(path.to_path_buf(), end));
                self.add_name(path.file_name().unwrap_or_default().as_bytes(), FileKind::Certain);
            }
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG) => {}
            Err(errno) => self.problems.push((self.seen, not_read(path, *errno))),
        }
    }

    /// Adds a name in the place that was added last.
    fn add_name(&mut self, name: &[u8], kind: FileKind) {
        let place = self.places.len() - 1;
        if kind == FileKind::Directory {
            self.is_directory(self.seen, &self.path(place, name));
        } else {
            self.found.push(Candidate { name: name.to_vec(), place, kind, seen: self.seen });
        }
        self.seen += 1;
    }

    /// Reads the file that masks the others of each name, and calls `visit`.
    pub(crate) fn read(&mut self, visit: &mut Visitor<'_>) {
        let mut found = std::mem::take(&mut self.found);
        files::order(&mut found);
        let mut taken: Option<&[u8]> = None;
        for candidate in &found {
            let path = self.path(candidate.place, &candidate.name);
            if taken == Some(&candidate.name) {
                // Masked; its problems are reported all the same.
                if candidate.kind == FileKind::Unknown {
                    self.is_file(candidate.seen, &path);
                }
            } else if self.read_file(candidate, &path, visit) {
                taken = Some(&candidate.name);
            }
        }
    }

    /// Reads one file; false if it is none, so that it does not mask others.
    fn read_file(&mut self, candidate: &Candidate, path: &Path, visit: &mut Visitor<'_>) -> bool {
        let end = match (&self.places[candidate.place], candidate.kind) {
            (Place::File(_, end), _) => *end,
            (_, FileKind::Unknown) => Eof::Empty,
            _ => Eof::Short,
        };
        match read_into(path, &mut self.buffer, limits::CONFIG_FILE as usize, end) {
            Ok(()) => visit(path, Ok(self.buffer.as_slice())),
            Err(_) if candidate.kind != FileKind::Certain && !self.is_file(candidate.seen, path) => {
                return false;
            }
            Err(errno) => visit(path, Err(errno)),
        }
        true
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

    fn path(&self, place: usize, name: &[u8]) -> PathBuf {
        match &self.places[place] {
            Place::File(path, _) => path.clone(),
            Place::Dir(dir) => into_path(bytes![dir.as_os_str().as_bytes(), "/", name]),
        }
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

/// The names in a directory that may be those of configuration files, in its own order.
fn list(dir: &Path, buffer: &mut Vec<u8>) -> Result<Listing, Errno> {
    let mut listing = Vec::new();
    visit_names(dir, buffer, &mut |name, kind| {
        if files::is_config_name(name) {
            let kind = match kind {
                EntryType::Directory => FileKind::Directory,
                EntryType::Regular => FileKind::Regular,
                EntryType::Other => FileKind::Unknown,
            };
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
    fn a_file_that_cannot_be_reached_is_told_and_masks_nothing() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a.conf"), "reached").unwrap();
        let mut files = ConfigFiles::default();
        // As in a directory that may be listed but not searched: there is a name, and nothing can be learnt of it.
        let listing = Ok(vec![(b"a.conf".to_vec(), FileKind::Regular)]);
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
