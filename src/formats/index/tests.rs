//! Tests of reading, searching and writing. [`Model`] is a second implementation, which inserts keys one by one and writes
//! both node orders. The product sorts the keys instead.

use super::*;
use crate::error::Errno;
use crate::formats::pattern::fnmatch;
use crate::limits;
use std::collections::BTreeMap;

/// The worked example: `net:a*` → one, `net:b` → one, two, `net` → two.
const EXAMPLE: [(&str, &str, u32); 4] =
    [("net:a*", "one", 0), ("net:b", "one", 0), ("net:b", "two", 1), ("net", "two", 1)];

const EXAMPLE_34: &str =
    "b007f457 00020001 2000000c  6e6e e0000012  657400 3a3a 20000027 00000001 00000001 74776f00
    6162 c0000031 4000003f  2a00 00000001 00000000 6f6e6500  00000002 00000000 6f6e6500 00000001 74776f00";

const EXAMPLE_30: &str = "b007f457 00020001 2000004d  2a00 00000001 00000000 6f6e6500
    00000002 00000000 6f6e6500 00000001 74776f00  6162 c000000c 4000001a
    657400 3a3a 2000002e 00000001 00000001 74776f00  6e6e e0000038";

const SYMBOLS: &str = "
    b0 07 f4 57 00 02 00 01 20 00 00 0c 73 73 a0 00 00 12 79 6d 62 6f 6c 3a 00 61 62 a0 00 00 23 c0
    00 00 61 5f 00 6f 74 c0 00 00 3f 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 c0 00 00 50 6e
    65 00 00 00 00 01 00 00 00 00 6d 6f 64 5f 61 00 77 6f 00 00 00 00 01 00 00 00 00 6d 6f 64 5f 61
    00 5f 6f 6e 65 00 00 00 00 01 00 00 00 01 6d 6f 64 5f 62 00";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn build<K: AsRef<[u8]>, V: AsRef<[u8]>>(entries: &[(K, V, u32)]) -> Vec<u8> {
    let mut builder = IndexBuilder::new();
    for (key, value, priority) in entries {
        builder.insert(key.as_ref(), value.as_ref(), *priority).unwrap();
    }
    builder.write().unwrap()
}

fn values<'a>(found: &[Found<'a>]) -> Vec<&'a str> {
    found.iter().map(|found| std::str::from_utf8(found.value).unwrap()).collect()
}

/// A trie that is built by insertion.
#[derive(Default, Clone)]
struct Model {
    prefix: Vec<u8>,
    values: Vec<(u32, Vec<u8>)>,
    children: BTreeMap<u8, Model>,
}

impl Model {
    fn of<K: AsRef<[u8]>, V: AsRef<[u8]>>(entries: &[(K, V, u32)]) -> Model {
        let mut root = Model::default();
        for (key, value, priority) in entries {
            root.insert(key.as_ref(), value.as_ref(), *priority);
        }
        root
    }

    fn insert(&mut self, key: &[u8], value: &[u8], priority: u32) {
        let common = self.prefix.iter().zip(key).take_while(|(a, b)| a == b).count();
        if common < self.prefix.len() {
            let mut low = std::mem::take(self);
            self.prefix = low.prefix[..common].to_vec();
            let byte = low.prefix[common];
            low.prefix.drain(..=common);
            self.children.insert(byte, low);
        }
        match key[common..].split_first() {
            None => {
                let at = self.values.iter().position(|(p, _)| *p >= priority).unwrap_or(self.values.len());
                self.values.insert(at, (priority, value.to_vec()));
            }
            Some((byte, rest)) => match self.children.get_mut(byte) {
                Some(child) => child.insert(rest, value, priority),
                None => {
                    let values = vec![(priority, value.to_vec())];
                    self.children
                        .insert(*byte, Model { prefix: rest.to_vec(), values, children: BTreeMap::new() });
                }
            },
        }
    }

