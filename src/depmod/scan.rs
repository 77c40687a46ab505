//! Finds the modules in the module directory and the external ones: each file with the name of a module file. Of several
//! with one module name the configuration prefers one.

use super::Failure;
use super::places::{Place, Times};
use super::settings::{SearchWord, Settings};
use crate::error::Errno;
use crate::formats::index;
use crate::log::{Priority, Sink, bytes};
use crate::name;
use crate::system::roots::as_path;
use nix::libc;
use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

/// A module file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// The file, below the given directory.
    pub path: Vec<u8>,
    /// The canonical module name.
    pub name: Vec<u8>,
    /// The size of the file in bytes.
    pub size: u64,
    pub times: Times,
}

impl Module {
    pub fn new(path: Vec<u8>, name: Vec<u8>, meta: &Metadata) -> Module {
        Module { path, name, size: meta.len(), times: Times::of(meta) }
    }

    /// The path below `dir`; the whole path if the module is elsewhere.
    pub fn relative(&self, dir: &[u8]) -> &[u8] {
        below(&self.path, dir).unwrap_or(&self.path)
    }

    /// The path below `dir` without extension, cut after as many bytes of the file name as the module name has.
    fn stem(&self, dir: &[u8]) -> Option<&[u8]> {
        let relative = below(&self.path, dir)?;
        Some(&relative[..file_name(relative) + self.name.len()])
    }

    /// The path of this module in `modules.order`: always that of the uncompressed file.
    pub fn uncompressed(&self, dir: &[u8]) -> &[u8] {
        let relative = self.relative(dir);
        let end = file_name(relative) + self.name.len() + b".ko".len();
        &relative[..end.min(relative.len())]
    }
}

/// What follows `dir` and a slash in `path`.
fn below<'p>(path: &'p [u8], dir: &[u8]) -> Option<&'p [u8]> {
    path.strip_prefix(dir)?.strip_prefix(b"/")
}

/// Where the file name begins.
fn file_name(path: &[u8]) -> usize {
    path.iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1)
}

/// The result of a search.
#[derive(Default)]
pub(crate) struct Found {
    /// Each module name once.
    pub modules: Vec<Module>,
    /// How many have paths that do not fit into the indexes; each was reported.
    pub left_out: usize,
    /// The files that lost to another one of the same module name.
    pub shadowed: Vec<Module>,
    /// The directories that were read.
    pub directories: Vec<Place>,
    /// The links among their entries, and the external directories.
    pub links: Vec<Vec<u8>>,
}

pub(crate) struct Scan<'a> {
    dir: &'a [u8],
    settings: &'a Settings,
    sink: &'a dyn Sink,
    found: Found,
    /// The places of the modules in `found`.
    by_name: HashMap<Vec<u8>, usize>,
    /// Device and inode of the directories that lead to the one being read.
    above: Vec<(u64, u64)>,
}

impl<'a> Scan<'a> {
    /// A search of the module directory `dir`. Nothing is read yet.
    pub(crate) fn new(dir: &'a [u8], settings: &'a Settings, sink: &'a dyn Sink) -> Self {
        Scan { dir, settings, sink, found: Found::default(), by_name: HashMap::new(), above: Vec::new() }
    }

    /// Searches the module directory, then the external directories, the one configured last first.
    ///
    /// # Errors
    /// If the module directory cannot be read; other problems are reported and skipped.
    pub(crate) fn everything(mut self) -> Result<Found, Failure> {
        let missing = |errno: Errno| Failure::Fatal(bytes!["could not search modules: ", errno.to_string()]);
        self.top(self.dir).map_err(missing)?;
        for external in self.settings.externals.iter().rev() {
            self.found.links.push(external.clone());
            // Already reported; the other directories are still searched.
            let _ = self.top(external);
        }
        Ok(self.found)
    }

    /// Uses the files that the command line names.
    ///
    /// # Errors
    /// For a relative path, a file that cannot be read, and a second file of one module name.
    pub(crate) fn named(mut self, paths: &[&[u8]]) -> Result<Found, Failure> {
        for &path in paths {
            if !path.starts_with(b"/") {
                return Err(Failure::Fatal(bytes![path, ": not absolute path."]));
            }
            let fail = |errno: Errno| {
                Failure::Fatal(bytes!["could not create module ", path, ": ", errno.to_string()])
            };
            let meta = fs::metadata(as_path(path)).map_err(|error| fail(Errno::of(&error)))?;
            let name = name::from_path(path).ok_or_else(|| fail(Errno::ENOENT))?;
            if let Some(&old) = self.by_name.get(&name) {
                let old = &self.found.modules[old].path;
                if path == old {
                    self.error(&bytes!["hash_add_unique ", name, ": File exists"]);
                    return Err(Failure::Fatal(bytes!["could not add module ", path, ": File exists"]));
                }
                let paths = bytes!["new-path='", path, "' old-path='", old, "'"];
                self.error(&bytes!["kmod_module '", name, "' already exists with different path: ", paths]);
                return Err(fail(Errno::EEXIST));
            }
            self.consider(Module::new(path.to_vec(), name, &meta));
        }
        Ok(self.found)
    }

