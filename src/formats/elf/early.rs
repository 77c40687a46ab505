//! Finds a module's symbols, `.modinfo` and `__versions` in the first part of its file, so that the rest need not be
//! decompressed. Decompression is nearly all of depmod's work on a tree of `.ko.xz`, and a third of it goes into the
//! relocations, which follow everything that depmod needs. The section headers, which state the offsets of the sections, come
//! last, and an xz stream cannot be decoded from its middle. With this, depmod on Debian's 6.12 takes a quarter less
//! processor time.
//!
//! ```text
//! file header | sections' contents | .symtab | .strtab | .rela.* | .shstrtab | section headers      (GNU ld -r)
//! ```
//!
//! The sections are located by their contents, which must agree with each other:
//!
//! * `.symtab` begins with the unused entry (24 zeros) and the symbol of a section. It ends before the first bytes that are
//!   not a valid entry: `.strtab` follows, a NUL and text, whose first four bytes would be a name offset of hundreds of
//!   megabytes. `.strtab` ends with the name that begins last. The names must cover it without a gap.
//! * `.modinfo`: each of its strings has a symbol with its offset in the section and its length. These must cover the section
//!   from its start without a gap. At the offset of the section in the file, all of them must be strings with a `=`, ended by
//!   NUL, and one of them the string `vermagic=`, which every module has. There must be exactly one such offset.
//! * `__versions`: the symbol `____versions` has its size. At its offset in the file there must be exactly as many entries as
//!   fit that size: four bytes of CRC, four zeros, and the name of an undefined symbol (or `module_layout`) padded with NULs.
//!   Without that symbol there must be no such entry.
//!
//! **Why this equals the section headers**, for the output of a linker: the symbol table states the offsets in a section. Only
//! the offset of the section in the file is missing. It has one solution, since a module does not contain its strings twice
//! in the same order. (The search begins after the sizes of the sections with lower numbers, so that it skips the code.) A
//! string without a symbol (from a stripped object or from assembly) leaves a gap, or is at the end of the section, where the
//! next bytes must not look like another string. In case of doubt the whole file is decompressed: other linkers' layouts (lld
//! puts `.strtab` elsewhere), big-endian and 32-bit files, exports without CRCs. The tests compare both ways on all modules
//! of two distribution kernels, and on damaged ones. A hostile file can make the two ways differ but gains nothing by it: its
//! author also controls its section headers.
//!
//! **The cost is bounded** for any input: it grows linearly with the decompressed size. The first part is searched once, as
//! it grows. `.modinfo` and `__versions` are compared at no more than [`TRIES`] occurrences of a string, each over at most
//! the size that the symbols state; a run of entries is walked once. At most [`limits::SYMBOL_NAME`] bytes of a name are
//! read. If these limits are reached, the whole file is decompressed.

use super::encoding::Encoding;
use super::symbols::{
    Needed, SHN_ABS, SHN_UNDEF, SPARC_MACHINES, Symbols, VERSION_SIZE, exported, fixed_versions, needed_by,
    until_nul,
};
use crate::error::Result;
use crate::formats::split_once;
use crate::limits;
use memchr::{memchr, memmem};
use std::collections::HashSet;
use std::ops::Range;

/// The only supported encoding: 64 bits, little-endian.
const ENCODING: Encoding = Encoding { wide: true, big: false };
/// The sizes of the file header, of a section header and of a symbol, in bytes.
const HEADER_SIZE: usize = 64;
const SECTION_HEADER_SIZE: usize = 64;
const SYMBOL_SIZE: usize = 24;
/// How many more bytes to request while the symbol table is incomplete. Small, since modules are small.
const STEP: usize = 4096;
/// Section index of a common symbol, which has no section yet.
const SHN_COMMON: u16 = 0xfff2;
/// Type of a data symbol.
const OBJECT: u8 = 1;
/// How many candidate offsets of a section are compared.
const TRIES: usize = 32;
/// How many symbol names are tried to find an entry of `__versions`.
const LIKELY: usize = 5;

/// The state of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchStatus {
    /// Call again with this many more bytes. Another number is correct too, but slower.
    More(usize),
    /// The sections were found: call [`Search::found`].
    Found,
    /// The whole file is needed.
    Never,
}

