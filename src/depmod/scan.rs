//! Finds the modules in the module directory and the external ones: each file with the name of a module file. Of several
//! with one module name the configuration prefers one.

use super::Failure;
use super::places::Place;
use super::settings::{SearchWord, Settings};
use crate::error::Errno;
use crate::formats::index;
use crate::log::{Priority, Sink, bytes};
use crate::name;
use crate::system::roots::as_path;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
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
    /// Its times.
    pub times: Times,
}

/// The modification time and the change time of a file, in seconds and nanoseconds since the epoch. The change time also
/// covers a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    pub(super) modified: (i64, i64),
    changed: (i64, i64),
}

impl Times {
    /// The times of a file.
    pub fn of(meta: &Metadata) -> Times {
        let (modified, changed) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
        Times { modified, changed }
    }

    /// Whether one of the times is later than in `than`.
    pub fn is_newer(self, than: Times) -> bool {
        self.modified > than.modified || self.changed > than.changed
    }
}

impl Module {
    /// A module file.
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

/// The modules of a directory, each name once.
pub(crate) struct Scan<'a> {
    dir: &'a [u8],
    settings: &'a Settings,
    sink: &'a dyn Sink,
    found: Found,
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
            if path.first() != Some(&b'/') {
                return Err(Failure::Fatal(bytes![path, ": not absolute path."]));
            }
            let fail = |what: &str| Failure::Fatal(bytes!["could not create module ", path, ": ", what]);
            let meta = fs::metadata(as_path(path)).map_err(|e| fail(&Errno::of(&e).to_string()))?;
            let name = name::from_path(path).ok_or_else(|| fail("No such file or directory"))?;
            if let Some(&old) = self.by_name.get(&name) {
                return Err(self.second(&name, path, &self.found.modules[old].path));
            }
            let module = Module::new(path.to_vec(), name, &meta);
            if self.is_fit(&module) {
                self.by_name.insert(module.name.clone(), self.found.modules.len());
                self.found.modules.push(module);
            }
        }
        Ok(self.found)
    }

    /// The error about a second file of one module name.
    fn second(&self, name: &[u8], new: &[u8], old: &[u8]) -> Failure {
        if new == old {
            self.error(&bytes!["hash_add_unique ", name, ": File exists"]);
            return Failure::Fatal(bytes!["could not add module ", new, ": File exists"]);
        }
        let paths = bytes!["new-path='", new, "' old-path='", old, "'"];
        self.error(&bytes!["kmod_module '", name, "' already exists with different path: ", paths]);
        Failure::Fatal(bytes!["could not create module ", new, ": File exists"])
    }

    fn top(&mut self, dir: &[u8]) -> Result<(), crate::error::Errno> {
        match fs::read_dir(as_path(dir)) {
            Ok(entries) => {
                self.read(dir, entries);
                Ok(())
            }
            Err(error) => {
                let errno = Errno::of(&error);
                self.error(&bytes!["could not open directory ", dir, ": ", errno.to_string()]);
                Err(errno)
            }
        }
    }

    fn read(&mut self, dir: &[u8], entries: fs::ReadDir) {
        let place = fs::metadata(as_path(dir)).map(|meta| Place::of(&meta));
        let id = place.as_ref().map(|place| place.id).unwrap_or_default();
        self.found.directories.extend(place);
        if self.above.contains(&id) {
            self.error(&bytes!["directory ", dir, " contains itself through a link, not followed"]);
            return;
        }
        self.above.push(id);
        for entry in entries {
            match entry {
                Ok(entry) => self.entry(dir, &entry),
                Err(error) => {
                    let reason = Errno::of(&error).to_string();
                    self.error(&bytes!["could not read directory ", dir, ": ", reason]);
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
        let kind = entry.file_type();
        let link = kind.as_ref().is_ok_and(fs::FileType::is_symlink);
        let meta = if link { fs::metadata(as_path(&path)) } else { entry.metadata() };
        if link {
            self.found.links.push(path.clone());
        }
        let meta = match meta {
            Ok(meta) => meta,
            Err(error) => return self.error(&failed("fstatat", &error, "")),
        };
        if meta.is_dir() {
            match fs::read_dir(as_path(&path)) {
                Ok(entries) => self.read(&path, entries),
                Err(error) => self.error(&failed("openat", &error, ", O_RDONLY")),
            }
        } else if meta.is_file() {
            if name::is_module_file(name) {
                self.consider(Module::new(path, name::canonical(name), &meta));
            }
        } else {
            const KIND: u32 = 0o170_000;
            let octal = format!("{:o}", meta.mode() & KIND);
            self.error(&bytes!["unsupported file type ", path, ": ", octal]);
        }
    }

    /// Whether the path fits into the indexes. If not, the module is reported and ignored: it must neither replace another
    /// one nor be found.
    fn is_fit(&mut self, module: &Module) -> bool {
        let byte = index::unfit(module.relative(self.dir));
        if let Some(byte) = byte {
            self.found.left_out += 1;
            let why = format!(": Module index: bad character 0x{byte:x} - only 7-bit ASCII is supported");
            self.error(&bytes![module.path, why]);
        }
        byte.is_none()
    }

    fn consider(&mut self, new: Module) {
        if !self.is_fit(&new) {
            return;
        }
        match self.by_name.entry(new.name.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(self.found.modules.len());
                self.found.modules.push(new);
            }
            Entry::Occupied(old) => {
                let old = &mut self.found.modules[*old.get()];
                let shadowed = if prefers(self.settings, self.dir, old, &new) {
                    std::mem::replace(old, new)
                } else {
                    new
                };
                self.found.shadowed.push(shadowed);
            }
        }
    }

    fn error(&self, text: &[u8]) {
        self.sink.log(Priority::Err, text);
    }
}

/// Whether the new module is preferred to the present one.
fn prefers(settings: &Settings, dir: &[u8], old: &Module, new: &Module) -> bool {
    for key in settings.overrides.iter().rev() {
        if new.stem(dir) == Some(key) {
            return true;
        }
        if old.stem(dir) == Some(key) {
            return false;
        }
    }
    let (mut new_rank, mut old_rank, mut builtin) = (-1i64, -1i64, -1i64);
    let mut rank = -1i64;
    let lies_in = |module: &Module, place: &[u8]| {
        module
            .stem(dir)
            .and_then(|stem| stem.strip_prefix(place))
            .is_some_and(|rest| rest.first() == Some(&b'/'))
    };
    for place in settings.search.iter().rev() {
        rank += 1;
        match place {
            SearchWord::BuiltIn => builtin = rank,
            SearchWord::External => {
                for external in settings.externals.iter().rev() {
                    rank += 1;
                    if below(&new.path, external).is_some() {
                        new_rank = rank;
                    }
                    if below(&old.path, external).is_some() {
                        old_rank = rank;
                    }
                }
            }
            // Of two files below one directory only the new one gets its rank: the last one found wins.
            SearchWord::Below(place) if lies_in(new, place) => new_rank = rank,
            SearchWord::Below(place) if lies_in(old, place) => old_rank = rank,
            SearchWord::Below(_) => {}
        }
    }
    let or_builtin = |rank: i64| if rank == -1 { builtin } else { rank };
    or_builtin(new_rank) > or_builtin(old_rank)
}
