//! The binary indexes, against a second reader that knows nothing but the description of the format, and against the text
//! files that say the same.

use super::{KIB, bounded, inside};
use kmod_once::internals::formats::index::{Found, Index, IndexBuilder, Reader, unfit};
use kmod_once::internals::formats::pattern::fnmatch;
use kmod_once::internals::formats::text;
use kmod_once::internals::{limits, name};
use std::collections::BTreeMap;

/// Any bytes as an index: every answer lies inside the file, a key that the dump shows is found by itself, and where the file
/// is whole (no loops, nothing cut) dump and searches say what a plain walk over all of it says.
pub fn hostile(input: &[u8]) -> bool {
    let Ok(index) = Index::open(input) else { return false };
    bounded(input, 16 * KIB, 0, || index.dump(&mut |_, _| {}));
    let mut dumped: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    index.dump(&mut |key, value| {
        assert!(key.len() <= limits::INDEX_KEY && inside(value, input));
        dumped.push((key.to_vec(), value.to_vec()));
    });
    assert!(dumped.len() <= input.len() / 5, "more values than the file can hold");
    for (at, (key, value)) in dumped.iter().enumerate() {
        if at == 0 || dumped[at - 1].0 != *key {
            assert_eq!(index.exact(key), Some(&value[..]), "of {}", key.escape_ascii());
        }
    }
    let plain = Plain::read(input);
    if let Some(plain) = &plain {
        assert!(
            plain
                .iter()
                .map(|(key, _, value)| (&key[..], *value))
                .eq(dumped.iter().map(|(k, v)| (&k[..], &v[..])))
        );
    }
    for query in queries(dumped.iter().map(|(key, _)| &key[..])) {
        let found = bounded(input, 16 * KIB, 24, || index.search(&query));
        assert!(found.len() <= limits::LOOKUP_RESULTS);
        assert!(found.iter().all(|found| inside(found.value, input)));
        assert!(found.is_sorted_by_key(|found| found.priority));
        assert_eq!(sorted(&found), sorted(&index.search_as(&query, Reader::Streamed)));
        let Some(plain) = &plain else { continue };
        let wanted: Vec<Found<'_>> = plain
            .iter()
            .filter(|(key, ..)| leads(key, &query))
            .map(|&(_, priority, value)| Found { value, priority })
            .collect();
        assert_eq!(sorted(&found), sorted(&wanted), "for {}", query.escape_ascii());
    }
    !dumped.is_empty()
}

/// The lines of the input, `PATTERN MODULE` or `PATH: PATH...`, written as index and as text: both give the same answers, in
/// the same order, and the index holds what was put in, and is whole.
pub fn written(input: &[u8]) -> bool {
    let (mut aliases, mut dep, mut builtin) = (IndexBuilder::new(), IndexBuilder::new(), IndexBuilder::new());
    let (mut alias_text, mut dep_text, mut builtin_text) = (Vec::new(), Vec::new(), Vec::new());
    let mut held: BTreeMap<Vec<u8>, Vec<(u32, &[u8])>> = BTreeMap::new();
    let mut names = Vec::new();
    for (line, number) in input.split(|&b| b == b'\n').zip(0..).filter(|(line, _)| unfit(line).is_none()) {
        if let Some(colon) = line.iter().position(|&b| b == b':') {
            if let Some(name) = name::from_path(&line[..colon]).filter(|name| name.len() <= limits::INDEX_KEY)
            {
                dep.insert(&name, line, number).unwrap();
                dep_text.extend_from_slice(&[line, b"\n"].concat());
                builtin.insert(&name, b"", 0).unwrap();
                builtin_text.extend_from_slice(&[&line[..colon], b"\n"].concat());
                names.push(name);
            }
        }
        let Some(blank) = line.iter().rposition(|&b| b == b' ') else { continue };
        let (pattern, module) = (&line[..blank], &line[blank + 1..]);
        if let Some(key) = name::alias(pattern).filter(|_| !module.is_empty()) {
            aliases.insert(&key, module, number).unwrap();
            alias_text.extend_from_slice(&[b"alias ", line, b"\n"].concat());
            held.entry(key).or_default().push((number, module));
        }
    }
    let aliases = bounded(input, 4 * KIB, 96, || aliases.write().unwrap());
    let plain = Plain::read(&aliases).expect("what is written is whole");
    let flat: Vec<_> =
        held.iter().flat_map(|(k, vs)| vs.iter().map(move |(p, v)| (k.clone(), *p, *v))).collect();
    assert_eq!(plain, flat, "what was put in, by key and priority");
    let index = Index::open(&aliases).unwrap();
    for query in queries(held.keys().map(|key| &key[..])) {
        let found: Vec<&[u8]> = index.search(&query).into_iter().map(|found| found.value).collect();
        assert_eq!(found, text::alias_search(&alias_text, &query), "for {}", query.escape_ascii());
    }
    let (dep, builtin) = (dep.write().unwrap(), builtin.write().unwrap());
    let (dep, builtin) = (Index::open(&dep).unwrap(), Index::open(&builtin).unwrap());
    for name in names.iter().take(20) {
        for name in [&name[..], &name[..name.len() / 2], &[name, &b"_"[..]].concat()] {
            assert_eq!(dep.exact(name), text::dep_line(&dep_text, name), "{}", name.escape_ascii());
            assert_eq!(builtin.exact(name).is_some(), text::builtin_contains(&builtin_text, name));
        }
    }
    !held.is_empty() || !names.is_empty()
}

