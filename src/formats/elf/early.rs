//! A module's symbols, `.modinfo` and `__versions` from the beginning of its file: what need not be decoded for them is
//! not.
//!
//! The section headers, which alone say where a section is, stand at the very end of a module, behind the relocations,
//! which are a third of the work of decoding it. In front of them lies everything that depmod wants:
//!
//! ```text
//! file header | sections' contents | .symtab | .strtab | .rela.* | .shstrtab | section headers      (GNU ld -r)
//! ```
//!
//! So the places are found by what the contents say of each other, and checked against it:
//!
//! * `.symtab` begins with the unused entry (24 zeros) and the symbol of a section. It goes on for as long as entries make
//!   sense: what follows is `.strtab`, a NUL and text, which makes none (its first four bytes would be the offset of a
//!   name, hundreds of megabytes away). `.strtab` goes to the end of the name that begins last, and the names must cover
//!   it without a gap.
//! * `.modinfo`: each of its strings has a symbol with its place in the section and its length. They must cover the
//!   section from its start without a gap. The section is where all of them are strings with a `=`, ended by NUL where
//!   the symbols say, and the one with `vermagic=`, which every module has, is one of them. There must be one such place.
//! * `__versions`: the symbol `____versions` gives its size. It is where so many entries follow each other, and no more,
//!   each the name of an undefined symbol (or `module_layout`) padded with NULs, behind four bytes of CRC and four zeros.
//!   Without such a symbol there must be no such entry.
//!
//! **Why this equals what the section headers say**, for anything that a linker makes: the symbol table is the linker's own
//! account of where things are in their sections, and what is missing in it, the place of the section in the file, has no
//! second solution, since the strings and names of a module do not stand in it twice in the same arrangement. (It is
//! searched for behind what the symbols say of the sections with lower numbers, which spares searching the code.) What has no
//! symbol (strings from an object whose symbols were stripped, or by hand in assembly) leaves a gap, or stands behind
//! the last string, where what follows must not look like another one. In every doubt there is no answer, and the whole
//! file is decoded: other linkers' layouts (lld puts `.strtab` elsewhere), other byte orders, 32 bits, exports without
//! CRCs. The tests compare every module of two distribution kernels, and damaged ones.
//!
//! **What a hostile file gains**: nothing. It can be made so that the two answers differ, but its maker also decides what its
//! sections say.
//!
//! **Why it is worth its lines.** Decoding is nearly all of depmod's work on a tree of `.ko.xz`: with this, Debian's 6.12
//! takes a quarter less processor time than without. There is no cheaper way to the same: xz cannot be entered in its
//! middle, and the section headers stand at the end.
//!
//! **The work is bounded** for any input: it grows with the size of what is decoded and no faster. The prefix is searched
//! once, as it grows. `.modinfo` and `__versions` are looked for at [`TRIES`] occurrences of a string at most, at each with
//! one walk over no more than the symbols say that the section has; runs of entries are walked once. A name is read up to
//! [`limits::SYMBOL_NAME`] bytes. Where that is not enough, the whole file is decoded, as without this.

use super::encoding::Encoding;
use super::symbols::{
    Needed, SHN_ABS, SHN_UNDEF, SPARC_MACHINES, Symbols, VERSION, export_names, needed_by, until_nul,
};
use crate::error::Result;
use crate::limits;
use memchr::{memchr, memmem};
use std::collections::HashSet;
use std::ops::Range;

/// The layout that is known: 64 bits, little-endian.
const ENCODING: Encoding = Encoding { wide: true, big: false };
/// The sizes of the file header, of a section header and of a symbol.
const HEADER: usize = 64;
const SECTION_HEADER: usize = 64;
const SYMBOL: usize = 24;
/// How much is asked for while the symbol table is looked for, and in it. Little, since modules are small.
const STEP: usize = 4096;
/// Section index of a symbol that waits for its place.
const SHN_COMMON: u16 = 0xfff2;
/// Type of a symbol that is data.
const OBJECT: u8 = 1;
/// How many places that a section might have are looked at.
const TRIES: usize = 32;
/// How many names of entries of `__versions` are searched for.
const LIKELY: usize = 5;

