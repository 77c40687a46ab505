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

use super::encoding::Encoding;
use super::{Elf, invalid};
use crate::error::{Error, Result};
use crate::formats::split_once;
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
/// The sections with versions.
const FIXED: &str = "__versions";
const EXTENDED_CRCS: &str = "__version_ext_crcs";
const EXTENDED_NAMES: &str = "__version_ext_names";
pub(super) const VERSION_SECTIONS: [&str; 3] = [FIXED, EXTENDED_CRCS, EXTENDED_NAMES];

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
    /// The symbols of `table` without its first entry, with their names in `names`. Errors: as [`Elf::symbols`].
    pub(super) fn of(encoding: Encoding, table: &'a [u8], names: &'a [u8]) -> Result<Self> {
        let size = encoding.symbol_size();
        if table.len() % size != 0 {
            return Err(invalid("size of .symtab is not a multiple of its entries'"));
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
        let names = self.names.get(encoding.u32_usize(entry, 0)?..).filter(|names| !names.is_empty());
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
        Symbols::of(self.encoding, self.data(".symtab")?, self.data(".strtab")?)
    }
}

/// A symbol with its CRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versioned<'a> {
    pub name: &'a [u8],
    pub crc: u64,
}

/// The symbols that the module exports: those with a `__crc_` symbol, in the order of the symbol table. A CRC outside its
/// section is all ones. If there is no such symbol, the strings of `__ksymtab_strings` with 0 as the CRC; in recent kernels
/// these also contain names of namespaces.
///
/// # Errors
/// `ENODATA` if the module has neither, `EINVAL` if `__ksymtab_strings` does not end in NUL.
pub fn exports<'a>(elf: &Elf<'a>) -> Result<Vec<Versioned<'a>>> {
    let crc = |symbol: Symbol<'_>| match symbol.section {
        SHN_ABS | SHN_UNDEF => Some(symbol.value),
        section => {
            let data = elf.section_at(usize::from(section))?.data;
            elf.encoding.u32(data, usize::try_from(symbol.value).ok()?).map(u64::from)
        }
    };
    let with_crc = elf.symbols().ok().and_then(|symbols| {
        exported(symbols, |name, symbol| Versioned { name, crc: crc(symbol).unwrap_or(u64::MAX) })
    });
    if let Some(found) = with_crc.filter(|found| !found.is_empty()) {
        return Ok(found);
    }
    let strings = elf.data("__ksymtab_strings")?;
    if strings.last().is_some_and(|&last| last != 0) {
        return Err(invalid("__ksymtab_strings does not end in NUL"));
    }
    let names = strings.split(|&b| b == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| Versioned { name, crc: 0 }).collect())
}

/// Calls `read` with each name that is exported with a CRC, and with its `__crc_` symbol. `None` if the symbol table is damaged:
/// a name outside `.strtab`, or an exported name that is too long.
pub(super) fn exported<'a, T>(
    symbols: Symbols<'a>,
    read: impl Fn(&'a [u8], Symbol<'a>) -> T,
) -> Option<Vec<T>> {
    let mut found = Vec::new();
    for symbol in symbols {
        if let Some(name) = symbol.names?.strip_prefix(b"__crc_") {
            found.push(read(until_nul(name)?, symbol));
        }
    }
    Some(found)
}

/// The symbols that the module needs with the CRCs that it was built against, in order. A leading `.` of a name is removed:
/// 64-bit POWER has it for functions.
///
/// # Errors
/// `ENODATA` if it has none. `EINVAL` if they are damaged: a partial entry, a name without NUL, only one of the two extended
/// sections, more CRCs than names.
pub fn versions<'a>(elf: &Elf<'a>) -> Result<Vec<Versioned<'a>>> {
    let entries = match extended_sections(elf)? {
        Some((crcs, names)) => extended_versions(crcs, names, elf.encoding)?,
        None => fixed_versions(elf.data(FIXED)?, elf.encoding)?,
    };
    let found = entries.into_iter().map(|(name, crc)| {
        let name = name.ok_or_else(unended_version)?;
        Ok(Versioned { name: name.strip_prefix(b".").unwrap_or(name), crc })
    });
    found.collect()
}

/// A version of a symbol: name (`None` if it is damaged) and CRC.
type Version<'a> = (Option<&'a [u8]>, u64);

