//! Reads the configuration files. `config` parses them.
//!
//! Each directory is listed once. A file is opened without a stat(2) before: that it is a directory or a dangling link
//! shows when it is read.

use crate::config::files::{self, Candidate, FileKind};
use crate::config::{Config, Parser};
use crate::error::Errno;
use crate::limits;
use crate::log::{Priority, Sink, bytes};
use crate::system::file::{EntryType, Eof, read_into, visit_names};
use crate::system::roots::{Roots, into_path};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the configuration comes from, besides `modules.softdep` and `modules.weakdep` of the module directory and the
/// kernel command line, which are always read.
#[derive(Debug, Clone)]
pub enum ConfigPaths {
    /// The five directories of modprobe.d(5).
    Default,
    /// These files and directories, highest precedence first; those that do not exist are passed over.
    List(Vec<PathBuf>),
}

/// The files that depmod writes into a module directory for modprobe.
const WRITTEN: [&str; 2] = ["modules.softdep", "modules.weakdep"];

/// A place that files come from; [`Candidate::place`] counts these.
enum Place {
    Dir(PathBuf),
    File(PathBuf),
}

/// Reads everything. What is wrong is told to `sink` (as errors, none of which stops anything): first what is wrong
/// with names in the directories, in the order in which they were met, then with lines.
pub(super) fn read(roots: &Roots, dir: &Path, paths: &ConfigPaths, sink: &dyn Sink) -> Config {
    let mut reader = Reader::default();
    // First, so that the names of these two files cannot be taken by others.
    reader.places.push(Place::Dir(dir.to_path_buf()));
    for name in WRITTEN {
        reader.add(name.as_bytes(), 0, FileKind::Certain);
    }
    reader.add_all(roots, paths);
    reader.read(Some(&roots.cmdline()), sink)
}

/// Reads what people write and nothing else: not what depmod found, nor the kernel command line.
pub(super) fn read_given(roots: &Roots, paths: &ConfigPaths, sink: &dyn Sink) -> Config {
    let mut reader = Reader::default();
    reader.add_all(roots, paths);
    reader.read(None, sink)
}

#[derive(Default)]
struct Reader {
    places: Vec<Place>,
    found: Vec<Candidate>,
    seen: usize,
    /// What is wrong with names: how many were met before, and the sentence.
    odd: Vec<(usize, Vec<u8>)>,
    buffer: Vec<u8>,
}

/// The names of a directory that may be configuration files.
type Listing = Vec<(Vec<u8>, FileKind)>;

impl Reader {
    /// Takes in the directories of modprobe.d(5); a file in the place of one counts too.
    fn defaults(&mut self, dirs: Vec<PathBuf>, roots: &Roots) {
        let mut listed: Vec<(PathBuf, Listing)> = Vec::new();
        let last = dirs.len().saturating_sub(1);
        for (index, dir) in dirs.into_iter().enumerate() {
            // On most systems /lib is a link to usr/lib, whose names are known by then: one call in place of five.
            let same = if index == last { linked(&dir, roots) } else { None };
            let known = same.and_then(|same| listed.iter().find(|(path, _)| *path == same));
            let listing = match known {
                Some((_, listing)) => listing.clone(),
                None => match list(&dir, &mut self.buffer) {
                    Ok(listing) => listing,
                    Err(errno) => {
                        self.not_a_directory(dir, errno);
                        continue;
                    }
                },
            };
            self.take(&dir, &listing);
            listed.push((dir, listing));
        }
    }

    fn add_all(&mut self, roots: &Roots, paths: &ConfigPaths) {
        match paths {
            ConfigPaths::Default => self.defaults(roots.config_dirs("modprobe.d"), roots),
            ConfigPaths::List(paths) => paths.iter().for_each(|path| self.named(path.clone())),
        }
    }

    /// Takes in a directory, or the file that stands in its place.
    fn named(&mut self, path: PathBuf) {
        match list(&path, &mut self.buffer) {
            Ok(listing) => self.take(&path, &listing),
            Err(errno) => self.not_a_directory(path, errno),
        }
    }

    fn not_a_directory(&mut self, path: PathBuf, errno: Errno) {
        match errno {
            Errno::ENOTDIR if std::fs::metadata(&path).is_ok() => {
                let name = path.file_name().unwrap_or_default().as_bytes().to_vec();
                self.places.push(Place::File(path));
                self.add(&name, self.places.len() - 1, FileKind::Certain);
            }
            Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG => {}
            errno => {
                let path = path.as_os_str().as_bytes();
                self.odd.push((self.seen, bytes![path, ": ", errno.to_string()]));
            }
        }
    }

