//! Builds small kernel module files (`.ko`) for tests: every part the tools look at, and nothing else.
//!
//! A module is a relocatable ELF file. The builder writes it in this order:
//!
//! ```text
//! ELF header (52 or 64 bytes)
//! contents of the sections, each aligned to 8:
//!     .modinfo             KEY=VALUE NUL ...
//!     __versions           entries of 64 bytes: CRC (4 or 8 bytes by class), symbol name padded with NUL
//!     __version_ext_crcs   4 bytes for every version of any length
//!     __version_ext_names  its NAME NUL ... and, as the kernel's build has it, one more NUL
//!     __ksymtab_strings    NAME NUL ...   the exported names
//!     __kcrctab            4 bytes for every CRC that is kept in a section
//!     .note.gnu.build-id   namesz, descsz, type (3), "GNU" NUL, id
//!     any section added with `section`
//!     .symtab .strtab .shstrtab
//! section headers
//! appended signature, if any: signer, key id, data, 12-byte trailer, "~Module signature appended~\n"
//! ```
//!
//! A section nobody asked for is left out, so that `KoBuilder::new().build()` is an ELF file without `.modinfo`. The symbol
//! table is always there unless `without_symtab` is called.
//!
//! ```
//! let ko = KoBuilder::new()
//!     .modinfo("license", "GPL")
//!     .alias("pci:v00008086d*")
//!     .export("a_one", 0x1234_5678)
//!     .needs("b_one")
//!     .build();
//! ```
//!
//! Text arguments are `impl AsRef<[u8]>`: names in modules need not be UTF-8.

// Every test program includes this file and uses its own part of it.
#![allow(dead_code)]

#[path = "signature.rs"]
pub mod signature;

pub use signature::Signature;

/// ELF machine numbers a test is likely to want (`e_machine`).
pub mod machine {
    /// x86-64, the default.
    pub const X86_64: u16 = 62;
    /// 32-bit x86.
    pub const I386: u16 = 3;
    /// 64-bit ARM.
    pub const AARCH64: u16 = 183;
    /// 32-bit SPARC: symbols of type 13 are registers there, not needed symbols.
    pub const SPARC: u16 = 2;
    /// 64-bit SPARC.
    pub const SPARCV9: u16 = 43;
    /// IBM Z, 64-bit big-endian.
    pub const S390: u16 = 22;
    /// 64-bit POWER: names of code symbols begin with a dot in the old ABI.
    pub const PPC64: u16 = 21;
}

/// Symbol bindings (`st_info >> 4`).
pub const LOCAL: u8 = 0;
/// See [`LOCAL`].
pub const GLOBAL: u8 = 1;
/// See [`LOCAL`].
pub const WEAK: u8 = 2;

/// Section index of an undefined symbol.
pub const SHN_UNDEF: u16 = 0;
/// Section index of a symbol whose value is not an address.
pub const SHN_ABS: u16 = 0xfff1;

/// One entry of the symbol table, for cases the named methods of [`KoBuilder`] do not cover.
#[derive(Clone, Debug)]
pub struct Symbol {
    /// The name, without NUL.
    pub name: Vec<u8>,
    /// `st_value`.
    pub value: u64,
    /// [`LOCAL`], [`GLOBAL`] or [`WEAK`].
    pub binding: u8,
    /// The low four bits of `st_info`; 0 is NOTYPE.
    pub kind: u8,
    /// `st_shndx`.
    pub section: u16,
}

/// Collects the parts of a module; see the head of this file.
#[derive(Clone, Debug)]
pub struct KoBuilder {
    wide: bool,
    big_endian: bool,
    machine: u16,
    modinfo: Option<Vec<u8>>,
    versions: Vec<(Vec<u8>, u64)>,
    extended_versions: Vec<(Vec<u8>, u32)>,
    ksymtab_strings: Option<Vec<u8>>,
    kcrctab: Vec<u32>,
    symbols: Vec<Symbol>,
    kcrctab_symbols: Vec<usize>,
    symtab: bool,
    build_id: Option<Vec<u8>>,
    sections: Vec<(Vec<u8>, Vec<u8>)>,
    signature: Option<Signature>,
}

impl Default for KoBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl KoBuilder {
    /// An x86-64 module (64 bits, little-endian) without any content.
    pub fn new() -> Self {
        KoBuilder {
            wide: true,
            big_endian: false,
            machine: machine::X86_64,
            modinfo: None,
            versions: Vec::new(),
            extended_versions: Vec::new(),
            ksymtab_strings: None,
            kcrctab: Vec::new(),
            symbols: Vec::new(),
            kcrctab_symbols: Vec::new(),
            symtab: true,
            build_id: None,
            sections: Vec::new(),
            signature: None,
        }
    }

