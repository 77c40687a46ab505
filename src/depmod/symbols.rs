//! Which module, or the kernel, provides each symbol: from `Module.symvers` or `System.map`, and from the modules. A later
//! module replaces an earlier one, a module replaces the kernel.

use super::interner::{InternedFacts, Interner, NameId};
use crate::log::{Priority, Sink, bytes};

/// A provided symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol {
    /// The module, by its place in the order; `None` for the kernel.
    pub owner: Option<u32>,
    /// Its CRC; 0 if it is unknown.
    pub crc: u64,
}

/// Symbols that every kernel has although no list has them.
const IMPLICIT: [&[u8]; 2] = [b"__this_module", b"_GLOBAL_OFFSET_TABLE_"];
/// The same, unless the list has it (64-bit POWER).
const IMPLICIT_UNLESS_LISTED: &[u8] = b"TOC.";

/// All symbols, by the number of their name.
#[derive(Debug)]
pub struct Table {
    symbols: Vec<Option<Symbol>>,
    prefix: Option<u8>,
}

impl Table {
    /// An empty table. `prefix` is a byte that symbol names may begin with.
    pub fn new(prefix: Option<u8>) -> Self {
        Table { symbols: Vec::new(), prefix }
    }

    /// Adds the kernel's symbols from the contents of a `Module.symvers`: lines `CRC SYMBOL WHERE`, of which those with
    /// WHERE `vmlinux` count. `path` is for messages.
    pub fn read_symvers<'c>(
        &mut self,
        interner: &mut Interner<'c>,
        contents: &'c [u8],
        path: &[u8],
        sink: &dyn Sink,
    ) {
        for (number, line) in contents.split_inclusive(|&b| b == b'\n').enumerate() {
            let mut words = line.split(|&b| b == b' ' || b == b'\t').filter(|word| !word.is_empty());
            // The newline is part of the last word, so lines of three columns never match.
            let (Some(crc), Some(name), Some(b"vmlinux")) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            match hexadecimal(crc) {
                Ok(crc) => {
                    let name = interner.number(without_prefix(name, self.prefix));
                    self.put(name, Symbol { owner: None, crc });
                }
                Err(why) => {
                    let at = bytes![path, ":", (number + 1).to_string()];
                    sink.log(Priority::Err, &bytes![at, " Invalid symbol version ", crc, ": ", why]);
                }
            }
        }
        self.add_implicit(interner);
    }

    /// Adds the kernel's symbols from the contents of a `System.map`: lines `ADDRESS TYPE NAME`, of which `__ksymtab_X`
    /// means an exported symbol X. `path` is for messages.
    pub fn read_system_map<'c>(
        &mut self,
        interner: &mut Interner<'c>,
        contents: &'c [u8],
        path: &[u8],
        sink: &dyn Sink,
    ) {
        for (number, line) in contents.split_inclusive(|&b| b == b'\n').enumerate() {
            let Some(name) = line.splitn(3, |&b| b == b' ').nth(2) else {
                let at = bytes![path, ":", (number + 1).to_string()];
                sink.log(Priority::Err, &bytes![at, ": invalid line: ", line]);
                continue;
            };
            let name = name.strip_suffix(b"\n").unwrap_or(name);
            if let Some(name) = without_prefix(name, self.prefix).strip_prefix(b"__ksymtab_") {
                let name = interner.number(name);
                self.put(name, Symbol { owner: None, crc: 0 });
            }
        }
        self.add_implicit(interner);
    }

    fn add_implicit(&mut self, interner: &mut Interner<'_>) {
        for name in IMPLICIT.into_iter().chain([IMPLICIT_UNLESS_LISTED]) {
            let id = interner.number(name);
            if name != IMPLICIT_UNLESS_LISTED || self.at(id).is_none() {
                self.put(id, Symbol { owner: None, crc: 0 });
            }
        }
    }

    /// Adds the exports of the modules, given in their order.
    pub fn add_exports(&mut self, interner: &mut Interner<'_>, modules: &[InternedFacts<'_>]) {
        for (owner, module) in (0..).zip(modules) {
            for &(name, crc) in &module.exports {
                let bare = without_prefix(interner.name(name), self.prefix);
                let name = if self.prefix.is_some() { interner.number(bare) } else { name };
                self.put(name, Symbol { owner: Some(owner), crc });
            }
        }
    }

    /// For each name of the interner the symbol that provides it: one leading dot and one leading prefix are ignored.
    pub fn resolve(&self, interner: &mut Interner<'_>) -> Vec<Option<Symbol>> {
        let ids = 0..interner.names.len() as NameId;
        let symbol = |id| {
            let name = interner.name(id);
            let bare = bare(name, self.prefix);
            self.at(if bare.len() == name.len() { id } else { interner.find(bare)? })
        };
        ids.map(symbol).collect()
    }

    /// The symbols that modules provide, with the place of their owner in the order.
    pub fn provided(&self) -> impl Iterator<Item = (NameId, u32)> {
        (0..).zip(&self.symbols).filter_map(|(id, symbol)| Some((id, symbol.as_ref()?.owner?)))
    }

    fn at(&self, id: NameId) -> Option<Symbol> {
        self.symbols.get(id as usize).copied().flatten()
    }

    fn put(&mut self, id: NameId, symbol: Symbol) {
        let index = id as usize;
        if self.symbols.len() <= index {
            self.symbols.resize(index + 1, None);
        }
        self.symbols[index] = Some(symbol);
    }
}

