//! Opens an index and reads nodes. The file is not trusted: every offset, string and count is checked against the end of the
//! file before it is used.

use super::{CHILDREN, HEADER, MAGIC, OFFSET, PREFIX, VALUES, VERSION};
use crate::error::{Errno, Error, Result};
use crate::limits;
use std::collections::HashSet;
use std::ffi::CStr;

/// An index in memory or in a map. A copy is cheap.
#[derive(Debug, Clone, Copy)]
pub struct Index<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) root: u32,
}

impl<'a> Index<'a> {
    /// Checks the header.
    ///
    /// # Errors
    /// `ENODATA` for an empty file, which depmod writes if its own input was missing; that needs no message. `EINVAL` for
    /// anything else that is not an index, with kmod's text if kmod has one.
    pub fn open(bytes: &'a [u8]) -> Result<Index<'a>> {
        if bytes.is_empty() {
            return Err(Error::new(Errno::ENODATA, "the index is empty"));
        }
        let invalid = |what: String| Err(Error::new(Errno::EINVAL, what));
        let (Some(magic), Some(version), Some(root)) = (word(bytes, 0), word(bytes, 4), word(bytes, 8))
        else {
            return invalid("the index is shorter than its header".into());
        };
        if magic != MAGIC {
            return invalid(format!("magic check fail: {magic:x} instead of {MAGIC:x}"));
        }
        let (major, known) = (version >> 16, VERSION >> 16);
        if major != known {
            return invalid(format!("major version check fail: {major} instead of {known}"));
        }
        let offset = (root & OFFSET) as usize;
        // The root of an empty index has no bytes: its offset is the end of the file.
        if offset < HEADER || offset > bytes.len() || (offset == bytes.len() && root & !OFFSET != 0) {
            return invalid("the root node of the index lies outside of the file".into());
        }
        Ok(Index { bytes, root })
    }

    /// Whether the whole index is valid: each referenced node and value lies in the file, and no node is reached twice. A
    /// search reads only the nodes that it needs and does not check this.
    pub fn is_whole(&self) -> bool {
        // The nodes of a valid file do not overlap, so together they are at most as large as the file.
        let mut budget = self.bytes.len();
        let mut seen = HashSet::new();
        // References, each with the length of the key before it.
        let mut pending = vec![(self.root, 0)];
        while let Some((reference, length)) = pending.pop() {
            let Some(node) = self.node(reference) else { return false };
            let length = length + node.prefix.len();
            let (mut count, mut size) = (0, node.size());
            for (_, value) in node.values.clone() {
                count += 1;
                size += value.len() + 5;
            }
            let whole = count == node.values.left && length <= limits::INDEX_KEY;
            if !whole || !spend(&mut budget, size) || !seen.insert(reference & OFFSET) {
                return false;
            }
            pending.extend(node.children().map(|(_, child)| (child, length + 1)));
        }
        true
    }

    /// The node at a reference; `None` for a reference to no node, and if the node is not inside the file.
    pub(super) fn node(&self, reference: u32) -> Option<Node<'a>> {
        let offset = (reference & OFFSET) as usize;
        if offset == 0 {
            return None;
        }
        let mut rest = self.bytes.get(offset..)?;
        let mut node = Node::default();
        if reference & PREFIX != 0 {
            node.prefix = CStr::from_bytes_until_nul(rest).ok()?.to_bytes();
            rest = &rest[node.prefix.len() + 1..];
        }
        if reference & CHILDREN != 0 {
            let (&first, &last) = (rest.first()?, rest.get(1)?);
            if first > last || last > 127 {
                return None;
            }
            let end = 2 + 4 * (usize::from(last - first) + 1);
            node.first = first;
            node.children = rest.get(2..end)?;
            rest = &rest[end..];
        }
        if reference & VALUES != 0 {
            let left = word(rest, 0)?;
            rest = &rest[4..];
            // A value has at least a priority and a NUL. Refuse a count that cannot fit the file.
            if (left as usize).checked_mul(5)? > rest.len() {
                return None;
            }
            node.values = Values { left, rest };
        }
        Some(node)
    }
}

/// One node. Its parts are slices of the file.
#[derive(Default)]
pub(super) struct Node<'a> {
    /// The next bytes of the key.
    pub prefix: &'a [u8],
    /// The byte that selects the first child.
    first: u8,
    /// References of the children, 4 bytes each.
    children: &'a [u8],
    /// The values of the key that ends here.
    pub values: Values<'a>,
}

impl<'a> Node<'a> {
    /// The reference of the child that `byte` selects; 0 if there is none.
    pub(crate) fn child(&self, byte: u8) -> u32 {
        let index = byte.checked_sub(self.first).map(usize::from);
        index.and_then(|index| word(self.children, index * 4)).unwrap_or(0)
    }

    /// All children, by ascending byte.
    pub(crate) fn children(&self) -> impl Iterator<Item = (u8, u32)> + use<'a> {
        let references = self.children.chunks_exact(4).map(|reference| word(reference, 0).unwrap_or(0));
        (self.first..).zip(references).filter(|&(_, reference)| reference != 0)
    }

    /// The size of the node in the file without its values, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.prefix.len() + 1 + self.children.len()
    }
}

/// The values of a node, in file order: `(priority, value)`. Stops at a value that is not inside the file.
#[derive(Clone, Default)]
pub(super) struct Values<'a> {
    left: u32,
    rest: &'a [u8],
}

impl<'a> Iterator for Values<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let priority = word(self.rest, 0)?;
        let value = CStr::from_bytes_until_nul(&self.rest[4..]).ok()?.to_bytes();
        self.rest = &self.rest[4 + value.len() + 1..];
        Some((priority, value))
    }
}

/// Subtracts `cost` from the budget; false if that is too small.
pub(super) fn spend(budget: &mut usize, cost: usize) -> bool {
    budget.checked_sub(cost).map(|left| *budget = left).is_some()
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..offset + 4)?.try_into().ok().map(u32::from_be_bytes)
}
