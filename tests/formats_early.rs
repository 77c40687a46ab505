//! What the beginning of a module tells, on modules in GNU ld's layout that are made here: with what it must give up, and
//! that damage in front of the section headers never makes it tell something else than they do. (tests/depmod/early.rs
//! compares whole kernels.)

use kmod_once::internals::formats::elf::{self, Elf, Search, SearchStatus};
use kmod_once::internals::formats::reading::{self, Depth, Reading};
use std::io::Write;

/// A module in the making: the sections in front of the symbol table, and the symbols.
#[derive(Clone, Default)]
struct Module {
    /// Name, content.
    sections: Vec<(&'static str, Vec<u8>)>,
    /// Name, info, section, value, size.
    symbols: Vec<(String, u8, u16, u64, u64)>,
    /// What stands between the symbols' names and the section headers.
    relocations: Vec<u8>,
    behind: Vec<u8>,
}

const OBJECT: u8 = 1;
const GLOBAL: u8 = 0x10;
const TEXT: u16 = 1;
const MODINFO: u16 = 2;
const VERSIONS: u16 = 3;
const KCRCTAB: u16 = 4;

impl Module {
    /// A usual one: two exports, three needs, and what a module says about itself.
    fn usual() -> Module {
        let mut module = Module::default();
        // Code that holds what is searched for, too.
        let code = [&[0x90; 100][..], b"vermagic=\0", &[0; 50], b"printk\0", &[0xcc; 333]].concat();
        module.sections = vec![(".text", code), (".modinfo", Vec::new()), ("__versions", Vec::new())];
        module.sections.push(("__kcrctab", vec![1, 2, 3, 4, 5, 6, 7, 8]));
        module.sections.push((".data", vec![0; 500]));
        module.symbols.push(("code".into(), 2, TEXT, 0, 450));
        for (key, value) in
            [("license", "GPL"), ("alias", "pci:v*"), ("softdep", "pre: x"), ("vermagic", "6 SMP ")]
        {
            module.say(key, value);
        }
        for name in ["printk", "module_layout", "kfree"] {
            module.sections[2].1.extend([7, 7, 7, 7, 0, 0, 0, 0]);
            let mut room = name.as_bytes().to_vec();
            room.resize(56, 0);
            module.sections[2].1.extend(room);
        }
        module.symbols.push(("____versions".into(), OBJECT, VERSIONS, 0, 192));
        for (place, name) in (0u64..).zip(["one", "two"]) {
            module.symbols.push((format!("__crc_{name}"), 0, KCRCTAB, place * 4, 0));
        }
        for name in ["kfree", "printk", "unversioned"] {
            module.symbols.push((name.into(), GLOBAL, 0, 0, 0));
        }
        module.symbols.push(("init_module".into(), GLOBAL | 2, TEXT, 0, 10));
        module.relocations = vec![0x11; 480];
        module
    }

    /// One that a decoder does not give in one piece.
    fn large() -> Module {
        Module { relocations: (0..40_000u32).map(|n| ((n * n) >> 7) as u8).collect(), ..Module::usual() }
    }

    /// Adds a string to `.modinfo`, with its symbol.
    fn say(&mut self, key: &str, value: &str) {
        let section = &mut self.sections[1].1;
        let start = section.len() as u64;
        section.extend_from_slice(format!("{key}={value}\0").as_bytes());
        let size = section.len() as u64 - start;
        self.symbols.push((format!("__UNIQUE_ID_{key}{}", self.symbols.len()), OBJECT, MODINFO, start, size));
    }

