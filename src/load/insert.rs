//! Loads one module file through the gate. The system call depends on the file and on the kernel:
//!
//! | the file | the kernel | the call |
//! |---|---|---|
//! | not compressed | any | `finit_module(fd, parameters, force flags)` |
//! | compressed | names this compression in `/sys/module/compression` (5.17 and later) | the same with `MODULE_INIT_COMPRESSED_FILE` |
//! | compressed | does not, or answers `EOPNOTSUPP` | decompressed here, once, then `init_module` |
//! | compressed with options that its decoder does not support ([`kernel_decoder`]) | any | the same |
//! | any | answers `ENOSYS` to `finit_module` (before 3.8, or a seccomp filter) | read or decompressed here, then `init_module` |
//! | a pipe | any | the same |
//!
//! init_module(2) has no flags, so for a forced load the copy in memory is edited.

use crate::error::{Errno, Error, Result};
use crate::formats::compress::{Compression, detect};
use crate::formats::elf::{Elf, strip_modversions, strip_vermagic};
use crate::formats::kernel_decoder;
use crate::formats::modinfo::module_name;
use crate::gate::{self, CallError, Gate, Outcome, WaitBudget, record};
use crate::limits;
use crate::log::{Priority, Sink, bytes};
use crate::name::{self, ModuleName};
use crate::system::map::Contents;
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

/// The kernel's checks to skip.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Force {
    pub vermagic: bool,
    pub modversions: bool,
}

impl Force {
    fn flags(self) -> u32 {
        let flag = |given, flag| if given { flag } else { 0 };
        flag(self.modversions, kernel::IGNORE_MODVERSIONS) | flag(self.vermagic, kernel::IGNORE_VERMAGIC)
    }

    fn strip(self, image: &mut [u8]) -> Result<()> {
        if self.modversions {
            strip_modversions(image)?;
        }
        if self.vermagic {
            strip_vermagic(image)?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Insertion<'r> {
    /// The module file.
    pub path: &'r Path,
    /// The name from the indexes. `None` for a file that the user named: then the name inside the module counts.
    pub name: Option<&'r [u8]>,
    pub parameters: &'r [u8],
    pub force: Force,
    /// The time limit of the whole request.
    pub budget: &'r WaitBudget,
    /// Whether it is inserted because another module needs it.
    pub dependency: bool,
    /// Whether a remembered failure may answer.
    pub remember: bool,
    /// The argument that the user or the kernel gave, for the trace.
    pub request: &'r [u8],
}

pub(crate) struct Loader<'a> {
    system: System<'a>,
    gate: &'a Gate<'a>,
    sink: &'a dyn Sink,
    kernel_method: OnceLock<Option<Compression>>,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(system: System<'a>, gate: &'a Gate<'a>, sink: &'a dyn Sink) -> Self {
        Loader { system, gate, sink, kernel_method: OnceLock::new() }
    }

    /// Call this before several threads use the loader: it logs the warnings about the gate and the kernel that are logged
    /// once. `compressed`: whether any of the files is compressed.
    pub(crate) fn prepare(&self, compressed: bool) {
        self.gate.open();
        if compressed {
            self.kernel_method();
        }
    }

    /// Inserts one module file. An error of the file itself is logged with priority error and its path. Every failure is
    /// logged with priority info, since only the caller knows whether it matters.
    ///
    /// # Errors
    /// The errno of open, read, decompression or the kernel; see [`Gate::load`].
    pub(crate) fn insert(&self, insertion: &Insertion<'_>) -> Result<Outcome> {
        // After the steps before this one, and before anything of this module is read.
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
            // A FIFO in a module directory would make the boot wait for its writer.
            return Err(Error::os(Errno::ESPIPE).at(path));
        }
        let opened = Opened::new(module, path)?;
        let parameters = CString::new(insertion.parameters)
            .map_err(|_| Error::new(Errno::EINVAL, "parameters with a NUL in them").at(path))?;
        let key = insertion.name.map_or_else(|| opened.name(), ModuleName::new);
        let key = key.ok_or_else(|| Error::new(Errno::EINVAL, "no module can have this name").at(path))?;
        let force = insertion.force;
        let file_digest = opened.digest();
        let load = gate::Load {
            key: &key,
            since,
            inputs: record::digest(file_digest, insertion.parameters, force.flags()),
            file_digest,
            bytes: opened.size,
            file: &opened.module.file,
            dependency: insertion.dependency,
            remember: insertion.remember,
            request: insertion.request,
            budget: insertion.budget,
        };
        let mut attempt = Attempt { loader: self, opened: &opened, parameters: &parameters, force };
        self.gate.load(&load, &mut attempt)
    }

