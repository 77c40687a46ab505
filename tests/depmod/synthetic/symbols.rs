//! What modules export and need, and what is said about it.

use super::{Case, case};
use crate::elf::{GLOBAL, KoBuilder, LOCAL, SHN_ABS, SHN_UNDEF, Symbol, machine};
use crate::tree::{Tree, ko};

/// A provider and a user of it in a given form.
fn pair(form: fn(KoBuilder) -> KoBuilder) -> Tree {
    let provider = form(ko().export("p_one", 0x1111).export_in_section("p_two", 0x2222));
    let user = form(ko().needs_version("p_two", 0x2222).needs("p_one").version("module_layout", 0x3333));
    Tree::new().ko("kernel/provider.ko", provider).ko("kernel/user.ko", user)
}

const SYMVERS: &str = "0x11111111\tkernel_one\tvmlinux\tEXPORT_SYMBOL\t\n\
    0x00000022\tkernel_two\tvmlinux\tEXPORT_SYMBOL_GPL\t\n\
    0x00000033 kernel_three vmlinux\n33 kernel_four vmlinux x\n0x44 m_one kernel/m EXPORT_SYMBOL\n\
    0x00001111\tmodule_layout\tvmlinux\tEXPORT_SYMBOL\t\n";

const MAP: &str = "ffffffff81000000 T _stext\nffffffff82000000 r __ksymtab_kernel_one\n\
    ffffffff82000008 R __ksymtab_kernel_two\n0 r __ksymtab__kernel_under\n0 r ___ksymtab_kernel_prefixed\n";

/// Modules that need all kinds of things.
fn needy() -> Tree {
    Tree::new()
        .file("/symvers", SYMVERS)
        .file("/map", MAP)
        .ko("kernel/m.ko", ko().export("m_one", 7).needs_version("kernel_one", 0x11111111))
        .ko(
            "kernel/n.ko",
            ko().needs_version("kernel_two", 0x23)
                .needs("kernel_three")
                .needs("kernel_four")
                .needs_version("m_one", 7)
                .needs_weak("nobody_weak")
                .needs("nobody")
                .needs("__this_module")
                .needs("_GLOBAL_OFFSET_TABLE_")
                .needs("TOC.")
                .version("module_layout", 0x1111),
        )
        .ko(
            "kernel/o.ko",
            ko().needs_version("m_one", 8).needs_weak("m_one").needs(".kernel_one").needs("..kernel_one"),
        )
        .ko(
            "kernel/q.ko",
            ko().needs_weak("kernel_two").version("kernel_two", 0x99).version("nobody_else", 5),
        )
}

fn symbol(name: &str, section: u16, binding: u8, kind: u8) -> Symbol {
    Symbol { name: name.as_bytes().to_vec(), value: 5, binding, kind, section }
}