/// A search in the first part of a file, which grows.
#[derive(Debug, Default)]
pub struct Search {
    /// The size of the whole file, in bytes.
    file_size: u64,
    /// Whether the file must end with the section headers.
    unsigned: bool,
    /// The offset of the section headers, and their number.
    headers: usize,
    sections: u16,
    /// The symbol table begins here, or not before this offset. 0 until the file header has been checked.
    table: usize,
    /// Its entries before this offset have been checked. 0 until its start has been found.
    at: usize,
    /// The largest of their name offsets in `.strtab`, and whether one of them was not local.
    last: usize,
    global: bool,
    ended: bool,
    found: Option<Places>,
}

/// The sections in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Places {
    symbols: Range<usize>,
    names: Range<usize>,
    modinfo: Range<usize>,
    /// Empty if there is none.
    versions: Range<usize>,
}

/// The sections that were found in the first part of a module.
#[derive(Debug, Clone)]
pub struct Early<'a> {
    symbols: Symbols<'a>,
    versions: &'a [u8],
    /// The content of `.modinfo`.
    pub modinfo: &'a [u8],
}

impl<'a> Early<'a> {
    /// The symbols that the module needs, as [`super::needed`].
    pub fn needed(&self) -> Result<Vec<Needed<'a>>> {
        let versions = fixed_versions(self.versions, ENCODING).unwrap_or_default();
        needed_by(self.symbols.clone(), versions, false)
    }

    /// The names of the symbols that the module exports, as [`super::exports`]. Their CRCs cannot be located.
    pub fn export_names(&self) -> Vec<&'a [u8]> {
        exported(self.symbols.clone(), |name, _| name).unwrap_or_default()
    }
}

impl Search {
    /// A search in a file of `file_size` bytes. `unsigned`: give up if a signature or other data follows the section headers.
    pub fn new(file_size: u64, unsigned: bool) -> Self {
        Search { file_size, unsigned, ..Search::default() }
    }

    /// Continues the search with the first bytes of the file, at least as many as in the last call.
    pub fn look(&mut self, prefix: &[u8]) -> SearchStatus {
        let more = if self.ended { None } else { self.advance(prefix) };
        self.ended = more.is_none();
        match (more, &self.found) {
            (Some(bytes), _) => SearchStatus::More(bytes),
            (None, Some(_)) => SearchStatus::Found,
            (None, None) => SearchStatus::Never,
        }
    }

    /// How many more bytes are needed; `None` if the search has ended.
    fn advance(&mut self, prefix: &[u8]) -> Option<usize> {
        if self.table == 0 {
            if prefix.len() < HEADER_SIZE {
                return Some(STEP);
            }
            self.header(prefix)?;
            self.table = HEADER_SIZE;
        }
        // The section headers and the bytes after them are not searched.
        let prefix = &prefix[..prefix.len().min(self.headers)];
        let all = prefix.len() == self.headers;
        let more = |bytes| if all { None } else { Some(bytes) };
        if self.at == 0 {
            match find_table(prefix, self.table) {
                Ok(start) => (self.table, self.at) = (start, start + SYMBOL_SIZE),
                Err(next) => {
                    self.table = next;
                    return more(STEP);
                }
            }
        }
        loop {
            let Some(entry) = prefix.get(self.at..self.at + SYMBOL_SIZE) else { return more(STEP) };
            let Some(name) = self.name_offset(entry) else { break };
            self.last = self.last.max(name);
            self.at += SYMBOL_SIZE;
        }
        // The table ends at `at`, where `.strtab` begins.
        let from = self.at + self.last;
        let name = prefix.get(from..).unwrap_or(&[]);
        let length = memchr(0, name);
        if length.unwrap_or(name.len()) > limits::SYMBOL_NAME {
            return None;
        }
        let Some(length) = length else { return more((from + 64).saturating_sub(prefix.len()).max(64)) };
        self.found = places(prefix, self.table..self.at, self.at..from + length + 1);
        None
    }

