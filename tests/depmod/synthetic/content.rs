//! What modules say about themselves, damaged ones, and the lists of the kernel build.

use super::{Case, case};
use crate::elf::KoBuilder;
use crate::tree::{Tree, ko, xz};

/// The example that formats are explained by.
fn example() -> Tree {
    Tree::new()
        .ko(
            "kernel/a/mod-a.ko",
            ko().alias("pci:v0000-8086d*")
                .alias("x-y[0-9a-f]-z")
                .alias("bad]x")
                .modinfo("softdep", "pre: mod-b post: c")
                .export("a_one", 1)
                .export("a_two", 2),
        )
        .ko(
            "kernel/a/mod_b.ko",
            ko().alias("devname:foo/bar")
                .alias("char-major-10-200")
                .export("b_one", 3)
                .needs("a_one")
                .needs("unknown"),
        )
        .ko("kernel/c.ko", ko().needs("b_one").needs("a_one"))
        .file("modules.order", "kernel/a/mod-a.ko\nkernel/a/mod_b.ko\nkernel/c.ko\n")
}

fn aliases(list: &[&str]) -> KoBuilder {
    list.iter().fold(ko(), |module, alias| module.alias(alias))
}

fn one(module: KoBuilder) -> Tree {
    Tree::new().ko("kernel/m.ko", module)
}

fn devices(list: &[&str]) -> Tree {
    one(aliases(list)).ko("kernel/n.ko", aliases(&["devname:n", "block-major-7-3"]))
}

