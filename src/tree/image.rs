//! A module file's contents, decompressed.

use crate::error::{Errno, Error, Result};
use crate::formats::compress::{self, Compression};
use crate::formats::elf::Elf;
use crate::formats::kernel_args::same_name;
use crate::formats::modinfo;
use crate::limits;
use crate::log::bytes;
use crate::name;
use crate::system::descriptors::park;
use crate::system::map::Contents;
use crate::system::module_file::ModuleFile;
use std::path::Path;

/// The image of a module: the contents of its file, decompressed.
pub(crate) struct Image(Contents);

impl Image {
    /// Reads the module at `path`.
    ///
    /// # Errors
    /// The errno of open or read; `EINVAL` for a file that is too short for a module, or whose compressed data is broken.
    /// With the path.
    pub(crate) fn read(path: &Path) -> Result<Image> {
        Image::of(contents(path)?, path)
    }

    /// The module in the contents of the file at `path`.
    ///
    /// # Errors
    /// `EINVAL` if its compressed data is broken, with the path.
    pub(crate) fn of(contents: Contents, path: &Path) -> Result<Image> {
        Ok(Image(match compress::detect(&contents) {
            Compression::None => contents,
            kind => {
                let inflated = compress::decompress(kind, &contents, limits::INFLATED);
                Contents::Read(inflated.map_err(|error| error.at(path))?)
            }
        }))
    }
}

impl std::ops::Deref for Image {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The content of a module's `.modinfo`, followed by `parmtype=NAME:` for each parameter that has a setter of its own and
/// no description: only the symbol `__param_str_NAME` shows those (`module_param_call` in the kernel's
/// include/linux/moduleparam.h).
///
/// # Errors
/// Why the file cannot be read; `ENODATA` for a module without `.modinfo`.
pub(crate) fn own_modinfo(path: &Path) -> Result<Vec<u8>> {
    let image = Image::read(path)?;
    let elf = Elf::parse(&image)?;
    let section = modinfo::section(&elf)?;
    let known = modinfo::parameters(modinfo::entries(section)).0;
    let mut words = section.to_vec();
    let symbols = elf.symbols().into_iter().flatten();
    for name in symbols.filter_map(|symbol| symbol.name()?.strip_prefix(b"__param_str_")) {
        if !known.iter().any(|known| same_name(known.name, name)) {
            words.extend(bytes![b"\0parmtype=", name, b":\0"]);
        }
    }
    Ok(words)
}

/// The name by which the kernel will know the module in a file, canonical. `None` if the file has none, and for a pipe: its
/// contents can be read once only, by the load.
pub(crate) fn own_name(path: &Path) -> Option<Vec<u8>> {
    std::fs::metadata(path).ok().filter(|meta| meta.is_file())?;
    modinfo::module_name(&Elf::parse(&Image::read(path).ok()?).ok()?).map(name::canonical)
}

/// The contents of the module file at `path`, not decompressed.
///
/// # Errors
/// The errno of open or read; `EINVAL` for a device and for a file that is too short for a module. With the path.
pub(crate) fn contents(path: &Path) -> Result<Contents> {
    let module = ModuleFile::open(path)?;
    let contents = module.contents(path, limits::INFLATED)?;
    park(module.file);
    long_enough(contents.len(), path)?;
    Ok(contents)
}

/// Checks that a file of `length` bytes is long enough to detect its format.
///
/// # Errors
/// `EINVAL` if it is not, with the path.
pub(crate) fn long_enough(length: usize, path: &Path) -> Result<()> {
    if length < compress::HEAD {
        let text = format!("{length} bytes long, too short for a module");
        return Err(Error::new(Errno::EINVAL, text).at(path));
    }
    Ok(())
}
