//! Hands one module file to the kernel, through the gate, with the one call that fits the file and the kernel:
//!
//! | the file | the kernel | the call |
//! |---|---|---|
//! | not compressed | any | `finit_module(fd, parameters, force flags)` |
//! | compressed | names that method in `/sys/module/compression` (5.17 and later) | the same with `MODULE_INIT_COMPRESSED_FILE` |
//! | compressed | does not, or answers `EOPNOTSUPP` | decompressed here, once, then `init_module` |
//! | compressed in a way that its decoder does not know ([`kernel_decoder`]) | any | the same |
//! | any | answers `ENOSYS` to `finit_module` (before 3.8, or a filter) | read or decompressed here, then `init_module` |
//! | what came through a pipe | any | the same |
//!
//! init_module(2) has no flags: for a forced load the copy in memory is edited instead.

use crate::error::{Errno, Error, Result};
use crate::formats::compress::{Compression, detect};
use crate::formats::elf::{Elf, strip_modversions, strip_vermagic};
use crate::formats::kernel_decoder;
use crate::formats::modinfo::module_name;
use crate::gate::{self, Gate, Outcome, Patience, Refused, record};
use crate::limits;
use crate::log::{Priority, Sink, bytes};
use crate::name::{self, ModuleName};
use crate::system::module_file::ModuleFile;
use crate::system::{System, file, kernel};
use crate::tree::image::{self, Image};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// Which checks of the kernel are to be skipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Force {
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
pub(crate) struct Insertion<'r> {
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
pub(crate) struct Loader<'a> {
    system: System<'a>,
    gate: &'a Gate<'a>,
    sink: &'a dyn Sink,
    kernel_method: OnceLock<Option<Compression>>,
}

impl<'a> Loader<'a> {
    /// A loader that sends everything through `gate`.
    pub(crate) fn new(system: System<'a>, gate: &'a Gate<'a>, sink: &'a dyn Sink) -> Self {
        Loader { system, gate, sink, kernel_method: OnceLock::new() }
    }

