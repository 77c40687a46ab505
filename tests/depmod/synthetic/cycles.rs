//! Modules that need each other.

use super::{Case, case};
use crate::tree::{Tree, ko};

/// `"a:b,c b:a"`: a needs b and c, b needs a; in this order in `modules.order`.
fn tree(text: &str) -> Tree {
    let mut order = String::new();
    let mut tree = Tree::new();
    for word in text.split(' ') {
        let (name, needs) = word.split_once(':').expect("name:needs");
        let mut module = ko().export(format!("of_{name}"), 1);
        for need in needs.split(',').filter(|need| !need.is_empty()) {
            module = module.needs(format!("of_{need}"));
        }
        tree = tree.ko(&format!("kernel/{name}.ko"), module);
        order.push_str(&format!("kernel/{name}.ko\n"));
    }
    tree.file("modules.order", order)
}

fn ring(count: usize) -> String {
    (0..count).map(|i| format!("m{i}:m{}", (i + 1) % count)).collect::<Vec<_>>().join(" ")
}

pub fn cases() -> Vec<Case> {
    vec![
        case("of-two", tree("a:b b:a c:a d:")),
        case("of-three", tree(&ring(3))),
        case("of-eleven", tree(&ring(11))),
        case("two-apart", tree("a:b b:a c:d d:c")),
        case("two-that-share-a-module", tree("a:b,c b:a c:a")),
        case("behind-a-user", tree("a:b b:c c:b")),
        case("of-itself", tree("a:a b:")),
        case("chain", tree("e:d d:c c:b b:a a:")),
        case("diamond", tree("a:b,c b:d c:d d:")),
        case("diamond-the-other-way", tree("d: c:d b:d a:c,b")),
        case("numbers-decide", tree("one: two:one three:two,one")),
        case("wide", tree("a:b,c,d,e b:f,g c:f,h d:e,h e:g f: g:h h:")),
        case("dry-run", tree("a:b b:a")).args("-n 1.2.3"),
        case("one-leads-into-another", tree("a:b b:a,d d:e e:f f:e")).alone(
            1,
            "ERROR: Cycle detected: a -> b -> a\nERROR: Cycle detected: e -> f -> e\n\
             ERROR: Found 4 modules in dependency cycles!\n",
        ),
        case("dense", tree("m1:m2,m3 m2:m3,m4 m3:m1 m4:m2")).alone(
            1,
            "ERROR: Cycle detected: m1 -> m3 -> m1\nERROR: Cycle detected: m4 -> m2 -> m4\n\
             ERROR: Found 4 modules in dependency cycles!\n",
        ),
        case("with-something-downstream", tree("a:b b:a,c c:"))
            .alone(1, "ERROR: Cycle detected: a -> b -> a\nERROR: Found 2 modules in dependency cycles!\n"),
    ]
}