    fn own(&self) -> usize {
        let values = self.values.iter().map(|(_, value)| 5 + value.len()).sum::<usize>();
        let span = |first: &u8, last: &u8| 2 + 4 * (usize::from(last - first) + 1);
        (if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 })
            + self.children.keys().next().map_or(0, |first| span(first, self.children.keys().last().unwrap()))
            + if self.values.is_empty() { 0 } else { 4 + values }
    }

    fn size(&self) -> usize {
        self.own() + self.children.values().map(Model::size).sum::<usize>()
    }

    fn flags(&self) -> u32 {
        u32::from(!self.prefix.is_empty()) << 31
            | u32::from(!self.values.is_empty()) << 30
            | u32::from(!self.children.is_empty()) << 29
    }

    fn node(&self, references: &BTreeMap<u8, u32>, out: &mut Vec<u8>) {
        if !self.prefix.is_empty() {
            out.extend_from_slice(&[&self.prefix[..], b"\0"].concat());
        }
        if let (Some(first), Some(last)) = (references.keys().next(), references.keys().last()) {
            out.extend_from_slice(&[*first, *last]);
            for byte in *first..=*last {
                out.extend_from_slice(&references.get(&byte).copied().unwrap_or(0).to_be_bytes());
            }
        }
        if !self.values.is_empty() {
            out.extend_from_slice(&(self.values.len() as u32).to_be_bytes());
            for (priority, value) in &self.values {
                out.extend_from_slice(&[&priority.to_be_bytes()[..], value, b"\0"].concat());
            }
        }
    }

    /// Parents first, as in kmod 34.
    fn root_first(&self, out: &mut Vec<u8>) -> u32 {
        let reference = out.len() as u32 | self.flags();
        let mut offset = out.len() + self.own();
        let mut references = BTreeMap::new();
        for (byte, child) in &self.children {
            references.insert(*byte, offset as u32 | child.flags());
            offset += child.size();
        }
        self.node(&references, out);
        for child in self.children.values() {
            child.root_first(out);
        }
        reference
    }

    /// Children first, as in kmod 30.
    fn root_last(&self, out: &mut Vec<u8>) -> u32 {
        let references = self.children.iter().map(|(byte, child)| (*byte, child.root_last(out))).collect();
        let reference = out.len() as u32 | self.flags();
        self.node(&references, out);
        reference
    }

    fn file(&self, write: fn(&Model, &mut Vec<u8>) -> u32) -> Vec<u8> {
        let mut out = hex("b007f457 00020001 00000000");
        let root = write(self, &mut out);
        out[8..12].copy_from_slice(&root.to_be_bytes());
        out
    }
}

/// A pseudo-random generator (xorshift) with a fixed seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn text(&mut self, alphabet: &[u8], longest: usize) -> Vec<u8> {
        let length = self.below(longest + 1);
        (0..length).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }

    fn entries(&mut self, count: usize, alphabet: &[u8], longest: usize) -> Vec<(Vec<u8>, Vec<u8>, u32)> {
        (0..count)
            .map(|i| {
                let priority = self.below(count.min(5)) as u32;
                (self.text(alphabet, longest), format!("v{i}").into_bytes(), priority)
            })
            .collect()
    }
}

#[test]
fn the_worked_examples_byte_for_byte() {
    assert_eq!(build(&EXAMPLE), hex(EXAMPLE_34));
    assert_eq!(Model::of(&EXAMPLE).file(Model::root_last), hex(EXAMPLE_30));
    let symbols = [("symbol:a_one", "mod_a", 0), ("symbol:b_one", "mod_b", 1), ("symbol:a_two", "mod_a", 0)];
    assert_eq!(build(&symbols), hex(SYMBOLS));
    assert_eq!(build::<&str, &str>(&[]), hex("b007f457 00020001 0000000c"));
}

#[test]
fn sorting_makes_the_same_file_as_inserting() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..2000 {
        let alphabet: &[u8] = [&b"ab"[..], b"abc*?[]-", b"\x01z\x7f ", b"a"][round % 4];
        let (count, longest) = (random.below(40), 1 + random.below(9));
        let entries = random.entries(count, alphabet, longest);
        assert_eq!(build(&entries), Model::of(&entries).file(Model::root_first), "{entries:?}");
    }
}

#[test]
fn the_examples_are_found_in_both_node_orders() {
    for file in [hex(EXAMPLE_34), hex(EXAMPLE_30)] {
        let index = Index::open(&file).unwrap();
        assert_eq!(index.exact(b"net").unwrap(), b"two");
        assert_eq!(index.exact(b"net:a*").unwrap(), b"one");
        assert_eq!(index.exact(b"net:b").unwrap(), b"one");
        for missing in [&b""[..], b"n", b"net:", b"net:a", b"net:bb", b"o", b"\xff"] {
            assert_eq!(index.exact(missing), None, "{missing:?}");
        }
        assert_eq!(values(&index.search(b"net:b")), ["one", "two"]);
        assert_eq!(values(&index.search(b"net:abc")), ["one"]);
        // Asked with a wildcard, the key is found as a pattern; literally it is not walked to a second time, since the
        // wildcard lies in a prefix.
        assert_eq!(values(&index.search(b"net:a*")), ["one"]);
        assert!(index.search(b"net:").is_empty());
        let mut dump = Vec::new();
        index.dump(&mut |key, value| dump.push((key.to_vec(), value.to_vec())));
        let expected = [("net", "two"), ("net:a*", "one"), ("net:b", "one"), ("net:b", "two")];
        assert_eq!(dump, expected.map(|(key, value)| (key.into(), value.into())));
    }
}