    /// For a loader that threads are going to share: whatever it would tell once, of the gate or of the kernel, it tells
    /// now. `compressed`: whether any of the files is.
    pub(crate) fn prepare(&self, compressed: bool) {
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
    pub(crate) fn insert(&self, insertion: &Insertion<'_>) -> Result<Outcome> {
        // Before anything of this module is looked at, and when all that comes before it is there.
        let since = self.system.clock.boottime();
        self.try_insert(insertion, since).inspect_err(|error| {
            if !error.what().is_empty() {
                self.sink.log(Priority::Err, error.to_string().as_bytes());
            }
            let reason = error.errno().to_string();
            let path = insertion.path.as_os_str().as_bytes();
            self.sink.log(Priority::Info, &bytes!["Failed to insert module '", path, "': ", reason]);
        })
    }

    fn try_insert(&self, insertion: &Insertion<'_>, since: Duration) -> Result<Outcome> {
        let path = insertion.path;
        let module = ModuleFile::open(path)?;
        if insertion.name.is_some() && module.is_stream() {
            // In a directory of modules it is a mistake, and would make a boot wait for its writer.
            return Err(Error::os(Errno::ESPIPE).at(path));
        }
        let opened = Opened::new(module, path)?;
        let parameters = CString::new(insertion.parameters)
            .map_err(|_| Error::new(Errno::EINVAL, "parameters with a NUL in them").at(path))?;
        let key = match insertion.name {
            Some(name) => ModuleName::new(name),
            None => opened.name(path),
        };
        let key = key.ok_or_else(|| Error::new(Errno::EINVAL, "no module can have this name").at(path))?;
        let flags = insertion.force.flags();
        let file_digest = opened.digest();
        let load = gate::Load {
            key: &key,
            since,
            inputs: record::digest(file_digest, insertion.parameters, flags),
            file_digest,
            bytes: opened.size,
            file: &opened.module.file,
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
            _ if opened.module.is_stream() => None,
            Compression::None => Some(force.flags()),
            _ if self.kernel_method() == Some(kind) && opened.kernel_may_take => {
                Some(force.flags() | kernel::COMPRESSED_FILE)
            }
            _ => None,
        };
        if let Some(flags) = direct {
            match self.system.kernel.finit_module(opened.module.file.as_fd(), parameters, flags) {
                Ok(()) => return Ok(()),
                Err(Errno::ENOSYS) => {}
                // What a kernel built without decompression says.
                Err(Errno::EOPNOTSUPP) if kind != Compression::None => {}
                // Else the refusal is about the module or its parameters, and final.
                Err(errno) if kind != Compression::None && opened.was_misread(path, errno)? => {}
                Err(errno) => return Err(Refused::by_kernel(errno)),
            }
        }
        let image = opened.image(path)?;
        let mut image = Cow::Borrowed(&**image);
        if force != Force::default() {
            self.strip(image.to_mut(), force).map_err(|e| e.at(path))?;
        }
        self.system.kernel.init_module(&image, parameters).map_err(Refused::by_kernel)
    }

    fn strip(&self, image: &mut [u8], force: Force) -> Result<()> {
        let stripped = |result: Result<()>| {
            result.map_err(|e| {
                let text = format!("Failed to strip version information: {}", e.errno());
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
    module: ModuleFile,
    /// In bytes, as it is.
    size: u64,
    compression: Compression,
    /// Whether a kernel that has this method may take the file, as far as its first bytes say.
    kernel_may_take: bool,
    /// The module inside, once somebody needed it. What comes through a pipe is read at once: it comes once.
    image: OnceCell<Image>,
}

impl Opened {
    fn new(module: ModuleFile, path: &Path) -> Result<Self> {
        let image = OnceCell::new();
        if module.is_stream() {
            let contents = module.contents(path, limits::INFLATED)?;
            image::long_enough(contents.len(), path)?;
            let (size, compression) = (contents.len() as u64, detect(&contents));
            let _ = image.set(Image::of(contents, path)?);
            return Ok(Opened { module, size, compression, kernel_may_take: false, image });
        }
        let mut head = [0; kernel_decoder::HEAD];
        // A file without a size is empty, whatever can be read from it.
        let room =
            &mut head[..usize::try_from(module.meta.len()).unwrap_or(usize::MAX).min(kernel_decoder::HEAD)];
        let length = file::read_at(&module.file, room, 0).map_err(|errno| Error::os(errno).at(path))?;
        image::long_enough(length, path)?;
        let head = &head[..length];
        let size = module.meta.len();
        let (compression, kernel_may_take) = (detect(head), kernel_decoder::may_take(head));
        Ok(Opened { module, size, compression, kernel_may_take, image })
    }

    /// The module inside, decompressed once.
    fn image(&self, path: &Path) -> Result<&Image> {
        if let Some(image) = self.image.get() {
            return Ok(image);
        }
        let image = Image::of(self.module.contents(path, limits::INFLATED)?, path)?;
        Ok(self.image.get_or_init(|| image))
    }

    /// Whether a kernel that answered `errno` may have refused the file for what its decoder made of it. These are the errnos
    /// that it gives before it knows the module: by its decoder, by the checks of a signature and of the ELF headers.
    fn was_misread(&self, path: &Path, errno: Errno) -> Result<bool> {
        let early = matches!(
            errno,
            Errno::EINVAL
                | Errno::ENOEXEC
                | Errno::EBADMSG
                | Errno::ENOKEY
                | Errno::EKEYREJECTED
                | Errno::ENOPKG
                | Errno::EPERM
        );
        let takes_all = || -> Result<bool> {
            let contents = self.module.contents(path, limits::INFLATED)?;
            Ok(kernel_decoder::takes_all_of(&contents, limits::INFLATED))
        };
        Ok(early && !takes_all()?)
    }

    /// Which file it is; what came through a pipe, whose inode says nothing, counts by its content.
    fn digest(&self) -> u64 {
        let file = record::file_digest(&self.module.meta);
        let image = self.image.get().filter(|_| self.module.is_stream());
        image.map_or(file, |image| record::digest(file, image, 0))
    }

    /// The name that the module itself carries, else that of its file: what the kernel will call it.
    fn name(&self, path: &Path) -> Option<ModuleName> {
        self.own_name(path).or_else(|| ModuleName::new(&name::from_path(path.as_os_str().as_bytes())?))
    }

    fn own_name(&self, path: &Path) -> Option<ModuleName> {
        ModuleName::new(module_name(&Elf::parse(self.image(path).ok()?).ok()?)?)
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
