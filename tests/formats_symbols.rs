//! What modules export and need. The expected answers are those of kmod 34.2 (`modprobe --show-exports`,
//! `--show-modversions`, and the dependencies that depmod finds) on the same files, except where kmod aborts.

#[path = "common/elf.rs"]
mod elf;

use elf::{GLOBAL, KoBuilder, LOCAL, SHN_ABS, SHN_UNDEF, Symbol, machine};
use kmod_once::internals::error::Errno;
use kmod_once::internals::formats::elf::{Elf, exports, needed, versions};

type Crcs = Vec<(String, u64)>;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn exported(file: &[u8]) -> Result<Crcs, Errno> {
    let found = exports(&Elf::parse(file).unwrap()).map_err(|error| error.errno())?;
    Ok(found.iter().map(|export| (text(export.name), export.crc)).collect())
}

fn versioned(file: &[u8]) -> Result<Crcs, Errno> {
    let found = versions(&Elf::parse(file).unwrap()).map_err(|error| error.errno())?;
    Ok(found.iter().map(|version| (text(version.name), version.crc)).collect())
}

/// Name, CRC, and `w` for weak or `v` for one that only `__versions` has.
fn needs(file: &[u8]) -> Result<Vec<(String, u64, &'static str)>, Errno> {
    let found = needed(&Elf::parse(file).unwrap()).map_err(|error| error.errno())?;
    let mark = |weak, from_versions| match (weak, from_versions) {
        (true, false) => "w",
        (false, true) => "v",
        (false, false) => "",
        (true, true) => "wv",
    };
    Ok(found.iter().map(|need| (text(need.name), need.crc, mark(need.weak, need.from_versions))).collect())
}

fn pairs(list: &[(&str, u64)]) -> Result<Crcs, Errno> {
    Ok(list.iter().map(|(name, crc)| (name.to_string(), *crc)).collect())
}

fn symbol(name: &str, value: u64, section: u16) -> Symbol {
    Symbol { name: name.into(), value, binding: GLOBAL, kind: 0, section }
}

fn kinds(builder: KoBuilder) -> Vec<Vec<u8>> {
    vec![
        builder.clone().build(),
        builder.clone().big_endian().machine(machine::S390).build(),
        builder.clone().bits32().machine(machine::I386).build(),
        builder.bits32().big_endian().machine(machine::SPARC).build(),
    ]
}

#[test]
fn exports_of_every_kind_of_elf() {
    let builder = KoBuilder::new()
        .export_in_section("in_a", 0x1234)
        .export_in_section("in_b", 5)
        .export("a", 0xdead_beef);
    for file in kinds(builder.ksymtab_string("without_crc")) {
        assert_eq!(exported(&file), pairs(&[("in_a", 0x1234), ("in_b", 5), ("a", 0xdead_beef)]));
    }
}

#[test]
fn a_crc_is_a_number_or_lies_in_a_section() {
    let crc = |value, section| {
        let file = KoBuilder::new().modinfo("a", "bcdef").symbol(symbol("__crc_u", value, section)).build();
        exported(&file).unwrap()[0].1
    };
    assert_eq!(crc(77, SHN_ABS), 77);
    assert_eq!(crc(77, SHN_UNDEF), 77);
    assert_eq!(crc(0x1234_5678_9abc, SHN_ABS), 0x1234_5678_9abc);
    // Section 1 is .modinfo, "a=bcdef" and a NUL.
    assert_eq!(crc(4, 1), u64::from(u32::from_le_bytes(*b"def\0")));
    assert_eq!(crc(5, 1), u64::MAX);
    assert_eq!(crc(u64::MAX - 1, 1), u64::MAX);
    // kmod aborts on these two.
    assert_eq!(crc(0, 50), u64::MAX);
    assert_eq!(crc(0, 0xfff2), u64::MAX);
    let nameless = KoBuilder::new().symbol(symbol("__crc_", 77, SHN_ABS)).build();
    assert_eq!(exported(&nameless), pairs(&[("", 77)]));
}

#[test]
fn strings_stand_in_where_no_symbol_has_a_crc() {
    let strings = KoBuilder::new().ksymtab_string("a").ksymtab_string("").ksymtab_string("b");
    assert_eq!(exported(&strings.build()), pairs(&[("a", 0), ("b", 0)]));
    assert_eq!(exported(&strings.without_symtab().build()), pairs(&[("a", 0), ("b", 0)]));
    let raw = |bytes: &[u8]| exported(&KoBuilder::new().section("__ksymtab_strings", bytes).build());
    assert_eq!(raw(b""), pairs(&[]));
    assert_eq!(raw(b"\0\0"), pairs(&[]));
    assert_eq!(raw(b"abc\0de"), Err(Errno::EINVAL));
    assert_eq!(exported(&KoBuilder::new().build()), Err(Errno::ENODATA));
}