    /// The sections that were found; `prefix` is that of the last [`Search::look`] or longer.
    pub fn found<'a>(&self, prefix: &'a [u8]) -> Option<Early<'a>> {
        let places = self.found.as_ref()?;
        let part = |range: &Range<usize>| prefix.get(range.clone());
        let symbols = Symbols::of(ENCODING, part(&places.symbols)?, part(&places.names)?).ok()?;
        Some(Early { symbols, versions: part(&places.versions)?, modinfo: part(&places.modinfo)? })
    }

    /// Checks the file header: a 64-bit little-endian relocatable file that contains its section headers.
    fn header(&mut self, prefix: &[u8]) -> Option<()> {
        let known = prefix.starts_with(b"\x7fELF\x02\x01") && ENCODING.u16(prefix, 16)? == 1;
        let machine = ENCODING.u16(prefix, 18)?;
        let sizes = (ENCODING.u16(prefix, 52)?, ENCODING.u16(prefix, 58)?);
        self.headers = ENCODING.word_usize(prefix, 40)?;
        self.sections = ENCODING.u16(prefix, 60)?;
        let names = ENCODING.u16(prefix, 62)?;
        let end = (self.headers as u64).checked_add(u64::from(self.sections) * SECTION_HEADER_SIZE as u64)?;
        let sane = sizes == (HEADER_SIZE as u16, SECTION_HEADER_SIZE as u16)
            && !SPARC_MACHINES.contains(&machine)
            && (1..self.sections).contains(&names)
            && end <= self.file_size
            && (end == self.file_size || !self.unsigned);
        (known && sane).then_some(())
    }

    /// The name offset of a symbol in `.strtab`; `None` if the entry is not a valid symbol.
    fn name_offset(&mut self, entry: &[u8]) -> Option<usize> {
        let name = ENCODING.u32_usize(entry, 0)?;
        let section = ENCODING.u16(entry, 6)?;
        let info = *entry.get(4)?;
        let (binding, kind) = (info >> 4, info & 15);
        // Local symbols come first.
        let ordered = binding > 0 || !self.global;
        self.global |= binding > 0;
        // Only the first entry of a table has neither name nor section. `.strtab` ends before the section headers.
        let sane = (name > 0 || section > 0)
            && binding <= 2
            && (kind <= 4 || kind == 6)
            && (section < self.sections || section == SHN_ABS || section == SHN_COMMON)
            && name < self.headers.saturating_sub(self.at);
        (ordered && sane).then_some(name)
    }
}

/// The offset of the symbol table: an unused entry and the symbol of a section, which has neither name nor size. Else the
/// offset from which to search next time.
fn find_table(prefix: &[u8], from: usize) -> Result<usize, usize> {
    // Up to the type of the second entry, so that matches do not overlap. After it: a zero, the section, 16 zeros.
    let mut needle = [0; SYMBOL_SIZE + 5];
    needle[SYMBOL_SIZE + 4] = 3;
    let rest = prefix.get(from..).unwrap_or(&[]);
    for at in memmem::find_iter(rest, &needle).map(|at| from + at).filter(|at| at % 8 == 0) {
        match prefix.get(at + needle.len()..at + 2 * SYMBOL_SIZE) {
            Some([0, low, high, rest @ ..]) if (*low, *high) != (0, 0) && rest.iter().all(|&b| b == 0) => {
                return Ok(at);
            }
            Some(_) => {}
            // Check this match again when there are more bytes.
            None => return Err(at),
        }
    }
    Err(from.max(prefix.len().saturating_sub(needle.len() - 1)))
}

