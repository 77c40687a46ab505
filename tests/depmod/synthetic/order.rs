//! The order of the modules.

use super::{Case, case};
use crate::tree::{Tree, ko};

/// Four modules with one alias between them, so that the order shows in the index too.
fn four() -> Tree {
    ["kernel/a/one.ko", "kernel/b/two-x.ko.xz", "three.ko", "kernel/a/four.ko"]
        .iter()
        .fold(Tree::new(), |tree, path| {
            tree.ko(path, ko().alias("same").export(format!("s{}", path.len()), 1))
        })
}

fn ordered(name: &str, text: &str) -> Case {
    case(name, four().file("modules.order", text))
}

pub fn cases() -> Vec<Case> {
    let many =
        (0..300).fold(Tree::new(), |tree, i| tree.ko(&format!("kernel/m{}_{i}.ko", i * 7919 % 1000), ko()));
    let long = "x".repeat(4094);
    vec![
        ordered("complete", "three.ko\nkernel/a/four.ko\nkernel/b/two-x.ko\nkernel/a/one.ko\n"),
        ordered("partial", "kernel/a/four.ko\n"),
        ordered("repeated", "kernel/a/four.ko\nthree.ko\nkernel/a/four.ko\nkernel/a/one.ko\nthree.ko\n"),
        ordered("unknown-and-blank-lines", "\nkernel/nobody.ko\n\nthree.ko\nkernel/a/one.ko.xz\n"),
        ordered("carriage-returns", "three.ko\r\nkernel/a/four.ko\r\n"),
        ordered("compressed-names", "three.ko\nkernel/b/two-x.ko.xz\n"),
        ordered("underscore-for-dash", "three.ko\nkernel/b/two_x.ko\n"),
        ordered("last-line-cut-off", "three.ko\nkernel/a/four.ko"),
        ordered("line-that-just-fits", &format!("three.ko\n{long}\nkernel/a/four.ko\n")),
        ordered("line-too-long", &format!("three.ko\n{long}x\nkernel/a/four.ko\n")),
        case("missing", four().without("modules.order")),
        case("three-hundred-by-hash", many),
    ]
}
