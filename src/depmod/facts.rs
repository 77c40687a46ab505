//! What depmod reads from a module file.
//!
//! Lists of strings are stored as one run of bytes, each string ended by NUL, which none of them can hold: a tree has some
//! 300,000 needed symbols.

use crate::error::{Errno, Error, Result};
use crate::formats::compress;
use crate::formats::elf::{Early, Elf, Needed, exports, needed};
use crate::formats::modinfo;
use crate::formats::reading::{self, Depth, Reading};
use crate::formats::signature;
use crate::limits;
use std::borrow::Cow;

/// Strings, each ended by NUL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strings<'a>(pub Cow<'a, [u8]>);

impl Strings<'_> {
    /// Adds one at the end.
    pub fn push(&mut self, text: &[u8]) {
        let all = self.0.to_mut();
        all.extend_from_slice(text);
        all.push(0);
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split_inclusive(|&b| b == 0).filter_map(|text| text.strip_suffix(b"\0"))
    }
}

/// The parts of `.modinfo` that go into the output files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info<'a> {
    /// `alias=`, in order.
    pub aliases: Strings<'a>,
    /// `softdep=`, in order.
    pub softdeps: Strings<'a>,
    /// `weakdep=`, in order.
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
    /// Only read for [`Wanted::Everything`].
    pub more: More,
}

/// What `kmod check` needs beyond the output files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct More {
    pub modinfo: Vec<u8>,
    /// Whether there is a signature at the end.
    pub signed: bool,
}

/// How much of a module to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Symbols by name, and the parts of `.modinfo` that go into the output files.
    Names,
    /// The same with the CRCs of exports, which takes the whole file.
    Crcs,
    /// Everything in [`Facts`].
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
    wanted: Wanted,
    /// The buffer of the decompressed image, reused for each module.
    buffer: Vec<u8>,
}

impl Reader {
    /// A reader.
    pub fn new(wanted: Wanted) -> Self {
        Reader { wanted, buffer: Vec::new() }
    }

    /// Reads one module.
    pub fn read(&mut self, content: &[u8]) -> Facts {
        match self.try_read(content) {
            Ok(facts) => facts,
            Err(error) => {
                // A file that is too short for any compression did not reach a decoder.
                let compressed = compress::detect(content) != compress::Compression::None;
                let decoder = compressed.then(|| error.what().to_string());
                Facts::failed(Trouble { decoder, errno: error.errno() })
            }
        }
    }

    /// # Errors
    /// If the file cannot be decompressed.
    fn try_read(&mut self, content: &[u8]) -> Result<Facts> {
        let depth = if self.wanted == Wanted::Names { Depth::Symbols } else { Depth::Whole };
        Ok(match reading::read(content, limits::INFLATED, depth, &mut self.buffer)? {
            Reading::Early(module) => Facts::early(&module),
            Reading::Whole(image) => match Elf::parse(image) {
                Ok(elf) => {
                    let mut facts = Facts::of(&elf);
                    if self.wanted == Wanted::Everything {
                        let modinfo = modinfo::section(&elf).unwrap_or_default().to_vec();
                        facts.more = More { modinfo, signed: signature::parse(image).is_some() };
                    }
                    facts
                }
                Err(error) => Facts::failed(Trouble { decoder: None, errno: error.errno() }),
            },
        })
    }
}

impl Facts {
    /// No facts, and why.
    pub fn failed(trouble: Trouble) -> Facts {
        Facts { trouble: Some(trouble), ..Facts::default() }
    }

    fn of(elf: &Elf<'_>) -> Facts {
        let mut facts = Facts::default();
        // Having no exports is no problem.
        if let Err(error) = facts.symbols.read_exports(elf) {
            if error.errno() != Errno::ENODATA {
                facts.trouble = Some(Trouble { decoder: None, errno: error.errno() });
            }
        }
        // If its needed symbols cannot be read, it has none.
        facts.symbols.add_needs(&needed(elf).unwrap_or_default());
        if let Some(section) = elf.section(b".modinfo") {
            facts.info.add(section.data);
        }
        facts
    }

    /// The same from the beginning of the file, without the CRCs of exports.
    fn early(module: &Early<'_>) -> Facts {
        let mut facts = Facts::default();
        module.export_names().iter().for_each(|name| facts.symbols.exports.push(name));
        facts.symbols.add_needs(&module.needed().unwrap_or_default());
        facts.info.add(module.modinfo);
        facts
    }
}

impl Info<'_> {
    /// Adds the strings of a `.modinfo` section.
    fn add(&mut self, section: &[u8]) {
        for (key, value) in modinfo::entries(section) {
            match key {
                b"alias" => self.aliases.push(value),
                b"softdep" => self.softdeps.push(value),
                b"weakdep" => self.weakdeps.push(value),
                _ => {}
            }
        }
    }
}

impl Symbols {
    fn read_exports(&mut self, elf: &Elf<'_>) -> Result<(), Error> {
        for export in exports(elf)? {
            self.exports.push(export.name);
            self.export_crcs.push(export.crc);
        }
        Ok(())
    }

    fn add_needs(&mut self, needs: &[Needed<'_>]) {
        for needed in needs {
            self.needs.push(needed.name);
            self.need_crcs.push((needed.crc, needed.weak));
        }
    }
}
