//! Finds the entries for a name.
//!
//! Walking all entries is fastest for the usual short lists. For a list of a hundred thousand entries, each of which needs
//! another lookup, it would take quadratic time: long lists are sorted by key at their first use.

use super::Raw;
use crate::formats::pattern::fnmatch;
use std::ops::Range;
use std::sync::OnceLock;

/// Lists up to this length are walked. (A distribution's kernel has some hundred soft dependencies.)
const SHORT: usize = 512;

/// The entries of one kind.
#[derive(Debug, Clone, Default)]
pub(super) struct List {
    /// In order of precedence.
    pub(super) entries: Vec<Raw>,
    sorted: OnceLock<Sorted>,
}

#[derive(Debug, Clone)]
struct Sorted {
    /// Positions by key, then by position.
    all: Vec<u32>,
    /// Positions of the patterns, ascending.
    wild: Vec<u32>,
}

impl List {
    /// Positions of the entries whose key is exactly `name`, ascending.
    pub(super) fn exact<'l>(&'l self, text: &'l [u8], name: &'l [u8]) -> impl Iterator<Item = usize> + 'l {
        let (walked, found) = self.candidates(text, name);
        let walked = walked.filter(move |&at| self.key(text, at) == name);
        walked.chain(found.iter().map(|&at| at as usize))
    }

    /// Positions of the entries whose key matches `name`, exactly or as a pattern, ascending.
    pub(super) fn matching<'l, 'q>(&'l self, text: &'l [u8], name: &'q [u8]) -> Matching<'l, 'q> {
        let (walked, found) = self.candidates(text, name);
        let wild = if self.is_short() { &[] } else { self.sorted(text).wild.as_slice() };
        Matching { list: self, text, name, walked, found, wild }
    }

    fn is_short(&self) -> bool {
        self.entries.len() <= SHORT
    }

    fn key<'t>(&self, text: &'t [u8], at: usize) -> &'t [u8] {
        &text[self.entries[at].key.clone()]
    }

    /// The positions to walk; in a long list instead the positions of the entries with exactly this key.
    fn candidates(&self, text: &[u8], name: &[u8]) -> (Range<usize>, &[u32]) {
        if self.is_short() {
            return (0..self.entries.len(), &[]);
        }
        let all = &self.sorted(text).all;
        let start = all.partition_point(|&at| self.key(text, at as usize) < name);
        let count = all[start..].partition_point(|&at| self.key(text, at as usize) == name);
        (0..0, &all[start..start + count])
    }

    fn sorted(&self, text: &[u8]) -> &Sorted {
        self.sorted.get_or_init(|| {
            let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
            let mut all: Vec<u32> = (0..count).collect();
            let wild = all.iter().copied().filter(|&at| self.entries[at as usize].wild).collect();
            all.sort_unstable_by_key(|&at| (self.key(text, at as usize), at));
            Sorted { all, wild }
        })
    }
}

/// See [`List::matching`].
pub(super) struct Matching<'l, 'q> {
    list: &'l List,
    text: &'l [u8],
    name: &'q [u8],
    walked: Range<usize>,
    found: &'l [u32],
    wild: &'l [u32],
}

impl Matching<'_, '_> {
    fn fits(&self, at: usize) -> bool {
        let raw = &self.list.entries[at];
        if raw.wild {
            return fnmatch(&self.text[raw.key.clone()], self.name);
        }
        // The length alone rules out most.
        raw.key.len() == self.name.len() && &self.text[raw.key.clone()] == self.name
    }
}

impl Iterator for Matching<'_, '_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while let Some(at) = self.walked.next() {
            if self.fits(at) {
                return Some(at);
            }
        }
        // Merges two ascending lists: the exact keys, which match, and the patterns, which may match.
        loop {
            let (list, at) = match (self.found, self.wild) {
                ([found, ..], [wild, ..]) if found < wild => (&mut self.found, *found),
                (_, [wild, ..]) => (&mut self.wild, *wild),
                ([found, ..], []) => (&mut self.found, *found),
                ([], []) => return None,
            };
            *list = &list[1..];
            // A pattern that is spelled like the name is in both lists; it is tested once.
            let from_wild = self.list.entries[at as usize].wild;
            if from_wild && self.found.first() == Some(&at) {
                self.found = &self.found[1..];
            }
            if self.fits(at as usize) {
                return Some(at as usize);
            }
        }
    }
}
