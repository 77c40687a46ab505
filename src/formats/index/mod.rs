//! The binary index: `modules.dep.bin`, `modules.alias.bin`, `modules.symbols.bin`, `modules.builtin.bin` and
//! `modules.builtin.alias.bin`. A trie of bytes, which is searched in the file.
//!
//! All integers are 32 bits, big-endian, not aligned.
//!
//! ```text
//! file    0  4  magic b0 07 f4 57
//!         4  4  version: major 2 in the high 16 bits, minor 1 in the low; readers check only the major
//!         8  4  reference to the root node
//!        12  …  nodes
//!
//! reference  low 28 bits: file offset of the node, 0 = no node
//!            0x8000_0000 the node has a prefix, 0x4000_0000 values, 0x2000_0000 children
//!
//! node    prefix    bytes, NUL                                     these three in this order,
//!         children  first byte, last byte, last-first+1 references  each only if its flag is set
//!         values    count, then count x (priority, bytes, NUL)
//! ```
//!
//! The key of a node is the concatenation, from the root down, of each node's prefix and the byte that selects the next
//! child. Bytes are 1 to 127. kmod up to 30 writes children before their parent, kmod from 31 on the root first. Both are
//! read; the second is written. Source: files of kmod 30 and 34.2.

mod read;
mod search;
mod write;

pub use read::Index;
pub use search::{Found, Reader};
pub use write::{IndexBuilder, unfit};

const MAGIC: u32 = 0xb007_f457;
/// The version that is written.
const VERSION: u32 = 0x0002_0001;
/// The size of the header, in bytes.
const HEADER: usize = 12;
// The parts of a reference.
const OFFSET: u32 = 0x0fff_ffff;
const PREFIX: u32 = 0x8000_0000;
const VALUES: u32 = 0x4000_0000;
const CHILDREN: u32 = 0x2000_0000;

#[cfg(test)]
mod tests;
