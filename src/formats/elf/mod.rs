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

/// An uncompressed module whose header and section table have been checked.
#[derive(Debug, Clone, Copy)]
pub struct Elf<'a> {
    image: &'a [u8],
    encoding: Encoding,
    /// The machine number (`e_machine`).
    pub machine: u16,
    /// The offset of the section headers in the file, and their number.
    headers: usize,
    count: usize,
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
        // The identification alone has 16 bytes.
        if image.len() <= 16 || !image.starts_with(b"\x7fELF") {
            return Err(Error::new(Errno::ENOEXEC, "not an ELF file"));
        }
        let encoding =
            Encoding::from_ident(image).ok_or_else(|| invalid("unknown ELF class or byte order"))?;
        let cut = || invalid("ELF header is cut off");
        let half = |narrow, wide| encoding.u16(image, encoding.pick(narrow, wide)).ok_or_else(cut);
        let machine = half(18, 18)?;
        let headers = encoding.word_usize(image, encoding.pick(32, 40)).ok_or_else(cut)?;
        let (header_size, count) = (usize::from(half(46, 58)?), usize::from(half(48, 60)?));
        let names_index = usize::from(half(50, 62)?);
        if header_size != encoding.section_header_size() {
            return Err(invalid("ELF section headers of unknown size"));
        }
        if headers.checked_add(count * header_size).is_none_or(|end| end > image.len()) {
            return Err(invalid("ELF section table reaches beyond the end of the file"));
        }
        let mut elf = Elf { image, encoding, machine, headers, count, names: &[] };
        let names = elf.section_at(names_index).filter(|names| names.data.last() == Some(&0));
        elf.names = names.map_or(&[], |names| names.data);
        // A section of names without a name of its own is damaged.
        if names.and_then(|names| elf.names_from(&names)).is_none_or(<[u8]>::is_empty) {
            return Err(invalid("ELF section names are missing or damaged"));
        }
        Ok(elf)
    }

    /// Whether addresses are 64 bits wide.
    pub fn is_64(&self) -> bool {
        self.encoding.wide
    }

    /// The first section called `name`. Sections that reach beyond the end of the file are skipped.
    pub fn section(&self, name: &[u8]) -> Option<Section<'a>> {
        self.sections(name).next()
    }

    /// All sections called `name`.
    fn sections(&self, name: &[u8]) -> impl Iterator<Item = Section<'a>> {
        (1..self.count).filter_map(|index| self.section_at(index)).filter(|section| {
            let rest = self.names_from(section).and_then(|names| names.strip_prefix(name));
            rest.is_some_and(|rest| rest.first() == Some(&0))
        })
    }

    /// The content of the first section called `name`; `ENODATA` if there is none.
    pub(super) fn data(&self, name: &str) -> Result<&'a [u8]> {
        let section = self.section(name.as_bytes()).map(|section| section.data);
        section.ok_or_else(|| Error::new(Errno::ENODATA, format!("no section {name}")))
    }

    /// The description of the note in `data`: the lengths of the owner's name and of the description, and a type, 4 bytes
    /// each; the name; the description. `None` if the type is not `kind` or the name (with its NUL) is not `owner`.
    pub(super) fn note(&self, data: &'a [u8], kind: u32, owner: &[u8]) -> Option<&'a [u8]> {
        let length = self.encoding.u32_usize(data, 4)?;
        let ours = self.encoding.u32_usize(data, 0)? == owner.len() && self.encoding.u32(data, 8)? == kind;
        data.get(12..)?.strip_prefix(owner)?.get(..length).filter(|_| ours)
    }

    /// The names of the sections from that of `section` on.
    fn names_from(&self, section: &Section<'_>) -> Option<&'a [u8]> {
        self.names.get(self.encoding.u32_usize(self.image, section.header)?..)
    }

    /// The section `index`. `None` for 0, for an index beyond the table, and if its content reaches beyond the end of the
    /// file or begins at 0, where the file header is.
    fn section_at(&self, index: usize) -> Option<Section<'a>> {
        if !(1..self.count).contains(&index) {
            return None;
        }
        let header = self.headers + index * self.encoding.section_header_size();
        let offset = self.encoding.word_usize(self.image, header + self.encoding.pick(16, 24))?;
        let size = self.encoding.word_usize(self.image, header + self.encoding.pick(20, 32))?;
        let data = self.image.get(offset..offset.checked_add(size)?).filter(|_| offset != 0)?;
        Some(Section { data, offset, header })
    }
}

fn invalid(what: &str) -> Error {
    Error::new(Errno::EINVAL, what)
}