/// What is to be done with a prefix that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Come back with so many bytes more (or with any number, it only takes longer).
    More(usize),
    /// Everything was found; [`Search::found`] has it.
    Found,
    /// Only the whole file will tell.
    Never,
}

/// The search in a prefix that grows.
#[derive(Debug)]
pub struct Search {
    stage: Stage,
    /// Of the whole file.
    file_size: u64,
    /// Whether nothing may follow the section headers.
    unsigned: bool,
    /// Where the section headers begin, and how many there are.
    headers: usize,
    sections: u16,
}

#[derive(Debug)]
enum Stage {
    Header,
    /// The symbol table begins nowhere before this.
    Table(usize),
    /// It begins at `start`, and what comes before `at` belongs to it.
    Symbols {
        start: usize,
        at: usize,
        /// Where the last name begins in `.strtab`.
        last: usize,
        /// Whether a symbol was not local.
        global: bool,
    },
    /// It ends where `.strtab` begins, at `names`.
    Names {
        start: usize,
        names: usize,
        last: usize,
    },
    Found(Places),
    Never,
}

/// Where the sections are in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Places {
    symbols: Range<usize>,
    names: Range<usize>,
    modinfo: Range<usize>,
    /// Empty where there is none.
    versions: Range<usize>,
}

/// What the beginning of a module tells.
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
        needed_by(self.symbols.clone(), super::symbols::Versions::Fixed(self.versions), ENCODING, false)
    }

    /// The names of the symbols that the module exports, as [`super::exports`]; their CRCs lie where no symbol tells.
    pub fn export_names(&self) -> Vec<&'a [u8]> {
        export_names(self.symbols.clone()).unwrap_or_default()
    }
}

impl Search {
    /// A search in a file that is `file_size` bytes long. `unsigned`: there is no answer for one with a signature, or
    /// anything else, behind the section headers.
    pub fn new(file_size: u64, unsigned: bool) -> Self {
        Search { stage: Stage::Header, file_size, unsigned, headers: 0, sections: 0 }
    }

    /// Looks at the first bytes of the file, at least as many as the time before.
    pub fn look(&mut self, prefix: &[u8]) -> Look {
        loop {
            // What lies behind the section headers is none of the module's.
            let prefix = match self.stage {
                Stage::Header => prefix,
                _ => &prefix[..prefix.len().min(self.headers)],
            };
            let step = match &mut self.stage {
                Stage::Found(_) => return Look::Found,
                Stage::Never => return Look::Never,
                Stage::Header if prefix.len() < HEADER => return Look::More(STEP),
                Stage::Header => self.header(prefix).map(|()| Stage::Table(HEADER)),
                Stage::Table(from) => match find_table(prefix, *from) {
                    Ok(start) => Some(Stage::Symbols { start, at: start + SYMBOL, last: 0, global: false }),
                    Err(next) => {
                        *from = next;
                        if prefix.len() < self.headers {
                            return Look::More(STEP);
                        }
                        None
                    }
                },
                Stage::Symbols { start, at, last, global } => {
                    let mut next = None;
                    while let Some(entry) = prefix.get(*at..*at + SYMBOL) {
                        let room = self.headers.saturating_sub(*at);
                        let Some(name) = symbol_name(entry, self.sections, room, global) else {
                            next = Some(Stage::Names { start: *start, names: *at, last: *last });
                            break;
                        };
                        *last = name.max(*last);
                        *at += SYMBOL;
                    }
                    if next.is_none() && prefix.len() < self.headers {
                        return Look::More(STEP);
                    }
                    next
                }
                Stage::Names { start, names, last } => {
                    let from = *names + *last;
                    let name = prefix.get(from..).unwrap_or(&[]);
                    match memchr(0, name) {
                        Some(length) if length > limits::SYMBOL_NAME => None,
                        Some(length) => {
                            places(prefix, *start..*names, *names..from + length + 1).map(Stage::Found)
                        }
                        None if prefix.len() < self.headers && name.len() <= limits::SYMBOL_NAME => {
                            return Look::More((from + 64).saturating_sub(prefix.len()).max(64));
                        }
                        None => None,
                    }
                }
            };
            self.stage = step.unwrap_or(Stage::Never);
        }
    }

