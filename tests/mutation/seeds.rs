//! Inputs that make sense, for each check: from Debian's kernels, which the tests fetch (tests/common/debian.rs), and made by
//! hand where those hold none. They are what is damaged, and what fuzzing begins with.

use crate::checks::packed;
use crate::debian::Cache;
use crate::elf::{GLOBAL, KoBuilder, LOCAL, Signature, Symbol, machine};
use kmod_once::internals::formats::compress;
use kmod_once::internals::formats::elf::{Elf, exports};
use kmod_once::internals::formats::index::IndexBuilder;
use kmod_once::internals::{formats::modinfo, name};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Debian 12's kernel, whose modules are not compressed, and its backport, whose modules are.
const KERNELS: [&str; 2] = ["linux-image-6.1.", "linux-image-6.12."];
const MODULES: usize = 3;
/// How much of a list is taken, in bytes.
const LIST: usize = 1500;

/// What is taken from the real kernels.
struct Real {
    /// Module files as they lie there, the smallest that export, need and have aliases.
    files: Vec<Vec<u8>>,
    /// The same, inflated.
    images: Vec<Vec<u8>>,
    /// The first lines of modules.order and modules.builtin, the first records of modules.builtin.modinfo.
    order: Vec<u8>,
    builtin: Vec<u8>,
    builtin_info: Vec<u8>,
}

/// The kernels, unpacked.
///
/// # Errors
/// They cannot be had.
pub fn kernels() -> Result<&'static [PathBuf], &'static str> {
    static KEPT: OnceLock<Result<Vec<PathBuf>, String>> = OnceLock::new();
    let fetched = || -> io::Result<Vec<PathBuf>> {
        let cache = Cache::open()?;
        KERNELS.iter().map(|prefix| Ok(cache.kernel(prefix, "-amd64-unsigned")?.0)).collect()
    };
    let kept = KEPT.get_or_init(|| fetched().map_err(|error| error.to_string()));
    kept.as_deref().map_err(String::as_str)
}

fn real() -> &'static Real {
    static REAL: OnceLock<Real> = OnceLock::new();
    REAL.get_or_init(|| {
        let mut real =
            Real { files: vec![], images: vec![], order: vec![], builtin: vec![], builtin_info: vec![] };
        for dir in kernels().expect("Debian's kernels") {
            let modules = fs::read_dir(dir.join("lib/modules")).unwrap().next().unwrap().unwrap().path();
            let mut paths = Vec::new();
            for below in ["kernel/drivers/input", "kernel/lib", "kernel/crypto"] {
                find(&modules.join(below), &mut paths);
            }
            paths.sort();
            let taken = paths.iter().filter_map(module).take(MODULES);
            for (file, image) in taken {
                real.files.push(file);
                real.images.push(image);
            }
            let first = |name: &str, end: u8| {
                let mut start = fs::read(modules.join(name)).unwrap();
                start.truncate(LIST);
                start.truncate(start.iter().rposition(|&b| b == end).map_or(0, |last| last + 1));
                start
            };
            real.order = first("modules.order", b'\n');
            real.builtin = first("modules.builtin", b'\n');
            real.builtin_info = first("modules.builtin.modinfo", 0);
        }
        assert_eq!(real.files.len(), MODULES * KERNELS.len());
        real
    })
}

/// The smallest files first, so that what is damaged is mostly what is read.
fn find(dir: &Path, found: &mut Vec<(u64, PathBuf)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            find(&path, found);
        } else {
            found.push((meta.len(), path));
        }
    }
}

/// A module that has everything that is read.
fn module((_, path): &(u64, PathBuf)) -> Option<(Vec<u8>, Vec<u8>)> {
    let file = fs::read(path).unwrap();
    let image = compress::image(&file, 1 << 26).ok()?.into_owned();
    let elf = Elf::parse(&image).ok()?;
    exports(&elf).ok().filter(|exports| !exports.is_empty())?;
    modinfo::info(&elf).ok()?.iter().find(|(key, _)| *key == b"alias" || *key == b"parm")?;
    Some((file, image))
}

/// The same content as each of the four kinds of ELF, with everything in it that is read; once with extended versions.
pub fn built() -> Vec<Vec<u8>> {
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
            .signature(Signature::pkcs7(message()))
    };
    vec![
        builder(24).build(),
        builder(24).big_endian().machine(machine::S390).build(),
        builder(12).bits32().machine(machine::I386).build(),
        builder(12).bits32().big_endian().machine(machine::SPARC).build(),
        builder(24).extended_version("printk", 0x11).extended_version("module_layout", 0x22).build(),
    ]
}