pub fn cases() -> Vec<Case> {
    vec![
        case("64-bit", pair(|ko| ko)),
        case("32-bit", pair(|ko| ko.bits32().machine(machine::I386))),
        case("64-bit-big-endian", pair(|ko| ko.big_endian().machine(machine::S390))),
        case("32-bit-big-endian", pair(|ko| ko.bits32().big_endian().machine(machine::SPARC))),
        case("stripped", pair(KoBuilder::without_symtab)),
        case(
            "sparc-registers",
            Tree::new()
                .ko("kernel/p.ko", ko().machine(machine::SPARCV9).export("reg", 1).export("sym", 1))
                .ko(
                    "kernel/u.ko",
                    ko().machine(machine::SPARCV9).symbol(symbol("reg", SHN_UNDEF, GLOBAL, 13)).needs("sym"),
                )
                .ko("kernel/v.ko", ko().symbol(symbol("reg", SHN_UNDEF, GLOBAL, 13))),
        ),
        case(
            "power-dots",
            Tree::new()
                .ko("kernel/p.ko", ko().machine(machine::PPC64).export("fun", 1).export(".dot", 1))
                .ko("kernel/u.ko", ko().machine(machine::PPC64).needs(".fun").needs("TOC."))
                .ko("kernel/v.ko", ko().machine(machine::PPC64).needs(".dot").needs("..dot")),
        ),
        case(
            "exports-without-crc",
            Tree::new()
                .ko("kernel/p.ko", ko().ksymtab_string("one").ksymtab_string("").ksymtab_string("two"))
                .ko("kernel/u.ko", ko().needs("two")),
        ),
        case(
            "crc-symbols-beat-strings",
            Tree::new()
                .ko("kernel/p.ko", ko().export("one", 1).ksymtab_string("NAMESPACE"))
                .ko("kernel/u.ko", ko().needs("NAMESPACE")),
        ),
        case("strings-without-end", Tree::new().ko("kernel/p.ko", ko().section("__ksymtab_strings", "abc"))),
        case(
            "no-exports-at-all",
            Tree::new()
                .ko("kernel/p.ko", KoBuilder::new())
                .ko("kernel/q.ko", KoBuilder::new().without_symtab()),
        ),
        case(
            "local-and-absolute",
            Tree::new()
                .ko("kernel/p.ko", ko().symbol(symbol("__crc_loc", SHN_ABS, LOCAL, 0)))
                .ko("kernel/u.ko", ko().symbol(symbol("loc", SHN_UNDEF, LOCAL, 0))),
        ),
        // They read beyond the name.
        case(
            "export-without-name",
            Tree::new().ko("kernel/p.ko", ko().symbol(symbol("__crc_", SHN_ABS, GLOBAL, 0))),
        )
        .alone(0, ""),
        case(
            "last-exporter-wins",
            Tree::new()
                .file("modules.order", "kernel/b.ko\nkernel/a.ko\nkernel/u.ko\n")
                .ko("kernel/a.ko", ko().export("same", 1).export("only_a", 1))
                .ko("kernel/b.ko", ko().export("same", 2).export("only_b", 1))
                .ko("kernel/u.ko", ko().needs("same").needs("only_b")),
        ),
        case(
            "order-of-needs",
            Tree::new()
                .file("modules.order", "kernel/u.ko\nkernel/a.ko\nkernel/b.ko\nkernel/c.ko\n")
                .ko("kernel/a.ko", ko().export("a", 1))
                .ko("kernel/b.ko", ko().export("b", 1))
                .ko("kernel/c.ko", ko().export("c", 1))
                .ko("kernel/u.ko", ko().needs("c").needs_weak("a").version("b", 1).needs("a")),
        ),
        case(
            "only-in-versions",
            Tree::new().ko("kernel/p.ko", ko().export("v", 1)).ko("kernel/u.ko", ko().version("v", 1)),
        ),
        case(
            "versions-of-odd-size",
            Tree::new()
                .ko("kernel/p.ko", ko().export("v", 1))
                .ko("kernel/u.ko", ko().section("__versions", "odd").needs("v")),
        ),
        case(
            "name-in-versions-without-end",
            Tree::new()
                .ko("kernel/p.ko", ko().export("v", 1))
                .ko("kernel/u.ko", ko().needs("v").version("x".repeat(60), 1)),
        ),
        case(
            "long-symbol",
            Tree::new()
                .ko("kernel/p.ko", ko().export("s".repeat(900), 1))
                .ko("kernel/u.ko", ko().needs("s".repeat(900))),
        ),
        case("symvers-errors", needy()).args("-e -E /symvers 1.2.3"),
        case("symvers-quiet", needy()).args("-E /symvers 1.2.3"),
        case("map-errors", needy()).args("-a -e -F /map 1.2.3"),
        case("map-quiet", needy()).args("-aF /map 1.2.3"),
        case("both-lists", needy()).args("-naeE /symvers -F /map 1.2.3"),
        // They see no versions.
        case(
            "extended-versions",
            Tree::new().file("/symvers", SYMVERS).ko(
                "kernel/n.ko",
                ko().needs("kernel_one")
                    .needs("kernel_two")
                    .extended_version("module_layout", 0x1111)
                    .extended_version("kernel_one", 0x11111111)
                    .extended_version("kernel_two", 0x23),
            ),
        )
        .args("-e -E /symvers 1.2.3")
        .alone(0, "WARNING: /lib/modules/1.2.3/kernel/n.ko disagrees about version of symbol kernel_two"),
        case("errors-without-a-list", needy()).args("-e 1.2.3"),
        case("list-missing", needy()).args("-e -E /nowhere 1.2.3"),
        case("map-missing", needy()).args("-F /nowhere 1.2.3"),
        case("map-damaged", needy().file("/map", "bad\n0 r __ksymtab_kernel_one\nx y\n"))
            .args("-e -F /map 1.2.3"),
        case(
            "symvers-damaged",
            needy().file("/symvers", "zz kernel_one vmlinux x\nx\n\n0x1 kernel_two vmlinux x\n"),
        )
        .args("-e -E /symvers 1.2.3")
        .instead(
            "Invalid symbol version zz: No such file or directory",
            "Invalid symbol version zz: Invalid argument",
        ),
        case(
            "prefix",
            needy()
                .ko("kernel/p.ko", ko().export("_pre", 1))
                .ko("kernel/r.ko", ko().needs("_pre").needs("._pre")),
        )
        .args("-e -F /map -P _ 1.2.3"),
        case(
            "prefix-symvers",
            needy().ko("kernel/p.ko", ko().export("_pre", 1)).ko("kernel/r.ko", ko().needs("pre")),
        )
        .args("-e -E /symvers -P _ 1.2.3"),
    ]
}