    /// What was found in the file, of which `prefix` is at least what it was found in.
    pub fn found<'a>(&self, prefix: &'a [u8]) -> Option<Early<'a>> {
        let Stage::Found(places) = &self.stage else { return None };
        let part = |range: &Range<usize>| prefix.get(range.clone());
        let symbols = Symbols::of(ENCODING, part(&places.symbols)?, part(&places.names)?).ok()?;
        Some(Early { symbols, versions: part(&places.versions)?, modinfo: part(&places.modinfo)? })
    }

    /// Checks the file header: a 64-bit little-endian relocatable file whose section headers lie inside it.
    fn header(&mut self, prefix: &[u8]) -> Option<()> {
        let known = prefix.starts_with(b"\x7fELF\x02\x01") && ENCODING.u16(prefix, 16)? == 1;
        let machine = ENCODING.u16(prefix, 18)?;
        let sizes = (ENCODING.u16(prefix, 52)?, ENCODING.u16(prefix, 58)?);
        self.headers = ENCODING.word_usize(prefix, 40)?;
        self.sections = ENCODING.u16(prefix, 60)?;
        let names = ENCODING.u16(prefix, 62)?;
        let end = (self.headers as u64).checked_add(u64::from(self.sections) * SECTION_HEADER as u64)?;
        let sane = sizes == (HEADER as u16, SECTION_HEADER as u16)
            && !SPARC_MACHINES.contains(&machine)
            && (1..self.sections).contains(&names)
            && end <= self.file_size
            && (end == self.file_size || !self.unsigned);
        (known && sane).then_some(())
    }
}

/// Where the symbol table begins: at an unused entry and the symbol of a section, which has neither name nor size. Else from
/// where to go on.
fn find_table(prefix: &[u8], from: usize) -> Result<usize, usize> {
    // Up to the kind of the second one, so that no two of them overlap; a zero follows, its section, and 16 zeros.
    let mut needle = [0; SYMBOL + 5];
    needle[SYMBOL + 4] = 3;
    let rest = prefix.get(from..).unwrap_or(&[]);
    for at in memmem::find_iter(rest, &needle).map(|at| from + at).filter(|at| at % 8 == 0) {
        match prefix.get(at + needle.len()..at + 2 * SYMBOL) {
            Some([0, low, high, rest @ ..]) if (*low, *high) != (0, 0) && rest.iter().all(|&b| b == 0) => {
                return Ok(at);
            }
            Some(_) => {}
            // Again, when there is more to see.
            None => return Err(at),
        }
    }
    Err(from.max(prefix.len().saturating_sub(needle.len() - 1)))
}

/// Where the name of a symbol begins in `.strtab`, of which there are no more than `room` bytes; `None` for what is no
/// symbol. `global`: whether one was not local; local ones come first.
fn symbol_name(entry: &[u8], sections: u16, room: usize, global: &mut bool) -> Option<usize> {
    let name = ENCODING.u32(entry, 0)? as usize;
    let info = *entry.get(4)?;
    let (binding, kind) = (info >> 4, info & 15);
    let section = ENCODING.u16(entry, 6)?;
    let ordered = binding > 0 || !*global;
    *global |= binding > 0;
    // Only the first entry is unused: where there is another one, the table begins there, and not where it seemed to.
    let sane = (name > 0 || section > 0)
        && binding <= 2
        && (kind <= 4 || kind == 6)
        && (section < sections || section == SHN_ABS || section == SHN_COMMON)
        && name < room;
    (ordered && sane).then_some(name)
}

