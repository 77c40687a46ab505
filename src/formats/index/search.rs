//! The three ways to ask an index: one key exactly, all keys that match as patterns, everything.
//!
//! In a whole file no node is reached twice, so no walk reads more bytes than the file has. Every walk pays for the
//! nodes that it visits out of that sum, and so ends soon in a file whose references were made to form loops or to
//! meet again.

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

/// Which of kmod's two readers is followed. They differ only in the order of values that have one key and one
/// priority, which only the index of the builtin modules' aliases has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// modprobe's: of the values b1, b2, b3 inserted in this order, b1 is found first.
    Mapped,
    /// modinfo's: b3 is found first.
    Streamed,
}

impl<'a> Index<'a> {
    /// The first value of exactly this key; `*` and the like mean themselves. For names.
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

    /// All values of all keys that match `query` as patterns, lowest priority first, duplicates included, as modprobe
    /// reads them. For aliases and symbols. At most [`limits::LOOKUP_RESULTS`] are returned.
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
            places: Places::default(),
            path: Vec::new(),
            found: Vec::new(),
        };
        walk.search();
        // Each find goes before those of equal priority that were there: last found, first out.
        walk.found.reverse();
        walk.found.sort_by_key(|found| found.priority);
        walk.found
    }

    /// Shows every key with each of its values: a key before those that it begins, siblings by ascending byte, values
    /// as they lie in the file. This is the order of `modprobe -c`.
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
        if !pay(budget, node.size()) || key.len() + node.prefix.len() > limits::INDEX_KEY {
            return;
        }
        let before = key.len();
        key.extend_from_slice(node.prefix);
        for (_, value) in node.values.clone() {
            if !pay(budget, value.len() + 5) {
                // Nothing is shown from here on, and nothing under a wrong key.
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

/// A search under way.
struct Walk<'i, 'a, 'q> {
    index: &'i Index<'a>,
    reader: Reader,
    /// How many bytes of nodes may still be visited.
    budget: usize,
    query: &'q [u8],
    /// Where in the query each byte stands; empty until there is a pattern, and for queries that are too long.
    places: Places,
    /// The pattern spelled so far, from its first wildcard on.
    path: Vec<u8>,
    found: Vec<Found<'a>>,
}

impl<'a> Walk<'_, 'a, '_> {
    /// Follows the literal part of the query; each key that continues with a wildcard is looked at as a pattern.
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

    /// What a pattern that begins here has matched before its first byte.
    fn reach(&mut self, start: usize) -> Reach {
        if self.places.of.is_empty() {
            self.places = Places::new(self.query);
        }
        if self.places.of.is_empty() { Reach::Unknown } else { Reach::Ends(1 << start) }
    }

    /// Matches every key below `node`, whose prefix counts from `at`, against the query from `start` on.
    fn subtree(&mut self, node: &Node<'a>, at: usize, start: usize, mut reach: Reach) {
        for &byte in &node.prefix[at..] {
            reach = self.places.after(reach, byte);
        }
        if reach == Reach::NOWHERE {
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

    /// Whether the pattern that was spelled matches the query from `start` on.
    fn matches(&self, start: usize, reach: Reach) -> bool {
        match reach {
            Reach::Ends(ends) => ends >> self.query.len() & 1 == 1,
            Reach::Unknown => fnmatch(&self.path, &self.query[start..]),
        }
    }

    fn step(&mut self, byte: u8, reference: u32, start: usize, reach: Reach) {
        let reach = self.places.after(reach, byte);
        if reach == Reach::NOWHERE {
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
        pay(&mut self.budget, node.size()).then_some(node)
    }

    fn take(&mut self, node: &Node<'a>) {
        let before = self.found.len();
        for (priority, value) in node.values.clone() {
            if self.found.len() == limits::LOOKUP_RESULTS || !pay(&mut self.budget, value.len() + 5) {
                break;
            }
            self.found.push(Found { value, priority });
        }
        if self.reader == Reader::Streamed {
            // This reader collects a node's values the way the whole search collects them, before the search does.
            self.found[before..].reverse();
            self.found[before..].sort_by_key(|found| found.priority);
        }
    }
}

/// How much of the query the pattern spelled so far can have matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Bit N: the pattern matches what lies before position N.
    Ends(u128),
    /// It is left to [`fnmatch`], once the pattern is complete.
    Unknown,
}

impl Reach {
    /// No key that begins like this one matches.
    const NOWHERE: Reach = Reach::Ends(0);
}

/// Which positions of a query hold a byte. A pattern is matched while it is spelled, all ways at once (Baeza-Yates and
/// Gonnet's shift-and), so that a subtree that cannot match is left at its first byte.
#[derive(Default)]
struct Places {
    /// By byte; empty where the query does not fit.
    of: Vec<u128>,
    /// A bit for each position up to the end.
    all: u128,
}

impl Places {
    /// Keys hold no other bytes.
    const BYTES: usize = 128;

    fn new(query: &[u8]) -> Self {
        let Some(all) = 1u128.checked_shl(query.len() as u32 + 1) else { return Places::default() };
        let mut of = vec![0; Self::BYTES];
        for (at, &byte) in query.iter().enumerate() {
            if let Some(places) = of.get_mut(usize::from(byte)) {
                *places |= 1 << at;
            }
        }
        Places { of, all: all - 1 }
    }

    /// The reach after a further byte of the pattern.
    fn after(&self, reach: Reach, byte: u8) -> Reach {
        let Reach::Ends(ends) = reach else { return Reach::Unknown };
        match byte {
            // From the first end on, any; none where there is none.
            b'*' => Reach::Ends((ends | ends.wrapping_neg()) & self.all),
            b'?' => Reach::Ends(ends << 1 & self.all),
            b'[' | b'\\' => Reach::Unknown,
            _ => match self.of.get(usize::from(byte)) {
                Some(places) => Reach::Ends((ends & places) << 1),
                None => Reach::Unknown,
            },
        }
    }
}

fn is_wildcard(byte: u8) -> bool {
    matches!(byte, b'*' | b'?' | b'[')
}

/// Takes `cost` from the budget, if it is there.
fn pay(budget: &mut usize, cost: usize) -> bool {
    match budget.checked_sub(cost) {
        Some(left) => {
            *budget = left;
            true
        }
        None => false,
    }
}