/// The versions in the content of `__versions`.
pub(super) fn fixed_versions(table: &[u8], encoding: Encoding) -> Result<Vec<Version<'_>>> {
    versions_in(table, VERSION_SIZE, |entry| {
        let name = entry.get(encoding.pick(4, 8)..).and_then(|room| Some(split_once(room, 0)?.0));
        (name, encoding.word(entry, 0).unwrap_or(0))
    })
}

/// The contents of the two sections with extended versions; `None` if the module has none.
fn extended_sections<'a>(elf: &Elf<'a>) -> Result<Option<(&'a [u8], &'a [u8])>> {
    match (elf.data(EXTENDED_CRCS), elf.data(EXTENDED_NAMES)) {
        (Ok(crcs), Ok(names)) => Ok(Some((crcs, names))),
        (Err(_), Err(_)) => Ok(None),
        _ => Err(invalid("extended versions without their names or CRCs")),
    }
}

/// The versions in these sections. Names after the last CRC are ignored: the build writes an empty one at the end.
fn extended_versions<'a>(
    crcs: &'a [u8],
    mut names: &'a [u8],
    encoding: Encoding,
) -> Result<Vec<Version<'a>>> {
    versions_in(crcs, 4, |entry| {
        let (name, rest) = split_once(names, 0).unzip();
        names = rest.unwrap_or_default();
        let name = name.filter(|name| name.len() <= limits::SYMBOL_NAME);
        (name, encoding.u32(entry, 0).map_or(0, u64::from))
    })
}

/// The versions in `table`, whose entries have `size` bytes.
fn versions_in<'a>(
    table: &'a [u8],
    size: usize,
    read: impl FnMut(&'a [u8]) -> Version<'a>,
) -> Result<Vec<Version<'a>>> {
    if table.len() % size != 0 {
        return Err(invalid("versions are no whole number of entries"));
    }
    Ok(table.chunks_exact(size).map(read).collect())
}

fn unended_version() -> Error {
    invalid("name of a version does not end in NUL")
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
    let versions = match extended_sections(elf) {
        Ok(Some((crcs, names))) => extended_versions(crcs, names, elf.encoding),
        _ => fixed_versions(elf.data(FIXED).unwrap_or(&[]), elf.encoding),
    };
    let registers = SPARC_MACHINES.contains(&elf.machine);
    needed_by(elf.symbols()?, versions.unwrap_or_default(), registers)
}

/// As [`needed`], from parts of the module. `registers`: ignore symbols that name a register.
pub(super) fn needed_by<'a>(
    symbols: Symbols<'a>,
    versions: Vec<Version<'a>>,
    registers: bool,
) -> Result<Vec<Needed<'a>>> {
    let mut places = HashMap::with_capacity(versions.len());
    // Of several versions with one name the first counts.
    places.extend(versions.iter().enumerate().rev().filter_map(|(place, version)| Some((version.0?, place))));
    let mut used = vec![false; versions.len()];
    let mut found = Vec::with_capacity(versions.len());
    let is_needed = |symbol: &Symbol<'_>| {
        symbol.section == SHN_UNDEF && !(registers && symbol.kind == STT_SPARC_REGISTER)
    };
    for symbol in symbols.filter(is_needed) {
        let name = symbol.name().ok_or_else(|| invalid("name of a needed symbol is missing or endless"))?;
        if name.is_empty() {
            continue;
        }
        let crc = places.get(name).map_or(0, |&place| {
            used[place] = true;
            versions[place].1
        });
        found.push(Needed { name, crc, weak: symbol.binding == STB_WEAK, from_versions: false });
    }
    for ((name, crc), _) in versions.into_iter().zip(used).filter(|(_, used)| !used) {
        let name = name.ok_or_else(unended_version)?;
        found.push(Needed { name, crc, weak: false, from_versions: true });
    }
    Ok(found)
}

/// The bytes before the first NUL, if they are at most [`limits::SYMBOL_NAME`]. Without this limit, millions of symbols that
/// share one very long name would cost their number times its length.
pub(super) fn until_nul(bytes: &[u8]) -> Option<&[u8]> {
    let start = bytes.get(..=limits::SYMBOL_NAME).unwrap_or(bytes);
    start.split(|&b| b == 0).next().filter(|name| name.len() <= limits::SYMBOL_NAME)
}
