//! What depmod reads from a module file.
//!
//! Lists of strings are stored as one run of bytes, each string ended by NUL, which none of them can hold: a tree has some
//! 300,000 needed symbols.

use crate::error::{Errno, Error, Result};
use crate::formats::compress::{self, Compression};
use crate::formats::elf::{Elf, Needed, exports, needed};
use crate::formats::modinfo;
use crate::formats::reading::{self, Depth, Reading};
use crate::formats::signature;
use crate::limits;
use std::borrow::Cow;

/// Strings, each ended by NUL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strings<'a>(pub Cow<'a, [u8]>);

impl Strings<'_> {
    pub fn push(&mut self, text: &[u8]) {
        let all = self.0.to_mut();
        all.extend_from_slice(text);
        all.push(0);
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split_inclusive(|&b| b == 0).filter_map(|text| text.strip_suffix(b"\0"))
    }
}

/// The parts of `.modinfo` that go into the output files: the values of `alias=`, `softdep=` and `weakdep=`, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info<'a> {
    pub aliases: Strings<'a>,
    pub softdeps: Strings<'a>,
    pub weakdeps: Strings<'a>,
}

/// The symbols of a module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Symbols {
    /// What it exports, in the order of its symbol table.
    pub exports: Strings<'static>,
    /// The CRC of each export; empty if it was not read.
    pub export_crcs: Vec<u64>,
    /// The symbols that it needs, in the order that decides on the order of dependencies.
    pub needs: Strings<'static>,
    /// The CRC of each needed symbol, and whether it is weak.
    pub need_crcs: Vec<(u64, bool)>,
}

/// Everything read from one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// From `.modinfo`; empty if that could not be read.
    pub info: Info<'static>,
    /// From the symbol table; empty if that could not be read.
    pub symbols: Symbols,
    /// Why something could not be read.
    pub trouble: Option<Trouble>,
    /// The content of `.modinfo`; only read for [`Wanted::Everything`].
    pub modinfo: Vec<u8>,
    /// Whether there is a signature at the end; only read for [`Wanted::Everything`].
    pub signed: bool,
}

/// How much of a module to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Symbols by name, and the parts of `.modinfo` that go into the output files.
    Names,
    /// The same with the CRCs of exports, which takes the whole file.
    Crcs,
    /// Everything in [`Facts`], for `kmod check`.
    Everything,
}

/// Why a module file could not be read. The module is kept, without what could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The decoder's message, for damaged compressed data.
    pub decoder: Option<String>,
    /// Why the exports are unknown.
    pub errno: Errno,
}

/// Reads modules from the contents of their files.
#[derive(Debug)]
pub struct Reader {
    pub(super) wanted: Wanted,
    /// The buffer of the decompressed image, reused for each module.
    buffer: Vec<u8>,
}

impl Reader {
    pub fn new(wanted: Wanted) -> Self {
        Reader { wanted, buffer: Vec::new() }
    }

    /// Reads one module.
    pub fn read(&mut self, content: &[u8]) -> Facts {
        let depth = if self.wanted == Wanted::Names { Depth::Symbols } else { Depth::Whole };
        match reading::read(content, limits::INFLATED, depth, &mut self.buffer) {
            Ok(Reading::Early(module)) => {
                let mut facts = Facts::of(module.needed(), module.modinfo);
                module.export_names().iter().for_each(|name| facts.symbols.exports.push(name));
                facts
            }
            Ok(Reading::Whole(image)) => {
                Facts::whole(image, self.wanted).unwrap_or_else(|error| Facts::failed(&error, None))
            }
            Err(error) => {
                // A file that is too short for any compression did not reach a decoder.
                let compressed = compress::detect(content) != Compression::None;
                Facts::failed(&error, compressed.then(|| error.what().to_string()))
            }
        }
    }
}

impl Facts {
    /// No facts, since `error` happened; with the decoder's message.
    pub(super) fn failed(error: &Error, decoder: Option<String>) -> Facts {
        Facts { trouble: Some(Trouble { decoder, errno: error.errno() }), ..Facts::default() }
    }

    /// The facts from the uncompressed file `image`; an error if it is no ELF file.
    fn whole(image: &[u8], wanted: Wanted) -> Result<Facts> {
        let elf = Elf::parse(image)?;
        let modinfo = modinfo::section(&elf).unwrap_or_default();
        let mut facts = Facts::of(needed(&elf), modinfo);
        match exports(&elf) {
            Ok(exports) => {
                for export in exports {
                    facts.symbols.exports.push(export.name);
                    facts.symbols.export_crcs.push(export.crc);
                }
            }
            // Having no exports is no problem.
            Err(error) if error.errno() == Errno::ENODATA => {}
            Err(error) => facts.trouble = Some(Trouble { decoder: None, errno: error.errno() }),
        }
        if wanted == Wanted::Everything {
            facts.modinfo = modinfo.to_vec();
            facts.signed = signature::parse(image).is_some();
        }
        Ok(facts)
    }

    /// The facts from the needed symbols and the `.modinfo` section.
    fn of(needs: Result<Vec<Needed<'_>>>, modinfo: &[u8]) -> Facts {
        let mut facts = Facts::default();
        // If its needed symbols cannot be read, it has none.
        for needed in needs.unwrap_or_default() {
            facts.symbols.needs.push(needed.name);
            facts.symbols.need_crcs.push((needed.crc, needed.weak));
        }
        for (key, value) in modinfo::entries(modinfo) {
            match key {
                b"alias" => facts.info.aliases.push(value),
                b"softdep" => facts.info.softdeps.push(value),
                b"weakdep" => facts.info.weakdeps.push(value),
                _ => {}
            }
        }
        facts
    }
}