    /// ELF class 32 instead of 64.
    pub fn bits32(mut self) -> Self {
        self.wide = false;
        self
    }

    /// Big-endian instead of little-endian.
    pub fn big_endian(mut self) -> Self {
        self.big_endian = true;
        self
    }

    /// `e_machine`, see [`machine`].
    pub fn machine(mut self, machine: u16) -> Self {
        self.machine = machine;
        self
    }

    /// Adds `KEY=VALUE` to `.modinfo`.
    pub fn modinfo(self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        let mut record = key.as_ref().to_vec();
        record.push(b'=');
        record.extend_from_slice(value.as_ref());
        record.push(0);
        self.modinfo_raw(record)
    }

    /// Adds bytes to `.modinfo` as they are: padding, records without `=`, a last record without NUL. Empty bytes make an
    /// empty section.
    pub fn modinfo_raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.modinfo.get_or_insert_with(Vec::new).extend_from_slice(bytes.as_ref());
        self
    }

    /// Adds `alias=PATTERN` to `.modinfo`.
    pub fn alias(self, pattern: impl AsRef<[u8]>) -> Self {
        self.modinfo("alias", pattern)
    }

    /// Adds a parameter: `parmtype=NAME:TYPE` and `parm=NAME:TEXT`.
    pub fn parm(self, name: &str, kind: &str, text: &str) -> Self {
        self.modinfo("parmtype", format!("{name}:{kind}")).modinfo("parm", format!("{name}:{text}"))
    }

    /// Exports a symbol the way kernels up to 5.18 do: an absolute symbol `__crc_NAME` whose value is the CRC, and the name
    /// in `__ksymtab_strings`.
    pub fn export(self, name: impl AsRef<[u8]>, crc: u32) -> Self {
        let symbol = Symbol {
            name: [b"__crc_", name.as_ref()].concat(),
            value: u64::from(crc),
            binding: GLOBAL,
            kind: 0,
            section: SHN_ABS,
        };
        self.ksymtab_string(name).symbol(symbol)
    }

    /// Exports a symbol the way kernels from 5.19 do: `__crc_NAME` is an offset into `__kcrctab`, where the CRC lies.
    pub fn export_in_section(mut self, name: impl AsRef<[u8]>, crc: u32) -> Self {
        let symbol = Symbol {
            name: [b"__crc_", name.as_ref()].concat(),
            value: (self.kcrctab.len() * 4) as u64,
            binding: LOCAL,
            kind: 0,
            section: 0, // replaced by the index of __kcrctab in build()
        };
        self.kcrctab.push(crc);
        self.kcrctab_symbols.push(self.symbols.len());
        self.ksymtab_string(name).symbol(symbol)
    }

    /// Adds a name to `__ksymtab_strings` only: an export of a kernel without symbol versions.
    pub fn ksymtab_string(mut self, name: impl AsRef<[u8]>) -> Self {
        let strings = self.ksymtab_strings.get_or_insert_with(Vec::new);
        strings.extend_from_slice(name.as_ref());
        strings.push(0);
        self
    }

    /// Adds an undefined symbol: one the module needs from elsewhere.
    pub fn needs(self, name: impl AsRef<[u8]>) -> Self {
        self.undefined(name, GLOBAL)
    }

    /// Adds an undefined weak symbol: one the module can do without.
    pub fn needs_weak(self, name: impl AsRef<[u8]>) -> Self {
        self.undefined(name, WEAK)
    }

    /// Adds an undefined symbol together with its entry in `__versions`.
    pub fn needs_version(self, name: impl AsRef<[u8]> + Copy, crc: u32) -> Self {
        self.needs(name).version(name, u64::from(crc))
    }

    /// Adds an entry to `__versions` only, such as `module_layout`. Names longer than the room (56 bytes, 60 in a 32-bit
    /// module) are cut and then lack their NUL, as the kernel's own tool would not do.
    pub fn version(mut self, name: impl AsRef<[u8]>, crc: u64) -> Self {
        self.versions.push((name.as_ref().to_vec(), crc));
        self
    }

    /// Adds an entry to `__version_ext_crcs` and `__version_ext_names`, in which names have any length.
    pub fn extended_version(mut self, name: impl AsRef<[u8]>, crc: u32) -> Self {
        self.extended_versions.push((name.as_ref().to_vec(), crc));
        self
    }

    /// Adds any symbol.
    pub fn symbol(mut self, symbol: Symbol) -> Self {
        self.symbols.push(symbol);
        self
    }

    /// Leaves `.symtab` and `.strtab` out, as in a stripped module.
    pub fn without_symtab(mut self) -> Self {
        self.symtab = false;
        self
    }

    /// Adds `.note.gnu.build-id` with these bytes as the id.
    pub fn build_id(mut self, id: impl AsRef<[u8]>) -> Self {
        self.build_id = Some(id.as_ref().to_vec());
        self
    }

    /// Adds a section of any name; several may have the same name.
    pub fn section(mut self, name: impl AsRef<[u8]>, contents: impl AsRef<[u8]>) -> Self {
        self.sections.push((name.as_ref().to_vec(), contents.as_ref().to_vec()));
        self
    }

    /// Appends a signature to the file.
    pub fn signature(mut self, signature: Signature) -> Self {
        self.signature = Some(signature);
        self
    }

    fn undefined(self, name: impl AsRef<[u8]>, binding: u8) -> Self {
        let name = name.as_ref().to_vec();
        self.symbol(Symbol { name, value: 0, binding, kind: 0, section: SHN_UNDEF })
    }

    /// The complete file.
    pub fn build(&self) -> Vec<u8> {
        let mut sections = vec![Section::default()];
        let mut add = |name: &[u8], kind: u32, contents: Vec<u8>| {
            sections.push(Section { name: name.to_vec(), kind, contents, ..Section::default() });
            sections.len() - 1
        };
        if let Some(strings) = &self.modinfo {
            add(b".modinfo", SHT_PROGBITS, strings.clone());
        }
        if !self.versions.is_empty() {
            add(b"__versions", SHT_PROGBITS, self.version_entries());
        }
        if !self.extended_versions.is_empty() {
            let crcs = self.extended_versions.iter().flat_map(|(_, crc)| self.u32(*crc)).collect();
            let names: Vec<&[u8]> = self.extended_versions.iter().map(|(name, _)| &name[..]).collect();
            add(b"__version_ext_crcs", SHT_PROGBITS, crcs);
            add(b"__version_ext_names", SHT_PROGBITS, [&names.join(&0)[..], b"\0\0"].concat());
        }
        if let Some(strings) = &self.ksymtab_strings {
            add(b"__ksymtab_strings", SHT_PROGBITS, strings.clone());
        }
        let mut kcrctab = 0;
        if !self.kcrctab.is_empty() {
            let contents = self.kcrctab.iter().flat_map(|crc| self.u32(*crc)).collect();
            kcrctab = add(b"__kcrctab", SHT_PROGBITS, contents);
        }
        if let Some(id) = &self.build_id {
            let mut note = [self.u32(4), self.u32(id.len() as u32), self.u32(3)].concat();
            note.extend_from_slice(b"GNU\0");
            note.extend_from_slice(id);
            add(b".note.gnu.build-id", SHT_NOTE, note);
        }
        for (name, contents) in &self.sections {
            add(name, SHT_PROGBITS, contents.clone());
        }
        if self.symtab {
            let (table, names, first_global) = self.symbol_table(kcrctab as u16);
            let index = add(b".symtab", SHT_SYMTAB, table);
            add(b".strtab", SHT_STRTAB, names);
            sections[index].link = index as u32 + 1;
            sections[index].info = first_global;
            sections[index].entry = if self.wide { 24 } else { 16 };
        }
        sections.push(Section { name: b".shstrtab".to_vec(), kind: SHT_STRTAB, ..Section::default() });

        let mut names = Vec::new();
        let mut name_offsets = Vec::new();
        for section in &sections {
            name_offsets.push(names.len() as u32);
            names.extend_from_slice(&section.name);
            names.push(0);
        }
        sections.last_mut().expect(".shstrtab is there").contents = names;

        let mut body = vec![0; if self.wide { 64 } else { 52 }];
        let mut headers = Vec::new();
        for (index, section) in sections.iter().enumerate() {
            body.resize(body.len().next_multiple_of(8), 0);
            let offset = if index == 0 { 0 } else { body.len() as u64 };
            body.extend_from_slice(&section.contents);
            headers.extend_from_slice(&self.u32(name_offsets[index]));
            headers.extend_from_slice(&self.u32(section.kind));
            // flags: what the kernel keeps in memory is marked ALLOC (2), tables for tools are not
            let flags = if matches!(section.kind, SHT_PROGBITS | SHT_NOTE) { 2 } else { 0 };
            headers.extend_from_slice(&self.word(flags));
            headers.extend_from_slice(&self.word(0)); // address
            headers.extend_from_slice(&self.word(offset));
            headers.extend_from_slice(&self.word(section.contents.len() as u64));
            headers.extend_from_slice(&self.u32(section.link));
            headers.extend_from_slice(&self.u32(section.info));
            headers.extend_from_slice(&self.word(8)); // alignment
            headers.extend_from_slice(&self.word(section.entry));
        }
        body.resize(body.len().next_multiple_of(8), 0);
        let header = self.file_header(body.len() as u64, sections.len() as u16);
        body[..header.len()].copy_from_slice(&header);
        body.extend_from_slice(&headers);
        if let Some(signature) = &self.signature {
            body.extend_from_slice(&signature.to_bytes());
        }
        body
    }

    fn file_header(&self, section_headers: u64, sections: u16) -> Vec<u8> {
        let class = if self.wide { 2 } else { 1 };
        let order = if self.big_endian { 2 } else { 1 };
        let (header_size, section_size) = if self.wide { (64, 64) } else { (52, 40) };
        let mut out = vec![0x7f, b'E', b'L', b'F', class, order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        out.extend_from_slice(&self.u16(1)); // relocatable
        out.extend_from_slice(&self.u16(self.machine));
        out.extend_from_slice(&self.u32(1)); // version
        out.extend_from_slice(&self.word(0)); // entry point
        out.extend_from_slice(&self.word(0)); // program headers
        out.extend_from_slice(&self.word(section_headers));
        out.extend_from_slice(&self.u32(0)); // flags
        out.extend_from_slice(&self.u16(header_size));
        out.extend_from_slice(&self.u16(0));
        out.extend_from_slice(&self.u16(0));
        out.extend_from_slice(&self.u16(section_size));
        out.extend_from_slice(&self.u16(sections));
        out.extend_from_slice(&self.u16(sections - 1)); // .shstrtab is the last one
        out
    }

    fn version_entries(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, crc) in &self.versions {
            let start = out.len();
            out.extend_from_slice(&self.word(*crc));
            let room = 64 - (out.len() - start);
            out.extend_from_slice(&name[..name.len().min(room)]);
            out.resize(start + 64, 0);
        }
        out
    }

    /// The table, its names, and the number of local symbols, which ELF wants in front (`sh_info`). The order within the
    /// local and within the other symbols is that of the calls.
    fn symbol_table(&self, kcrctab: u16) -> (Vec<u8>, Vec<u8>, u32) {
        let mut symbols = self.symbols.clone();
        for index in &self.kcrctab_symbols {
            symbols[*index].section = kcrctab;
        }
        symbols.sort_by_key(|symbol| symbol.binding != LOCAL);
        let first_global = 1 + symbols.iter().filter(|symbol| symbol.binding == LOCAL).count() as u32;
        let mut table = vec![0; if self.wide { 24 } else { 16 }];
        let mut names = vec![0];
        for symbol in &symbols {
            let name = names.len() as u32;
            names.extend_from_slice(&symbol.name);
            names.push(0);
            let info = symbol.binding << 4 | symbol.kind;
            table.extend_from_slice(&self.u32(name));
            if self.wide {
                table.extend_from_slice(&[info, 0]);
                table.extend_from_slice(&self.u16(symbol.section));
                table.extend_from_slice(&self.word(symbol.value));
                table.extend_from_slice(&self.word(0));
            } else {
                table.extend_from_slice(&self.word(symbol.value));
                table.extend_from_slice(&self.word(0));
                table.extend_from_slice(&[info, 0]);
                table.extend_from_slice(&self.u16(symbol.section));
            }
        }
        (table, names, first_global)
    }

    fn u16(&self, value: u16) -> [u8; 2] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn u32(&self, value: u32) -> [u8; 4] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    /// A field that is 4 bytes wide in class 32 and 8 in class 64.
    fn word(&self, value: u64) -> Vec<u8> {
        if !self.wide {
            self.u32(value as u32).to_vec()
        } else if self.big_endian {
            value.to_be_bytes().to_vec()
        } else {
            value.to_le_bytes().to_vec()
        }
    }
}

/// One row of the section table before offsets are known; fields as in the ELF specification.
#[derive(Default)]
struct Section {
    name: Vec<u8>,
    kind: u32,
    link: u32,
    info: u32,
    entry: u64,
    contents: Vec<u8>,
}

const SHT_PROGBITS: u32 = 1;
const SHT_SYMTAB: u32 = 2;
const SHT_STRTAB: u32 = 3;
const SHT_NOTE: u32 = 7;
