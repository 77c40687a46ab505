//! Finds the entries for a name.
//!
//! Walking all entries is fastest for the usual short lists. For a list of a hundred thousand entries, each of which needs
//! another lookup, it would take quadratic time: long lists are sorted by key at their first use.

use super::Raw;
use crate::formats::pattern::fnmatch;
use std::iter::from_fn;
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
    pub(super) fn exact(&self, text: &[u8], name: &[u8]) -> impl Iterator<Item = usize> {
        let (walked, found) = self.candidates(text, name);
        let walked = walked.filter(move |&at| self.key(text, at) == name);
        walked.chain(found.iter().map(|&at| at as usize))
    }

    /// The entries whose key matches `name`, exactly or as a pattern, in order of precedence.
    pub(super) fn matching(&self, text: &[u8], name: &[u8]) -> impl Iterator<Item = &Raw> {
        let (walked, mut exact) = self.candidates(text, name);
        let mut wild = if self.is_short() { &[][..] } else { &self.sorted(text).wild };
        // Merges two ascending lists. A pattern that is spelled like the name is in both, and counts once.
        let merged = from_fn(move || {
            let next = *exact.first().into_iter().chain(wild.first()).min()?;
            exact = exact.strip_prefix(&[next]).unwrap_or(exact);
            wild = wild.strip_prefix(&[next]).unwrap_or(wild);
            Some(next as usize)
        });
        walked.chain(merged).map(|at| &self.entries[at]).filter(move |raw| {
            if raw.wild {
                return fnmatch(&text[raw.key.clone()], name);
            }
            // The length alone rules out most.
            raw.key.len() == name.len() && &text[raw.key.clone()] == name
        })
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
