//! Searches an index: for one exact key, for all keys that match as patterns, or for everything.
//!
//! In a valid file no node is reached twice, so the visited nodes together are at most as large as the file. Every walk has the
//! size of the file as its budget and subtracts each node. So it also ends soon in a damaged file whose references form loops.

use super::Index;
use super::read::{Node, spend};
use crate::formats::pattern::{WILDCARDS, fnmatch};
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
        let mut rest = key.strip_prefix(node.prefix)?;
        while let Some((&byte, below)) = rest.split_first() {
            node = self.node(node.child(byte))?;
            rest = below.strip_prefix(node.prefix)?;
        }
        node.values.next().map(|(_, value)| value)
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
                if WILDCARDS.contains(&byte) {
                    let reach = self.reach(start);
                    return self.subtree(&node, at, start, reach);
                }
                if self.query.get(start) != Some(&byte) {
                    return;
                }
                start += 1;
            }
            for byte in WILDCARDS {
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
    fn reach(&mut self, start: usize) -> Reach {
        if self.positions.of.is_empty() {
            self.positions = Positions::new(self.query);
        }
        (!self.positions.of.is_empty()).then(|| 1 << start)
    }

    /// Matches every key below `node` against the query from `start` on. The first `at` bytes of the node's prefix are done.
    fn subtree(&mut self, node: &Node<'a>, at: usize, start: usize, mut reach: Reach) {
        for &byte in &node.prefix[at..] {
            reach = self.positions.after(reach, byte);
        }
        if reach == NO_MATCH {
            return;
        }
        let before = self.path.len();
        self.path.extend_from_slice(&node.prefix[at..]);
        if self.path.len() <= limits::INDEX_KEY {
            for (byte, reference) in node.children() {
                self.step(byte, reference, start, reach);
            }
            let matches = match reach {
                Some(ends) => ends >> self.query.len() & 1 == 1,
                None => node.values.clone().next().is_some() && fnmatch(&self.path, &self.query[start..]),
            };
            if matches {
                self.take(node);
            }
        }
        self.path.truncate(before);
    }

    fn step(&mut self, byte: u8, reference: u32, start: usize, reach: Reach) {
        let reach = self.positions.after(reach, byte);
        let child = if reach == NO_MATCH { None } else { self.enter(reference) };
        if let Some(child) = child {
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

/// Which prefixes of the query the present pattern matches: bit N for the first N bytes. `None`: not known; [`fnmatch`] decides
/// when the pattern is complete.
type Reach = Option<u128>;

/// No key that begins with this pattern matches.
const NO_MATCH: Reach = Some(0);

/// The positions of each byte in the query, as bit masks. They match a pattern byte by byte during the walk (the shift-and
/// algorithm of Baeza-Yates and Gonnet), so that a subtree that cannot match is skipped at its first byte.
#[derive(Default)]
struct Positions {
    /// By byte, since keys contain only bytes below 128; empty if the query is too long for a mask.
    of: Vec<u128>,
    /// The bits of all positions, and of the end.
    all: u128,
}

impl Positions {
    fn new(query: &[u8]) -> Self {
        let Some(all) = 1u128.checked_shl(query.len() as u32 + 1) else { return Positions::default() };
        let mut of = vec![0; 128];
        for (at, &byte) in query.iter().enumerate() {
            if let Some(places) = of.get_mut(usize::from(byte)) {
                *places |= 1 << at;
            }
        }
        Positions { of, all: all - 1 }
    }

    /// The state after a further byte of the pattern.
    fn after(&self, reach: Reach, byte: u8) -> Reach {
        let ends = reach?;
        match byte {
            // All bits from the lowest set bit on; 0 stays 0.
            b'*' => Some((ends | ends.wrapping_neg()) & self.all),
            b'?' => Some(ends << 1 & self.all),
            b'[' | b'\\' => None,
            _ => Some((ends & self.of.get(usize::from(byte))?) << 1),
        }
    }
}