/// A PKCS#7 message with a signature of 71 bytes.
fn message() -> Vec<u8> {
    let der = b"\x30\x81\xc6\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x81\xb8\x30\x81\xb5\x02\x01\x01\x31\x0f\x30\
        \x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01\x31\
        \x81\x91\x30\x81\x8e\x02\x01\x01\x30\x25\x30\x0d\x31\x0b\x30\x09\x06\x03\x55\x04\x03\x0c\x02ec\x02\x14\x04\x80\
        \x20\x7f\xf0\x90\xd9\xa2\x34\xe6\x3e\x3f\xa6\x49\xda\x1b\x0d\x85\x5f\xe7\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\
        \x04\x02\x01\x05\x00\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02\x04\x47";
    [&der[..], &[0x55; 71]].concat()
}

/// The lines of a modules.alias and of a modules.dep of the real modules, without `alias`.
fn lines() -> Vec<u8> {
    let mut lines = Vec::new();
    for (image, number) in real().images.iter().zip(0..) {
        let elf = Elf::parse(image).unwrap();
        for (_, alias) in modinfo::info(&elf).unwrap().iter().filter(|(key, _)| *key == b"alias") {
            lines.extend_from_slice(&[alias, &format!(" real_{number}\n").into_bytes()[..]].concat());
        }
        for export in exports(&elf).unwrap() {
            lines.extend_from_slice(&[b"symbol:", export.name, b" real\n"].concat());
        }
        lines.extend_from_slice(
            format!("kernel/lib/real-{number}.ko.xz: kernel/a.ko.xz kernel/b.ko.xz\n").as_bytes(),
        );
    }
    lines.extend_from_slice(
        b"pci:v00008086d*sv*sd*bc03sc*i* a\npci:v*d* b\nx-y[0-9a-f]-z? c\nx-y* a\n\\* d\n a\n",
    );
    lines
}

fn index(lines: &[u8]) -> Vec<u8> {
    let mut index = IndexBuilder::new();
    for (line, priority) in lines.split(|&b| b == b'\n').zip(0..) {
        let Some(blank) = line.iter().rposition(|&b| b == b' ') else { continue };
        if let Some(key) = name::alias(&line[..blank]) {
            index.insert(&key, &line[blank + 1..], priority).unwrap();
        }
    }
    index.write().unwrap()
}

const CONFIG: &[u8] = b"# comment\nalias eth0 e1000\nalias x-[0-9-]* \\\n  mod-y\nblacklist pcspkr\n\
    options snd-hda-intel power_save=1\tx=\"a b\"\ninstall loop /sbin/modprobe --ignore-install loop $CMDLINE_OPTS && :\n\
    remove a-* echo\\ b\nsoftdep drm pre: a b-c post: d\nsoftdep e  pre: a\nweakdep nouveau nvidia a\n\
    forbid usb-* drm # all\npermit usb-storage\ninclude /x\nbogus\n";
const DEPMOD: &[u8] =
    b"search updates extra\\\n built-in\noverride kmod 4.6.* extra\noverride m/x * weak/y\n\
    external 6[.]1.* /usr/lib/ext\nexternal * /e\nexclude .git tmp\nmake_map_files no\nbad\n";
const CMDLINE: &[u8] = b"BOOT_IMAGE=/vmlinuz root=UUID=1 ro quiet loop.max_loop=8 \"usb.x=a b\" a-b.c \
    modprobe.blacklist=pcspkr,a-b modprobe.forbid=usb-*,drm modprobe.permit=\"usb-storage a\" kmod.gate=off kmod.gate_timeout=250 kmod.failure_ttl=9 kmod.gate_trace=1 x.y=\"1 2\" -- z.z=1\n";
const KMSG: &[u8] = b"6,1234,5678901,-;a: Unknown symbol b_one (err -2)\n SUBSYSTEM=module\n4,1,2,-,caller=T1;a: disagrees about version of symbol x\n\
    3,2,3,-;a: version magic '6.1 SMP ' should be '6.2 SMP '\n3,3,4,-;a: exports duplicate symbol x (owned by b)\n\
    3,4,5,-;a: `x' invalid for parameter `y'\n3,5,6,-;a: unknown parameter 'z' ignored\n3,6,7,-;Loading of unsigned module is rejected\n\
    3,7,8,-;a: module uses symbol s from namespace N, but does not import it.\n";
const PROC_MODULES: &[u8] =
    b"drm 700000 3 amdgpu,i915,[permanent], Live 0x0 (OE)\nloop 40960 0 - Live 0x0\ntls 1 - - Loading 0x0\n";
const DEVNAME: &[u8] = b"# Device nodes to trigger on-demand module loading.\nfuse fuse c10:229\nloop loop-control c10:237\nsnd_seq snd/seq c116:1\nb b b7:0\n";