/// Locates the other sections by the symbols.
fn places(prefix: &[u8], symbols: Range<usize>, names: Range<usize>) -> Option<Places> {
    let text = prefix.get(names.clone()).filter(|text| text.first() == Some(&0))?;
    let table = prefix.get(symbols.clone()).filter(|table| names_cover(table, text))?;
    let all = Symbols::of(ENCODING, table, text).ok()?;
    let contents = prefix.get(..symbols.start)?;
    let (mut needs, mut likely) = (HashSet::new(), Vec::from([VersionSearch::LAYOUT]));
    let (mut section, mut versions) = (None, None);
    let (mut with_crc, mut exported) = (false, false);
    for symbol in all.clone() {
        let name = symbol.name()?;
        if symbol.section == SHN_UNDEF {
            // A longer name does not fit an entry of `__versions`.
            let fits = (1..VERSION_SIZE - VersionSearch::CRC).contains(&name.len());
            if fits && needs.insert(name) && likely.len() < LIKELY {
                likely.push(name);
            }
        } else if name == b"____versions" {
            let whole = symbol.value == 0 && symbol.kind == OBJECT && symbol.size % VERSION_SIZE as u64 == 0;
            if versions.replace((symbol.section, symbol.size)).is_some() || !whole {
                return None;
            }
        } else if name.starts_with(b"____version_ext_") {
            // The kernel reads these instead.
            return None;
        } else if name.starts_with(b"__UNIQUE_ID_vermagic") || name.starts_with(b"__UNIQUE_ID_modinfo") {
            // With recent kernels the name of the symbol does not contain the key.
            if section.replace(symbol.section).is_some_and(|other| other != symbol.section) {
                return None;
            }
        }
        with_crc |= name.starts_with(b"__crc_");
        exported |= name.starts_with(b"__ksymtab_") || name.starts_with(b"__kstrtab_");
    }
    // Without CRCs the exports are known only from `__ksymtab_strings`.
    if exported && !with_crc {
        return None;
    }
    let section = section?;
    let strings = strings(all.clone(), section)?;
    let modinfo = find_modinfo(contents, lower_bound(all.clone(), section)?, &strings)?;
    let find = VersionSearch { contents, needs, likely };
    let versions = match versions {
        Some((section, size)) => find.at(lower_bound(all, section)?, usize::try_from(size).ok()?)?,
        None if find.likely.iter().all(|name| find.entries(name, HEADER_SIZE).is_empty()) => 0..0,
        None => return None,
    };
    Some(Places { symbols, names, modinfo, versions })
}

/// The lowest possible offset of section `section`: the size of the file header and of the sections with lower numbers, as
/// far as symbols state them.
fn lower_bound(symbols: Symbols<'_>, section: u16) -> Option<usize> {
    let mut sizes = vec![0; usize::from(section)];
    for symbol in symbols {
        if let Some(size) = sizes.get_mut(usize::from(symbol.section)) {
            *size = symbol.value.checked_add(symbol.size)?.max(*size);
        }
    }
    // Without index 0, which is for undefined symbols.
    let sum = sizes.iter().skip(1).try_fold(HEADER_SIZE as u64, |sum, &size| sum.checked_add(size))?;
    usize::try_from(sum).ok()
}

/// Offset and length of each string of `.modinfo`, which is section `section`, in order; `None` if there is a gap.
fn strings(symbols: Symbols<'_>, section: u16) -> Option<Vec<(usize, usize)>> {
    let mut strings = Vec::new();
    for symbol in symbols.filter(|symbol| symbol.section == section && symbol.kind == OBJECT) {
        strings.push((usize::try_from(symbol.value).ok()?, usize::try_from(symbol.size).ok()?));
    }
    strings.sort_unstable();
    let mut end = 0usize;
    for &(start, length) in &strings {
        end = end.checked_add(length).filter(|_| start == end)?;
    }
    Some(strings)
}

/// The only range in `contents`, not before `from`, that these strings fit; `None` if there are several or none.
fn find_modinfo(contents: &[u8], from: usize, strings: &[(usize, usize)]) -> Option<Range<usize>> {
    let size = strings.last().map(|(start, length)| start + length)?;
    let longest = strings.iter().map(|string| string.1).max()?;
    // Each occurrence with each string that it can be.
    let mut pairs = Vec::new();
    for (count, at) in memmem::find_iter(contents.get(from..)?, b"vermagic=").enumerate() {
        let rest = contents.get(from + at..)?;
        let length = memchr(0, rest.get(..longest).unwrap_or(rest)).map(|end| end + 1);
        let same = strings.iter().filter(|string| Some(string.1) == length).take(TRIES + 1);
        pairs.extend(same.map(|string| (at, string.0)));
        if count == TRIES || pairs.len() > TRIES {
            return None;
        }
    }
    let bases = pairs.into_iter().filter_map(|(at, start)| Some(from + at.checked_sub(start)?));
    let base = only(bases.filter(|&base| {
        let section = contents.get(base..).and_then(|rest| rest.get(..size)).unwrap_or(&[]);
        strings.iter().all(|&(start, length)| is_string(section.get(start..start + length)))
    }))?;
    // The next bytes must not look like a string without a symbol at the end of the section.
    let (key, _) = split_once(until_nul(contents.get(base + size..)?)?, b'=').unwrap_or_default();
    let like_one = !key.is_empty() && key.iter().all(|&b| b == b'_' || b.is_ascii_alphanumeric());
    (!like_one).then_some(base..base + size)
}