/// Whether a key leads to its values for this query: what comes before its first wildcard is literal.
fn leads(key: &[u8], query: &[u8]) -> bool {
    let literal = key.iter().position(|b| matches!(b, b'*' | b'?' | b'[')).unwrap_or(key.len());
    query.strip_prefix(&key[..literal]).is_some_and(|rest| {
        if literal == key.len() { rest.is_empty() } else { fnmatch(&key[literal..], rest) }
    })
}

/// Some questions that these keys may answer. None has a byte that is a wildcard in a key: such a one is both the key's own
/// byte and what its pattern stands for, and finds the key twice.
fn queries<'k>(keys: impl Iterator<Item = &'k [u8]>) -> Vec<Vec<u8>> {
    let mut queries = vec![Vec::new(), b"a".to_vec()];
    for key in keys.take(5) {
        let spelled: Vec<u8> =
            key.iter().map(|&b| if matches!(b, b'*' | b'?' | b'[') { b'a' } else { b }).collect();
        queries.push(spelled.iter().copied().chain(*b"zz").collect());
        queries.push(spelled[..spelled.len() / 2].to_vec());
        let literal = key.iter().filter(|b| !matches!(b, b'*' | b'?' | b'[')).copied().collect();
        queries.push(literal);
        queries.push(spelled);
    }
    queries.retain(|query| query.len() <= limits::QUERY);
    queries
}

fn sorted<'a>(found: &[Found<'a>]) -> Vec<(u32, &'a [u8])> {
    let mut sorted: Vec<_> = found.iter().map(|found| (found.priority, found.value)).collect();
    sorted.sort_unstable();
    sorted
}

/// A value with its key and its priority.
type Value<'a> = (Vec<u8>, u32, &'a [u8]);

/// An index read from its description (the head of src/formats/index/mod.rs), in the order of the file.
struct Plain<'a> {
    bytes: &'a [u8],
    found: Vec<Value<'a>>,
    /// How many bytes of nodes may still be read; in a whole file no byte is read twice.
    left: usize,
}

impl<'a> Plain<'a> {
    /// Keys, priorities and values; `None` where the file is not whole.
    fn read(bytes: &'a [u8]) -> Option<Vec<Value<'a>>> {
        let mut plain = Plain { bytes, found: Vec::new(), left: bytes.len() };
        let root = plain.word(8)?;
        plain.node(root, &mut Vec::new())?;
        Some(plain.found)
    }

    fn word(&self, at: usize) -> Option<u32> {
        Some(u32::from_be_bytes(self.bytes.get(at..at + 4)?.try_into().unwrap()))
    }

    fn text(&self, at: usize) -> Option<&'a [u8]> {
        let rest = self.bytes.get(at..)?;
        Some(&rest[..rest.iter().position(|&b| b == 0)?])
    }

    fn node(&mut self, reference: u32, key: &mut Vec<u8>) -> Option<()> {
        let start = (reference & 0x0fff_ffff) as usize;
        if start == 0 {
            return None;
        }
        let (mut at, mut cost, before) = (start, 0, key.len());
        if reference & 0x8000_0000 != 0 {
            let prefix = self.text(at)?;
            key.extend_from_slice(prefix);
            at += prefix.len() + 1;
            cost += prefix.len() + 1;
        }
        if key.len() > limits::INDEX_KEY {
            return None;
        }
        let mut children = Vec::new();
        if reference & 0x2000_0000 != 0 {
            let (first, last) = (*self.bytes.get(at)?, *self.bytes.get(at + 1)?);
            at += 2;
            if first > last || last > 127 {
                return None;
            }
            for byte in first..=last {
                children.push((byte, self.word(at)?));
                at += 4;
            }
            cost += 4 * children.len();
        }
        if reference & 0x4000_0000 != 0 {
            let count = self.word(at)?;
            at += 4;
            for _ in 0..count {
                let (priority, value) = (self.word(at)?, self.text(at + 4)?);
                at += 4 + value.len() + 1;
                // One that is read twice is paid for twice, so this ends.
                self.left = self.left.checked_sub(5 + value.len())?;
                self.found.push((key.clone(), priority, value));
            }
        }
        self.left = self.left.checked_sub(cost.max(1))?;
        for (byte, child) in children.into_iter().filter(|(_, child)| child & 0x0fff_ffff != 0) {
            key.push(byte);
            self.node(child, key)?;
            key.pop();
        }
        key.truncate(before);
        Some(())
    }
}