    fn top(&mut self, dir: &[u8]) -> Result<(), Errno> {
        let entries = fs::read_dir(as_path(dir)).map_err(|error| {
            let errno = Errno::of(&error);
            self.error(&bytes!["could not open directory ", dir, ": ", errno.to_string()]);
            errno
        })?;
        self.read(dir, entries);
        Ok(())
    }

    fn read(&mut self, dir: &[u8], entries: fs::ReadDir) {
        let unreadable = |error: &std::io::Error| {
            bytes!["could not read directory ", dir, ": ", Errno::of(error).to_string()]
        };
        let place = match fs::metadata(as_path(dir)) {
            Ok(meta) => Place::of(&meta),
            Err(error) => return self.error(&unreadable(&error)),
        };
        self.found.directories.push(place);
        if self.above.contains(&place.id) {
            self.error(&bytes!["directory ", dir, " contains itself through a link, not followed"]);
            return;
        }
        self.above.push(place.id);
        for entry in entries {
            match entry {
                Ok(entry) => self.entry(dir, &entry),
                Err(error) => {
                    self.error(&unreadable(&error));
                    break;
                }
            }
        }
        self.above.pop();
    }

    fn entry(&mut self, dir: &[u8], entry: &fs::DirEntry) {
        let name = entry.file_name();
        let name = name.as_bytes();
        if name == b"build" || name == b"source" || self.settings.excludes.iter().any(|word| word == name) {
            return;
        }
        let path = bytes![dir, "/", name];
        let failed = |what: &str, error: &std::io::Error, rest: &str| {
            bytes![what, "(", dir, ", ", name, rest, "): ", Errno::of(error).to_string()]
        };
        // Links are followed; for other entries the directory's information is enough.
        let meta = if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            self.found.links.push(path.clone());
            fs::metadata(as_path(&path))
        } else {
            entry.metadata()
        };
        match meta {
            Ok(meta) if meta.is_dir() => match fs::read_dir(as_path(&path)) {
                Ok(entries) => self.read(&path, entries),
                Err(error) => self.error(&failed("openat", &error, ", O_RDONLY")),
            },
            Ok(meta) if !meta.is_file() => {
                let octal = format!("{:o}", meta.mode() & libc::S_IFMT);
                self.error(&bytes!["unsupported file type ", path, ": ", octal]);
            }
            Ok(meta) if name::is_module_file(name) => {
                self.consider(Module::new(path, name::canonical(name), &meta));
            }
            Ok(_) => {}
            Err(error) => self.error(&failed("fstatat", &error, "")),
        }
    }

    /// Adds a module, unless another one of its name is preferred. A module whose path does not fit into the indexes is
    /// reported and ignored: it must neither replace another one nor be found.
    fn consider(&mut self, mut new: Module) {
        if let Some(byte) = index::unfit(new.relative(self.dir)) {
            self.found.left_out += 1;
            let why = format!(": Module index: bad character 0x{byte:x} - only 7-bit ASCII is supported");
            return self.error(&bytes![new.path, why]);
        }
        let modules = &mut self.found.modules;
        if let Some(&old) = self.by_name.get(&new.name) {
            let old = &mut modules[old];
            if is_preferred(&new, old, self.settings, self.dir) {
                std::mem::swap(old, &mut new);
            }
            self.found.shadowed.push(new);
        } else {
            self.by_name.insert(new.name.clone(), modules.len());
            modules.push(new);
        }
    }

    fn error(&self, text: &[u8]) {
        self.sink.log(Priority::Err, text);
    }
}

/// Whether the module `new` is preferred to `old`, which was found before.
fn is_preferred(new: &Module, old: &Module, settings: &Settings, dir: &[u8]) -> bool {
    let is_named = |key: &&Vec<u8>| [new, old].iter().any(|module| module.stem(dir) == Some(key));
    if let Some(key) = settings.overrides.iter().rev().find(is_named) {
        return new.stem(dir) == Some(key);
    }
    let lies_in = |module: &Module, place| module.stem(dir).is_some_and(|stem| below(stem, place).is_some());
    let (mut new_rank, mut old_rank, mut builtin) = (None, None, None);
    let mut rank = 0;
    for place in settings.search.iter().rev() {
        rank += 1;
        match place {
            SearchWord::BuiltIn => builtin = Some(rank),
            SearchWord::External => {
                for external in settings.externals.iter().rev() {
                    rank += 1;
                    if below(&new.path, external).is_some() {
                        new_rank = Some(rank);
                    }
                    if below(&old.path, external).is_some() {
                        old_rank = Some(rank);
                    }
                }
            }
            // Of two files below one directory only the new one gets its rank: the last one found wins.
            SearchWord::Below(place) if lies_in(new, place) => new_rank = Some(rank),
            SearchWord::Below(place) if lies_in(old, place) => old_rank = Some(rank),
            SearchWord::Below(_) => {}
        }
    }
    new_rank.or(builtin) > old_rank.or(builtin)
}