    fn build(&self) -> Vec<u8> {
        let mut file = vec![0; 64];
        let mut headers = vec![[0u8; 64]];
        let mut names = b"\0".to_vec();
        let mut place = |file: &mut Vec<u8>, name: &str, content: &[u8]| {
            file.resize(file.len().next_multiple_of(8), 0);
            let mut header = [0u8; 64];
            header[..4].copy_from_slice(&(names.len() as u32).to_le_bytes());
            header[24..32].copy_from_slice(&(file.len() as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(content.len() as u64).to_le_bytes());
            names.extend_from_slice(name.as_bytes());
            names.push(0);
            headers.push(header);
            if name == ".shstrtab" {
                let header = headers.last_mut().unwrap();
                header[32..40].copy_from_slice(&(names.len() as u64).to_le_bytes());
                file.extend_from_slice(&names);
            } else {
                file.extend_from_slice(content);
            }
        };
        for (name, content) in &self.sections {
            place(&mut file, name, content);
        }
        let (mut table, mut text) = (vec![0; 24], b"\0".to_vec());
        let mut symbol = |name: u32, info: u8, section: u16, value: u64, size: u64| {
            table.extend_from_slice(&name.to_le_bytes());
            table.extend_from_slice(&[info, 0]);
            table.extend_from_slice(&section.to_le_bytes());
            table.extend_from_slice(&value.to_le_bytes());
            table.extend_from_slice(&size.to_le_bytes());
        };
        for section in 1..=self.sections.len() as u16 {
            symbol(0, 3, section, 0, 0);
        }
        for (name, info, section, value, size) in &self.symbols {
            symbol(text.len() as u32, *info, *section, *value, *size);
            text.extend_from_slice(name.as_bytes());
            text.push(0);
        }
        place(&mut file, ".symtab", &table);
        place(&mut file, ".strtab", &text);
        place(&mut file, ".rela.text", &self.relocations);
        place(&mut file, ".shstrtab", b"");
        file.resize(file.len().next_multiple_of(8), 0);
        let start = file.len() as u64;
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[16..20].copy_from_slice(&[1, 0, 62, 0]);
        file[40..48].copy_from_slice(&start.to_le_bytes());
        file[52] = 64;
        file[58] = 64;
        file[60] = headers.len() as u8;
        file[62] = headers.len() as u8 - 1;
        headers.iter().for_each(|header| file.extend_from_slice(header));
        file.extend_from_slice(&self.behind);
        file
    }
}

/// Searches in a prefix that grows by `step`, or as the search wants it; the size of the prefix that was enough.
fn search(image: &[u8], step: Option<usize>) -> Option<(Search, usize)> {
    let mut search = Search::new(image.len() as u64, false);
    let mut seen = 0;
    loop {
        match search.look(&image[..seen]) {
            SearchStatus::Found => return Some((search, seen)),
            SearchStatus::More(more) if seen < image.len() => {
                seen = (seen + step.unwrap_or(more)).min(image.len())
            }
            SearchStatus::More(_) | SearchStatus::Never => return None,
        }
    }
}

/// Whether the beginning tells something; it must be what the section headers tell.
fn early(image: &[u8], step: Option<usize>) -> bool {
    let Some((search, seen)) = search(image, step) else { return false };
    let found = search.found(&image[..seen]).expect("found");
    let elf = Elf::parse(image).expect("a module whose beginning tells something");
    let exports = elf::exports(&elf).unwrap_or_default();
    let exports: Vec<&[u8]> = exports.iter().map(|export| export.name).collect();
    assert_eq!(found.export_names(), exports);
    assert_eq!(found.needed().ok(), elf::needed(&elf).ok());
    assert_eq!(Some(found.modinfo), elf.section(b".modinfo").map(|section| section.data));
    true
}

fn xz(data: &[u8]) -> Vec<u8> {
    let mut xz = xz2::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(data).unwrap();
    xz.finish().unwrap()
}

#[test]
fn a_usual_module_is_read_to_its_symbols_names() {
    let module = Module::usual();
    let image = module.build();
    for step in [None, Some(1), Some(7), Some(1000)] {
        assert!(early(&image, step), "{step:?}");
    }
    let (_, seen) = search(&image, Some(1)).unwrap();
    assert!(image[..seen].ends_with(b"\0init_module\0"), "not a byte further");
}

#[test]
fn modules_without_exports_versions_or_needs() {
    let mut module = Module::usual();
    module.symbols.retain(|symbol| !symbol.0.starts_with("__crc_"));
    assert!(early(&module.build(), None));
    module.symbols.retain(|symbol| symbol.0 != "____versions");
    assert!(!early(&module.build(), None), "the entries are there, and their symbol is not");
    module.sections[2].1 = vec![1; 192];
    module.sections[2].0 = ".rodata";
    assert!(early(&module.build(), None));
    module.symbols.retain(|symbol| symbol.2 != 0);
    assert!(early(&module.build(), None));
}

type Change = fn(&mut Module);

#[test]
fn what_is_not_exactly_so_is_not_told() {
    let changes: [(&str, Change); 12] = [
        ("no symbol for a string", |module| module.symbols.retain(|s| !s.0.contains("softdep"))),
        ("a string without a symbol at the end", |module| {
            module.say("late", "1");
            module.symbols.pop();
        }),
        ("padding between strings", |module| {
            module.sections[1].1.push(0);
            module.say("padded", "1");
        }),
        ("no vermagic", |module| module.symbols.retain(|s| !s.0.contains("vermagic"))),
        ("a string without an equals sign", |module| {
            let section = &mut module.sections[1].1;
            let at = section.iter().position(|&b| b == b'=').unwrap();
            section[at] = b'-';
        }),
        ("the strings twice", |module| {
            let copy = module.sections[1].1.clone();
            module.sections[4].1 = copy;
        }),
        ("the versions twice", |module| {
            let copy = module.sections[2].1.clone();
            module.sections[4].1 = copy;
        }),
        ("more versions than their symbol says", |module| {
            module.symbols.iter_mut().filter(|s| s.0 == "____versions").for_each(|s| s.4 = 128);
        }),
        ("a version of something that is not needed", |module| {
            module.symbols.retain(|s| s.0 != "kfree");
        }),
        ("exports without CRCs", |module| {
            module.symbols.retain(|s| !s.0.starts_with("__crc_"));
            module.symbols.insert(0, ("__ksymtab_one".into(), 0, TEXT, 0, 0));
        }),
        ("a local symbol after global ones", |module| {
            module.symbols.push(("late".into(), 0, TEXT, 0, 0));
        }),
        ("a name that is too long", |module| {
            module.symbols.push(("x".repeat(5000), GLOBAL, TEXT, 0, 0));
        }),
    ];
    for (what, change) in changes {
        let mut module = Module::usual();
        change(&mut module);
        let image = module.build();
        assert!(Elf::parse(&image).is_ok(), "{what}");
        assert!(!early(&image, None), "{what}");
    }
    let image = Module::usual().build();
    // Class, byte order, type, machine, size of headers, section of names.
    for (at, value) in [(4, 1), (5, 2), (16, 3), (18, 43), (58, 40), (62, 0), (62, 200)] {
        let mut image = image.clone();
        image[at] = value;
        assert!(search(&image, None).is_none(), "{at}");
    }
    assert!(search(&image[..image.len() - 1], None).is_none(), "cut off");
}

/// Inputs that would take hours were the work to grow faster than they do.
#[test]
fn the_work_is_bounded() {
    const SIZE: usize = 16 << 20;
    let repeated = |text: &[u8]| text.repeat(SIZE / text.len());
    let entry = [&[7, 7, 7, 7, 0, 0, 0, 0, b'k', b'f', b'r', b'e', b'e'][..], &[0; 51]].concat();
    let changes: [(&str, Vec<u8>); 5] = [
        ("strings without an end", repeated(b"vermagic=")),
        ("strings of no value", repeated(b"vermagic=\0")),
        ("strings as the one that is there", repeated(b"vermagic=6 SMP \0")),
        ("entries without an end", repeated(&entry)),
        ("names of entries", repeated(b"kfree\0")),
    ];
    for (what, content) in changes {
        let mut module = Module::usual();
        module.sections[4].1 = content;
        let image = module.build();
        let started = std::time::Instant::now();
        early(&image, None);
        let took = started.elapsed();
        assert!(took.as_secs() < 30, "{what}: {took:?}");
    }
}

#[test]
fn damage_is_never_told_differently() {
    let image = Module::usual().build();
    // What comes after the symbols' names is not seen.
    let end = search(&image, Some(1)).unwrap().1;
    let (mut told, mut given_up) = (0, 0);
    let mut check = |image: &[u8]| {
        // Of a table whose names lead out of it the section headers do not tell much either.
        let elf = Elf::parse(image).unwrap();
        let broken = elf.symbols().unwrap().any(|symbol| symbol.name().is_none());
        if !broken && early(image, None) { told += 1 } else { given_up += 1 }
    };
    for at in 64..end {
        for value in [0, 1, 0x7f, 0x80, 0xff, b'=', image[at] ^ 1, image[at] ^ 0x10] {
            let mut changed = image.clone();
            changed[at] = value;
            check(&changed);
        }
    }
    // Larger holes, and parts in the place of others (smaller than a section: one that moves as a whole is where it is); from
    // a fixed seed.
    let mut seed = 0x6561_726cu64;
    let mut below = |end: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as usize % end
    };
    for _ in 0..20_000 {
        let mut changed = image.clone();
        let length = 1 + below(40);
        let (from, to) = (64 + below(end - 64 - length), 64 + below(end - 64 - length));
        if below(2) == 0 {
            changed.copy_within(from..from + length, to)
        } else {
            changed[to..to + length].fill(0)
        }
        check(&changed);
    }
    assert!(told > 2_000 && given_up > 2_000, "{told} {given_up}");
}

#[test]
fn damage_anywhere_is_survived() {
    let image = Module::usual().build();
    for at in 0..image.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = image.clone();
            changed[at] = value;
            if let Some((search, seen)) = search(&changed, None) {
                let found = search.found(&changed[..seen]).expect("found");
                assert!(found.modinfo.len() + found.export_names().len() < image.len());
                let _ = found.needed();
            }
        }
    }
    for cut in 0..image.len() {
        search(&image[..cut], None);
        search(&image[cut..], None);
    }
}

