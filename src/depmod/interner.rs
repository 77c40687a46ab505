//! The facts about all modules, with each symbol name stored once, and each need (a name, the CRC it was built against,
//! whether it is weak) once: a tree's 300,000 needs are some 30,000 different ones. Modules refer to names and needs by
//! number, so that resolving symbols only indexes arrays, and the cache is small.

use super::facts::{Facts, Info, Strings, Trouble};
use std::borrow::Cow;
use std::collections::HashMap;

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
    /// What its `.modinfo` says.
    pub info: Info<'c>,
    /// Its exports with their CRCs.
    pub exports: Vec<(NameId, u64)>,
    /// Whether those CRCs were not read, and are 0.
    pub without_crcs: bool,
    pub needs: Vec<NeedId>,
    /// Why something could not be read.
    pub trouble: Option<&'c Trouble>,
}

/// The names and needs that modules refer to. The bytes are borrowed from the facts or the cache.
#[derive(Debug, Default)]
pub struct Interner<'c> {
    names: Vec<&'c [u8]>,
    needs: Vec<Need>,
    /// Numbers of the names, up to those added since the last lookup; completed at the next one. A run in which all modules
    /// are cached never looks one up.
    by_name: HashMap<&'c [u8], NameId>,
    by_need: HashMap<Need, NeedId>,
}

impl<'c> Interner<'c> {
    /// A table of these names and needs, in the order of their numbers. Each must be unique.
    pub fn of(names: Vec<&'c [u8]>, needs: Vec<Need>) -> Self {
        Interner { names, needs, by_name: HashMap::new(), by_need: HashMap::new() }
    }

    /// The names, by number.
    pub fn names(&self) -> &[&'c [u8]] {
        &self.names
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
    pub fn find(&mut self, name: &[u8]) -> Option<NameId> {
        self.number_names();
        self.by_name.get(name).copied()
    }

    /// The number of a name, which is added if it is new.
    pub fn number(&mut self, name: &'c [u8]) -> NameId {
        self.number_names();
        *self.by_name.entry(name).or_insert_with(|| {
            self.names.push(name);
            (self.names.len() - 1) as NameId
        })
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
            needs.push(self.number_need(need));
        }
        let borrowed = |strings: &'c Strings<'static>| Strings(Cow::Borrowed(&*strings.0));
        let info = Info {
            aliases: borrowed(&facts.info.aliases),
            softdeps: borrowed(&facts.info.softdeps),
            weakdeps: borrowed(&facts.info.weakdeps),
        };
        InternedFacts { info, exports, without_crcs, needs, trouble: facts.trouble.as_ref() }
    }

    /// The number of a need, which is added if it is new.
    fn number_need(&mut self, need: Need) -> NeedId {
        if self.by_need.len() < self.needs.len() {
            self.by_need = self.needs.iter().zip(0..).map(|(&need, id)| (need, id)).collect();
        }
        *self.by_need.entry(need).or_insert_with(|| {
            self.needs.push(need);
            (self.needs.len() - 1) as NeedId
        })
    }

    fn number_names(&mut self) {
        if self.by_name.len() < self.names.len() {
            self.by_name = self.names.iter().zip(0..).map(|(&name, id)| (name, id)).collect();
        }
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
        assert_eq!(interner.names(), [&b"a"[..], b"c", b"b"]);
        assert_eq!((interner.find(b"b"), interner.find(b"d")), (Some(2), None));
    }
}
