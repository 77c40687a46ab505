//! Module files taken apart: headers and sections, the name inside, `.modinfo`, and the edits behind the force flags.

#[path = "common/elf.rs"]
mod elf;

use elf::{KoBuilder, machine};
use kmod_once::internals::error::Errno;
use kmod_once::internals::formats::elf::{Elf, strip_modversions, strip_vermagic};
use kmod_once::internals::formats::modinfo::{self, module_name};

/// The four kinds of ELF that `builder` can be written as.
fn kinds(builder: KoBuilder) -> Vec<Vec<u8>> {
    vec![
        builder.clone().build(),
        builder.clone().big_endian().machine(machine::S390).build(),
        builder.clone().bits32().machine(machine::I386).build(),
        builder.bits32().big_endian().machine(machine::SPARC).build(),
    ]
}

fn errno(image: &[u8]) -> Errno {
    Elf::parse(image).unwrap_err().errno()
}

/// `image` with `bytes` written over it at `at`.
fn with(image: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut changed = image.to_vec();
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    changed
}

#[test]
fn all_four_kinds_are_read() {
    let builder = KoBuilder::new()
        .modinfo("license", "GPL")
        .build_id([0xab; 20])
        .section("x", "one")
        .section("x", "two");
    for (index, file) in kinds(builder).iter().enumerate() {
        let elf = Elf::parse(file).unwrap();
        assert_eq!(elf.is_64(), index < 2);
        assert_eq!(elf.machine, [62, 22, 3, 2][index]);
        let first = elf.section(b"x").unwrap();
        assert_eq!(first.data, b"one");
        assert_eq!(&file[first.offset..first.offset + 3], b"one");
        assert_eq!(elf.section(b"xx"), None);
        assert_eq!(elf.section(b""), None);
        assert_eq!(modinfo::info(&elf).unwrap(), [(&b"license"[..], &b"GPL"[..])]);
        assert_eq!(modinfo::build_id(&elf).unwrap(), [0xab; 20]);
    }
}

