//! Hands one module file to the kernel, through the gate, with the one call that fits the file and the kernel:
//!
//! | the file | the kernel | the call |
//! |---|---|---|
//! | not compressed | any | `finit_module(fd, parameters, force flags)` |
//! | compressed | names that method in `/sys/module/compression` (5.17 and later) | the same with `MODULE_INIT_COMPRESSED_FILE` |
//! | compressed | does not, or answers `EOPNOTSUPP` | decompressed here, once, then `init_module` |
//! | xz with CRC64 or SHA-256 | any: its decoder knows only CRC32 | the same |
//! | any | answers `ENOSYS` to `finit_module` (before 3.8, or a filter) | read or decompressed here, then `init_module` |
//!
//! init_module(2) has no flags: for a forced load the copy in memory is edited instead.

use crate::bytes;
use crate::error::{Errno, Error, Result, strerror};
use crate::formats::compress::{self, Compression, decompress, detect};
use crate::formats::elf::{Elf, module_name, strip_modversions, strip_vermagic};
use crate::gate::{self, Gate, Outcome, Patience, Refused, record};
use crate::limits;
use crate::log::{Priority, Sink};
use crate::name::{self, ModuleName};
use crate::system::descriptors::opening;
use crate::system::{System, file, kernel, map};
use std::ffi::CString;
use std::fs::File;
use std::io::Seek;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// Which checks of the kernel are to be skipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Force {
    /// The version magic.
    pub vermagic: bool,
    /// The versions of symbols.
    pub modversions: bool,
}

impl Force {
    fn flags(self) -> u32 {
        let mut flags = 0;
        if self.modversions {
            flags |= kernel::IGNORE_MODVERSIONS;
        }
        if self.vermagic {
            flags |= kernel::IGNORE_VERMAGIC;
        }
        flags
    }
}

/// One module to insert.
#[derive(Clone, Copy)]
pub struct Insertion<'r> {
    /// The module file.
    pub path: &'r Path,
    /// The name under which it was resolved; `None` for a file that somebody named, whose own name counts.
    pub name: Option<&'r [u8]>,
    /// The parameters, as the kernel gets them.
    pub parameters: &'r [u8],
    /// What to force.
    pub force: Force,
    /// How long the request that this belongs to may wait.
    pub patience: &'r Patience,
    /// Whether it is inserted because something else needs it.
    pub dependency: bool,
    /// Whether a remembered failure may answer.
    pub remember: bool,
    /// The words of the request, for the trace.
    pub request: &'r [u8],
}

/// Inserts modules.
pub struct Loader<'a> {
    system: System<'a>,
    gate: &'a Gate<'a>,
    sink: &'a dyn Sink,
    kernel_method: OnceLock<Option<Compression>>,
}

impl<'a> Loader<'a> {
    /// A loader that sends everything through `gate`.
    pub fn new(system: System<'a>, gate: &'a Gate<'a>, sink: &'a dyn Sink) -> Self {
        Loader { system, gate, sink, kernel_method: OnceLock::new() }
    }

    /// For a loader that threads are going to share: whatever it would tell once, of the gate or of the kernel, it tells
    /// now. `compressed`: whether any of the files is.
    pub fn prepare(&self, compressed: bool) {
        self.gate.open();
        if compressed {
            self.kernel_method();
        }
    }

    /// Inserts one module file. What is wrong with the file itself is logged as an error that names it; that it
    /// failed at all is logged for information, since it is the caller who knows what it means.
    ///
    /// # Errors
    /// The errno of open, read, decompression or the kernel; see [`Gate::load`].
    pub fn insert(&self, insertion: &Insertion<'_>) -> Result<Outcome> {
        // Before anything of this module is looked at, and when all that comes before it is there.
        let since = self.system.clock.boottime();
        self.try_insert(insertion, since).inspect_err(|error| {
            if !error.what().is_empty() {
                self.sink.log(Priority::Err, error.to_string().as_bytes());
            }
            let reason = strerror(error.errno());
            let path = insertion.path.as_os_str().as_bytes();
            self.sink.log(Priority::Info, &bytes!["Failed to insert module '", path, "': ", reason]);
        })
    }

    fn try_insert(&self, insertion: &Insertion<'_>, since: Duration) -> Result<Outcome> {
        let path = insertion.path;
        let opened = Opened::new(path)?;
        let parameters = CString::new(insertion.parameters)
            .map_err(|_| Error::new(Errno::EINVAL, "parameters with a NUL in them").at(path))?;
        let key = match insertion.name {
            Some(name) => ModuleName::new(name),
            None => opened.name(path),
        };
        let key = key.ok_or_else(|| Error::new(Errno::EINVAL, "no module can have this name").at(path))?;
        let flags = insertion.force.flags();
        let file_digest = record::file_digest(&opened.meta);
        let load = gate::Load {
            key: &key,
            since,
            inputs: record::digest(file_digest, insertion.parameters, flags),
            file_digest,
            bytes: opened.meta.len(),
            file: &opened.file,
            dependency: insertion.dependency,
            remember: insertion.remember,
            request: insertion.request,
            patience: insertion.patience,
        };
        let force = insertion.force;
        self.gate
            .load(&load, &mut Attempt { loader: self, path, opened: &opened, parameters: &parameters, force })
    }

