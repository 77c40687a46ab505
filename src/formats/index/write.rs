//! Writes an index. The trie depends only on the set of keys, so the nodes are laid out from the sorted list of keys: the
//! root first, then the whole subtree of each child by ascending byte, without gaps.

use super::{CHILDREN, HEADER, MAGIC, OFFSET, PREFIX, VALUES, VERSION};
use crate::error::{Errno, Error, Result};
use crate::limits;
use std::ops::Range;

/// Collects keys with their values, then writes the file.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    /// The bytes of all keys and values.
    arena: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    key: Range<usize>,
    value: Range<usize>,
    priority: u32,
}

/// A node without its offset. The nodes are in a list in file order, each followed by its subtree.
struct Node {
    /// In the arena.
    prefix: Range<usize>,
    /// In the sorted entries.
    values: Range<usize>,
    /// The byte that selects this node in its parent.
    byte: u8,
    /// The number of nodes in the subtree, this one included.
    nodes: usize,
    /// The size of the subtree, in bytes.
    size: usize,
    /// The size of this node alone, in bytes.
    own: usize,
}

impl IndexBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value to a key. Values of one key are sorted by ascending priority; of equal priorities the last added comes
    /// first. Duplicates are kept.
    ///
    /// # Errors
    /// `EINVAL` for a byte that the format cannot hold, see [`unfit`]; `ENAMETOOLONG` for a key longer than
    /// [`limits::INDEX_KEY`].
    pub fn insert(&mut self, key: &[u8], value: &[u8], priority: u32) -> Result<()> {
        if let Some(byte) = unfit(key).or_else(|| unfit(value)) {
            let what = format!("Module index: bad character 0x{byte:x} - only 7-bit ASCII is supported");
            return Err(Error::new(Errno::EINVAL, what));
        }
        if key.len() > limits::INDEX_KEY {
            let (length, limit) = (key.len(), limits::INDEX_KEY);
            let what = format!("Module index: a key of {length} bytes is longer than {limit}");
            return Err(Error::new(Errno::ENAMETOOLONG, what));
        }
        let start = self.arena.len();
        self.arena.extend_from_slice(key);
        let middle = self.arena.len();
        self.arena.extend_from_slice(value);
        self.entries.push(Entry { key: start..middle, value: middle..self.arena.len(), priority });
        Ok(())
    }

    /// The content of the file, in the layout of kmod 34.
    ///
    /// # Errors
    /// `EFBIG` if it would exceed the largest offset of a reference (256 MiB).
    pub fn write(self) -> Result<Vec<u8>> {
        let IndexBuilder { arena, mut entries } = self;
        // Reverse, then sort stably: of equal priorities the last added comes first.
        entries.reverse();
        let key = |entry: &Entry| &arena[entry.key.clone()];
        entries.sort_by(|a, b| key(a).cmp(key(b)).then(a.priority.cmp(&b.priority)));
        let mut layout = Layout { arena: &arena, entries: &entries, nodes: Vec::new() };
        layout.node(0..entries.len(), 0, 0, true);
        layout.write()
    }
}

/// The first byte of `text` that the format cannot hold: NUL, or 128 and above.
pub fn unfit(text: &[u8]) -> Option<u8> {
    text.iter().copied().find(|&byte| byte == 0 || byte >= 0x80)
}

struct Layout<'a> {
    arena: &'a [u8],
    entries: &'a [Entry],
    nodes: Vec<Node>,
}

impl Layout<'_> {
    fn key(&self, entry: usize) -> &[u8] {
        &self.arena[self.entries[entry].key.clone()]
    }

    /// Lays out the node of `entries`, whose keys have their first `depth` bytes in common. The last of these is `byte`, by
    /// which the parent selects the node. The depth of the recursion is bounded by the longest key.
    fn node(&mut self, entries: Range<usize>, depth: usize, byte: u8, root: bool) {
        let mut end = depth;
        if !root {
            // The list is sorted, so all keys share the common prefix of the first and the last.
            let (first, last) = (&self.key(entries.start)[depth..], &self.key(entries.end - 1)[depth..]);
            end += first.iter().zip(last).take_while(|(a, b)| a == b).count();
        }
        let values = entries.clone().take_while(|&entry| self.key(entry).len() == end).count();
        let values = entries.start..entries.start + values;
        // Only the root of an empty index has no entry.
        let key = self.entries.get(entries.start).map_or(0, |first| first.key.start);
        let prefix = key + depth..key + end;
        let mut own = if prefix.is_empty() { 0 } else { prefix.len() + 1 };
        if !values.is_empty() {
            own += 4 + self.entries[values.clone()].iter().map(|e| 4 + e.value.len() + 1).sum::<usize>();
        }
        let this = self.nodes.len();
        let mut next = values.end;
        if next < entries.end {
            let (first, last) = (self.key(next)[end], self.key(entries.end - 1)[end]);
            own += 2 + 4 * (usize::from(last - first) + 1);
        }
        self.nodes.push(Node { prefix, values, byte, nodes: 0, size: own, own });
        while next < entries.end {
            let byte = self.key(next)[end];
            let group =
                self.entries[next..entries.end].partition_point(|e| self.arena[e.key.start + end] <= byte);
            let child = self.nodes.len();
            self.node(next..next + group, end + 1, byte, false);
            self.nodes[this].size += self.nodes[child].size;
            next += group;
        }
        self.nodes[this].nodes = self.nodes.len() - this;
    }

    fn write(&self) -> Result<Vec<u8>> {
        let length = HEADER + self.nodes[0].size;
        if length > OFFSET as usize {
            let what = format!("Module index: {length} bytes do not fit the format");
            return Err(Error::new(Errno::EFBIG, what));
        }
        let mut out = Vec::with_capacity(length);
        for word in [MAGIC, VERSION, reference(&self.nodes[0], HEADER)] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let start = out.len();
            if !node.prefix.is_empty() {
                out.extend_from_slice(&self.arena[node.prefix.clone()]);
                out.push(0);
            }
            if node.nodes > 1 {
                self.write_children(index, start, &mut out);
            }
            if !node.values.is_empty() {
                out.extend_from_slice(&(node.values.len() as u32).to_be_bytes());
                for entry in &self.entries[node.values.clone()] {
                    out.extend_from_slice(&entry.priority.to_be_bytes());
                    out.extend_from_slice(&self.arena[entry.value.clone()]);
                    out.push(0);
                }
            }
            debug_assert_eq!(out.len(), start + node.own);
        }
        Ok(out)
    }

    /// The child array of node `parent`, which begins at offset `start`.
    fn write_children(&self, parent: usize, start: usize, out: &mut Vec<u8>) {
        let first = self.nodes[parent + 1].byte;
        let at = out.len();
        out.extend_from_slice(&[first, first]);
        let mut offset = start + self.nodes[parent].own;
        let mut next = parent + 1;
        while next < parent + self.nodes[parent].nodes {
            let child = &self.nodes[next];
            out[at + 1] = child.byte;
            // The references of bytes without a child are 0.
            out.resize(at + 2 + 4 * usize::from(child.byte - first), 0);
            out.extend_from_slice(&reference(child, offset).to_be_bytes());
            offset += child.size;
            next += child.nodes;
        }
    }
}

/// The reference to `node` at `offset`.
fn reference(node: &Node, offset: usize) -> u32 {
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    let parts = flag(!node.prefix.is_empty(), PREFIX) | flag(!node.values.is_empty(), VALUES);
    offset as u32 | parts | flag(node.nodes > 1, CHILDREN)
}
