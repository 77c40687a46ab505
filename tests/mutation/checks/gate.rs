//! What the gate reads back: its record, its counters, and the kernel's log.

use super::{KIB, bounded};
use kmod_once::internals::formats::kmsg;
use kmod_once::internals::gate::counters::Counters;
use kmod_once::internals::gate::record::{FILE_LENGTH, Record};
use kmod_once::internals::name::ModuleName;
use std::fs::File;

/// Where the sum of a record stands.
const CHECKED: usize = 136;

thread_local! {
    static FILE: File = tempfile::tempfile().expect("a file without a name");
}

/// Any bytes as a gate file, as they are and with a good checksum: what is read is what was written, and a record whose sum
/// does not fit is none.
pub fn record(input: &[u8]) -> bool {
    let raw = Record::parse(input);
    assert!(raw.is_none() || sum(&input[..CHECKED]) == input[CHECKED..CHECKED + 8]);
    let mut whole = [0; FILE_LENGTH];
    let length = input.len().min(FILE_LENGTH);
    whole[..length].copy_from_slice(&input[..length]);
    whole[..4].copy_from_slice(b"KMG2");
    let check = sum(&whole[..CHECKED]);
    whole[CHECKED..CHECKED + 8].copy_from_slice(&check);
    let record = Record::parse(&whole);
    let phase = u32::from_ne_bytes(whole[4..8].try_into().unwrap());
    let length = u32::from_ne_bytes(whole[52..56].try_into().unwrap()) as usize;
    let named =
        whole[56..112].get(..length).is_some_and(|name| name.is_empty() || ModuleName::new(name).is_some());
    assert_eq!(record.is_some(), matches!(phase, 1 | 2) && named);
    if let Some(record) = &record {
        FILE.with(|file| {
            record.write(file, true).unwrap();
            assert_eq!(Record::read(file).as_ref(), Some(record), "what is written is read back");
        });
        let mut torn = whole;
        torn[usize::from(whole[8]) % CHECKED] ^= 1;
        assert_eq!(Record::parse(&torn), None, "a torn record is none");
    }
    let counters = Counters::parse(&whole);
    assert_eq!(counters.plus(Counters::default()), counters);
    let twice = counters.plus(counters);
    assert!(twice.loads >= counters.loads && twice.waited >= counters.waited, "a sum never wraps");
    record.is_some()
}

/// FNV-1a, from its definition.
fn sum(bytes: &[u8]) -> [u8; 8] {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for &byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash.to_ne_bytes()
}

/// Any bytes as the kernel's log: records, printed, are the same records; a text about a module is never taken for one about
/// another.
pub fn kmsg(input: &[u8]) -> bool {
    let records: Vec<kmsg::Record> = bounded(input, KIB, 64, || kmsg::records(input).collect());
    for record in &records {
        let line = format!("6,{},{},-;{}\n", record.sequence, record.time.as_micros(), record.text);
        assert!(kmsg::records(line.as_bytes()).eq([record.clone()]));
        let name = record.text.split(": ").next().unwrap_or_default();
        let meant = kmsg::meaning(&record.text, name);
        assert!(
            meant.is_none_or(|meant| !meant.text.is_empty() && meant.text.len() <= record.text.len() + 200)
        );
        let other = format!("{name}x");
        let general = ["Loading of ", "Lockdown: "].iter().any(|start| record.text.starts_with(start));
        assert!(general || !kmsg::is_about(&record.text, &other));
    }
    // Lines without a frame around them, too.
    let text = String::from_utf8_lossy(input);
    let _ = kmsg::meaning(&text, text.split(": ").next().unwrap_or_default());
    !records.is_empty()
}