    /// The call of the table above.
    fn call(&self, path: &Path, opened: &Opened, parameters: &CString, force: Force) -> Result<(), Refused> {
        let kind = opened.compression;
        let direct = match kind {
            Compression::None => Some(force.flags()),
            _ if self.kernel_method() == Some(kind) && opened.kernel_can => {
                Some(force.flags() | kernel::COMPRESSED_FILE)
            }
            _ => None,
        };
        if let Some(flags) = direct {
            match self.system.kernel.finit_module(opened.file.as_fd(), parameters, flags) {
                Ok(()) => return Ok(()),
                Err(Errno::ENOSYS) => {}
                // A kernel that names its method knows the flag, and what it cannot decode was not given to it, so that
                // EINVAL is about the module or its parameters and final. EOPNOTSUPP is what a kernel built without
                // decompression says.
                Err(Errno::EOPNOTSUPP) if kind != Compression::None => {}
                Err(errno) => return Err(Refused::by_kernel(errno)),
            }
        }
        let contents = opened.contents(path)?;
        let edited = force != Force::default();
        let inflated;
        let mut copy;
        let mut image: &[u8] = &contents;
        if kind != Compression::None {
            inflated = decompress(kind, &contents, limits::INFLATED).map_err(|e| e.at(path))?;
            image = &inflated;
        }
        if edited {
            copy = image.to_vec();
            self.strip(&mut copy, force).map_err(|e| e.at(path))?;
            image = &copy;
        }
        self.system.kernel.init_module(image, parameters).map_err(Refused::by_kernel)
    }

    fn strip(&self, image: &mut [u8], force: Force) -> Result<()> {
        let stripped = |result: Result<()>| {
            result.map_err(|e| {
                let text = format!("Failed to strip version information: {}", strerror(e.errno()));
                Error::new(e.errno(), text)
            })
        };
        if force.modversions {
            stripped(strip_modversions(image))?;
        }
        if force.vermagic {
            stripped(strip_vermagic(image))?;
        }
        Ok(())
    }

    /// The method that the kernel decompresses by itself; looked up once.
    fn kernel_method(&self) -> Option<Compression> {
        *self.kernel_method.get_or_init(|| {
            let mut buffer = [0; 32];
            let word = file::read_attribute(&self.system.roots.kernel_compression(), &mut buffer).ok()?;
            let word = word.strip_suffix(b"\n").unwrap_or(word);
            let method = Compression::from_kernel_name(word);
            if method.is_none() {
                self.sink.log(Priority::Err, &bytes!["unknown kernel compression ", word]);
            }
            method
        })
    }
}

/// A module file, looked at once: one open, one fstat, one read of its first bytes.
struct Opened {
    file: File,
    meta: std::fs::Metadata,
    compression: Compression,
    /// Whether a kernel that has this method would not refuse the file for what its decoder lacks.
    kernel_can: bool,
}

impl Opened {
    fn new(path: &Path) -> Result<Self> {
        // Without O_NONBLOCK the open of a fifo would wait for a writer that may never come.
        let flags =
            nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK;
        let file = opening(|| nix::fcntl::open(path, flags, nix::sys::stat::Mode::empty()))
            .map(File::from)
            .map_err(|errno| Error::os(errno).at(path))?;
        let meta = file.metadata().map_err(|e| Error::from(e).at(path))?;
        if meta.is_dir() {
            return Err(Error::os(Errno::EISDIR).at(path));
        }
        let mut head = [0; compress::FLAGS];
        let length = file::read_at(&file, &mut head, 0).map_err(|errno| Error::os(errno).at(path))?;
        if length < compress::HEAD {
            let text = format!("{length} bytes long, too short for a module");
            return Err(Error::new(Errno::EINVAL, text).at(path));
        }
        Ok(Opened { file, meta, compression: detect(&head), kernel_can: compress::kernel_can(&head) })
    }

    fn contents(&self, path: &Path) -> Result<map::Contents> {
        // finit_module may have moved the offset that a plain read starts from.
        (&self.file).rewind().map_err(|e| Error::from(e).at(path))?;
        map::contents(&self.file, path, limits::INFLATED)
    }

    /// The name that the module itself carries, else that of its file: what the kernel will call it.
    fn name(&self, path: &Path) -> Option<ModuleName> {
        self.own_name(path).or_else(|| ModuleName::new(&name::from_path(path.as_os_str().as_bytes())?))
    }

    fn own_name(&self, path: &Path) -> Option<ModuleName> {
        let contents = self.contents(path).ok()?;
        let inflated;
        let image: &[u8] = if self.compression == Compression::None {
            &contents
        } else {
            inflated = decompress(self.compression, &contents, limits::INFLATED).ok()?;
            &inflated
        };
        ModuleName::new(module_name(&Elf::parse(image).ok()?)?)
    }
}

/// What the gate does with one module file.
struct Attempt<'t> {
    loader: &'t Loader<'t>,
    path: &'t Path,
    opened: &'t Opened,
    parameters: &'t CString,
    force: Force,
}

impl gate::Work for Attempt<'_> {
    fn call(&mut self) -> Result<(), Refused> {
        self.loader.call(self.path, self.opened, self.parameters, self.force)
    }

    fn own_name(&mut self) -> Option<ModuleName> {
        self.opened.own_name(self.path)
    }
}

#[cfg(test)]
#[path = "insert_tests.rs"]
mod tests;
