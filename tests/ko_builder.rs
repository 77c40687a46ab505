//! The module builder the other tests rest on makes what it says. The offsets below are the ELF specification's, counted
//! here by hand and not by the builder's own code.

#[path = "common/elf.rs"]
mod elf;

use elf::{KoBuilder, Signature, machine};

/// Reads `size` bytes at `at` as a number, in the byte order that the file's header states.
fn number(file: &[u8], at: usize, size: usize) -> usize {
    let bytes = &file[at..at + size];
    let fold = |value: usize, byte: &u8| value << 8 | usize::from(*byte);
    if file[5] == 2 { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) }
}

/// The contents of the section called `name`.
fn section<'a>(file: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let wide = file[4] == 2;
    let (table, entry, word) = if wide { (number(file, 40, 8), 64, 8) } else { (number(file, 32, 4), 40, 4) };
    let (offset_at, size_at) = if wide { (24, 32) } else { (16, 20) };
    let (count, names) = if wide {
        (number(file, 60, 2), number(file, 62, 2))
    } else {
        (number(file, 48, 2), number(file, 50, 2))
    };
    let names = number(file, table + names * entry + offset_at, word);
    (0..count).map(|index| table + index * entry).find_map(|header| {
        let start = names + number(file, header, 4);
        let end = start + file[start..].iter().position(|byte| *byte == 0)?;
        let offset = number(file, header + offset_at, word);
        let size = number(file, header + size_at, word);
        (&file[start..end] == name).then(|| &file[offset..offset + size])
    })
}

fn sample() -> KoBuilder {
    KoBuilder::new()
        .modinfo("license", "GPL")
        .alias("pci:v1*")
        .export("one", 0x0102_0304)
        .export_in_section("two", 0x0a0b_0c0d)
        .needs_version("three", 0x1122_3344)
}

#[test]
fn all_four_kinds_of_elf_hold_the_same_content() {
    for (file, word, order) in [
        (sample().build(), 8, [4, 3, 2, 1]),
        (sample().big_endian().machine(machine::S390).build(), 8, [1, 2, 3, 4]),
        (sample().bits32().machine(machine::I386).build(), 4, [4, 3, 2, 1]),
        (sample().bits32().big_endian().machine(machine::SPARC).build(), 4, [1, 2, 3, 4]),
    ] {
        assert_eq!(section(&file, b".modinfo").unwrap(), b"license=GPL\0alias=pci:v1*\0");
        assert_eq!(section(&file, b"__ksymtab_strings").unwrap(), b"one\0two\0");
        let crc = section(&file, b"__kcrctab").unwrap();
        assert_eq!(crc.len(), 4);
        assert_eq!(crc[0], if order[0] == 4 { 0x0d } else { 0x0a });
        let versions = section(&file, b"__versions").unwrap();
        assert_eq!(versions.len(), 64);
        assert_eq!(&versions[word..word + 6], b"three\0");
        let symbols = section(&file, b".symtab").unwrap();
        let names = section(&file, b".strtab").unwrap();
        let entry = if word == 8 { 24 } else { 16 };
        assert_eq!(symbols.len(), 4 * entry); // the empty one, __crc_two (local), __crc_one, three
        let (value_at, section_at) = if word == 8 { (8, 6) } else { (4, 14) };
        let mut seen = Vec::new();
        for symbol in symbols.chunks(entry).skip(1) {
            let at = if order[0] == 4 {
                u32::from_le_bytes(symbol[..4].try_into().unwrap())
            } else {
                u32::from_be_bytes(symbol[..4].try_into().unwrap())
            } as usize;
            let name = names[at..].split(|byte| *byte == 0).next().unwrap();
            seen.push((name.to_vec(), symbol[value_at..value_at + word].to_vec(), symbol[section_at] == 0));
        }
        assert_eq!(seen[0].0, b"__crc_two");
        assert_eq!(seen[1].0, b"__crc_one");
        let at = if order[0] == 4 { 0 } else { word - 4 };
        assert_eq!(seen[1].1[at..at + 4], order);
        assert_eq!(seen[2].0, b"three");
    }
}

#[test]
fn an_empty_module_has_no_modinfo() {
    let file = KoBuilder::new().build();
    assert_eq!(section(&file, b".modinfo"), None);
    assert!(section(&file, b".symtab").is_some());
    assert_eq!(section(&KoBuilder::new().without_symtab().build(), b".symtab"), None);
    assert_eq!(section(&KoBuilder::new().modinfo_raw("").build(), b".modinfo"), Some(&b""[..]));
}

#[test]
fn a_signature_ends_the_file() {
    let file = sample().signature(Signature::pkcs7(b"\x30\x03abc")).build();
    let tail = b"\x30\x03abc\0\0\x02\0\0\0\0\0\0\0\0\x05~Module signature appended~\n";
    assert!(file.ends_with(tail));
    assert_eq!(&file[..file.len() - tail.len()], sample().build());
}
