//! The ways to call it.

use super::{Case, case};
use crate::tree::{Tree, ko};

fn two() -> Tree {
    Tree::new()
        .ko("kernel/a.ko", ko().export("a", 1).alias("x").modinfo("softdep", "pre: b"))
        .ko("kernel/b.ko", ko().needs("a").alias("y]"))
        .ko("/elsewhere/c.ko", ko().needs("a").alias("z"))
        .file("modules.builtin", "kernel/q.ko\nbad line\n 1\n")
}

/// Symbols that are looked up without a dot and a prefix.
fn dotted() -> Tree {
    Tree::new()
        .ko("kernel/a.ko", ko().export("sym", 1).export("_pre", 1))
        .ko("kernel/b.ko", ko().needs(".sym"))
        .ko("kernel/c.ko", ko().needs("._pre"))
        .ko("kernel/d.ko", ko().needs("pre"))
        .ko("kernel/e.ko", ko().needs("_sym"))
}

pub fn cases() -> Vec<Case> {
    let with_dep = || two().file("modules.dep", "");
    vec![
        case("dry-run", two()).args("-n 1.2.3"),
        case("show", two()).args("--show 1.2.3"),
        case("verbose", two()).args("-v 1.2.3"),
        case("verbose-dry-run", two()).args("-nv 1.2.3"),
        case("options-after-operands", two()).args("1.2.3 -a --dry-run"),
        case("named-files", two()).args("1.2.3 /lib/modules/1.2.3/kernel/b.ko /elsewhere/c.ko"),
        case("named-files-with-what-they-need", two())
            .args("1.2.3 /lib/modules/1.2.3/kernel/a.ko /elsewhere/c.ko"),
        case("named-files-and-all", two()).args("-a 1.2.3 /elsewhere/c.ko"),
        case("named-file-twice", two()).args("1.2.3 /elsewhere/c.ko /elsewhere/c.ko"),
        case("named-file-of-same-name", two()).args("1.2.3 /elsewhere/c.ko /elsewhere/../elsewhere/c.ko"),
        case("named-file-relative", two()).args("1.2.3 elsewhere/c.ko"),
        case("named-file-missing", two()).args("1.2.3 /elsewhere/c.ko /elsewhere/d.ko"),
        case("named-directory", two()).args("1.2.3 /elsewhere"),
        case("named-file-without-extension", two().file("/elsewhere/list", "hello, world, here I am"))
            .args("1.2.3 /elsewhere/list"),
        case("named-ignores-configuration", two().conf("bogus\n")).args("1.2.3 /elsewhere/c.ko"),
        case("bad-version", two()).args("xyz"),
        case("bad-version-file", two()).args("/elsewhere/c.ko"),
        case("version-with-more", Tree::new()).args("1.2-x"),
        case("version-not-quite", Tree::new()).args("1.x"),
        // Theirs does nothing. That nothing is made where all fits is in quick.rs.
        case(
            "quick-nothing-newer-and-other-modules",
            Tree::new().ko("kernel/a.ko", ko()).file("modules.dep", ""),
        )
        .args("-A 1.2.3")
        .alone(0, ""),
        case("quick-something-newer", with_dep()).args("-A 1.2.3").aged("modules.dep"),
        case("quick-dry-run", with_dep()).args("-An 1.2.3").aged("modules.dep"),
        case("verbose-names-as-looked-up", dotted()).args("-nv 1.2.3"),
        case("verbose-names-without-prefix", dotted()).args("-nv -P _ 1.2.3"),
        case("errsyms-without-symbols", two().conf("bogus\n")).args("-e 1.2.3"),
        case("errsyms-bad-version", two()).args("-e xyz"),
        case("errsyms-quick", two()).args("-e -A 1.2.3"),
        case("symbols-are-a-directory", two())
            .args("-F /elsewhere 1.2.3")
            .alone(1, "FATAL: could not load /elsewhere: Is a directory"),
        case("quick-never-run", two()).args("-A 1.2.3"),
        case("quick-missing-directory", two()).args("-A 9.9.9"),
        case("quick-with-files", with_dep()).args("-A 1.2.3 /elsewhere/c.ko").aged("modules.dep"),
        case("module-directory", Tree::new().ko("/mods/1.2.3/a.ko", ko())).args("-m /mods 1.2.3"),
        case("module-directory-slashes", Tree::new().ko("/mods/1.2.3/a.ko", ko())).args("-m ///mods 1.2.3"),
        case(
            "base-directory",
            Tree::new()
                .ko("/base/lib/modules/1.2.3/a.ko", ko())
                .ko("/base/lib/modules/1.2.3/b.ko", ko().alias("[")),
        )
        .args("-b /base 1.2.3"),
        case("base-directory-slash", Tree::new().ko("/base/lib/modules/1.2.3/a.ko", ko()))
            .args("-b /base/ 1.2.3"),
        case("base-directory-relative", Tree::new().ko("/base/lib/modules/1.2.3/a.ko", ko()))
            .args("-b base 1.2.3"),
        case("base-directory-missing", two()).args("-b /nowhere 1.2.3"),
        case("prefix-too-long", two()).args("-P ab 1.2.3"),
        case("unknown-option", two()).args("-x 1.2.3"),
        case("unknown-long-option", two()).args("--bogus 1.2.3"),
        case("missing-argument", two()).args("1.2.3 -b /nowhere --symvers"),
    ]
}