/// What the check of this name is begun with.
pub fn of(check: &str) -> Vec<Vec<u8>> {
    let real = real();
    let texts = |all: &[&[u8]]| all.iter().map(|text| text.to_vec()).collect::<Vec<_>>();
    match check {
        "elf" => [built(), real.images.clone()].concat(),
        "signature" => {
            let module = built().swap_remove(0);
            let tail = module[module.len() - 300..].to_vec();
            let old = Signature {
                algo: 1,
                hash: 4,
                id_type: 1,
                signer: b"me".into(),
                key_id: vec![1; 20],
                data: vec![2; 60],
            };
            vec![tail, message(), old.to_bytes()]
        }
        "index" => vec![index(&lines()), index(b"a b"), IndexBuilder::new().write().unwrap(), index(CONFIG)],
        "index_written" => vec![lines(), CONFIG.to_vec()],
        "text" => {
            let aliases: Vec<u8> =
                lines().split_inclusive(|&b| b == b'\n').flat_map(|l| [b"alias ", l].concat()).collect();
            vec![lines(), aliases, real.builtin.clone(), real.builtin_info.clone(), b" +12-7".to_vec()]
        }
        "modprobe_d" => vec![
            CONFIG.to_vec(),
            lines().split_inclusive(|&b| b == b'\n').flat_map(|l| [b"alias ", l].concat()).collect(),
        ],
        "depmod_d" => texts(&[DEPMOD]),
        "cmdline" => texts(&[CMDLINE]),
        "options" => texts(&[b"-C /x -q \"a b\" c'd e'f", b"-d/x\"y z\"w \"\" -v", b"a\"b c"]),
        "arguments" => texts(&[
            b"\x05-qaR\0--dry\0loop\0-C\0/x\0--wait=5\0--\0-q",
            b"\x05--remove-holders\0x\0--show\0--show-c\0-w",
            b"\x00-b\0/x\0-aeF\0map\0--filesyms=x\0 6.1",
            b"\x03-F\0alias\0--field=parm\0-k\0x\0-0\0m",
            b"\x07-f\0devname\0--output=x",
        ]),
        "cache" => vec![cache()],
        "record" => {
            let mut whole = vec![0; 256];
            whole[..4].copy_from_slice(b"KMG2");
            whole[4] = 2;
            whole[8..52].fill(3);
            whole[112..136].fill(3);
            whole[192..].fill(1);
            vec![whole.clone(), whole[..144].to_vec()]
        }
        "kmsg" => texts(&[KMSG]),
        "compressed" => {
            let mut seeds = vec![[&[0x80][..], CONFIG].concat()];
            for content in [&built()[0][..], &[0; 60_000], b""] {
                let files = packed(content);
                seeds.extend(
                    [0u8, 1, 2, 2].iter().zip(files).map(|(&kind, file)| [&[kind][..], &file].concat()),
                );
            }
            let compressed =
                real.files.iter().filter(|file| compress::detect(file) == compress::Compression::Xz);
            seeds.extend(compressed.map(|file| [&[1][..], file].concat()));
            seeds
        }
        "pattern" => texts(&[
            b"pci:v00008086d*sv*sd*bc03sc*i*\npci:v00008086d00001234sv1sd2bc03sc00i00",
            b"[!a-c]?*x[]-]\\*\ndzzx]*",
            b"[[:alpha:]][[=a=]][[.-.]-9]*[\nza5[",
        ]),
        "outputs" => vec![outputs()],
        "lists" => texts(&[PROC_MODULES, DEVNAME]),
        other => panic!("no seeds for {other}"),
    }
}

/// Two modules as depmod remembers them, without what stands before (see the check).
fn cache() -> Vec<u8> {
    let mut bytes = vec![3, 1, b'a', 1, b'b', 2, b'c', b'd'];
    bytes.extend([2, 0, 5, 3, 0x80, 1]);
    bytes.push(2);
    // One with the CRC of its export, one without.
    for (digest, exports) in [(7, 2), (8, 3)] {
        // Its length, and two numbers.
        bytes.extend([0x80, 0x20, digest, 10]);
        bytes.extend(b"\x0cpci:v*\0x-y*\0\x08pre: x y\0");
        bytes.extend([exports, 2, 6, 2, 0, 1]);
    }
    bytes
}

/// See the check.
fn outputs() -> Vec<u8> {
    let real = real();
    let symvers = b"0x12345678\tprintk\tvmlinux\tEXPORT_SYMBOL\n0xx\tbad\tvmlinux\tE\n";
    let map = b"ffffffff81000000 T _text\nffffffff82000000 r __ksymtab_kmalloc\n";
    let modules = [
        &b"kernel/a.ko\napci:v1d*\nasymbol:x\nadevname:snd/seq\nachar-major-116-1\neone\nnprintk\nspre: b"[..],
        b"kernel/b-x.ko.xz\nax-[0-9-]y\nabad]\nnone\nwtwo\netwo",
        b"extra/c.ko.zst\nntwo\nnone\nnmissing\ne.three",
    ];
    let mut parts: Vec<&[u8]> = vec![symvers, map, &real.order, &real.builtin, &real.builtin_info];
    parts.extend(modules);
    parts.join(&0xff)
}