/// Where the other sections are, from the symbols.
fn places(prefix: &[u8], symbols: Range<usize>, names: Range<usize>) -> Option<Places> {
    let text = prefix.get(names.clone()).filter(|text| text.first() == Some(&0))?;
    let table = prefix.get(symbols.clone()).filter(|table| names_cover(table, text))?;
    let all = Symbols::of(ENCODING, table, text).ok()?;
    let contents = prefix.get(..symbols.start)?;
    let (mut needs, mut likely) = (HashSet::new(), Vec::from([Versions::LAYOUT]));
    let (mut section, mut versions) = (None, None);
    let (mut with_crc, mut exported) = (false, false);
    for symbol in all.clone() {
        let name = symbol.name()?;
        if symbol.section == SHN_UNDEF {
            // Longer ones have no entry in `__versions`.
            let fits = (1..VERSION - Versions::CRC).contains(&name.len());
            if fits && needs.insert(name) && likely.len() < LIKELY {
                likely.push(name);
            }
        } else if name == b"____versions" {
            let whole = symbol.value == 0 && symbol.kind == OBJECT && symbol.size % VERSION as u64 == 0;
            if versions.replace((symbol.section, symbol.size)).is_some() || !whole {
                return None;
            }
        } else if name.starts_with(b"____version_ext_") {
            // The kernel looks at these instead.
            return None;
        } else if let Some(key) = name.strip_prefix(b"__UNIQUE_ID_") {
            // Recent kernels do not put the key into the name.
            if (key.starts_with(b"vermagic") || key.starts_with(b"modinfo"))
                && section.replace(symbol.section).is_some_and(|other| other != symbol.section)
            {
                return None;
            }
        }
        with_crc |= name.starts_with(b"__crc_");
        exported |= name.starts_with(b"__ksymtab_") || name.starts_with(b"__kstrtab_");
    }
    // Without CRCs, only the section with their names tells of exports.
    if exported && !with_crc {
        return None;
    }
    let section = section?;
    let strings = strings(all.clone(), section)?;
    let modinfo = find_modinfo(contents, lower_bound(all.clone(), section)?, &strings)?;
    let find = Versions { contents, needs, likely };
    let versions = match versions {
        None => find.none()?,
        Some((section, size)) => find.at(lower_bound(all, section)?, usize::try_from(size).ok()?)?,
    };
    Some(Places { symbols, names, modinfo, versions })
}

/// Where section `section` begins at the earliest: behind the file header and what symbols say of the sections with lower
/// numbers.
fn lower_bound(symbols: Symbols<'_>, section: u16) -> Option<usize> {
    let mut sizes = vec![0; usize::from(section)];
    for symbol in symbols {
        if let Some(size) = sizes.get_mut(usize::from(symbol.section)) {
            *size = symbol.value.checked_add(symbol.size)?.max(*size);
        }
    }
    // Symbols without a section say nothing of the file.
    let sum = sizes.iter().skip(1).try_fold(HEADER as u64, |sum, &size| sum.checked_add(size))?;
    usize::try_from(sum).ok()
}

/// Place and length of each string of `.modinfo`, which is section `section`, in its order; `None` if they do not cover it.
fn strings(symbols: Symbols<'_>, section: u16) -> Option<Vec<(usize, usize)>> {
    let mut strings = Vec::new();
    for symbol in symbols.filter(|symbol| symbol.section == section && symbol.kind == OBJECT) {
        strings.push((usize::try_from(symbol.value).ok()?, usize::try_from(symbol.size).ok()?));
    }
    strings.sort_unstable();
    let mut end = 0usize;
    for &(start, length) in &strings {
        if start != end {
            return None;
        }
        end = start.checked_add(length)?;
    }
    Some(strings)
}

/// The one place in `contents`, not before `from`, where these strings are.
fn find_modinfo(contents: &[u8], from: usize, strings: &[(usize, usize)]) -> Option<Range<usize>> {
    let size = strings.last().map(|(start, length)| start + length)?;
    let longest = strings.iter().map(|string| string.1).max()?;
    let mut found: Option<usize> = None;
    let mut tries = 0;
    let places = memmem::find_iter(contents.get(from..)?, b"vermagic=").map(|at| from + at);
    for (count, at) in places.enumerate() {
        if count == TRIES {
            return None;
        }
        let rest = contents.get(at..)?;
        let Some(end) = memchr(0, rest.get(..longest).unwrap_or(rest)) else { continue };
        let length = end + 1;
        for start in strings.iter().filter(|string| string.1 == length).map(|string| string.0) {
            tries += 1;
            if tries > TRIES {
                return None;
            }
            let Some(base) = at.checked_sub(start).filter(|&base| base >= from) else { continue };
            let Some(section) = contents.get(base..).and_then(|rest| rest.get(..size)) else { continue };
            if strings.iter().all(|&(start, length)| is_entry(section.get(start..start + length)))
                && found.replace(base).is_some_and(|other| other != base)
            {
                return None;
            }
        }
    }
    let base = found?;
    // Strings without symbols at the end of the section would look like this.
    let behind = until_nul(contents.get(base + size..)?)?;
    let key = memchr(b'=', behind).and_then(|length| behind.get(..length)).unwrap_or(&[]);
    let like_one = !key.is_empty() && key.iter().all(|&b| b == b'_' || b.is_ascii_alphanumeric());
    (!like_one).then_some(base..base + size)
}