/// The one value; `None` if there are several or none.
fn only<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|other| other == first).then_some(first)
}

/// Whether this is `KEY=VALUE` NUL.
fn is_string(string: Option<&[u8]>) -> bool {
    let Some(text) = string.and_then(|string| string.strip_suffix(b"\0")) else { return false };
    memchr(0, text).is_none() && memchr(b'=', text).is_some_and(|equals| equals > 0)
}

/// Whether the names of all symbols cover `text`, except its first byte, without a gap.
fn names_cover(table: &[u8], text: &[u8]) -> bool {
    let starts = table.chunks_exact(SYMBOL_SIZE).map(|entry| ENCODING.u32_usize(entry, 0).unwrap_or(0));
    let mut starts: Vec<usize> = starts.collect();
    starts.sort_unstable();
    let mut end = 1;
    for start in starts {
        // A name may begin inside another one. Both have the same end.
        if start == end {
            let rest = text.get(start..).unwrap_or(&[]);
            end += memchr(0, rest).map_or(rest.len(), |length| length + 1);
        } else if start > end {
            return false;
        }
    }
    end == text.len()
}

/// Locates the entries of `__versions`.
struct VersionSearch<'a> {
    contents: &'a [u8],
    /// The names of the undefined symbols.
    needs: HashSet<&'a [u8]>,
    /// Some names of likely entries. The entries are not in the order of the symbols, and an undefined symbol may have none.
    likely: Vec<&'a [u8]>,
}

impl VersionSearch<'_> {
    /// The build adds an entry for this symbol to every module.
    const LAYOUT: &'static [u8] = b"module_layout";
    /// The size of the field with the CRC, in bytes.
    const CRC: usize = 8;

    /// The only range, not before `from`, with entries of `size` bytes in all.
    fn at(&self, from: usize, size: usize) -> Option<Range<usize>> {
        let run = |entry: usize| {
            let (mut start, mut end) = (entry, entry + VERSION_SIZE);
            // Walk at most one entry more than fits `size`.
            while start >= from + VERSION_SIZE && end - start <= size && self.is_entry(start - VERSION_SIZE) {
                start -= VERSION_SIZE;
            }
            while end - start <= size && self.is_entry(end) {
                end += VERSION_SIZE;
            }
            start..end
        };
        self.likely.iter().find_map(|name| {
            let mut walked = 0..0;
            let runs = self.entries(name, from).into_iter().filter_map(|entry| {
                if walked.contains(&entry) && (entry - walked.start) % VERSION_SIZE == 0 {
                    return None;
                }
                walked = run(entry);
                Some(walked.clone())
            });
            only(runs.filter(|range| range.len() == size))
        })
    }

    /// The offsets of entries for `name`, among its first [`TRIES`] occurrences.
    fn entries(&self, name: &[u8], from: usize) -> Vec<usize> {
        let rest = self.contents.get(from..).unwrap_or(&[]);
        let needle = [name, b"\0"].concat();
        let places = memmem::find_iter(rest, &needle).take(TRIES);
        let places = places.filter_map(|at| Some(from + at.checked_sub(Self::CRC)?));
        places.filter(|&at| self.is_entry(at)).collect()
    }

    fn is_entry(&self, at: usize) -> bool {
        let entry = self.contents.get(at..).and_then(|rest| rest.get(..VERSION_SIZE));
        let Some([_, _, _, _, 0, 0, 0, 0, room @ ..]) = entry else { return false };
        split_once(room, 0).is_some_and(|(name, padding)| {
            padding.iter().all(|&b| b == 0) && (name == Self::LAYOUT || self.needs.contains(name))
        })
    }
}