#[test]
fn search_finds_what_a_look_at_every_key_finds() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut hits = 0;
    for round in 0..3000 {
        let count = 1 + random.below(40);
        let entries = random.entries(count, b"aab*?[]-c", 7);
        let model = Model::of(&entries);
        let file = model.file([Model::root_first, Model::root_last][round % 2]);
        let index = Index::open(&file).unwrap();
        for _ in 0..8 {
            let query = random.text(b"aabc", 7);
            let mut expected: Vec<Vec<u8>> = Vec::new();
            for (key, value, _) in &entries {
                let literal = key.iter().position(|b| b"*?[".contains(b)).unwrap_or(key.len());
                if query.strip_prefix(&key[..literal]).is_some_and(|rest| fnmatch(&key[literal..], rest)) {
                    expected.push(value.clone());
                }
            }
            let found = index.search(&query);
            assert!(found.is_sorted_by_key(|found| found.priority));
            let mut found: Vec<_> = found.iter().map(|found| found.value.to_vec()).collect();
            hits += found.len();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{:?} in {entries:?}", String::from_utf8_lossy(&query));
            for (key, _, _) in &entries {
                let first = entries.iter().enumerate().filter(|(_, (other, _, _))| other == key);
                let first = first.min_by_key(|(i, (_, _, priority))| (*priority, usize::MAX - i)).unwrap().1;
                assert_eq!(index.exact(key).unwrap(), first.1);
            }
        }
    }
    assert!(hits > 10_000, "{hits} hits do not test much");
}

#[test]
fn equal_priorities_come_in_the_order_of_the_reader() {
    let file = build(&[("k1", "b1", 0), ("k1", "b2", 0), ("k1", "b3", 0)]);
    let index = Index::open(&file).unwrap();
    assert_eq!(values(&index.search(b"k1")), ["b1", "b2", "b3"]);
    assert_eq!(values(&index.search_as(b"k1", Reader::Streamed)), ["b3", "b2", "b1"]);
}

#[test]
fn a_backslash_escapes_only_after_the_first_wildcard() {
    let file = build(&[("bs\\*t", "m", 0), ("es*\\*t", "n", 0), ("", "empty", 0), ("[a-c]x", "range", 3)]);
    let index = Index::open(&file).unwrap();
    assert_eq!(values(&index.search(b"bs\\1t")), ["m"]);
    assert!(index.search(b"bs*t").is_empty());
    assert_eq!(values(&index.search(b"es12*t")), ["n"]);
    assert!(index.search(b"es12t").is_empty());
    assert_eq!(values(&index.search(b"")), ["empty"]);
    assert_eq!(values(&index.search(b"bx")), ["range"]);
}

#[test]
fn what_is_no_index_is_refused_in_kmods_words() {
    let error = |bytes: &[u8]| Index::open(bytes).unwrap_err();
    assert_eq!(error(b"").errno(), Errno::ENODATA);
    assert_eq!(error(b"BADABC").errno(), Errno::EINVAL);
    assert_eq!(error(b"BAD!abcdefgh").what(), "magic check fail: 42414421 instead of b007f457");
    let version = hex("b007f457 00030001 2000000c 00");
    assert_eq!(error(&version).what(), "major version check fail: 3 instead of 2");
    for root in ["00000000", "0000000b", "2000000c", "0000000d", "ffffffff"] {
        let what = "the root node of the index lies outside of the file";
        assert_eq!(error(&hex(&format!("b007f457 00020001 {root}"))).what(), what);
    }
    assert!(Index::open(&hex("b007f457 0002ffff 0000000c")).is_ok(), "any minor version is read");
}

/// Runs every kind of search, each of which must end soon. The result only depends on what was found.
fn ask_everything(bytes: &[u8]) -> usize {
    let Ok(index) = Index::open(bytes) else { return 0 };
    let mut seen = 0;
    for query in [&b"net:abc"[..], b"", b"symbol:a_one", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaa", &[b'a'; 4096]] {
        index.exact(query);
        seen += index.search(query).len();
    }
    index.dump(&mut |key, value| {
        assert!(key.len() <= crate::limits::INDEX_KEY);
        seen += 1 + value.len();
    });
    seen
}

