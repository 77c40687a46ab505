//! Which files are modules, and which of two wins.

use super::{Case, case};
use crate::elf::KoBuilder;
use crate::tree::{Node, Tree, ko};

/// A module that can be told from others by an alias.
fn marked(mark: &str) -> KoBuilder {
    ko().alias(format!("mark:{mark}"))
}

/// One module name at three places.
fn three() -> Tree {
    Tree::new()
        .ko("kernel/drivers/m.ko", marked("kernel"))
        .ko("extra/m.ko", marked("extra"))
        .ko("updates/m.ko", marked("updates"))
        .ko("updates/dkms/m.ko", marked("dkms"))
        .ko("other/m.ko", marked("other"))
}

/// A tree with directories in place of the three lists of a kernel build.
fn lists_as_directories() -> Tree {
    let tree = Tree::default().ko("kernel/a.ko", ko());
    let lists = ["modules.order", "modules.builtin", "modules.builtin.modinfo"];
    lists.into_iter().fold(tree, |tree, list| tree.node(list, Node::Directory))
}

pub fn cases() -> Vec<Case> {
    let empty = Tree::default().node("", Node::Directory);
    vec![
        case("empty-directory", empty),
        case("empty-lists", Tree::new()),
        case("missing-directory", Tree::default().file("/etc/x", "")).args("9.9.9"),
        case("one-module", Tree::new().ko("kernel/a.ko", ko())),
        case("updates-without-configuration", three()),
        case("first-one-stays", Tree::new().ko("a/m.ko", marked("a")).ko("b/m.ko", marked("b")).ko("c/m.ko", marked("c"))),
        case("search-extra-first", three().conf("search extra updates built-in\n")),
        case("search-built-in-first", three().conf("search built-in extra updates\n")),
        case("search-built-in-between", three().conf("search extra built-in updates\n")),
        case("search-without-built-in", three().conf("search nothing\n")),
        case("search-in-two-lines", three().conf("search other\nsearch extra\n")),
        case("search-word-with-slash", three().conf("search extra/ updates/\n")),
        case("search-covers-what-is-below", three().conf("search updates/dkms kernel\n")),
        case(
            "same-place-last-one-wins",
            Tree::new().ko("updates/a/m.ko", marked("a")).ko("updates/b/m.ko", marked("b")).ko("updates/c/m.ko", marked("c")),
        ),
        case(
            "external",
            three().ko("/ext/one/m.ko", marked("one")).ko("/ext/two/x.ko", marked("x")).conf(
                "search external updates\nexternal * /ext/one\nexternal 1.2 /ext/two\nexternal 2.2 /ext/three\n",
            ),
        ),
        case("external-relative", three().ko("/ext/y.ko", marked("y")).conf("external * ext\n")),
        case("cr-and-byte-order-mark", Tree::new().ko("kernel/a.ko", ko()).conf("\u{feff}exclude extra\r\n"))
            .instead("depmod: ERROR: /etc/depmod.d/test.conf:1: ignoring bad line starting with '\u{feff}exclude'\n", ""),
        case("lists-are-directories", lists_as_directories()).alone(
            0,
            "WARNING: could not open modules.order at /lib/modules/1.2.3: Is a directory\n\
             WARNING: could not open modules.builtin at /lib/modules/1.2.3: Is a directory\n\
             WARNING: could not open modules.builtin.modinfo at /lib/modules/1.2.3: Is a directory\n",
        ),
        case("configuration-is-a-fifo", Tree::new().node("/etc/depmod.d", Node::Fifo)).alone(0, ""),
        case(
            "external-last",
            three().ko("/ext/one/m.ko", marked("one")).conf("search updates external built-in\nexternal ^1[.]2 /ext/one\n"),
        ),
        case(
            "external-two-directories",
            Tree::new()
                .ko("/ext/one/m.ko", marked("one"))
                .ko("/ext/two/m.ko", marked("two"))
                .conf("search external built-in\nexternal * /ext/one\nexternal * /ext/two\n"),
        ),
        case(
            "external-not-searched",
            three().ko("/ext/one/m.ko", marked("one")).ko("/ext/one/n.ko", marked("n")).conf("external * /ext/one\n"),
        ),
        case(
            "external-needs-and-is-needed",
            Tree::new()
                .ko("kernel/a.ko", ko().export("a_one", 1).needs("x_one"))
                .ko("/ext/x.ko", ko().export("x_one", 1))
                .ko("/ext/y.ko", ko().needs("a_one"))
                .conf("external * /ext\n"),
        ),
        case("external-missing", Tree::new().ko("kernel/a.ko", ko()).conf("external * /nowhere\n")),
        case("external-with-slash", Tree::new().ko("/ext/a.ko", ko()).conf("search external\nexternal * /ext/\n")),
        case("override", three().conf("override m * other\n")),
        case("override-latest-first", three().conf("override m * other\noverride m * kernel/drivers\n")),
        case("override-nothing-there", three().conf("override m * nowhere\n")),
        case("override-for-this-kernel", three().conf("override m ^1.2.3$ kernel/drivers\noverride m ^2 other\n")),
        case("override-bad-expression", three().conf("override m ( kernel/drivers\n")),
        case(
            "override-name-as-on-disk",
            Tree::new()
                .ko("kernel/m-x.ko", marked("kernel"))
                .ko("updates/m-x.ko", marked("updates"))
                .conf("override m_x * kernel\n"),
        ),
        case(
            "override-with-dash",
            Tree::new()
                .ko("kernel/m-x.ko", marked("kernel"))
                .ko("updates/m-x.ko", marked("updates"))
                .conf("override m-x * kernel\n"),
        ),
        case(
            "override-compressed",
            Tree::new()
                .ko("kernel/m.ko.xz", marked("kernel"))
                .ko("updates/m.ko", marked("updates"))
                .conf("override m * kernel\n"),
        ),
        case("exclude-directory", three().conf("exclude updates\n")),
        case("exclude-file", three().ko("kernel/n.ko", ko()).conf("exclude m.ko\n")),
        case("exclude-deep", three().ko("kernel/a/dkms/o.ko", ko()).conf("exclude dkms drivers\n")),
        case(
            "bad-lines",
            three().conf("search extra\n\n  \n#comment\n # no comment\noverride m *\nexternal *\nbogus x\nSEARCH y\nexclude\nsearch\n"),
        ),
        case("continued-lines", three().conf("search \\\n  extra \\\n built-in\nbogus\\\nline\n")),
        case("ignored-directives", three().conf("include /x\nmake_map_files yes\nsearch extra\n")),
        case(
            "configuration-by-base-name",
            three()
                .file("/etc/depmod.d/b.conf", "search extra\n")
                .file("/run/depmod.d/a.conf", "search other\n")
                .file("/run/depmod.d/b.conf", "search kernel\n")
                .file("/lib/depmod.d/c.conf", "search updates/dkms\n")
                .file("/usr/lib/depmod.d/c.conf", "")
                .file("/etc/depmod.d/.h.conf", "bogus\n")
                .file("/etc/depmod.d/x.con", "bogus\n"),
        ),
        case("configuration-masked", three().file("/lib/depmod.d/a.conf", "search extra\n").link("/etc/depmod.d/a.conf", "/dev/null").file("/dev/null", "")),
        case("configuration-directory", three().file("/etc/depmod.d/d.conf/x", "")),
        case("configuration-given", three().conf("search extra\n").file("/c/one", "search other\n")).args("1.2.3 -C /c/one"),
        case("configuration-given-twice", three().file("/c/one", "search other\n").file("/d/a.conf", "search extra\n"))
            .args("-C /c/one -C /d -C /nowhere 1.2.3"),
        case("build-and-source", Tree::new().ko("build/a.ko", ko()).ko("source/b.ko", ko()).ko("kernel/build/c.ko", ko()).ko("kernel/d.ko", ko())),
        case(
            "names",
            Tree::new()
                .ko("kernel/a.b.ko", ko())
                .ko("kernel/.x.ko", ko())
                .ko("kernel/c-d_e.ko", ko())
                .file("kernel/.ko", "x")
                .file("kernel/f.ko.bz2", "x")
                .file("kernel/g.KO", "x")
                .ko(".hidden/h.ko", ko()),
        ),
        case("dash-and-underscore", Tree::new().ko("kernel/a/m-x.ko", marked("dash")).ko("kernel/b/m_x.ko", marked("underscore"))),
        case("compressed-beside-plain", Tree::new().ko("kernel/m.ko", marked("plain")).ko("kernel/m.ko.xz", marked("xz"))),
        case(
            "links",
            Tree::new()
                .ko("/store/a.ko", ko().export("a", 1))
                .ko("/store/dir/b.ko", ko().needs("a"))
                .link("kernel/a.ko", "/store/a.ko")
                .link("kernel/dir", "/store/dir")
                .link("kernel/gone.ko", "nowhere"),
        ),
        case("fifo", Tree::new().ko("kernel/a.ko", ko()).node("kernel/p.ko", Node::Fifo)),
        case("link-to-the-directory-above", Tree::new().ko("kernel/a.ko", ko()).link("kernel/loop", "..")).alone(
            0,
            "ERROR: directory /lib/modules/1.2.3/kernel/loop contains itself through a link, not followed",
        ),
    ]
}