fn is_early(content: &[u8], depth: Depth) -> Result<bool, String> {
    let mut buffer = vec![0xee; 10];
    match reading::read(content, 1 << 20, depth, &mut buffer) {
        Ok(Reading::Early(_)) => Ok(true),
        Ok(Reading::Whole(_)) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn only_as_much_is_decoded_as_is_asked_for() {
    let mut module = Module::large();
    let image = module.build();
    let packed = xz(&image);
    let whole = |content: &[u8]| {
        matches!(
        reading::read(content, 1 << 20, Depth::Symbols, &mut Vec::new()), Ok(Reading::Whole(found)) if found == image)
    };
    for (depth, expected) in [(Depth::Symbols, true), (Depth::Signature, true), (Depth::Whole, false)] {
        assert_eq!(is_early(&packed, depth), Ok(expected), "{depth:?}");
    }
    // Neither of these is one whole xz stream.
    let half = image.len() / 2;
    assert!(whole(&image));
    assert!(whole(&[xz(&image[..half]), xz(&image[half..])].concat()));
    assert!(whole(&[&packed[..], &[0; 4]].concat()));
    let mut buffer = Vec::new();
    assert!(reading::read(&packed, image.len() as u64 - 1, Depth::Symbols, &mut buffer).is_err());

    module.behind = b"~Module signature appended~\n".to_vec();
    let signed = xz(&module.build());
    assert_eq!(is_early(&signed, Depth::Symbols), Ok(true));
    assert_eq!(is_early(&signed, Depth::Signature), Ok(false));
}

#[test]
fn damage_behind_the_symbols_goes_unnoticed() {
    let mut packed = xz(&Module::large().build());
    let at = packed.len() - 100;
    packed[at] ^= 0x10;
    for depth in [Depth::Symbols, Depth::Signature] {
        assert_eq!(is_early(&packed, depth), Ok(true));
    }
    assert_eq!(is_early(&packed, Depth::Whole), Err("xz: File is corrupt".into()));
    packed[100] ^= 0x10;
    assert!(is_early(&packed, Depth::Symbols).is_err(), "damage in front of them does not");
}

#[test]
fn a_file_that_was_cut_off_or_grew_is_decoded_to_its_end() {
    let packed = xz(&Module::large().build());
    for cut in [1, 2, 12, 13, 30, packed.len() / 2] {
        let cut_off = &packed[..packed.len() - cut];
        assert_eq!(is_early(cut_off, Depth::Symbols), Err("xz: Unexpected end of input".into()), "{cut}");
    }
    let grown = [&packed[..], b"more"].concat();
    assert!(is_early(&grown, Depth::Symbols).is_err());
    // The index and the footer are looked at, too.
    for at in packed.len() - 20..packed.len() {
        let mut damaged = packed.clone();
        damaged[at] ^= 0x10;
        assert!(is_early(&damaged, Depth::Symbols).is_err(), "{at}");
    }
}
