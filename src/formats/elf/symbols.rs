//! What a module offers to others and what it needs from them.
//!
//! ```text
//! .symtab        one entry of 16 / 24 bytes per symbol, the first one unused:
//!                  0       name, 4: where it begins in .strtab
//!                  4/8     value, 4/8
//!                 12/4     info, 1: binding << 4 | type
//!                 14/6     section, 2: 0 = undefined, FFF1 = the value is just a number
//!                  8/16    size, 4/8
//! __versions     one entry of 64 bytes per needed symbol: CRC, 4/8; name, padded with NULs
//! __version_ext_crcs, __version_ext_names     the same for names of any length: CRCs, 4 bytes each; as many names, each
//!                ended by NUL. Since Linux 6.14; where a module has both, the kernel looks at these only
//! __ksymtab_strings   the names of exported symbols, each ended by NUL
//! ```
//!
//! A symbol that is exported with a CRC has a second one, `__crc_NAME`: its value is the CRC, or says where in its section
//! (`__kcrctab`, 4 bytes each) the CRC is.

use super::Elf;
use super::encoding::Encoding;
use crate::error::{Errno, Error, Result};
use crate::limits;
use std::collections::HashMap;

/// Section index of a symbol that the module needs from elsewhere.
pub(super) const SHN_UNDEF: u16 = 0;
/// Section index of a symbol whose value is not an address.
pub(super) const SHN_ABS: u16 = 0xfff1;
/// Binding of a symbol that may be missing.
const STB_WEAK: u8 = 2;
/// Type of a symbol that stands for a register; only the SPARC machines have it.
const STT_SPARC_REGISTER: u8 = 13;
/// `e_machine` of 32-bit and 64-bit SPARC.
pub(super) const SPARC_MACHINES: [u16; 2] = [2, 43];
/// The size of an entry of `__versions`, in bytes.
pub(super) const VERSION: usize = 64;

/// One entry of the symbol table.
#[derive(Debug, Clone, Copy)]
pub struct Symbol<'a> {
    /// `.strtab` from where the name begins, if it begins inside.
    names: Option<&'a [u8]>,
    pub value: u64,
    /// How many bytes it stands for; 0 where that is not known.
    pub size: u64,
    /// The section it lies in, or a special number from 0xff00.
    pub section: u16,
    /// 0 local, 1 global, 2 weak.
    pub binding: u8,
    /// The type of the symbol.
    pub kind: u8,
}

impl<'a> Symbol<'a> {
    /// The name; may be empty. `None` where it begins beyond `.strtab` or is longer than a symbol can be. In a damaged
    /// table the last one may lack its NUL.
    pub fn name(&self) -> Option<&'a [u8]> {
        until_nul(self.names?)
    }
}

/// The symbols of a module in the order of its table.
#[derive(Debug, Clone)]
pub struct Symbols<'a> {
    encoding: Encoding,
    table: &'a [u8],
    names: &'a [u8],
}

impl<'a> Symbols<'a> {
    /// The symbols of `table`, whose first entry is skipped, with their names in `names`.
    ///
    /// # Errors
    /// `EINVAL` where the table is no whole number of entries.
    pub(super) fn of(encoding: Encoding, table: &'a [u8], names: &'a [u8]) -> Result<Self> {
        let size = encoding.symbol_size();
        if table.len() % size != 0 {
            return Err(Error::new(Errno::EINVAL, "size of .symtab is not a multiple of its entries'"));
        }
        Ok(Symbols { encoding, table: table.get(size..).unwrap_or(&[]), names })
    }
}

impl<'a> Iterator for Symbols<'a> {
    type Item = Symbol<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let encoding = self.encoding;
        let (entry, rest) = self.table.split_at_checked(encoding.symbol_size())?;
        self.table = rest;
        let start = usize::try_from(encoding.u32(entry, 0)?).ok()?;
        let names = self.names.get(start..).filter(|names| !names.is_empty());
        let info = *entry.get(encoding.pick(12, 4))?;
        let section = encoding.u16(entry, encoding.pick(14, 6))?;
        let value = encoding.word(entry, encoding.pick(4, 8))?;
        let size = encoding.word(entry, encoding.pick(8, 16))?;
        Some(Symbol { names, value, size, section, binding: info >> 4, kind: info & 15 })
    }
}

impl<'a> Elf<'a> {
    /// The symbols of the module without the first, unused one.
    ///
    /// # Errors
    /// `ENODATA` where `.symtab` or `.strtab` is missing, `EINVAL` where `.symtab` is no whole number of entries.
    pub fn symbols(&self) -> Result<Symbols<'a>> {
        let table = self.data(".symtab")?;
        Symbols::of(self.encoding, table, self.data(".strtab")?)
    }
}

/// A symbol that a module offers to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Export<'a> {
    pub name: &'a [u8],
    /// Its CRC; 0 where the module has none, all ones where it lies outside its section.
    pub crc: u64,
}