#[test]
fn what_is_not_elf_and_what_is_broken_elf() {
    let good = KoBuilder::new().modinfo("license", "GPL").build();
    for bad in
        [&b""[..], b"\x7fELF", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0", b"#!/bin/sh\necho not a module\n"]
    {
        assert_eq!(errno(bad), Errno::ENOEXEC, "{bad:?}");
    }
    assert_eq!(errno(&good[..17]), Errno::EINVAL);
    assert_eq!(errno(&good[..63]), Errno::EINVAL);
    assert_eq!(errno(&good[..64]), Errno::EINVAL);
    assert_eq!(errno(&good[..good.len() - 1]), Errno::EINVAL);
    let fields: [(&str, usize, &[u8]); 8] = [
        ("class 0", 4, &[0]),
        ("class 3", 4, &[3]),
        ("byte order 0", 5, &[0]),
        ("byte order 3", 5, &[3]),
        ("table far away", 40, &[0xff; 8]),
        ("headers of 63 bytes", 58, &[63, 0]),
        ("names in section 0", 62, &[0, 0]),
        ("names beyond the table", 62, &[0xff, 0xff]),
    ];
    for (what, at, bytes) in fields {
        assert_eq!(errno(&with(&good, at, bytes)), Errno::EINVAL, "{what}");
    }
}

/// Where the header of section `index` is in a 64-bit little-endian file.
fn header(image: &[u8], index: usize) -> usize {
    usize::try_from(u64::from_le_bytes(image[40..48].try_into().unwrap())).unwrap() + index * 64
}

#[test]
fn names_that_do_not_end_are_refused() {
    let good = KoBuilder::new().modinfo("license", "GPL").build();
    let names = header(&good, usize::from(good[62]));
    let start =
        usize::try_from(u64::from_le_bytes(good[names + 24..names + 32].try_into().unwrap())).unwrap();
    let size = usize::try_from(u64::from_le_bytes(good[names + 32..names + 40].try_into().unwrap())).unwrap();
    assert_eq!(errno(&with(&good, start + size - 1, b"x")), Errno::EINVAL);
    assert_eq!(errno(&with(&good, names + 32, &[0; 8])), Errno::EINVAL, "empty");
    assert_eq!(errno(&with(&good, names, &[0xff; 4])), Errno::EINVAL, "without a name of its own");
    assert_eq!(errno(&with(&good, names + 32, &[0xff; 8])), Errno::EINVAL, "beyond the file");
}

#[test]
fn a_section_beyond_the_file_does_not_count() {
    let good = KoBuilder::new().modinfo("license", "GPL").build();
    let modinfo = header(&good, 1);
    for (what, at, bytes) in
        [("offset", 24, [0xff; 8]), ("size", 32, [0xff; 8]), ("size", 32, good.len().to_le_bytes())]
    {
        let bad = with(&good, modinfo + at, &bytes);
        let elf = Elf::parse(&bad).unwrap();
        assert_eq!(elf.section(b".modinfo"), None, "{what}");
        assert_eq!(modinfo::info(&elf).unwrap_err().errno(), Errno::ENODATA, "{what}");
    }
    let at_the_start = with(&good, modinfo + 24, &[0; 8]);
    assert_eq!(Elf::parse(&at_the_start).unwrap().section(b".modinfo"), None);
    let unnamed = with(&good, modinfo, &[0xff; 4]);
    assert_eq!(Elf::parse(&unnamed).unwrap().section(b".modinfo"), None);
}

#[test]
fn no_modinfo_is_an_error_and_an_empty_one_is_not() {
    let without = KoBuilder::new().build();
    let error = modinfo::info(&Elf::parse(&without).unwrap()).unwrap_err();
    assert_eq!((error.errno(), error.to_string()), (Errno::ENODATA, "no section .modinfo".to_string()));
    let empty = KoBuilder::new().modinfo_raw("").build();
    assert_eq!(modinfo::info(&Elf::parse(&empty).unwrap()).unwrap(), []);
}

#[test]
fn a_build_id_needs_its_owner_and_type_and_must_fit() {
    let note = |owner: &[u8], length: u32, kind: u32| {
        let head = [4, length, kind].map(u32::to_le_bytes).concat();
        let file =
            KoBuilder::new().section(".note.gnu.build-id", [&head, owner, b"12345678"].concat()).build();
        modinfo::build_id(&Elf::parse(&file).unwrap()).map(<[u8]>::to_vec)
    };
    assert_eq!(note(b"GNU\0", 8, 3).unwrap(), b"12345678");
    assert_eq!(note(b"GNU\0", 0, 3).unwrap(), b"");
    assert_eq!(note(b"GNU\0", 9, 3), None);
    assert_eq!(note(b"GNU\0", u32::MAX, 3), None);
    assert_eq!(note(b"GNU\0", 8, 1), None);
    assert_eq!(note(b"Xen\0", 8, 3), None);
    let short = KoBuilder::new().section(".note.gnu.build-id", [4, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0]).build();
    assert_eq!(modinfo::build_id(&Elf::parse(&short).unwrap()), None);
}

#[test]
fn the_name_inside_is_found_in_the_struct_first() {
    for (index, file) in kinds(KoBuilder::new().modinfo("name", "strings")).iter().enumerate() {
        assert_eq!(module_name(&Elf::parse(file).unwrap()), Some(&b"strings"[..]), "{index}");
    }
    let this_module = |offset: usize, name: &[u8], room: usize| {
        let mut bytes = vec![0; 700];
        bytes[offset..offset + name.len()].copy_from_slice(name);
        bytes.truncate(offset + room);
        bytes
    };
    let build = |narrow: bool, bytes: Vec<u8>| {
        let builder = KoBuilder::new().modinfo("name", "strings").section(".gnu.linkonce.this_module", bytes);
        if narrow { builder.bits32().build() } else { builder.build() }
    };
    let wide = build(false, this_module(24, b"mod_a", 600));
    assert_eq!(module_name(&Elf::parse(&wide).unwrap()), Some(&b"mod_a"[..]));
    let narrow = build(true, this_module(12, b"mod_b", 600));
    assert_eq!(module_name(&Elf::parse(&narrow).unwrap()), Some(&b"mod_b"[..]));
    for unusable in
        [this_module(24, &[b'x'; 56], 600), this_module(24, b"", 600), this_module(24, b"cut", 10), vec![]]
    {
        let file = build(false, unusable);
        assert_eq!(module_name(&Elf::parse(&file).unwrap()), Some(&b"strings"[..]));
    }
    let nameless = KoBuilder::new().modinfo("name", "").build();
    assert_eq!(module_name(&Elf::parse(&nameless).unwrap()), None);
}

#[test]
fn strip_vermagic_blanks_the_first_one_only() {
    for mut file in
        kinds(KoBuilder::new().modinfo("a", "b").modinfo("vermagic", "6.1 SMP ").modinfo("vermagic", "x"))
    {
        let length = file.len();
        strip_vermagic(&mut file).unwrap();
        assert_eq!(file.len(), length);
        let elf = Elf::parse(&file).unwrap();
        assert_eq!(modinfo::info(&elf).unwrap(), [(&b"a"[..], &b"b"[..]), (&b"vermagic"[..], &b"x"[..])]);
    }
    let mut without = KoBuilder::new().modinfo("vermagi", "c").modinfo("xvermagic", "y").build();
    let before = without.clone();
    assert_eq!(strip_vermagic(&mut without).unwrap_err().errno(), Errno::ENODATA);
    for mut file in [KoBuilder::new().build(), KoBuilder::new().modinfo_raw("").build()] {
        strip_vermagic(&mut file).unwrap();
    }
    assert_eq!(without, before);
    assert_eq!(strip_vermagic(&mut b"no".repeat(20)).unwrap_err().errno(), Errno::ENOEXEC);
}

#[test]
fn strip_modversions_clears_one_bit() {
    for file in kinds(KoBuilder::new().modinfo("a", "b").version("module_layout", 1)) {
        let mut edited = file.clone();
        strip_modversions(&mut edited).unwrap();
        let header = Elf::parse(&file).unwrap().section(b"__versions").unwrap().header;
        let changed: Vec<_> = (0..file.len()).filter(|&at| file[at] != edited[at]).collect();
        let wide = file[4] == 2;
        let last = if file[5] == 2 { if wide { 7 } else { 3 } } else { 0 };
        assert_eq!(changed, [header + 8 + last]);
        assert_eq!((file[changed[0]], edited[changed[0]]), (2, 0));
        strip_modversions(&mut edited).unwrap();
        assert_eq!(edited[changed[0]], 0);
    }
    let mut without = KoBuilder::new().build();
    let before = without.clone();
    strip_modversions(&mut without).unwrap();
    assert_eq!(without, before);
    assert_eq!(strip_modversions(&mut [0; 40]).unwrap_err().errno(), Errno::ENOEXEC);
}

#[test]
fn strip_modversions_reaches_all_sections_that_the_kernel_looks_at() {
    let flags = |file: &[u8], name: &str| {
        let header = Elf::parse(file).unwrap().section(name.as_bytes()).unwrap().header;
        let field = &file[header + 8..header + if file[4] == 2 { 16 } else { 12 }];
        field.iter().map(|&byte| u32::from(byte)).sum::<u32>()
    };
    let names = ["__versions", "__version_ext_crcs", "__version_ext_names"];
    let builder = KoBuilder::new().modinfo("a", "b").version("one", 1).extended_version("one", 1);
    for mut file in kinds(builder) {
        let before = file.clone();
        assert_eq!(names.map(|name| flags(&file, name)), [2; 3]);
        strip_modversions(&mut file).unwrap();
        assert_eq!(names.map(|name| flags(&file, name)), [0; 3]);
        assert_eq!(flags(&file, ".modinfo"), 2);
        assert_eq!((0..file.len()).filter(|&at| file[at] != before[at]).count(), 3);
    }
    let twice = KoBuilder::new().section("__versions", "").section("__versions", "");
    for mut file in kinds(twice) {
        let before = file.clone();
        strip_modversions(&mut file).unwrap();
        assert_eq!((0..file.len()).filter(|&at| file[at] != before[at]).count(), 2);
    }
}