pub fn cases() -> Vec<Case> {
    let ten_thousand = (0..10_000).fold(ko(), |module, i| {
        module.alias(format!("pci:v{:08X}d{:08X}sv*sd*bc*sc*i*", i % 97, i * 7919 % 65536))
    });
    let image = ko().alias("x").export("e", 1).build();
    let packed = xz(&image);
    let damage = |at: usize| {
        let mut bytes = packed.clone();
        bytes[at] ^= 0xff;
        bytes
    };
    let cut = |length: usize| {
        Tree::new().ko("kernel/fine.ko", ko().alias("y")).file("kernel/m.ko", &image[..length])
    };
    let patched = |at: usize, bytes: &[u8]| {
        let mut image = image.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        Tree::new().file("kernel/m.ko", image)
    };
    let builtin = |text: &str| one(ko()).file("modules.builtin", text);
    let records = |text: &str| one(ko()).file("modules.builtin.modinfo", text);
    vec![
        case("example", example()),
        case(
            "aliases-with-blanks",
            one(aliases(&["a b*c", " leading", "trailing ", "tab\there", "two  blanks"])),
        ),
        case("aliases-with-brackets", one(aliases(&["a[b-c]-d", "[!-]-x", "[[:digit:]]-", "a[]]b"]))),
        case("aliases-with-bad-brackets", one(aliases(&["a]b", "a[b", "[", "]", "a[b[c]d", "ok"]))),
        case("alias-empty", one(aliases(&["", "x"])).ko("kernel/n.ko", aliases(&[""]))),
        case("alias-without-value", one(ko().modinfo_raw("alias\0alias=\0=alias=z\0aliasx=y\0alias=a=b\0"))),
        case("alias-with-control-bytes", one(aliases(&["a\u{1}b", "\u{7f}", "a\\*b"]))),
        case("alias-twice", one(aliases(&["same", "same"])).ko("kernel/n.ko", aliases(&["same"]))),
        case("alias-of-4095", one(aliases(&["a".repeat(4095).as_str()]))),
        case("ten-thousand-aliases", one(ten_thousand)),
        case("prefixes-of-each-other", one(aliases(&["net", "net:", "net:a", "net:ab", "ne", "n", "nf"]))),
        case("modinfo-padding", one(ko().modinfo_raw("\0\0alias=p\0\0\0softdep=pre: q\0last=x"))),
        case("modinfo-missing", one(KoBuilder::new())),
        case("modinfo-empty", one(KoBuilder::new().modinfo_raw(""))),
        case("modinfo-twice", one(ko().alias("first").section(".modinfo", "alias=second\0"))),
        case(
            "softdeps-and-weakdeps",
            one(ko()
                .modinfo("softdep", "pre: a b post: c")
                .modinfo("softdep", "")
                .modinfo("weakdep", "d e")
                .modinfo("weakdep", "")
                .modinfo("softdep", "with [brackets")),
        ),
        case("device", devices(&["devname:snd/seq", "char-major-116-1"])),
        case(
            "device-numbers-first",
            devices(&["char-major-1-2", "char-major-3-4", "devname:a", "devname:b"]),
        ),
        case("device-latest-name", devices(&["devname:a", "devname:b", "block-major-3-4", "devname:c"])),
        case("device-without-numbers", devices(&["devname:a", "char-major-1-*", "block-major-7"])),
        case("device-odd-numbers", devices(&["devname:a", "char-major- +1-02-3"])),
        case("device-huge-numbers", devices(&["devname:a", "char-major--1-4294967297"])),
        case("device-hexadecimal", devices(&["devname:a", "block-major-7-0x1"])),
        case("device-numbers-only", devices(&["char-major-1-2"])),
        case("no-device", one(ko())),
        case("builtin", builtin("kernel/fs/ext2/ext2.ko\nkernel/a-b.ko\nkernel/fs/ext2/ext2.ko\nx.y.ko\n")),
        case("builtin-invalid-lines", builtin("kernel/a.ko\n\n/abs.ko\n1.ko\n kernel/b.ko\nkernel/c.ko\n")),
        case("builtin-without-dot", builtin("kernel/a\nkernel/b.ko\n")),
        case("builtin-without-newline", builtin("kernel/a.ko\nkernel/b.ko")),
        case("builtin-directory", builtin("kernel/\nkernel/b.ko\n")),
        case("builtin-missing", one(ko()).without("modules.builtin")),
        case(
            "builtin-aliases",
            records("a.alias=x-y*\0b.license=GPL\0b.alias=x-y*\0c-d.alias=z\0a.alias=\0"),
        ),
        case("builtin-aliases-bad-brackets", records("a.alias=x]\0b.alias=ok\0")),
        case("builtin-aliases-odd-records", records("nodot\0.alias=x\0a.alias=last-without-nul")),
        case("builtin-aliases-missing", one(ko()).without("modules.builtin.modinfo")),
        case("xz", Tree::new().ko("kernel/m.ko.xz", ko().alias("x"))),
        case("zstd", Tree::new().ko("kernel/m.ko.zst", ko().alias("x"))),
        case("content-decides", Tree::new().file("kernel/m.ko", &packed).file("kernel/n.ko.xz", &image)),
        case(
            "two-xz-streams",
            Tree::new().file("kernel/m.ko.xz", [xz(&image[..100]), xz(&image[100..])].concat()),
        ),
        case(
            "xz-truncated",
            Tree::new().ko("kernel/a.ko", ko()).file("kernel/m.ko.xz", &packed[..packed.len() / 2]),
        )
        // The same three times.
        .instead(
            "depmod: ERROR: xz: Unexpected end of input\ndepmod: ERROR: xz: Unexpected end of input\n",
            "",
        ),
        case("xz-damaged", Tree::new().file("kernel/m.ko.xz", damage(packed.len() / 2))).instead(
            "depmod: ERROR: xz: Unexpected end of input\ndepmod: ERROR: xz: Unexpected end of input\n",
            "",
        ),
        case("not-elf", cut(0).file("kernel/m.ko", "this is no module, but long enough")),
        case("empty-file", cut(0)),
        case("three-bytes", cut(3)),
        case("magic-only", cut(16)),
        case("header-cut-off", cut(40)),
        case("sections-cut-off", cut(image.len() - 10)),
        case("unknown-class", patched(4, &[3])),
        case("unknown-byte-order", patched(5, &[0])),
        case("odd-section-headers", patched(58, &[63, 0])),
        case("section-names-out-of-reach", patched(62, &[0, 0]))
            .alone(0, "ERROR: failed to load symbols from /lib/modules/1.2.3/kernel/m.ko: Invalid argument"),
        case(
            "duplicates-told",
            one(aliases(&["same", "same", "other"])).ko("kernel/n.ko", aliases(&["same"]).export("e", 1)),
        )
        .args("-w 1.2.3"),
    ]
}
