//! The facts about all modules, with each symbol name stored once, and each need (a name, the CRC it was built against,
//! whether it is weak) once: a tree's 300,000 needs are some 30,000 different ones. Modules refer to names and needs by
//! number, so that resolving symbols only indexes arrays, and the cache is small.

use super::facts::{Facts, Info, Strings, Trouble};
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;

/// The number of a symbol name.
pub(crate) type NameId = u32;
/// The number of a need.
pub(crate) type NeedId = u32;

/// A needed symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Need {
    pub name: NameId,
    /// The CRC that the module was built against; 0 if the module has none.
    pub crc: u64,
    /// Whether the module loads without it.
    pub weak: bool,
}

/// The facts about one module, with numbers for names and needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InternedFacts<'c> {
    pub info: Info<'c>,
    /// Its exports with their CRCs.
    pub exports: Vec<(NameId, u64)>,
    /// Whether those CRCs were not read, and are 0.
    pub without_crcs: bool,
    pub needs: Vec<NeedId>,
    /// Why something could not be read.
    pub trouble: Option<&'c Trouble>,
}

/// The names and needs that modules refer to, each once, by number. The bytes are borrowed from the facts or the cache.
#[derive(Debug, Default)]
pub struct Interner<'c> {
    pub(super) names: Vec<&'c [u8]>,
    pub(super) needs: Vec<Need>,
    /// Numbers of the names, up to those added since the last lookup; completed at the next one. A run in which all modules
    /// are cached never looks one up.
    by_name: HashMap<&'c [u8], NameId>,
    by_need: HashMap<Need, NeedId>,
}

impl<'c> Interner<'c> {
    /// A table of these names and needs, in the order of their numbers. Each must be unique.
    pub(super) fn of(names: Vec<&'c [u8]>, needs: Vec<Need>) -> Self {
        Interner { names, needs, ..Interner::default() }
    }

    /// A name that has a number.
    pub fn name(&self, id: NameId) -> &'c [u8] {
        self.names[id as usize]
    }

    /// A need that has a number.
    pub fn need(&self, id: NeedId) -> Need {
        self.needs[id as usize]
    }

    /// The number of a name, if it has one.
    pub(super) fn find(&mut self, name: &[u8]) -> Option<NameId> {
        complete(&mut self.by_name, &self.names);
        self.by_name.get(name).copied()
    }

    /// The number of a name, which is added if it is new.
    pub(super) fn number(&mut self, name: &'c [u8]) -> NameId {
        number(&mut self.by_name, &mut self.names, name)
    }

    /// Adds the facts of a module file.
    pub fn add(&mut self, facts: &'c Facts) -> InternedFacts<'c> {
        let symbols = &facts.symbols;
        let crcs = symbols.export_crcs.iter().copied().chain(std::iter::repeat(0));
        let exports: Vec<_> =
            symbols.exports.iter().zip(crcs).map(|(name, crc)| (self.number(name), crc)).collect();
        let without_crcs = symbols.export_crcs.len() < exports.len();
        let mut needs = Vec::with_capacity(symbols.need_crcs.len());
        for (name, &(crc, weak)) in symbols.needs.iter().zip(&symbols.need_crcs) {
            let need = Need { name: self.number(name), crc, weak };
            needs.push(number(&mut self.by_need, &mut self.needs, need));
        }
        let borrowed = |strings: &'c Strings<'static>| Strings(Cow::Borrowed(&*strings.0));
        let info = Info {
            aliases: borrowed(&facts.info.aliases),
            softdeps: borrowed(&facts.info.softdeps),
            weakdeps: borrowed(&facts.info.weakdeps),
        };
        InternedFacts { info, exports, without_crcs, needs, trouble: facts.trouble.as_ref() }
    }
}

/// The number of a value, which is added if it is new.
fn number<T: Copy + Eq + Hash>(numbers: &mut HashMap<T, u32>, values: &mut Vec<T>, value: T) -> u32 {
    complete(numbers, values);
    *numbers.entry(value).or_insert_with(|| {
        values.push(value);
        (values.len() - 1) as u32
    })
}

fn complete<T: Copy + Eq + Hash>(numbers: &mut HashMap<T, u32>, values: &[T]) {
    if numbers.len() < values.len() {
        *numbers = values.iter().copied().zip(0..).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_needs_are_numbered_once() {
        let mut facts = Facts::default();
        for name in [&b"b"[..], b"a", b"b"] {
            facts.symbols.needs.push(name);
            facts.symbols.need_crcs.push((1, false));
        }
        facts.symbols.exports.push(b"c");
        facts.symbols.export_crcs.push(7);
        let old = Need { name: 0, crc: 1, weak: false };
        let mut interner = Interner::of(vec![b"a"], vec![old]);
        let known = interner.add(&facts);
        assert_eq!(known.exports, [(1, 7)]);
        assert_eq!(known.needs, [1, 0, 1]);
        assert_eq!(interner.need(1), Need { name: 2, crc: 1, weak: false });
        assert_eq!(interner.names, [&b"a"[..], b"c", b"b"]);
        assert_eq!((interner.find(b"b"), interner.find(b"d")), (Some(2), None));
    }
}