#[test]
fn loops_and_shared_nodes_end() {
    // 'a' and '*' refer back to the root.
    for byte in [b'a', b'*'] {
        let mut file = hex("b007f457 00020001 2000000c 0000 2000000c");
        file[12] = byte;
        file[13] = byte;
        ask_everything(&file);
    }
    // 60 levels of two children each, both the same node: 2^60 keys.
    let mut file = hex("b007f457 00020001 2000000c");
    for level in 0..60u32 {
        let next = 0x2000_0000 | (12 + (level + 1) * 10);
        file.extend_from_slice(b"*+");
        file.extend_from_slice(&[next.to_be_bytes(), next.to_be_bytes()].concat());
    }
    file.extend_from_slice(&hex("6162 4000026e 4000026e 00000001 00000000 7600"));
    ask_everything(&file);
    // A count of values that the file cannot hold.
    ask_everything(&hex("b007f457 00020001 4000000c ffffffff 00000000 00"));
}

#[test]
fn damaged_files_are_read_without_a_panic() {
    let mut random = Random(0xfeed_beef_1234_5678);
    let long: String = "ab".repeat(3000);
    let deep = build(&[(&long[..4000], "deep", 0), (&long[..3999], "deeper", 1)]);
    let mut seen = 0;
    for seed in [hex(EXAMPLE_34), hex(EXAMPLE_30), hex(SYMBOLS), deep] {
        for length in 0..seed.len().min(300) {
            ask_everything(&seed[..length]);
        }
        for _ in 0..5000 {
            let mut bytes = seed.clone();
            for _ in 0..1 + random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] = [0, 0xff, b'*', 0x0c, random.below(256) as u8][random.below(5)];
            }
            seen += ask_everything(&bytes);
        }
    }
    assert!(seen > 10_000, "{seen}: the damage leaves too little to read");
}

#[test]
fn a_whole_index_is_told_from_a_damaged_one() {
    let empty = IndexBuilder::new().write().unwrap();
    for whole in [hex(EXAMPLE_34), hex(EXAMPLE_30), hex(SYMBOLS), empty] {
        assert!(Index::open(&whole).unwrap().is_whole());
        for length in super::HEADER..whole.len() {
            let cut = Index::open(&whole[..length]);
            assert!(cut.is_err() || !cut.unwrap().is_whole(), "cut off after {length} bytes");
        }
    }
    // A loop, two references to one node, and a count of missing values.
    for damaged in [
        "b007f457 00020001 2000000c 6161 2000000c",
        "b007f457 00020001 2000000c 6162 40000016 40000016 00000001 00000000 7600",
        "b007f457 00020001 4000000c 00000002 00000000 76767600 00",
    ] {
        let damaged = hex(damaged);
        let whole = Index::open(&damaged).unwrap().is_whole();
        assert!(!whole, "{damaged:x?}");
    }
}

#[test]
fn what_the_format_cannot_hold_is_refused() {
    let mut builder = IndexBuilder::new();
    let error = builder.insert("gr\u{fc}n".as_bytes(), b"m", 0).unwrap_err();
    assert_eq!(error.what(), "Module index: bad character 0xc3 - only 7-bit ASCII is supported");
    assert!(builder.insert(b"a", b"\x80", 0).is_err() && builder.insert(b"a\0", b"m", 0).is_err());
    assert_eq!(builder.insert(&[b'a'; 4097], b"m", 0).unwrap_err().errno(), Errno::ENAMETOOLONG);
    builder.insert(&[b'a'; 4096], b"m", 0).unwrap();
    let file = builder.write().unwrap();
    assert_eq!(Index::open(&file).unwrap().exact(&[b'a'; 4096]).unwrap(), b"m");
}

#[test]
fn queries_of_every_length_match_as_patterns_do() {
    let patterns = ["a*z", "*", "a*b?z", "a*[b]z", "a*b*", "?*z", "aa*bz*"];
    let entries: Vec<(&str, &str, u32)> = patterns.iter().map(|pattern| (*pattern, *pattern, 0)).collect();
    let file = build(&entries);
    let index = Index::open(&file).unwrap();
    for length in (1..300).chain([limits::QUERY]) {
        for end in ["z", "bz", "bbz", "zb"] {
            let query = "a".repeat(length) + end;
            let mut found = values(&index.search(query.as_bytes()));
            found.sort_unstable();
            let mut expected: Vec<&str> =
                patterns.into_iter().filter(|p| fnmatch(p.as_bytes(), query.as_bytes())).collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "{length} a, {end}");
        }
    }
}