/// The symbols that the module exports: those with a `__crc_` symbol in the order of the symbol table, or, if there is no
/// such symbol, the strings of `__ksymtab_strings` (recent kernels mix the names of namespaces in there).
///
/// # Errors
/// `ENODATA` where the module has neither, `EINVAL` where `__ksymtab_strings` does not end in NUL.
pub fn exports<'a>(elf: &Elf<'a>) -> Result<Vec<Export<'a>>> {
    if let Some(found) = exports_with_crc(elf) {
        return Ok(found);
    }
    let strings = elf.data("__ksymtab_strings")?;
    match strings.split_last() {
        None => Ok(Vec::new()),
        Some((0, strings)) => {
            let names = strings.split(|&b| b == 0).filter(|name| !name.is_empty());
            Ok(names.map(|name| Export { name, crc: 0 }).collect())
        }
        Some(_) => Err(Error::new(Errno::EINVAL, "__ksymtab_strings does not end in NUL")),
    }
}

/// `None` where the symbol table cannot be used (one name beyond `.strtab` is enough, or one exported name that is endless)
/// or has no `__crc_` symbol.
fn exports_with_crc<'a>(elf: &Elf<'a>) -> Option<Vec<Export<'a>>> {
    let mut found = Vec::new();
    for symbol in elf.symbols().ok()? {
        if let Some(names) = symbol.names?.strip_prefix(b"__crc_") {
            let crc = match symbol.section {
                SHN_ABS | SHN_UNDEF => symbol.value,
                section => crc_in_section(elf, section, symbol.value).unwrap_or(u64::MAX),
            };
            found.push(Export { name: until_nul(names)?, crc });
        }
    }
    (!found.is_empty()).then_some(found)
}

/// The names of the symbols that are exported with a CRC, as [`exports`] has them, without the CRCs. Empty where there are
/// none; `None` where [`exports`] does not rely on the symbol table.
pub(super) fn export_names<'a>(symbols: Symbols<'a>) -> Option<Vec<&'a [u8]>> {
    let mut found = Vec::new();
    for symbol in symbols {
        if let Some(name) = symbol.names?.strip_prefix(b"__crc_") {
            found.push(until_nul(name)?);
        }
    }
    Some(found)
}

fn crc_in_section(elf: &Elf, section: u16, offset: u64) -> Option<u64> {
    let section = elf.section_at(usize::from(section))?;
    elf.encoding.u32(section.data, usize::try_from(offset).ok()?).map(u64::from)
}

/// A symbol that the module needs, as its versions say, and the CRC that it was built against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version<'a> {
    /// The symbol.
    pub name: &'a [u8],
    pub crc: u64,
}

/// The versions of the symbols that the module needs, in order, names without their leading `.` (64-bit POWER writes one for
/// code).
///
/// # Errors
/// `ENODATA` where it has none, `EINVAL` where they are damaged: no whole number of entries, a name without its NUL, one of
/// the two extended sections without the other, more CRCs than names.
pub fn versions<'a>(elf: &Elf<'a>) -> Result<Vec<Version<'a>>> {
    let table = match Versions::extended(elf)? {
        Some(extended) => extended,
        None => Versions::Fixed(elf.data(FIXED)?),
    };
    let found = table.entries(elf.encoding)?.into_iter().map(|(name, crc)| {
        let name = name.ok_or_else(unended_version)?;
        Ok(Version { name: name.strip_prefix(b".").unwrap_or(name), crc })
    });
    found.collect()
}

/// The sections that versions are in.
const FIXED: &str = "__versions";
const EXTENDED_CRCS: &str = "__version_ext_crcs";
const EXTENDED_NAMES: &str = "__version_ext_names";
pub(super) const VERSION_SECTIONS: [&str; 3] = [FIXED, EXTENDED_CRCS, EXTENDED_NAMES];

/// The contents of those that count.
#[derive(Debug, Clone, Copy)]
pub(super) enum Versions<'a> {
    /// Entries of one size.
    Fixed(&'a [u8]),
    /// CRCs, and names of any length.
    Extended(&'a [u8], &'a [u8]),
}

/// Name (`None` where it is no name) and CRC.
type Entry<'a> = (Option<&'a [u8]>, u64);

impl<'a> Versions<'a> {
    /// The extended ones; `None` where the module has none.
    fn extended(elf: &Elf<'a>) -> Result<Option<Self>> {
        match (elf.data(EXTENDED_CRCS), elf.data(EXTENDED_NAMES)) {
            (Ok(crcs), Ok(names)) => Ok(Some(Versions::Extended(crcs, names))),
            (Err(_), Err(_)) => Ok(None),
            _ => Err(Error::new(Errno::EINVAL, "extended versions without their names or CRCs")),
        }
    }