    fn take(&mut self, dir: &Path, listing: &Listing) {
        self.places.push(Place::Dir(dir.to_path_buf()));
        let place = self.places.len() - 1;
        for (name, kind) in listing {
            self.add(name, place, *kind);
        }
    }

    fn add(&mut self, name: &[u8], place: usize, kind: FileKind) {
        if kind == FileKind::Directory {
            self.is_directory(self.seen, &self.path(place, name));
        } else {
            self.found.push(Candidate { name: name.to_vec(), place, kind, seen: self.seen });
        }
        self.seen += 1;
    }

    /// Reads the file that counts of each name, and the kernel command line last.
    fn read(mut self, cmdline: Option<&Path>, sink: &dyn Sink) -> Config {
        let mut parser = Parser::new();
        let mut found = std::mem::take(&mut self.found);
        files::order(&mut found);
        let mut taken: Option<&[u8]> = None;
        for candidate in &found {
            let path = self.path(candidate.place, &candidate.name);
            if taken == Some(&candidate.name) {
                // Masked; what is odd about it is told all the same.
                if candidate.kind == FileKind::Unknown {
                    self.is_file(candidate.seen, &path);
                }
            } else if self.parse(candidate, &path, &mut parser) {
                taken = Some(&candidate.name);
            }
        }
        if let Some(cmdline) = cmdline {
            self.cmdline(cmdline, &mut parser);
        }
        self.odd.sort_by_key(|(seen, _)| *seen);
        let (config, warnings) = parser.finish();
        let told = self.odd.into_iter().map(|(_, text)| text);
        let told = told.chain(warnings.into_iter().map(|warning| warning.text));
        told.for_each(|text| sink.log(Priority::Err, &text));
        config
    }

    fn cmdline(&mut self, path: &Path, parser: &mut Parser) {
        // The kernel hands it out in one piece.
        match read_into(path, &mut self.buffer, usize::MAX, Eof::Short) {
            Ok(()) => parser.cmdline(path, &self.buffer),
            Err(Errno::ENOENT) => {}
            Err(errno) => {
                let path = path.as_os_str().as_bytes();
                parser.warn(bytes!["could not read from '", path, "': ", errno.to_string()]);
            }
        }
    }

    /// Parses one file; false where it is none, so that it does not mask others.
    fn parse(&mut self, candidate: &Candidate, path: &Path, parser: &mut Parser) -> bool {
        let limit = limits::CONFIG_FILE as usize;
        let end = match (&self.places[candidate.place], candidate.kind) {
            (Place::File(_), _) => Eof::Blocking,
            (_, FileKind::Unknown) => Eof::Empty,
            _ => Eof::Short,
        };
        match read_into(path, &mut self.buffer, limit, end) {
            Ok(()) => parser.file(path, &self.buffer),
            Err(Errno::EFBIG) => {
                let limit = limit.to_string();
                let path = path.as_os_str().as_bytes();
                parser.warn(bytes![path, ": larger than ", limit, " bytes, ignored"]);
            }
            // One that vanished, or that we may not read, still masks.
            Err(_) if candidate.kind == FileKind::Unknown => return self.is_file(candidate.seen, path),
            Err(_) => {}
        }
        true
    }

    /// Whether `path` exists and is no directory; otherwise it is told.
    fn is_file(&mut self, seen: usize, path: &Path) -> bool {
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => self.is_directory(seen, path),
            Ok(_) => return true,
            Err(_) => {
                let path = path.as_os_str().as_bytes();
                self.odd.push((seen, bytes!["Cannot stat directory entry: ", path]));
            }
        }
        false
    }

    fn is_directory(&mut self, seen: usize, path: &Path) {
        let path = path.as_os_str().as_bytes();
        self.odd.push((seen, bytes!["Directories inside directories are not supported: ", path]));
    }

    fn path(&self, place: usize, name: &[u8]) -> PathBuf {
        match &self.places[place] {
            Place::File(path) => path.clone(),
            Place::Dir(dir) => into_path(bytes![dir.as_os_str().as_bytes(), "/", name]),
        }
    }
}

/// The names in a directory that may be configuration files, in its own order.
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

/// Where `dir`, which is below `/lib`, lies if that is a link.
fn linked(dir: &Path, roots: &Roots) -> Option<PathBuf> {
    Some(dir.parent()?.parent()?.join(roots.lib_link()?).join(dir.file_name()?))
}
