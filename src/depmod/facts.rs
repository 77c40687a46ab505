//! What depmod wants to know of one module file, and learning it.
//!
//! Lists of strings are kept as one run of bytes, each string ended by NUL, which none of them can hold: a tree has some
//! 300,000 needed symbols.

use crate::error::{Errno, Error, Result};
use crate::formats::compress;
use crate::formats::elf::{Elf, exports, needed};
use crate::formats::modinfo;
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

/// The symbols of a module, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Symbols {
    /// What it exports, in the order of its symbol table.
    pub exports: Strings<'static>,
    /// The CRC of each export.
    pub export_crcs: Vec<u64>,
    /// What it needs, in the order in which dependencies arise.
    pub needs: Strings<'static>,
    /// The CRC of each, and whether it may be missing.
    pub need_crcs: Vec<(u64, bool)>,
}

/// Everything learnt from one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// From `.modinfo`; empty where that could not be read.
    pub info: Info<'static>,
    /// From the symbol table; empty where that could not be read.
    pub symbols: Symbols,
    /// Why not, if something could not be read.
    pub trouble: Option<Trouble>,
}

/// What went wrong with a module file. It stays a module, without what could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What the decoder said, for damaged compressed data.
    pub decoder: Option<String>,
    /// Why the exports are unknown.
    pub errno: Errno,
}

/// Reads a module from the content of its file.
pub fn read(content: &[u8]) -> Facts {
    let image = match compress::image(content, limits::INFLATED) {
        Ok(image) => image,
        Err(error) => {
            // A file that is too short for any method did not come to a decoder.
            let compressed = compress::detect(content) != compress::Compression::None;
            let decoder = compressed.then(|| error.what().to_string());
            return Facts::failed(Trouble { decoder, errno: error.errno() });
        }
    };
    match Elf::parse(&image) {
        Ok(elf) => Facts::of(&elf),
        Err(error) => Facts::failed(Trouble { decoder: None, errno: error.errno() }),
    }
}

impl Facts {
    /// Nothing, and why.
    pub fn failed(trouble: Trouble) -> Facts {
        Facts { trouble: Some(trouble), ..Facts::default() }
    }

    fn of(elf: &Elf<'_>) -> Facts {
        let mut facts = Facts::default();
        // A module without any export information is none the worse for it.
        if let Err(error) = facts.symbols.read_exports(elf) {
            if error.errno() != Errno::ENODATA {
                facts.trouble = Some(Trouble { decoder: None, errno: error.errno() });
            }
        }
        // One whose needs cannot be read has none.
        if facts.symbols.read_needs(elf).is_err() {
            facts.symbols.needs = Strings::default();
            facts.symbols.need_crcs.clear();
        }
        for (key, value) in elf.section(b".modinfo").iter().flat_map(|section| modinfo::entries(section.data))
        {
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

impl Symbols {
    fn read_exports(&mut self, elf: &Elf<'_>) -> Result<(), Error> {
        for export in exports(elf)? {
            self.exports.push(export.name);
            self.export_crcs.push(export.crc);
        }
        Ok(())
    }

    fn read_needs(&mut self, elf: &Elf<'_>) -> Result<(), Error> {
        for needed in needed(elf)? {
            self.needs.push(needed.name);
            self.need_crcs.push((needed.crc, needed.weak));
        }
        Ok(())
    }
}
