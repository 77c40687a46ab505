//! The bytes of a cache.
//!
//! ```text
//!  0  16  "kmod-once depmod", without NUL
//! 16   4  version of this layout, little-endian
//! 20   4  CRC-32 of all that follows, little-endian
//! 24   …  numbers as LEB128; byte strings as length, bytes
//!         directory (bytes)
//!         names: count, then each as bytes
//!         needs: count, then each as name*2 + weak, CRC
//!         modules: count, then each as
//!             digest of the file: its length, two numbers
//!             aliases, softdeps, weakdeps (bytes: strings, each ended by NUL)
//!             exports: count*2 + whether their CRCs were not read, then each as name, CRC
//!             needs: count, then each as the number of a need
//! ```

use super::CacheFile;
use crate::depmod::digest::Digest;
use crate::depmod::facts::{Info, Strings};
use crate::depmod::interner::{InternedFacts, Interner, Need};
use std::borrow::Cow;
use std::collections::HashMap;

const MAGIC: &[u8; 16] = b"kmod-once depmod";
/// To be raised when the layout or the facts change.
const VERSION: u32 = 3;
/// The length of the header, which the checksum does not cover.
pub(super) const HEADER: usize = 24;
/// The number of a name or need that no module refers to so far.
const UNUSED: u32 = u32::MAX;

/// Whether the header is valid: magic, version and checksum.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    bytes.get(HEADER..).is_some_and(|contents| bytes.starts_with(&header(contents)))
}

/// The directory that a cache is about, from its first bytes; `None` if they are not those of a cache.
pub(super) fn directory(start: &[u8]) -> Option<&[u8]> {
    start.starts_with(MAGIC).then_some(())?;
    Bytes(start.get(HEADER..)?).string()
}

/// The header in front of `contents`.
fn header(contents: &[u8]) -> [u8; HEADER] {
    let mut crc = flate2::Crc::new();
    crc.update(contents);
    let mut header = [0; HEADER];
    header[..16].copy_from_slice(MAGIC);
    header[16..20].copy_from_slice(&VERSION.to_le_bytes());
    header[20..].copy_from_slice(&crc.sum().to_le_bytes());
    header
}

/// A parsed cache.
#[derive(Default)]
pub struct Remembered<'c> {
    pub interner: Interner<'c>,
    /// The facts of each module, by the digest of its file.
    pub modules: HashMap<Digest, InternedFacts<'c>>,
}

impl<'c> Remembered<'c> {
    /// Parses the bytes from [`CacheFile::load`]; `None` if they are invalid.
    pub fn parse(bytes: &'c [u8]) -> Option<Self> {
        let mut bytes = Bytes(bytes.get(HEADER..)?);
        bytes.string()?;
        let names: Vec<&[u8]> = bytes.list(Bytes::string)?;
        let need = |bytes: &mut Bytes<'c>| {
            let (name, crc) = (bytes.number()?, bytes.number()?);
            let known = name >> 1 < names.len() as u64;
            known.then_some(Need { name: (name >> 1) as u32, crc, weak: name & 1 == 1 })
        };
        let needs = bytes.list(need)?;
        let count = bytes.number()?;
        // Each takes eight bytes at least.
        let mut modules = HashMap::with_capacity(usize::try_from(count).ok()?.min(bytes.0.len() / 8));
        for _ in 0..count {
            let digest = Digest { length: bytes.number()?, mixed: [bytes.number()?, bytes.number()?] };
            let info =
                Info { aliases: bytes.strings()?, softdeps: bytes.strings()?, weakdeps: bytes.strings()? };
            let count = bytes.number()?;
            let export = |bytes: &mut Bytes<'c>| Some((bytes.below(names.len())?, bytes.number()?));
            let exports = bytes.items(count >> 1, export)?;
            let without_crcs = count & 1 == 1;
            let needs = bytes.list(|bytes| bytes.below(needs.len()))?;
            modules.insert(digest, InternedFacts { info, exports, without_crcs, needs, trouble: None });
        }
        bytes.0.is_empty().then(|| Remembered { interner: Interner::of(names, needs), modules })
    }
}

/// The bytes still to be parsed.
struct Bytes<'c>(&'c [u8]);

impl<'c> Bytes<'c> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn below(&mut self, bound: usize) -> Option<u32> {
        let number = self.number()?;
        (number < bound as u64).then_some(number as u32)
    }

    fn string(&mut self) -> Option<&'c [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }

    fn strings(&mut self) -> Option<Strings<'c>> {
        Some(Strings(Cow::Borrowed(self.string()?)))
    }

    fn list<T>(&mut self, item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.number()?;
        self.items(count, item)
    }

    fn items<T>(&mut self, count: u64, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        // Every item takes at least a byte: an impossible count allocates nothing.
        let count = usize::try_from(count).ok().filter(|&count| count <= self.0.len())?;
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(item(self)?);
        }
        Some(list)
    }
}

/// The bytes of a cache of the facts about modules, each with the digest of its file; without names and needs that no
/// module refers to.
pub fn render(place: &CacheFile, interner: &Interner<'_>, facts: &[(Digest, &InternedFacts<'_>)]) -> Vec<u8> {
    let mut name_numbers = vec![UNUSED; interner.names.len()];
    let mut need_numbers = vec![UNUSED; interner.needs.len()];
    let (mut names, mut needs) = (Vec::new(), Vec::new());
    for (_, known) in facts {
        known.needs.iter().for_each(|&id| renumber(&mut need_numbers, &mut needs, id));
        known.exports.iter().for_each(|&(name, _)| renumber(&mut name_numbers, &mut names, name));
    }
    needs.iter().for_each(|&id| renumber(&mut name_numbers, &mut names, interner.need(id).name));

    let mut out = Out(vec![0; HEADER]);
    out.string(&place.directory);
    out.number(names.len() as u64);
    names.iter().for_each(|&name| out.string(interner.name(name)));
    out.number(needs.len() as u64);
    for &id in &needs {
        let need = interner.need(id);
        out.number(u64::from(name_numbers[need.name as usize]) << 1 | u64::from(need.weak));
        out.number(need.crc);
    }
    out.number(facts.len() as u64);
    for (digest, known) in facts {
        out.number(digest.length);
        digest.mixed.iter().for_each(|&half| out.number(half));
        for strings in [&known.info.aliases, &known.info.softdeps, &known.info.weakdeps] {
            out.string(&strings.0);
        }
        out.number((known.exports.len() as u64) << 1 | u64::from(known.without_crcs));
        for &(name, crc) in &known.exports {
            out.number(u64::from(name_numbers[name as usize]));
            out.number(crc);
        }
        out.number(known.needs.len() as u64);
        known.needs.iter().for_each(|&id| out.number(u64::from(need_numbers[id as usize])));
    }
    let header = header(&out.0[HEADER..]);
    out.0[..HEADER].copy_from_slice(&header);
    out.0
}

/// Gives `id` the next number if it has none yet.
fn renumber(numbers: &mut [u32], order: &mut Vec<u32>, id: u32) {
    let number = &mut numbers[id as usize];
    if *number == UNUSED {
        *number = order.len() as u32;
        order.push(id);
    }
}

struct Out(Vec<u8>);

impl Out {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn string(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}