/// Whether this is `KEY=VALUE` NUL.
fn is_entry(string: Option<&[u8]>) -> bool {
    let Some(text) = string.and_then(|string| string.strip_suffix(b"\0")) else { return false };
    memchr(0, text).is_none() && memchr(b'=', text).is_some_and(|equals| equals > 0)
}

/// Whether the names of all symbols cover `text`, but for its first byte, without a gap.
fn names_cover(table: &[u8], text: &[u8]) -> bool {
    let start = |entry: &[u8]| ENCODING.u32(entry, 0).map_or(0, |start| start as usize);
    let mut starts: Vec<usize> = table.chunks_exact(SYMBOL).map(start).collect();
    starts.sort_unstable();
    let mut end = 1;
    for start in starts {
        // One that begins in another one ends with it.
        if start == end {
            let rest = text.get(start..).unwrap_or(&[]);
            end += memchr(0, rest).map_or(rest.len(), |length| length + 1);
        } else if start > end {
            return false;
        }
    }
    end == text.len()
}

/// The search for the entries of `__versions`.
struct Versions<'a> {
    contents: &'a [u8],
    /// The names of the undefined symbols.
    needs: HashSet<&'a [u8]>,
    /// Some names that have entries, if any have. The order of the entries is not that of the symbols, and a needed symbol
    /// may lack its entry.
    likely: Vec<&'a [u8]>,
}

impl Versions<'_> {
    /// What the linker has entries for without anybody's asking.
    const LAYOUT: &'static [u8] = b"module_layout";
    /// The room for the CRC.
    const CRC: usize = 8;

    /// The one place, not before `from`, where entries of `size` bytes in all are.
    fn at(&self, from: usize, size: usize) -> Option<Range<usize>> {
        let find = |name: &[u8]| {
            let mut found = None;
            let mut walked = 0..0;
            for entry in self.entries(name, from) {
                if walked.contains(&entry) && (entry - walked.start) % VERSION == 0 {
                    continue;
                }
                let (mut start, mut end) = (entry, entry + VERSION);
                // One more than there should be is too many.
                while start >= from + VERSION && end - start <= size && self.is_entry(start - VERSION) {
                    start -= VERSION;
                }
                while end - start <= size && self.is_entry(end) {
                    end += VERSION;
                }
                walked = start..end;
                if end - start == size && found.replace(start..end).is_some_and(|other| other != (start..end))
                {
                    return None;
                }
            }
            found
        };
        self.likely.iter().find_map(|name| find(name))
    }

    /// No place, if there is no entry.
    fn none(&self) -> Option<Range<usize>> {
        let nowhere = self.likely.iter().all(|name| self.entries(name, HEADER).next().is_none());
        nowhere.then_some(0..0)
    }

    /// The entries for `name` among the first places where it stands.
    fn entries(&self, name: &[u8], from: usize) -> impl Iterator<Item = usize> {
        let rest = self.contents.get(from..).unwrap_or(&[]);
        let needle = [name, b"\0"].concat();
        let places: Vec<usize> = memmem::find_iter(rest, &needle).take(TRIES).collect();
        let places = places.into_iter().filter_map(|at| at.checked_sub(Self::CRC));
        places.map(move |at| from + at).filter(|&at| self.is_entry(at))
    }

    fn is_entry(&self, at: usize) -> bool {
        let entry = self.contents.get(at..).and_then(|rest| rest.get(..VERSION));
        let Some((crc, room)) = entry.and_then(|entry| entry.split_at_checked(Self::CRC)) else {
            return false;
        };
        let end = memchr(0, room).filter(|&end| end > 0);
        let Some((name, padding)) = end.and_then(|end| room.split_at_checked(end)) else { return false };
        crc.ends_with(&[0; 4])
            && padding.iter().all(|&b| b == 0)
            && (name == Self::LAYOUT || self.needs.contains(name))
    }
}