/// `file` with the name of symbol `index` moved to `offset` of `.strtab` (of a 64-bit little-endian file).
fn rename(file: &[u8], index: usize, offset: usize) -> Vec<u8> {
    let at = Elf::parse(file).unwrap().section(b".symtab").unwrap().offset + index * 24;
    let mut changed = file.to_vec();
    changed[at..at + 4].copy_from_slice(&u32::try_from(offset).unwrap().to_le_bytes());
    changed
}

fn names_size(file: &[u8]) -> usize {
    Elf::parse(file).unwrap().section(b".strtab").unwrap().data.len()
}

#[test]
fn one_name_beyond_the_table_spoils_the_crcs_but_not_the_unused_entry() {
    let file = KoBuilder::new().export("one", 9).needs("two").ksymtab_string("fallback").build();
    let end = names_size(&file);
    assert_eq!(exported(&rename(&file, 0, end)), pairs(&[("one", 9)]));
    for index in [1, 2] {
        assert_eq!(exported(&rename(&file, index, end)), pairs(&[("one", 0), ("fallback", 0)]));
    }
}

#[test]
fn needed_symbols_are_the_undefined_ones_and_then_what_versions_has_besides() {
    let builder = KoBuilder::new()
        .version("module_layout", 0x11)
        .version("one", 0x22)
        .version("one", 0x33)
        .needs("one")
        .needs_weak("perhaps")
        .needs("two")
        .needs("")
        .export("own", 1)
        .symbol(Symbol { binding: LOCAL, ..symbol("local", 0, SHN_UNDEF) });
    let expected = [
        ("local", 0, ""),
        ("one", 0x22, ""),
        ("perhaps", 0, "w"),
        ("two", 0, ""),
        ("module_layout", 0x11, "v"),
        ("one", 0x33, "v"),
    ];
    let expected = expected.map(|(name, crc, mark)| (name.to_string(), crc, mark)).to_vec();
    for file in kinds(builder) {
        assert_eq!(needs(&file), Ok(expected.clone()));
    }
}

#[test]
fn registers_are_needed_on_sparc_only_in_name() {
    let count = |machine| {
        let register = Symbol { kind: 13, ..symbol("%g2", 0, SHN_UNDEF) };
        needs(&KoBuilder::new().machine(machine).needs("one").symbol(register).build()).unwrap().len()
    };
    assert_eq!([machine::SPARC, machine::SPARCV9, machine::X86_64, 18].map(count), [1, 1, 2, 2]);
}

#[test]
fn damaged_tables_of_needs() {
    let file = KoBuilder::new().modinfo("a", "b").needs("one").symbol(symbol("defined", 0, 1)).build();
    let end = names_size(&file);
    assert_eq!(
        needs(&rename(&file, 2, end)).unwrap().len(),
        1,
        "the name of a defined symbol does not matter"
    );
    assert_eq!(needs(&rename(&file, 1, end)), Err(Errno::EINVAL));
    assert_eq!(needs(&rename(&file, 1, end - 1)).unwrap().len(), 0, "an empty name");
    assert_eq!(needs(&KoBuilder::new().without_symtab().version("one", 1).build()), Err(Errno::ENODATA));
    let resized = |by: usize| {
        let mut odd = file.clone();
        let size_at = Elf::parse(&file).unwrap().section(b".symtab").unwrap().header + 32;
        odd[size_at] -= u8::try_from(by).unwrap();
        odd
    };
    assert_eq!(needs(&resized(1)), Err(Errno::EINVAL));
    assert_eq!(needs(&resized(72)).unwrap().len(), 0, "no symbol at all");
    let odd_versions = KoBuilder::new().needs("one").section("__versions", [b'n'; 65]).build();
    assert_eq!(needs(&odd_versions).unwrap().len(), 1);
    let unended = "n".repeat(56);
    assert_eq!(needs(&KoBuilder::new().needs(&unended).version(&unended, 3).build()), Err(Errno::EINVAL));
    let mut last = KoBuilder::new().needs("one").build();
    let names = Elf::parse(&last).unwrap().section(b".strtab").unwrap();
    let end = names.offset + names.data.len();
    last[end - 1] = b'x';
    assert_eq!(needs(&last).unwrap()[0].0, "onex", "no NUL at the end of the names");
}

#[test]
fn versions_of_every_kind_of_elf() {
    for file in kinds(
        KoBuilder::new()
            .version("module_layout", 0xffff_ffff)
            .version(".dot", 2)
            .version("..two", 3)
            .version("", 4),
    ) {
        assert_eq!(
            versioned(&file),
            pairs(&[("module_layout", 0xffff_ffff), ("dot", 2), (".two", 3), ("", 4)])
        );
    }
    let longest = KoBuilder::new().version("n".repeat(55), 0x12_3456_789a);
    assert_eq!(versioned(&longest.build()), pairs(&[(&"n".repeat(55), 0x12_3456_789a)]));
    let narrow = KoBuilder::new().bits32().version("n".repeat(59), 1);
    assert_eq!(versioned(&narrow.build()), pairs(&[(&"n".repeat(59), 1)]));
}

