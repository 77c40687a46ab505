//! Module files are relocatable ELF files: either class, either byte order, any machine.
//!
//! The fields that are read, by offset (32-bit / 64-bit; in the byte order of byte 5), as in elf(5):
//!
//! ```text
//! file header, 52 / 64 bytes
//!      0      7F 45 4C 46
//!      4      class: 1 = 32-bit, 2 = 64-bit
//!      5      byte order: 1 = little-endian, 2 = big-endian
//!     18      e_machine, 2 bytes
//!     32/40   e_shoff, 4/8: offset of the section headers
//!     46/58   e_shentsize, 2: 40/64
//!     48/60   e_shnum, 2: the number of section headers; the first one is unused
//!     50/62   e_shstrndx, 2: the section with the sections' names
//! section header, 40 / 64 bytes
//!      0      name, 4: its offset in the section of names
//!      8      flags, 4/8: value 2 (ALLOC) = the kernel keeps it in memory
//!     16/24   offset, 4/8: offset of its content in the file
//!     20/32   size, 4/8
//! ```
//!
//! Section types are ignored. Extended section numbers (more than 65279 sections) are not supported, as in kmod.

mod early;
mod edit;
mod encoding;
mod symbols;

pub(crate) use early::Early;
pub use early::{Search, SearchStatus};
pub use edit::{strip_modversions, strip_vermagic};
use encoding::Encoding;
pub(crate) use symbols::Needed;
pub use symbols::{exports, needed, versions};

use crate::error::{Errno, Error, Result};

/// The identification at the start of an ELF file, in bytes.
const IDENT: usize = 16;
/// Flag of a section that the kernel keeps in memory.
const SHF_ALLOC: u64 = 2;

/// An uncompressed module whose header and section table have been checked.
#[derive(Debug, Clone, Copy)]
pub struct Elf<'a> {
    image: &'a [u8],
    encoding: Encoding,
    machine: u16,
    /// The section headers.
    headers: &'a [u8],
    /// Their offset in the file.
    headers_offset: usize,
    /// The names of the sections; ends in NUL.
    names: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section<'a> {
    /// Its content.
    pub data: &'a [u8],
    /// The offset of the content in the file, in bytes.
    pub offset: usize,
    /// The offset of the section header in the file, in bytes.
    pub header: usize,
}

impl<'a> Elf<'a> {
    /// Checks the header and the section table of the uncompressed module file `image`.
    ///
    /// # Errors
    /// `ENOEXEC` for a file that is not ELF. `EINVAL` for an unknown class or byte order, and if the section table or the
    /// sections' names are missing or reach beyond the end of the file.
    pub fn parse(image: &'a [u8]) -> Result<Elf<'a>> {
        let invalid = |what: &str| Error::new(Errno::EINVAL, what);
        if image.len() <= IDENT || !image.starts_with(b"\x7fELF") {
            return Err(Error::new(Errno::ENOEXEC, "not an ELF file"));
        }
        let encoding =
            Encoding::from_ident(image).ok_or_else(|| invalid("unknown ELF class or byte order"))?;
        let cut = || invalid("ELF header is cut off");
        let machine = encoding.u16(image, 18).ok_or_else(cut)?;
        let headers_offset = encoding.word_usize(image, encoding.pick(32, 40)).ok_or_else(cut)?;
        let header_size = encoding.u16(image, encoding.pick(46, 58)).ok_or_else(cut)?;
        let count = encoding.u16(image, encoding.pick(48, 60)).ok_or_else(cut)?;
        let names_index = encoding.u16(image, encoding.pick(50, 62)).ok_or_else(cut)?;
        if usize::from(header_size) != encoding.section_header_size() {
            return Err(invalid("ELF section headers of unknown size"));
        }
        let headers = headers_offset
            .checked_add(usize::from(count) * encoding.section_header_size())
            .and_then(|end| image.get(headers_offset..end))
            .ok_or_else(|| invalid("ELF section table reaches beyond the end of the file"))?;
        let mut elf = Elf { image, encoding, machine, headers, headers_offset, names: &[] };
        // A section of names without a name of its own is damaged.
        elf.names = elf
            .section_at(usize::from(names_index))
            .map(|section| section.data)
            .filter(|names| {
                let start = elf.name_offset(usize::from(names_index));
                names.last() == Some(&0) && start.is_some_and(|start| start < names.len())
            })
            .ok_or_else(|| invalid("ELF section names are missing or damaged"))?;
        Ok(elf)
    }

    /// Whether addresses are 64 bits wide.
    pub fn is_64(&self) -> bool {
        self.encoding.wide
    }

    /// The machine number (`e_machine`), as in elf(5).
    pub fn machine(&self) -> u16 {
        self.machine
    }

    /// The first section called `name`. Sections that reach beyond the end of the file are skipped.
    pub fn section(&self, name: &[u8]) -> Option<Section<'a>> {
        self.sections(name).next()
    }

    /// All sections called `name`.
    fn sections<'n>(&self, name: &'n [u8]) -> impl Iterator<Item = Section<'a>> + use<'a, 'n, '_> {
        (1..self.headers.len() / self.encoding.section_header_size())
            .filter(|&index| self.is_called(index, name))
            .filter_map(|index| self.section_at(index))
    }

    /// The content of the first section called `name`.
    ///
    /// # Errors
    /// `ENODATA` if there is none.
    pub(super) fn data(&self, name: &str) -> Result<&'a [u8]> {
        let section = self.section(name.as_bytes()).map(|section| section.data);
        section.ok_or_else(|| Error::new(Errno::ENODATA, format!("no section {name}")))
    }

    /// The description of the note in `data`: the lengths of the owner's name and of the description, and a type, 4 bytes
    /// each; the name; the description. `None` if the type is not `kind` or the name (with its NUL) is not `owner`.
    pub(super) fn note(&self, data: &'a [u8], kind: u32, owner: &[u8]) -> Option<&'a [u8]> {
        let owner_length = usize::try_from(self.encoding.u32(data, 0)?).ok()?;
        let length = usize::try_from(self.encoding.u32(data, 4)?).ok()?;
        let rest = data.get(12..)?;
        let ours = self.encoding.u32(data, 8)? == kind && rest.get(..owner_length)? == owner;
        rest.get(owner_length..)?.get(..length).filter(|_| ours)
    }

    /// The offset of the name of section `index` in the names.
    fn name_offset(&self, index: usize) -> Option<usize> {
        let header = index.checked_mul(self.encoding.section_header_size())?;
        self.encoding.u32(self.headers, header).and_then(|start| usize::try_from(start).ok())
    }

    /// Whether section `index` has this name and its content lies inside the file.
    fn is_called(&self, index: usize, name: &[u8]) -> bool {
        let rest = self.name_offset(index).and_then(|start| self.names.get(start..)).unwrap_or(&[]);
        rest.strip_prefix(name).is_some_and(|end| end.first() == Some(&0)) && self.section_at(index).is_some()
    }

    /// The section `index`. `None` for 0, for an index beyond the table, and if its content reaches beyond the end of the
    /// file or begins at 0, where the file header is.
    fn section_at(&self, index: usize) -> Option<Section<'a>> {
        if index == 0 {
            return None;
        }
        let header = index.checked_mul(self.encoding.section_header_size())?;
        let offset = self.encoding.word_usize(self.headers, header + self.encoding.pick(16, 24))?;
        let size = self.encoding.word_usize(self.headers, header + self.encoding.pick(20, 32))?;
        let data = self.image.get(offset..offset.checked_add(size)?).filter(|_| offset != 0)?;
        Some(Section { data, offset, header: self.headers_offset + header })
    }
}
