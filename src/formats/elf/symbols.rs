//! The symbols that a module exports and needs.
//!
//! ```text
//! .symtab        one entry of 16 / 24 bytes per symbol, the first one unused:
//!                  0       name, 4: its offset in .strtab
//!                  4/8     value, 4/8
//!                 12/4     info, 1: binding << 4 | type
//!                 14/6     section, 2: 0 = undefined, FFF1 = the value is not an address
//!                  8/16    size, 4/8
//! __versions     one entry of 64 bytes per needed symbol: CRC, 4/8; name, padded with NULs
//! __version_ext_crcs, __version_ext_names     the same for names of any length: CRCs, 4 bytes each; as many names, each
//!                ended by NUL. Since Linux 6.14; if a module has both, the kernel reads only these
//! __ksymtab_strings   the names of exported symbols, each ended by NUL
//! ```
//!
//! For a symbol that is exported with a CRC there is a second symbol `__crc_NAME`. Its value is the CRC, or the offset of the
//! CRC (4 bytes) in its section `__kcrctab`.

use super::Elf;
use super::encoding::Encoding;
use crate::error::{Errno, Error, Result};
use crate::limits;
use std::collections::HashMap;

/// Section index of an undefined symbol.
pub(super) const SHN_UNDEF: u16 = 0;
/// Section index of a symbol whose value is not an address.
pub(super) const SHN_ABS: u16 = 0xfff1;
/// Binding of a weak symbol, which may stay undefined.
const STB_WEAK: u8 = 2;
/// Type of a symbol that names a register; only on SPARC.
const STT_SPARC_REGISTER: u8 = 13;
/// `e_machine` of 32-bit and 64-bit SPARC.
pub(super) const SPARC_MACHINES: [u16; 2] = [2, 43];
/// The size of an entry of `__versions`, in bytes.
pub(super) const VERSION_SIZE: usize = 64;

/// One entry of the symbol table.
#[derive(Debug, Clone, Copy)]
pub struct Symbol<'a> {
    /// `.strtab` from the name on; `None` if the offset is too large.
    names: Option<&'a [u8]>,
    pub value: u64,
    /// The size of its object in bytes; 0 if it has none or it is unknown.
    pub size: u64,
    /// The index of its section, or a special number from 0xff00 on.
    pub section: u16,
    /// 0 local, 1 global, 2 weak.
    pub binding: u8,
    /// The type of the symbol.
    pub kind: u8,
}

impl<'a> Symbol<'a> {
    /// The name; may be empty. `None` if it begins outside `.strtab` or is longer than [`limits::SYMBOL_NAME`]. The last name
    /// of a damaged table may have no NUL.
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
    /// The symbols of `table` without its first entry, with their names in `names`.
    ///
    /// # Errors
    /// `EINVAL` if the size of the table is not a multiple of an entry's.
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
    /// `ENODATA` if `.symtab` or `.strtab` is missing, `EINVAL` if the size of `.symtab` is not a multiple of an entry's.
    pub fn symbols(&self) -> Result<Symbols<'a>> {
        let table = self.data(".symtab")?;
        Symbols::of(self.encoding, table, self.data(".strtab")?)
    }
}

/// A symbol that a module exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Export<'a> {
    pub name: &'a [u8],
    /// 0 if the module has no CRCs, all ones if the CRC lies outside its section.
    pub crc: u64,
}

/// The symbols that the module exports: those with a `__crc_` symbol, in the order of the symbol table. If there is no such
/// symbol, the strings of `__ksymtab_strings`, which in recent kernels also contain names of namespaces.
///
/// # Errors
/// `ENODATA` if the module has neither, `EINVAL` if `__ksymtab_strings` does not end in NUL.
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

/// `None` if the symbol table has no `__crc_` symbol or is damaged: a name outside `.strtab`, or an exported name that is too
/// long.
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

/// The names of the symbols that are exported with a CRC, as [`exports`] returns them. Empty if there are none; `None` if the
/// symbol table is damaged, so that [`exports`] does not use it.
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

