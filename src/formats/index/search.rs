//! Searches an index: for one exact key, for all keys that match as patterns, or for everything.
//!
//! In a valid file no node is reached twice, so the visited nodes together are at most as large as the file. Every walk has the
//! size of the file as its budget and subtracts each node. So it also ends soon in a damaged file whose references form loops.

use super::Index;
use super::read::Node;
use crate::formats::pattern::fnmatch;
use crate::limits;

/// One result of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// The value, in the file.
    pub value: &'a [u8],
    /// Its priority; lower ones come first.
    pub priority: u32,
}

/// Which of kmod's two readers to imitate. They differ only in the order of values with the same key and priority, which only
/// the index of the built-in modules' aliases contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// modprobe's reader: of the values b1, b2, b3 inserted in this order, b1 is found first.
    Mapped,
    /// modinfo's reader: b3 is found first.
    Streamed,
}

impl<'a> Index<'a> {
    /// The first value of exactly this key, in which wildcards are literal. For module names.
    pub fn exact(&self, key: &[u8]) -> Option<&'a [u8]> {
        let mut node = self.node(self.root)?;
        let mut key = key;
        loop {
            key = key.strip_prefix(node.prefix)?;
            match key.split_first() {
                None => return node.values.next().map(|(_, value)| value),
                Some((&byte, rest)) => {
                    node = self.node(node.child(byte))?;
                    key = rest;
                }
            }
        }
    }

    /// All values of all keys that match `query` as patterns, lowest priority first, with duplicates, in modprobe's order.
    /// For aliases and symbols. At most [`limits::LOOKUP_RESULTS`].
    pub fn search(&self, query: &[u8]) -> Vec<Found<'a>> {
        self.search_as(query, Reader::Mapped)
    }

    /// As [`Self::search`], in the order of the given reader.
    pub fn search_as(&self, query: &[u8], reader: Reader) -> Vec<Found<'a>> {
        let mut walk = Walk {
            index: self,
            reader,
            budget: self.bytes.len(),
            query,
            positions: Positions::default(),
            path: Vec::new(),
            found: Vec::new(),
        };
        walk.search();
        // Of equal priorities the last found comes first.
        walk.found.reverse();
        walk.found.sort_by_key(|found| found.priority);
        walk.found
    }

    /// Calls `visit` for every key with each of its values, in the order of `modprobe -c`: a key before the longer keys that
    /// begin with it, children by ascending byte, values in file order.
    pub fn dump(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        let mut budget = self.bytes.len();
        let mut key = Vec::new();
        self.dump_node(self.root, &mut key, &mut budget, visit);
    }

    fn dump_node(
        &self,
        reference: u32,
        key: &mut Vec<u8>,
        budget: &mut usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) {
        let Some(node) = self.node(reference) else { return };
        if !spend(budget, node.size()) || key.len() + node.prefix.len() > limits::INDEX_KEY {
            return;
        }
        let before = key.len();
        key.extend_from_slice(node.prefix);
        for (_, value) in node.values.clone() {
            if !spend(budget, value.len() + 5) {
                // The file is damaged: end the walk.
                *budget = 0;
                break;
            }
            visit(key, value);
        }
        for (byte, child) in node.children() {
            key.push(byte);
            self.dump_node(child, key, budget, visit);
            key.pop();
        }
        key.truncate(before);
    }
}

/// A search in progress.
struct Walk<'i, 'a, 'q> {
    index: &'i Index<'a>,
    reader: Reader,
    /// How many bytes of nodes and values may still be visited.
    budget: usize,
    query: &'q [u8],
    /// The positions of each byte in the query. Empty until a pattern is found, and for a query of 127 bytes or more.
    positions: Positions,
    /// The present pattern, from its first wildcard on.
    path: Vec<u8>,
    found: Vec<Found<'a>>,
}

impl<'a> Walk<'_, 'a, '_> {
    /// Follows the query literally from the root, and matches the subtree of each wildcard on the way as patterns.
    fn search(&mut self) {
        let mut reference = self.index.root;
        let mut start = 0;
        loop {
            let Some(node) = self.enter(reference) else { return };
            for (at, &byte) in node.prefix.iter().enumerate() {
                if is_wildcard(byte) {
                    let reach = self.reach(start);
                    return self.subtree(&node, at, start, reach);
                }
                if self.query.get(start) != Some(&byte) {
                    return;
                }
                start += 1;
            }
            for byte in [b'*', b'?', b'['] {
                let child = node.child(byte);
                if child != 0 {
                    let reach = self.reach(start);
                    self.step(byte, child, start, reach);
                }
            }
            let Some(&byte) = self.query.get(start) else { return self.take(&node) };
            reference = node.child(byte);
            start += 1;
        }
    }