    /// All entries. Extended names behind the last CRC do not count: the string
    /// that the build makes of them ends in one that is empty.
    fn entries(self, encoding: Encoding) -> Result<Vec<Entry<'a>>> {
        let (table, size) = match self {
            Versions::Fixed(table) => (table, VERSION),
            Versions::Extended(crcs, _) => (crcs, 4),
        };
        if table.len() % size != 0 {
            return Err(Error::new(Errno::EINVAL, "versions are no whole number of entries"));
        }
        let entries = table.chunks_exact(size);
        Ok(match self {
            Versions::Fixed(_) => {
                let read = |entry: &'a [u8]| {
                    let room = entry.get(encoding.pick(4, 8)..).unwrap_or(&[]);
                    (ended(room).map(|(name, _)| name), encoding.word(entry, 0).unwrap_or(0))
                };
                entries.map(read).collect()
            }
            Versions::Extended(_, mut names) => {
                let mut read = |entry: &'a [u8]| {
                    let (name, rest) = ended(names).unzip();
                    names = rest.unwrap_or_default();
                    let name = name.filter(|name| name.len() <= limits::SYMBOL_NAME);
                    (name, encoding.u32(entry, 0).map_or(0, u64::from))
                };
                entries.map(&mut read).collect()
            }
        })
    }
}

/// What stands before the first NUL, and what behind it.
fn ended(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = bytes.split_at_checked(memchr::memchr(0, bytes)?)?;
    Some((name, rest.get(1..)?))
}

fn unended_version() -> Error {
    Error::new(Errno::EINVAL, "name of a version does not end in NUL")
}

/// A symbol that a module needs from the kernel or from another module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed<'a> {
    pub name: &'a [u8],
    /// The CRC that the module was built against; 0 where it states none.
    pub crc: u64,
    /// Whether the module also loads without it.
    pub weak: bool,
    /// Whether only the versions name it (`module_layout` is such a one).
    pub from_versions: bool,
}

/// The symbols that the module needs: the undefined ones in the order of the symbol table, whatever their binding, each
/// with the CRC of the first version with its name; then the versions that nothing undefined used up.
///
/// Versions that are no whole number of entries, or lack a section, count as absent.
///
/// # Errors
/// `ENODATA` where `.symtab` or `.strtab` is missing; `EINVAL` where `.symtab`, the name of an undefined symbol, or that of
/// a version is damaged. kmod takes such a module as one without needs.
pub fn needed<'a>(elf: &Elf<'a>) -> Result<Vec<Needed<'a>>> {
    let registers = SPARC_MACHINES.contains(&elf.machine());
    let fixed = || Versions::Fixed(elf.data(FIXED).unwrap_or(&[]));
    let versions = Versions::extended(elf).unwrap_or(None).unwrap_or_else(fixed);
    needed_by(elf.symbols()?, versions, elf.encoding, registers)
}

/// As [`needed`], from the parts of the module. `registers`: symbols that stand for one are no needs.
pub(super) fn needed_by<'a>(
    symbols: Symbols<'a>,
    versions: Versions<'a>,
    encoding: Encoding,
    registers: bool,
) -> Result<Vec<Needed<'a>>> {
    let entries = versions.entries(encoding).unwrap_or_default();
    let mut entries: Vec<_> = entries.into_iter().map(|(name, crc)| (name, crc, false)).collect();
    let mut places = HashMap::with_capacity(entries.len());
    for (place, (name, ..)) in entries.iter().enumerate() {
        if let Some(name) = name {
            places.entry(*name).or_insert(place);
        }
    }
    let mut found = Vec::with_capacity(entries.len());
    for symbol in symbols {
        if symbol.section != SHN_UNDEF || (registers && symbol.kind == STT_SPARC_REGISTER) {
            continue;
        }
        let beyond = || Error::new(Errno::EINVAL, "name of a needed symbol is missing or endless");
        let name = symbol.name().ok_or_else(beyond)?;
        if name.is_empty() {
            continue;
        }
        let entry = places.get(name).and_then(|&place| entries.get_mut(place));
        let crc = entry.map_or(0, |(_, crc, used)| {
            *used = true;
            *crc
        });
        found.push(Needed { name, crc, weak: symbol.binding == STB_WEAK, from_versions: false });
    }
    for (name, crc, _) in entries.into_iter().filter(|(.., used)| !used) {
        let name = name.ok_or_else(unended_version)?;
        found.push(Needed { name, crc, weak: false, from_versions: true });
    }
    Ok(found)
}

/// What stands before the first NUL, if that is no more than [`limits::SYMBOL_NAME`] bytes. The limit keeps millions of
/// symbols that share one endless name from costing millions of times its length.
pub(super) fn until_nul(bytes: &[u8]) -> Option<&[u8]> {
    let start = bytes.get(..=limits::SYMBOL_NAME).unwrap_or(bytes);
    let length = start.iter().position(|&b| b == 0).unwrap_or(start.len());
    bytes.get(..length).filter(|name| name.len() <= limits::SYMBOL_NAME)
}