/// The version of a symbol that the module needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version<'a> {
    /// The symbol.
    pub name: &'a [u8],
    /// The CRC that the module was built against.
    pub crc: u64,
}

/// The versions of the symbols that the module needs, in order. A leading `.` of a name is removed: 64-bit POWER has it for
/// functions.
///
/// # Errors
/// `ENODATA` if it has none. `EINVAL` if they are damaged: a partial entry, a name without NUL, only one of the two extended
/// sections, more CRCs than names.
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

/// The sections with versions.
const FIXED: &str = "__versions";
const EXTENDED_CRCS: &str = "__version_ext_crcs";
const EXTENDED_NAMES: &str = "__version_ext_names";
pub(super) const VERSION_SECTIONS: [&str; 3] = [FIXED, EXTENDED_CRCS, EXTENDED_NAMES];

/// The contents of the sections with versions.
#[derive(Debug, Clone, Copy)]
pub(super) enum Versions<'a> {
    /// `__versions`
    Fixed(&'a [u8]),
    /// `__version_ext_crcs` and `__version_ext_names`
    Extended(&'a [u8], &'a [u8]),
}

/// Name (`None` if it is damaged) and CRC.
type Entry<'a> = (Option<&'a [u8]>, u64);

impl<'a> Versions<'a> {
    /// The extended versions; `None` if the module has none.
    fn extended(elf: &Elf<'a>) -> Result<Option<Self>> {
        match (elf.data(EXTENDED_CRCS), elf.data(EXTENDED_NAMES)) {
            (Ok(crcs), Ok(names)) => Ok(Some(Versions::Extended(crcs, names))),
            (Err(_), Err(_)) => Ok(None),
            _ => Err(Error::new(Errno::EINVAL, "extended versions without their names or CRCs")),
        }
    }

    /// All entries. Extended names after the last CRC are ignored: the build writes an empty one at the end.
    fn entries(self, encoding: Encoding) -> Result<Vec<Entry<'a>>> {
        let (table, size) = match self {
            Versions::Fixed(table) => (table, VERSION_SIZE),
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

/// The bytes before the first NUL, and those after it.
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
    /// The CRC that the module was built against; 0 if it has none.
    pub crc: u64,
    /// Whether the module also loads without it.
    pub weak: bool,
    /// Whether only the versions name it, as `module_layout`.
    pub from_versions: bool,
}

/// The symbols that the module needs: the undefined ones of any binding, in the order of the symbol table, each with the CRC
/// of the first version with its name; then the versions of no undefined symbol.
///
/// Versions with a partial entry, or with one of two sections missing, count as absent.
///
/// # Errors
/// `ENODATA` if `.symtab` or `.strtab` is missing; `EINVAL` if `.symtab`, the name of an undefined symbol or that of a version
/// is damaged. kmod takes such a module as one that needs no symbols.
pub fn needed<'a>(elf: &Elf<'a>) -> Result<Vec<Needed<'a>>> {
    let registers = SPARC_MACHINES.contains(&elf.machine());
    let fixed = || Versions::Fixed(elf.data(FIXED).unwrap_or(&[]));
    let versions = Versions::extended(elf).unwrap_or(None).unwrap_or_else(fixed);
    needed_by(elf.symbols()?, versions, elf.encoding, registers)
}

/// As [`needed`], from parts of the module. `registers`: ignore symbols that name a register.
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

/// The bytes before the first NUL, if they are at most [`limits::SYMBOL_NAME`]. Without this limit, millions of symbols that
/// share one very long name would cost their number times its length.
pub(super) fn until_nul(bytes: &[u8]) -> Option<&[u8]> {
    let start = bytes.get(..=limits::SYMBOL_NAME).unwrap_or(bytes);
    let length = start.iter().position(|&b| b == 0).unwrap_or(start.len());
    bytes.get(..length).filter(|name| name.len() <= limits::SYMBOL_NAME)
}