#[test]
fn damaged_tables_of_versions() {
    assert_eq!(versioned(&KoBuilder::new().build()), Err(Errno::ENODATA));
    assert_eq!(versioned(&KoBuilder::new().section("__versions", "").build()), pairs(&[]));
    assert_eq!(versioned(&KoBuilder::new().section("__versions", [b'a'; 65]).build()), Err(Errno::EINVAL));
    let unended = KoBuilder::new().version("ok", 9).version("n".repeat(56), 1).version("after", 2).build();
    assert_eq!(versioned(&unended), Err(Errno::EINVAL));
}

#[test]
fn extended_versions_go_before_the_others() {
    let long = "n".repeat(300);
    let builder = KoBuilder::new()
        .needs("one")
        .needs(&long)
        .extended_version("module_layout", 0xffff_ffff)
        .extended_version(".one", 2)
        .extended_version("one", 3)
        .extended_version(&long, 4);
    let expected = [("module_layout", 0xffff_ffff), ("one", 2), ("one", 3), (&long, 4)];
    let needed = [("one", 3, ""), (&long, 4, ""), ("module_layout", 0xffff_ffff, "v"), (".one", 2, "v")];
    let needed = needed.map(|(name, crc, mark)| (name.to_string(), crc, mark)).to_vec();
    for file in kinds(builder.clone()).into_iter().chain(kinds(builder.version("one", 9).version("two", 9))) {
        assert_eq!(versioned(&file), pairs(&expected));
        assert_eq!(needs(&file), Ok(needed.clone()));
    }
}

#[test]
fn damaged_extended_versions() {
    let file = |crcs: &[u8], names: &[u8]| {
        let builder = KoBuilder::new().needs("a").section("__version_ext_crcs", crcs);
        builder.section("__version_ext_names", names).build()
    };
    let crcs = [1, 0, 0, 0, 2, 0, 0, 0];
    assert_eq!(versioned(&file(&crcs, b"a\0b\0")), pairs(&[("a", 1), ("b", 2)]));
    assert_eq!(versioned(&file(&crcs[..4], b"a\0b\0c")), pairs(&[("a", 1)]), "names to spare, as the kernel");
    assert_eq!(versioned(&file(b"", b"")), pairs(&[]));
    for (crcs, names) in [
        (&crcs[..], &b"a\0"[..]),
        (&crcs, b"a\0b"),
        (&crcs, b""),
        (&crcs[..7], b"a\0b\0"),
        (&[0; 400_000], &b"n".repeat(4096)),
    ] {
        assert_eq!(versioned(&file(crcs, names)), Err(Errno::EINVAL), "{} {}", crcs.len(), names.len());
    }
    assert_eq!(needs(&file(&crcs, b"a\0b")), Err(Errno::EINVAL));
    let odd = needs(&file(&crcs[..7], b"a\0b\0")).unwrap();
    assert_eq!(odd, [("a".to_string(), 0, "")]);
    for alone in ["__version_ext_crcs", "__version_ext_names"] {
        let file = KoBuilder::new().needs("a").version("a", 1).section(alone, [0; 4]).build();
        assert_eq!(versioned(&file), Err(Errno::EINVAL), "{alone}");
        assert_eq!(needs(&file).unwrap()[0].1, 1, "{alone}");
    }
}

#[test]
fn a_name_longer_than_any_symbol_is_damage_and_costs_little() {
    let longest = "n".repeat(4095);
    assert_eq!(needs(&KoBuilder::new().needs(&longest).build()).unwrap()[0].0, longest);
    assert_eq!(exported(&KoBuilder::new().export(&longest, 1).build()), pairs(&[(&longest, 1)]));
    let endless = "n".repeat(4096);
    assert_eq!(needs(&KoBuilder::new().needs(&endless).build()), Err(Errno::EINVAL));
    assert_eq!(
        exported(&KoBuilder::new().export(&endless, 1).build()),
        pairs(&[(&endless, 0)]),
        "from the strings"
    );
    // 20000 undefined symbols that all begin in one name of a megabyte.
    let mut builder = KoBuilder::new().needs("x".repeat(1 << 20));
    for _ in 0..20_000 {
        builder = builder.needs("y");
    }
    let mut file = builder.build();
    let table = Elf::parse(&file).unwrap().section(b".symtab").unwrap();
    let (start, end) = (table.offset, table.offset + table.data.len());
    for symbol in file[start + 24..end].chunks_exact_mut(24) {
        symbol[..4].copy_from_slice(&1u32.to_le_bytes());
    }
    assert_eq!(needs(&file), Err(Errno::EINVAL));
}