    /// The state of the match before the first wildcard, with `start` bytes of the query matched literally.
    fn reach(&mut self, start: usize) -> MatchState {
        if self.positions.of.is_empty() {
            self.positions = Positions::new(self.query);
        }
        if self.positions.of.is_empty() { MatchState::Unknown } else { MatchState::Ends(1 << start) }
    }

    /// Matches every key below `node` against the query from `start` on. The first `at` bytes of the node's prefix are done.
    fn subtree(&mut self, node: &Node<'a>, at: usize, start: usize, mut reach: MatchState) {
        for &byte in &node.prefix[at..] {
            reach = self.positions.after(reach, byte);
        }
        if reach == MatchState::NO_MATCH {
            return;
        }
        let before = self.path.len();
        self.path.extend_from_slice(&node.prefix[at..]);
        if self.path.len() <= limits::INDEX_KEY {
            for (byte, reference) in node.children() {
                self.step(byte, reference, start, reach);
            }
            if node.values.clone().next().is_some() && self.matches(start, reach) {
                self.take(node);
            }
        }
        self.path.truncate(before);
    }

    /// Whether the pattern in `path` matches the query from `start` on.
    fn matches(&self, start: usize, reach: MatchState) -> bool {
        match reach {
            MatchState::Ends(ends) => ends >> self.query.len() & 1 == 1,
            MatchState::Unknown => fnmatch(&self.path, &self.query[start..]),
        }
    }

    fn step(&mut self, byte: u8, reference: u32, start: usize, reach: MatchState) {
        let reach = self.positions.after(reach, byte);
        if reach == MatchState::NO_MATCH {
            return;
        }
        if let Some(child) = self.enter(reference) {
            self.path.push(byte);
            self.subtree(&child, 0, start, reach);
            self.path.pop();
        }
    }

    fn enter(&mut self, reference: u32) -> Option<Node<'a>> {
        let node = self.index.node(reference)?;
        spend(&mut self.budget, node.size()).then_some(node)
    }

    fn take(&mut self, node: &Node<'a>) {
        let before = self.found.len();
        for (priority, value) in node.values.clone() {
            if self.found.len() == limits::LOOKUP_RESULTS || !spend(&mut self.budget, value.len() + 5) {
                break;
            }
            self.found.push(Found { value, priority });
        }
        if self.reader == Reader::Streamed {
            // This reader sorts the values of a node as `search_as` sorts all results, so they are reversed twice.
            self.found[before..].reverse();
            self.found[before..].sort_by_key(|found| found.priority);
        }
    }
}

/// Which prefixes of the query the present pattern matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MatchState {
    /// Bit N: the pattern matches the first N bytes.
    Ends(u128),
    /// Not known. [`fnmatch`] decides when the pattern is complete.
    Unknown,
}

impl MatchState {
    /// No key that begins with this pattern matches.
    const NO_MATCH: MatchState = MatchState::Ends(0);
}

/// The positions of each byte in the query, as bit masks. They match a pattern byte by byte during the walk (the shift-and
/// algorithm of Baeza-Yates and Gonnet), so that a subtree that cannot match is skipped at its first byte.
#[derive(Default)]
struct Positions {
    /// By byte; empty if the query is too long for a mask.
    of: Vec<u128>,
    /// The bits of all positions, and of the end.
    all: u128,
}

impl Positions {
    /// Keys contain only bytes below this.
    const BYTES: usize = 128;

    fn new(query: &[u8]) -> Self {
        let Some(all) = 1u128.checked_shl(query.len() as u32 + 1) else { return Positions::default() };
        let mut of = vec![0; Self::BYTES];
        for (at, &byte) in query.iter().enumerate() {
            if let Some(places) = of.get_mut(usize::from(byte)) {
                *places |= 1 << at;
            }
        }
        Positions { of, all: all - 1 }
    }

    /// The state after a further byte of the pattern.
    fn after(&self, reach: MatchState, byte: u8) -> MatchState {
        let MatchState::Ends(ends) = reach else { return MatchState::Unknown };
        match byte {
            // All bits from the lowest set bit on; 0 stays 0.
            b'*' => MatchState::Ends((ends | ends.wrapping_neg()) & self.all),
            b'?' => MatchState::Ends(ends << 1 & self.all),
            b'[' | b'\\' => MatchState::Unknown,
            _ => match self.of.get(usize::from(byte)) {
                Some(places) => MatchState::Ends((ends & places) << 1),
                None => MatchState::Unknown,
            },
        }
    }
}

fn is_wildcard(byte: u8) -> bool {
    matches!(byte, b'*' | b'?' | b'[')
}

/// Subtracts `cost` from the budget; false if that is too small.
fn spend(budget: &mut usize, cost: usize) -> bool {
    match budget.checked_sub(cost) {
        Some(left) => {
            *budget = left;
            true
        }
        None => false,
    }
}