    /// The compression that the kernel's own decoder takes; read once.
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

/// An open module file, with what its first bytes tell: one open, one fstat, one read.
struct Opened<'o> {
    path: &'o Path,
    module: ModuleFile,
    /// The size of the file, in bytes.
    size: u64,
    compression: Compression,
    /// Whether the kernel's decoder for this compression may take the file, as far as its first bytes tell.
    kernel_may_take: bool,
    /// The uncompressed module, decompressed on first use. A pipe is read at once, since it can be read only once.
    image: OnceCell<Image>,
}

impl<'o> Opened<'o> {
    fn new(module: ModuleFile, path: &'o Path) -> Result<Self> {
        if module.is_stream() {
            let contents = module.contents(path, limits::INFLATED)?;
            image::long_enough(contents.len(), path)?;
            let (size, compression) = (contents.len() as u64, detect(&contents));
            let image = OnceCell::from(Image::of(contents, path)?);
            return Ok(Opened { path, module, size, compression, kernel_may_take: false, image });
        }
        let size = module.meta.len();
        let mut head = [0; kernel_decoder::HEAD];
        // A file of size 0 counts as empty: see module_file.rs.
        let room = &mut head[..usize::try_from(size).unwrap_or(usize::MAX).min(kernel_decoder::HEAD)];
        let length = file::read_at(&module.file, room, 0).map_err(|errno| Error::os(errno).at(path))?;
        image::long_enough(length, path)?;
        let head = &head[..length];
        let (compression, kernel_may_take) = (detect(head), kernel_decoder::may_take(head));
        Ok(Opened { path, module, size, compression, kernel_may_take, image: OnceCell::new() })
    }

    fn contents(&self) -> Result<Contents> {
        self.module.contents(self.path, limits::INFLATED)
    }

    fn image(&self) -> Result<&Image> {
        if let Some(image) = self.image.get() {
            return Ok(image);
        }
        let image = Image::of(self.contents()?, self.path)?;
        Ok(self.image.get_or_init(|| image))
    }

    /// Whether the kernel may have refused the file because its decoder did not decode all of it. The errnos are those of
    /// the decoder, the signature check and the check of the ELF headers, which run before anything else of the load.
    fn was_misread(&self, errno: Errno) -> Result<bool> {
        use Errno as E;
        let early = [E::EINVAL, E::ENOEXEC, E::EBADMSG, E::ENOKEY, E::EKEYREJECTED, E::ENOPKG, E::EPERM];
        Ok(early.contains(&errno) && !kernel_decoder::takes_all_of(&self.contents()?, limits::INFLATED))
    }

    /// The digest of the file's identity. The inode of a pipe means nothing, so its content is added.
    fn digest(&self) -> u64 {
        let file = record::file_digest(&self.module.meta);
        let image = self.image.get().filter(|_| self.module.is_stream());
        image.map_or(file, |image| record::digest(file, image, 0))
    }

    /// The name inside the module, else that of its file.
    fn name(&self) -> Option<ModuleName> {
        self.own_name().or_else(|| ModuleName::new(&name::from_path(self.path.as_os_str().as_bytes())?))
    }

    fn own_name(&self) -> Option<ModuleName> {
        ModuleName::new(module_name(&Elf::parse(self.image().ok()?).ok()?)?)
    }
}

/// The gate's work on one module file.
struct Attempt<'t> {
    loader: &'t Loader<'t>,
    opened: &'t Opened<'t>,
    parameters: &'t CString,
    force: Force,
}

impl gate::Work for Attempt<'_> {
    /// Makes the system call of the table above.
    fn call(&mut self) -> Result<(), CallError> {
        let Attempt { loader, opened, parameters, force } = *self;
        let compressed = opened.compression != Compression::None;
        let direct = !opened.module.is_stream()
            && (!compressed
                || (loader.kernel_method() == Some(opened.compression) && opened.kernel_may_take));
        if direct {
            let flags = force.flags() | if compressed { kernel::COMPRESSED_FILE } else { 0 };
            match loader.system.kernel.finit_module(opened.module.file.as_fd(), parameters, flags) {
                Ok(()) => return Ok(()),
                Err(Errno::ENOSYS) => {}
                // The kernel was built without decompression.
                Err(Errno::EOPNOTSUPP) if compressed => {}
                // Any other errno is about the module or its parameters, and final.
                Err(errno) if compressed && opened.was_misread(errno)? => {}
                Err(errno) => return Err(CallError::by_kernel(errno)),
            }
        }
        let mut image = Cow::Borrowed(&**opened.image()?);
        if force != Force::default() {
            force.strip(image.to_mut()).map_err(|e| {
                let text = format!("Failed to strip version information: {}", e.errno());
                Error::new(e.errno(), text).at(opened.path)
            })?;
        }
        loader.system.kernel.init_module(&image, parameters).map_err(CallError::by_kernel)
    }

    fn own_name(&mut self) -> Option<ModuleName> {
        self.opened.own_name()
    }
}

#[cfg(test)]
#[path = "insert_tests.rs"]
mod tests;
