//! Damaged module files: whatever the bytes, every reader returns, says no or gives at most what the file can hold. The
//! damage is made from a fixed seed, so a failure repeats.

#[path = "common/elf.rs"]
mod elf;

use elf::{GLOBAL, KoBuilder, LOCAL, Signature, Symbol, machine};
use kmod_once::formats::compress::{self, Compression, decompress, decompress_until};
use kmod_once::formats::elf::{
    Elf, exports, module_name, needed, strip_modversions, strip_vermagic, versions,
};
use kmod_once::formats::{modinfo, pattern, signature};
use std::io::Write;

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`; 0 for an `end` of 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % (end as u64).max(1)) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Damages `bytes` in one of the ways that find bugs: single bits and bytes, numbers at the edge of what is possible, parts
/// that are missing, doubled or moved.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let length = bytes.len();
    if length == 0 {
        return;
    }
    let at = random.below(length);
    match random.below(9) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = *random.pick(&[0, 1, 0x7f, 0x80, 0xff, b'=', b'.']),
        2..=4 => {
            let edges = [0, 1, 0x7fff_ffff, 0x8000_0000, u64::MAX, u64::MAX - 63, 1 << 32, length as u64];
            let mut number = random.pick(&edges).wrapping_add(*random.pick(&[0, 1, 8, u64::MAX]));
            if random.below(2) == 0 {
                number = number.swap_bytes();
            }
            let width = *random.pick(&[2, 4, 8]);
            let end = (at + width).min(length);
            bytes[at..end].copy_from_slice(&number.to_ne_bytes()[..end - at]);
        }
        5 => bytes.truncate(at),
        6 => {
            let end = (at + random.below(64)).min(length);
            bytes.drain(at..end);
        }
        7 => {
            let end = (at + random.below(64)).min(length);
            let part = bytes[at..end].to_vec();
            let place = random.below(length);
            bytes.splice(place..place, part);
        }
        _ => {
            let end = (at + random.below(32)).min(length);
            bytes[at..end].fill(*random.pick(&[0, 0xff, b'A']));
        }
    }
}

/// Everything that is read from an uncompressed module. Returns how many readers found something.
fn read_all(image: &[u8]) -> usize {
    let mut found = 0;
    if let Some(signature) = signature::parse(image) {
        found += 1;
        let shown = signature.signer.len() + signature.key.len() + signature.signature.len();
        assert!(shown <= image.len());
        assert!(signature.hash.len() < 512);
        assert!(modinfo::hex(signature.signature).len() <= signature.signature.len() * 4);
    }
    let Ok(elf) = Elf::parse(image) else { return found };
    found += 1;
    if let Ok(entries) = modinfo::info(&elf) {
        found += 1;
        assert!(entries.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() <= image.len());
        let (parameters, bad) = modinfo::parameters(entries.iter().copied());
        assert!(parameters.len() + bad.len() <= entries.len());
    }
    found += usize::from(modinfo::build_id(&elf).is_some_and(|id| id.len() <= image.len()));
    found += usize::from(module_name(&elf).is_some_and(|name| !name.is_empty() && name.len() <= image.len()));
    if let Ok(exports) = exports(&elf) {
        found += 1;
        assert!(exports.len() <= image.len());
        assert!(exports.iter().all(|export| export.name.len() <= image.len()));
    }
    if let Ok(needed) = needed(&elf) {
        found += 1;
        assert!(needed.len() <= image.len() / 16 + image.len() / 64);
    }
    if let Ok(versions) = versions(&elf) {
        found += 1;
        assert!(versions.len() <= image.len() / 64);
        assert!(versions.iter().all(|version| version.name.len() < 60));
    }
    for edit in [strip_vermagic, strip_modversions] {
        let mut copy = image.to_vec();
        let edited = edit(&mut copy);
        assert_eq!(copy.len(), image.len());
        if edited.is_err() {
            assert_eq!(copy, image, "an edit that fails changes nothing");
        }
    }
    found
}

/// The same content as each of the four kinds of ELF, with everything in it that is read.
fn modules() -> Vec<Vec<u8>> {
    let der = b"\x30\x81\xc6\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x81\xb8\x30\x81\xb5\x02\x01\x01\x31\x0f\x30\
        \x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01\x31\
        \x81\x91\x30\x81\x8e\x02\x01\x01\x30\x25\x30\x0d\x31\x0b\x30\x09\x06\x03\x55\x04\x03\x0c\x02ec\x02\x14\x04\x80\
        \x20\x7f\xf0\x90\xd9\xa2\x34\xe6\x3e\x3f\xa6\x49\xda\x1b\x0d\x85\x5f\xe7\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\
        \x04\x02\x01\x05\x00\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02\x04\x47";
    let der = [&der[..], &[0x55; 71]].concat();
    let this_module = |offset: usize| [&vec![0; offset][..], b"mod_a\0", &[0; 600]].concat();
    let builder = |offset| {
        KoBuilder::new()
            .modinfo("license", "GPL")
            .modinfo("vermagic", "6.1 SMP mod_unload ")
            .modinfo("name", "mod_a")
            .alias("pci:v00008086d*sv*sd*bc03sc*i*")
            .parm("debug", "int", "how much is said")
            .modinfo_raw(b"\0\0odd\0=\0parm=no colon\0")
            .export("a_one", 0x1234_5678)
            .export_in_section("a_two", 0x9abc_def0)
            .needs_version("printk", 0x11)
            .needs_weak("perhaps")
            .version("module_layout", 0x22)
            .symbol(Symbol { name: b"local".to_vec(), value: 8, binding: LOCAL, kind: 1, section: 1 })
            .symbol(Symbol { name: b"defined".to_vec(), value: 8, binding: GLOBAL, kind: 2, section: 2 })
            .section(".gnu.linkonce.this_module", this_module(offset))
            .build_id([7; 20])
            .signature(Signature::pkcs7(&der))
    };
    vec![
        builder(24).build(),
        builder(24).big_endian().machine(machine::S390).build(),
        builder(12).bits32().machine(machine::I386).build(),
        builder(12).bits32().big_endian().machine(machine::SPARC).build(),
    ]
}

#[test]
fn damaged_modules() {
    let modules = modules();
    for module in &modules {
        assert_eq!(read_all(module), 8, "undamaged, every reader finds something");
    }
    let mut random = Random(0x6b6d_6f64);
    let (mut something, mut nothing) = (0, 0);
    for round in 0..20_000 {
        let mut module = modules[round % modules.len()].clone();
        for _ in 0..=random.below(4) {
            damage(&mut module, &mut random);
        }
        if read_all(&module) > 0 { something += 1 } else { nothing += 1 }
    }
    assert!(
        something > 2_000 && nothing > 2_000,
        "the damage is neither too light nor too heavy: {something}, {nothing}"
    );
}

#[test]
fn every_byte_of_the_headers_at_its_edges_and_every_cut() {
    for module in modules() {
        let word = if module[4] == 2 { 8 } else { 4 };
        let field = &module[if word == 8 { 40..48 } else { 32..36 }];
        let fold = |value: usize, byte: &u8| value << 8 | usize::from(*byte);
        let table =
            if module[5] == 2 { field.iter().fold(0, fold) } else { field.iter().rev().fold(0, fold) };
        assert!(table > 64 && table < module.len());
        for at in (0..64).chain(table..module.len()) {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = module.clone();
                changed[at] = value;
                read_all(&changed);
            }
        }
        for cut in (0..module.len()).step_by(7) {
            read_all(&module[..cut]);
            read_all(&module[cut..]);
        }
    }
}

/// `data` compressed in each way that is understood.
fn packed(data: &[u8]) -> Vec<(Compression, Vec<u8>)> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(data).unwrap();
    let mut xz = xz2::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(data).unwrap();
    let streamed = {
        let mut zstd = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        zstd.write_all(data).unwrap();
        zstd.finish().unwrap()
    };
    vec![
        (Compression::Gzip, gzip.finish().unwrap()),
        (Compression::Xz, xz.finish().unwrap()),
        (Compression::Zstd, zstd::bulk::compress(data, 1).unwrap()),
        (Compression::Zstd, streamed),
    ]
}

#[test]
fn damaged_compressed_files() {
    const LIMIT: usize = 100_000;
    let module = modules().swap_remove(0);
    let mut inputs = packed(&module);
    inputs.extend(packed(&vec![0; 60_000]));
    let mut random = Random(0x7a73_7464);
    let (mut inflated, mut refused) = (0, 0);
    for round in 0..2_400 {
        let (kind, mut input) = inputs[round % inputs.len()].clone();
        for _ in 0..=random.below(3) {
            damage(&mut input, &mut random);
        }
        // The kind is given, so that damage to the first bytes reaches the decoder too.
        match decompress(kind, &input, LIMIT as u64) {
            Ok(out) => {
                inflated += 1;
                assert!(out.len() <= LIMIT);
                read_all(&out);
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
        }
        if let Ok(out) = decompress_until(kind, &input, LIMIT as u64, &mut |so_far| so_far.len() > 1000) {
            assert!(out.len() <= LIMIT);
        }
        if let Ok(image) = compress::image(&input, LIMIT as u64) {
            assert!(image.len() <= LIMIT);
        }
    }
    assert!(inflated > 200 && refused > 500, "{inflated}, {refused}");
}

#[test]
fn damaged_signatures() {
    let module = modules().swap_remove(0);
    let start = module.len() - 300;
    let mut random = Random(0x5349_474e);
    let (mut shown, mut none) = (0, 0);
    for _ in 0..20_000 {
        // Only the message and the trailer: the magic words at the end stay.
        let mut tail = module[start..module.len() - 28].to_vec();
        for _ in 0..=random.below(2) {
            damage(&mut tail, &mut random);
        }
        tail.extend_from_slice(b"~Module signature appended~\n");
        match signature::parse(&tail) {
            Some(signature) => {
                shown += 1;
                assert!(signature.signature.len() <= tail.len() && signature.key.len() <= tail.len());
            }
            None => none += 1,
        }
    }
    assert!(shown > 2_000 && none > 2_000, "{shown}, {none}");
}

#[test]
fn damaged_builtin_records() {
    let file = b"crc32.license=GPL\0crc32.alias=crc32\0crc32.parm=a:b\0ext4.file=fs/ext4/ext4\0ext4.alias=fs-ext4\0loop.x=y\0";
    let mut random = Random(0x6275_696c);
    for _ in 0..20_000 {
        let mut damaged = file.to_vec();
        for _ in 0..=random.below(4) {
            damage(&mut damaged, &mut random);
        }
        let length =
            modinfo::builtin(&damaged).map(|r| r.name.len() + r.key.len() + r.value.len()).sum::<usize>();
        assert!(length <= damaged.len());
        for name in [&b"ext4"[..], b"crc32", b""] {
            if let Ok(entries) = modinfo::builtin_info(&damaged, name) {
                assert!(
                    entries.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
                        <= damaged.len()
                );
            }
        }
    }
}

#[test]
fn damaged_patterns() {
    let parts: [&[u8]; 24] = [
        b"*",
        b"?",
        b"[",
        b"]",
        b"[!",
        b"[^",
        b"-",
        b"\\",
        b"a",
        b"b",
        b"[:alpha:]",
        b"[:",
        b":]",
        b"[.",
        b".]",
        b"[=a=]",
        b"[0-9]",
        b"[a-",
        b"\xff",
        b"\0",
        b"pci:v",
        b"d*sv*",
        b"[]]",
        b"[[",
    ];
    let mut random = Random(0x6674_6d61);
    let mut matches = 0;
    for _ in 0..50_000 {
        let mut build = |most: usize| {
            (0..random.below(most)).flat_map(|_| *random.pick(&parts)).copied().collect::<Vec<u8>>()
        };
        let (pattern, text) = (build(12), build(6));
        matches += usize::from(pattern::fnmatch(&pattern, &text));
        // A star at either end can only widen what matches the same text.
        if pattern::fnmatch(&pattern, &text) {
            assert!(pattern::fnmatch(&[b"*", &pattern[..]].concat(), &text), "{}", pattern.escape_ascii());
        }
    }
    assert!(matches > 1_000, "{matches}");
}