/// The name under which a needed symbol is looked up: without one leading dot and one leading prefix.
pub(super) fn bare(name: &[u8], prefix: Option<u8>) -> &[u8] {
    without_prefix(name.strip_prefix(b".").unwrap_or(name), prefix)
}

fn without_prefix(name: &[u8], prefix: Option<u8>) -> &[u8] {
    prefix.and_then(|prefix| name.strip_prefix(&[prefix])).unwrap_or(name)
}

/// A hexadecimal number with or without `0x`.
fn hexadecimal(text: &[u8]) -> Result<u64, &'static str> {
    let digits = text.strip_prefix(b"0x").or_else(|| text.strip_prefix(b"0X")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err("Invalid argument");
    }
    let text = std::str::from_utf8(digits).unwrap_or_default();
    u64::from_str_radix(text, 16).map_err(|_| "Numerical result out of range")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Kept;

    fn lookup(table: &Table, interner: &mut Interner<'static>, name: &'static [u8]) -> Option<Symbol> {
        let id = interner.number(name);
        table.resolve(interner)[id as usize]
    }

    #[test]
    fn symvers_counts_what_is_in_vmlinux() {
        let text = b"0x12\tone\tvmlinux\tEXPORT_SYMBOL\nff two vmlinux x y\n0x1 three vmlinux\n0x2 four drivers/a x\n\
            zz five vmlinux x\n0x11112222333344445 six vmlinux x\nshort\n0x3 _seven vmlinux x\n";
        let (mut interner, sink) = (Interner::default(), Kept::default());
        let mut table = Table::new(Some(b'_'));
        table.read_symvers(&mut interner, text, b"/v", &sink);
        let crc =
            |interner: &mut Interner<'static>, name| lookup(&table, interner, name).map(|symbol| symbol.crc);
        assert_eq!(crc(&mut interner, b"one"), Some(0x12));
        assert_eq!(crc(&mut interner, b"two"), Some(0xff));
        assert_eq!(crc(&mut interner, b".two"), Some(0xff));
        assert_eq!(crc(&mut interner, b"._seven"), Some(3));
        assert_eq!(crc(&mut interner, b"TOC."), Some(0));
        // With this prefix the implicit symbols are looked up without their first byte.
        for missing in [&b"three"[..], b"four", b"five", b"six", b"short", b"__this_module", b"..two"] {
            assert_eq!(crc(&mut interner, missing), None, "{missing:?}");
        }
        let messages: Vec<_> =
            sink.take().into_iter().map(|(_, text)| String::from_utf8(text).unwrap()).collect();
        assert_eq!(
            messages,
            [
                "/v:5 Invalid symbol version zz: Invalid argument",
                "/v:6 Invalid symbol version 0x11112222333344445: Numerical result out of range"
            ]
        );
    }

    #[test]
    fn a_system_map_counts_its_ksymtab_lines() {
        let text = b"0 T one\n0 r __ksymtab_two\nbad line\n0 R __ksymtab_three";
        let (mut interner, sink) = (Interner::default(), Kept::default());
        let mut table = Table::new(None);
        table.read_system_map(&mut interner, text, b"/m", &sink);
        for name in [&b"two"[..], b"three", b"__this_module", b"_GLOBAL_OFFSET_TABLE_", b"TOC."] {
            assert_eq!(lookup(&table, &mut interner, name), Some(Symbol { owner: None, crc: 0 }), "{name:?}");
        }
        assert_eq!(lookup(&table, &mut interner, b"one"), None);
        assert_eq!(sink.take(), [(Priority::Err, b"/m:3: invalid line: bad line\n".to_vec())]);
    }

    #[test]
    fn the_last_module_wins_and_beats_the_kernel() {
        let (mut interner, sink) = (Interner::default(), Kept::default());
        let mut table = Table::new(None);
        table.read_system_map(&mut interner, b"0 r __ksymtab_x\n", b"/m", &sink);
        let x = interner.number(b"x");
        let exporting = |crc| InternedFacts { exports: vec![(x, crc)], ..InternedFacts::default() };
        table.add_exports(&mut interner, &[exporting(1), exporting(2)]);
        assert_eq!(lookup(&table, &mut interner, b"x"), Some(Symbol { owner: Some(1), crc: 2 }));
        assert_eq!(table.provided().collect::<Vec<_>>(), [(x, 1)]);
    }
}
