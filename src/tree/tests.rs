//! Lookup and its seven sources, dependencies, missing and broken indexes, and which configuration files count. The
//! expectations were observed of kmod 34.2 on such trees, unless a comment says otherwise.

use super::fixture::{Fixture, shown};
use super::*;
use std::fs;
use std::os::unix::fs::symlink;

fn lookup(fixture: &Fixture, query: &str) -> Vec<String> {
    shown(&fixture.tree().lookup(query.as_bytes()).unwrap())
}

fn sources() -> Fixture {
    let fixture = Fixture::new(&["k/loop.ko:", "k/dum-my.ko:", "k/both.ko:"]);
    fixture
        .index("modules.alias", &[("al_*", "loop"), ("al_?", "dum_my"), ("wild_x", "both"), ("bi", "both")]);
    fixture.index("modules.symbols", &[("symbol:s1", "loop")]);
    fixture.index("modules.builtin", &[("bi", ""), ("bj", ""), ("both", "")]);
    fixture.index("modules.builtin.alias", &[("ba", "bi"), ("b?", "bk"), ("loop", "bx")]);
    fixture.etc(
        "a.conf",
        "alias wild-* loop\nalias wild-x dum-my\nalias other off\nalias [a-c]-q a\nalias chain other\n\
         install loop2 echo i\nremove only-rm echo r\ninstall pat* echo p\ninstall bj echo b\n",
    );
    fixture
}

#[test]
fn the_first_source_that_answers_counts() {
    let fixture = sources();
    let table: [(&str, &[&str]); 21] = [
        ("wild-q", &["loop (wild_*)"]),
        ("wild_x", &["loop (wild_*)", "dum_my (wild_x)"]),
        ("other", &["off (other)"]),
        ("chain", &["other (chain)"]),
        ("a-q", &["a ([a-c]_q)"]),
        ("loop", &["loop"]),
        ("dum-my", &["dum_my"]),
        ("al-x", &["loop (al_x)", "dum_my (al_x)"]),
        ("al-xy", &["loop (al_xy)"]),
        ("symbol:s1", &["loop (symbol:s1)"]),
        ("symbol:none", &[]),
        ("loop2", &["loop2"]),
        ("only_rm", &["only_rm"]),
        ("pat*", &["pat*"]),
        ("patx", &[]),
        ("bj", &["bj"]),
        ("bi", &["both (bi)"]),
        ("ba", &["bi (ba)!", "bk (ba)!"]),
        ("loop.ko", &[]),
        ("Loop", &[]),
        ("", &[]),
    ];
    for (query, want) in table {
        assert_eq!(lookup(&fixture, query), want, "{query}");
    }
    assert_eq!(fixture.messages(), [""; 0]);
}

#[test]
fn a_query_that_cannot_be_one_is_refused() {
    let fixture = sources();
    let tree = fixture.tree();
    for bad in ["x[", "x]", "][", "[[", "a-b]"] {
        assert_eq!(tree.lookup(bad.as_bytes()), Err(Errno::EINVAL), "{bad}");
    }
    assert_eq!(tree.lookup(b"a[b]c"), Ok(vec![]));
    assert_eq!(tree.lookup(&[b'a'; 4096]), Err(Errno::ENAMETOOLONG));
    assert_eq!(tree.lookup(&[b'a'; 4095]), Ok(vec![]));
    assert_eq!(tree.lookup(b"\xff\0\xfe"), Ok(vec![]));
}

#[test]
fn lookups_for_modinfo() {
    let fixture = sources();
    let tree = fixture.tree();
    let plain = |query: &[u8]| shown(&tree.lookup_plain(query).unwrap());
    assert_eq!(plain(b"wild-x"), ["both (wild_x)"]);
    assert!(plain(b"loop2").is_empty());
    assert_eq!(plain(b"bj"), ["bj!"]);
    assert_eq!(tree.lookup_plain(b"["), Err(Errno::EINVAL));
    let name = |query: &[u8]| tree.lookup_name(query).map(|module| shown(&[module]).remove(0));
    assert_eq!(name(b"dum-my.ko").as_deref(), Some("dum_my"));
    assert_eq!(name(b"al-x"), None);
    assert_eq!(name(b"bi").as_deref(), Some("bi!"));
    assert_eq!(name(b"ba").as_deref(), Some("bi (ba)!"));
}

#[test]
fn modules_of_one_key_and_priority_come_in_either_readers_order() {
    let fixture = Fixture::new(&[]);
    let mut builder = crate::formats::index::IndexBuilder::new();
    for name in [b"b1", b"b2", b"b3"] {
        builder.insert(b"k1", name, 0).unwrap();
    }
    fs::write(fixture.module_path("modules.builtin.alias.bin"), builder.write().unwrap()).unwrap();
    let tree = fixture.tree();
    assert_eq!(shown(&tree.lookup(b"k1").unwrap()), ["b1 (k1)!", "b2 (k1)!", "b3 (k1)!"]);
    assert_eq!(shown(&tree.lookup_plain(b"k1").unwrap()), ["b3 (k1)!", "b2 (k1)!", "b1 (k1)!"]);
}

#[test]
fn paths_and_dependencies() {
    let fixture = Fixture::new(&[
        "k/a.ko:",
        "k/b-b.ko.xz: k/a.ko",
        "k/c.ko: k/b-b.ko.xz k/a.ko",
        "k/d.ko: k/gone.ko k/a.ko",
    ]);
    fixture.file("other/a.ko", "");
    let tree = fixture.tree();
    let module = |name: &str| tree.lookup(name.as_bytes()).unwrap().remove(0);
    assert_eq!(tree.path(&module("b-b")).unwrap(), fixture.module_path("k/b-b.ko.xz"));
    assert_eq!(tree.path(&Module::named(b"none")), None);
    assert_eq!(shown(&tree.dependencies(&module("c"))), ["a", "b_b"]);
    assert!(
        tree.dependencies(&module("a")).is_empty() && tree.dependencies(&Module::named(b"none")).is_empty()
    );
    // One missing file makes the whole list empty.
    assert!(tree.dependencies(&module("d")).is_empty());
    let gone = "dependency /lib/modules/1.0/k/gone.ko of module d: No such file or directory";
    assert_eq!(fixture.messages(), [gone]);

    let file = fixture.path("other/a.ko");
    let module = tree.module_from_path(file.as_os_str().as_bytes()).unwrap();
    assert_eq!((&module.name[..], tree.path(&module)), (&b"a"[..], Some(file)));
    assert_eq!(tree.module_from_path(b"/nowhere/a.ko"), Err(Errno::ENOENT));
    assert_eq!(tree.module_from_path(b"/"), Err(Errno::ENOENT));
}

#[test]
fn absolute_paths_in_modules_dep() {
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("x.ko");
    fs::write(&path, "").unwrap();
    let fixture = Fixture::new(&["k/m.ko:"]);
    let lines = [format!("{}:", path.display()), format!("k/m.ko: {}", path.display())];
    fixture.index("modules.dep", &[("x", &lines[0]), ("m", &lines[1])]);
    let tree = fixture.tree();
    assert_eq!(tree.path(&Module::named(b"x")), Some(path));
    assert_eq!(shown(&tree.dependencies(&Module::named(b"m"))), ["x"]);
}

#[test]
fn what_is_built_in() {
    let fixture = sources();
    fixture.file("x/bi.ko", "");
    let tree = fixture.tree();
    let first = |query: &str| tree.lookup(query.as_bytes()).unwrap().remove(0);
    assert!(
        tree.is_builtin(&first("bj")) && tree.is_builtin(&first("ba")) && tree.is_builtin(&first("both"))
    );
    assert!(!tree.is_builtin(&first("loop")));
    let by_path = tree.module_from_path(fixture.path("x/bi.ko").as_os_str().as_bytes()).unwrap();
    assert!(!tree.is_builtin(&by_path));
}

#[test]
fn softdep_words_are_queries() {
    let fixture = Fixture::new(&["k/a.ko:", "k/b.ko:"]);
    fixture.index("modules.alias", &[("al", "a"), ("al", "b")]);
    fixture.etc("a.conf", "softdep m pre: al nothing x[ b post: a\nweakdep m b al\n");
    let tree = fixture.tree();
    let (pre, post) = tree.softdeps(&Module::named(b"m"));
    assert_eq!(shown(&pre), ["a (al)", "b (al)", "b"]);
    assert_eq!(shown(&post), ["a"]);
    assert_eq!(fixture.messages(), ["failed to lookup dependency 'x[', continuing anyway."]);
    assert_eq!(shown(&tree.weakdeps(&Module::named(b"m"))), ["b", "a (al)", "b (al)"]);
    assert_eq!(tree.softdeps(&Module::named(b"a")), (vec![], vec![]));
}

#[test]
fn softdep_and_weakdep_lines_add_up() {
    let fixture = Fixture::new(&["k/a.ko:", "k/b.ko:", "k/c.ko:", "k/d.ko:"]);
    fixture.index("modules.alias", &[("al", "a")]);
    fixture.module_file("modules.softdep", "softdep m pre: b\nsoftdep m pre: a al post: c\n");
    fixture.module_file("modules.weakdep", "weakdep m b a\nweakdep m b c\n");
    fixture.etc("a.conf", "softdep * post: c c pre: d c d\nweakdep [m] c\n");
    fixture.etc("z.conf", "softdep m post: a d b x[ pre: x[\nsoftdep other pre: a\n");
    let tree = fixture.tree();
    let (pre, post) = tree.softdeps(&Module::named(b"m"));
    // By file name; within a line `pre:` has a module, else the first line that names it.
    assert_eq!(shown(&pre), ["d", "c", "b", "a", "a (al)"]);
    assert_eq!(shown(&post), [""; 0]);
    assert_eq!(fixture.messages(), ["failed to lookup dependency 'x[', continuing anyway."]);
    assert_eq!(shown(&tree.weakdeps(&Module::named(b"m"))), ["c", "b", "a"]);
    fixture.etc("a.conf", "softdep m post: b\n");
    let tree = fixture.tree();
    let (pre, post) = tree.softdeps(&Module::named(b"m"));
    assert_eq!(
        (shown(&pre), shown(&post)),
        (vec!["a".into(), "a (al)".into()], ["b", "c", "d"].map(Into::into).to_vec())
    );
}

#[test]
fn options_commands_and_blacklist() {
    let fixture = sources();
    fixture.etc("b.conf", "options wild_* o=1\noptions loop o=2\nblacklist loop\nremove l* rm\n");
    fixture.file("proc/cmdline", "quiet loop.o=3 modprobe.blacklist=dum_my\n");
    let tree = fixture.tree();
    let found = tree.lookup(b"wild_q").unwrap().remove(0);
    assert_eq!(tree.options(&found).unwrap(), b"o=1 o=2 o=3");
    assert_eq!(tree.options(&Module::named(b"loop")).unwrap(), b"o=2 o=3");
    assert_eq!(tree.options(&Module::named(b"both")), None);
    assert!(tree.blacklisted(&found) && tree.blacklisted(&Module::named(b"dum_my")));
    assert!(!tree.blacklisted(&Module::named(b"both")));
    assert_eq!(tree.install_command(&Module::named(b"patter")).unwrap(), b"echo p");
    assert_eq!(tree.remove_command(&Module::named(b"loop")).unwrap(), b"rm");
}

#[test]
fn a_module_found_by_its_command_has_that_command() {
    let fixture = Fixture::new(&["k/known.ko:"]);
    fixture.etc(
        "a.conf",
        "install pat* A\ninstall patx B\nremove p* C\nremove patx D\nremove paty E\n\
         install know* F\ninstall known G\ninstall odd-[ab] H\n",
    );
    let tree = fixture.tree();
    let commands = |query: &str| {
        let module = tree.lookup(query.as_bytes()).unwrap().remove(0);
        let text = |command: Option<&[u8]>| String::from_utf8(command.unwrap_or(b"-").to_vec()).unwrap();
        text(tree.install_command(&module)) + " " + &text(tree.remove_command(&module))
    };
    assert_eq!(commands("patx"), "B C");
    assert_eq!(commands("paty"), "A E");
    assert_eq!(commands("known"), "F -");
    assert_eq!(commands("odd-[ab]"), "H -");
    // Only here is a dash inside brackets folded and the name cut at a dot: it is a name now, no longer an alias.
    fixture.etc("a.conf", "install odd-[a-b].c I\n");
    assert_eq!(lookup(&fixture, "odd-[a-b].c"), ["odd_[a_b]"]);
}

#[test]
fn text_files_stand_in_for_missing_indexes() {
    // kmod finds nothing then.
    let fixture = Fixture::new(&[]);
    for name in ["dep", "alias", "symbols", "builtin", "builtin.alias"] {
        fs::remove_file(fixture.module_path(&format!("modules.{name}.bin"))).unwrap();
    }
    fixture.module_file("modules.dep", "k/a.ko:\nk/b-b.ko: k/a.ko\n");
    fixture.module_file("modules.alias", "# x\nalias pci:v* b_b\nalias pci:v1 a\n");
    fixture.module_file("modules.symbols", "alias symbol:s a\n");
    fixture.module_file("modules.builtin", "kernel/bi.ko\n");
    fixture.module_file("k/a.ko", "");
    for (query, want) in [
        ("b-b", &["b_b"][..]),
        ("pci:v1", &["b_b (pci:v1)", "a (pci:v1)"]),
        ("symbol:s", &["a (symbol:s)"]),
        ("bi", &["bi!"]),
        ("none", &[]),
    ] {
        assert_eq!(lookup(&fixture, query), want, "{query}");
    }
    let tree = fixture.tree();
    assert_eq!(shown(&tree.dependencies(&Module::named(b"b_b"))), ["a"]);
    let mut dumped = Vec::new();
    for which in [Which::Dep, Which::Alias, Which::Symbols, Which::Builtin, Which::BuiltinAlias] {
        tree.dump(which, &mut |key, value| {
            dumped.push(format!("{} {}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
        });
    }
    let want = ["a k/a.ko:", "b_b k/b-b.ko: k/a.ko", "pci:v* b_b", "pci:v1 a", "symbol:s a", "bi "];
    assert_eq!(dumped, want);
    assert_eq!(fixture.messages(), [""; 0]);
}

#[test]
fn a_broken_index_is_told_once_and_the_text_serves() {
    let fixture = Fixture::new(&["k/a.ko:"]);
    let broken: [(&str, &[u8], &str); 5] = [
        ("dep", b"BAD!\0\x02\0\x01\0\0\0\x0c", "magic check fail: 42414421 instead of b007f457"),
        ("alias", b"\xb0\x07\xf4\x57\0\x03\0\x01\0\0\0\x0c", "major version check fail: 3 instead of 2"),
        ("symbols", b"\xb0\x07\xf4", "the index is shorter than its header"),
        ("builtin", b"", ""),
        ("builtin.alias", b"x", "the index is shorter than its header"),
    ];
    for (name, contents, _) in broken {
        fs::write(fixture.module_path(&format!("modules.{name}.bin")), contents).unwrap();
    }
    fixture.module_file("modules.dep", "k/a.ko:\n");
    let tree = fixture.tree();
    assert_eq!(shown(&tree.lookup(b"a").unwrap()), ["a"]);
    for _ in 0..2 {
        assert!(tree.lookup(b"symbol:x").unwrap().is_empty());
    }
    let want = |at: usize| format!("/lib/modules/1.0/modules.{}.bin: {}", broken[at].0, broken[at].2);
    assert_eq!(fixture.messages(), [want(0), want(2), want(1), want(4)]);
}

#[test]
fn a_directory_that_is_not_there_finds_nothing() {
    let fixture = Fixture::new(&[]);
    fs::remove_dir_all(fixture.module_path("")).unwrap();
    assert!(lookup(&fixture, "loop").is_empty());
    let far =
        Tree::open(&fixture.roots, fixture.path(&"x/".repeat(3000)), ConfigPaths::Default, &fixture.sink);
    assert!(far.lookup(b"loop").unwrap().is_empty());
    assert_eq!(fixture.messages(), [""; 0]);
}

/// The values of all `options m ...` lines in the order in which they count.
fn options(fixture: &Fixture, paths: ConfigPaths) -> String {
    String::from_utf8(fixture.tree_with(paths).options(&Module::named(b"m")).unwrap_or_default()).unwrap()
}

#[test]
fn files_are_read_by_base_name_and_the_first_directory_wins() {
    let fixture = Fixture::new(&[]);
    let put = |path: &str| {
        fixture.file(path, &format!("options m {path}\n"));
    };
    ["etc", "run", "usr/local/lib", "usr/lib", "lib"]
        .iter()
        .for_each(|dir| put(&format!("{dir}/modprobe.d/m.conf")));
    ["run", "usr/local/lib", "usr/lib", "lib"]
        .iter()
        .for_each(|dir| put(&format!("{dir}/modprobe.d/b.conf")));
    ["usr/local/lib", "usr/lib", "lib"].iter().for_each(|dir| put(&format!("{dir}/modprobe.d/c.conf")));
    ["usr/lib", "lib"].iter().for_each(|dir| put(&format!("{dir}/modprobe.d/d.conf")));
    put("lib/modprobe.d/Z.conf");
    put("etc/modprobe.d/zz.conf");
    put("etc/modprobe.d/modules.softdep");
    [".hidden.conf", "x.CONF", "conf", ".conf"]
        .iter()
        .for_each(|name| put(&format!("etc/modprobe.d/{name}")));
    put("lib/modules/1.0/modules.softdep");
    put("lib/modules/1.0/modules.weakdep");
    fixture.file("proc/cmdline", "m.last=1\n");
    let want = "lib/modprobe.d/Z.conf run/modprobe.d/b.conf usr/local/lib/modprobe.d/c.conf usr/lib/modprobe.d/d.conf \
                etc/modprobe.d/m.conf lib/modules/1.0/modules.softdep lib/modules/1.0/modules.weakdep \
                etc/modprobe.d/zz.conf last=1";
    assert_eq!(options(&fixture, ConfigPaths::Default), want);
    assert_eq!(fixture.messages(), [""; 0]);
}

#[test]
fn empty_files_mask_but_directories_and_dangling_links_do_not() {
    let fixture = Fixture::new(&[]);
    for name in ["a", "b", "c", "d", "e", "f"] {
        fixture.file(&format!("usr/lib/modprobe.d/{name}.conf"), &format!("options m {name}\n"));
    }
    fixture.etc("a.conf", "");
    symlink("/dev/null", fixture.path("etc/modprobe.d/b.conf")).unwrap();
    symlink("nowhere", fixture.path("etc/modprobe.d/c.conf")).unwrap();
    fs::create_dir(fixture.path("etc/modprobe.d/d.conf")).unwrap();
    symlink("d.conf", fixture.path("etc/modprobe.d/e.conf")).unwrap();
    symlink("f.conf", fixture.path("etc/modprobe.d/f.conf")).unwrap();
    symlink("nowhere", fixture.path("usr/lib/modprobe.d/g.conf")).unwrap();
    fixture.etc("g.conf", "options m g\n");
    assert_eq!(options(&fixture, ConfigPaths::Default), "c d e f g");
    let mut messages = fixture.messages();
    // In a directory the order is the directory's.
    messages[..4].sort();
    let want = [
        "Cannot stat directory entry: /etc/modprobe.d/c.conf",
        "Cannot stat directory entry: /etc/modprobe.d/f.conf",
        "Directories inside directories are not supported: /etc/modprobe.d/d.conf",
        "Directories inside directories are not supported: /etc/modprobe.d/e.conf",
        "Cannot stat directory entry: /usr/lib/modprobe.d/g.conf",
    ];
    assert_eq!(messages, want);
}

#[test]
fn a_lib_that_is_a_link_counts_as_the_directory_that_it_leads_to() {
    for link in ["usr/lib", "./usr/lib", "elsewhere"] {
        let fixture = Fixture::new(&[]);
        fs::rename(fixture.path("lib"), fixture.path("elsewhere")).unwrap();
        fs::create_dir_all(fixture.path("usr/lib")).unwrap();
        fs::rename(fixture.path("elsewhere/modules"), fixture.path("usr/lib/modules")).unwrap();
        fixture.file("usr/lib/modprobe.d/a.conf", "options m a\n");
        fixture.file("elsewhere/modprobe.d/b.conf", "options m b\n");
        symlink("nowhere", fixture.path("usr/lib/modprobe.d/c.conf")).unwrap();
        symlink(link, fixture.path("lib")).unwrap();
        let merged = link != "elsewhere";
        assert_eq!(options(&fixture, ConfigPaths::Default), if merged { "a" } else { "a b" }, "{link}");
        // Each directory is reported.
        let message = |dir: &str| format!("Cannot stat directory entry: {dir}/modprobe.d/c.conf");
        let want = [message("/usr/lib"), message("/lib")];
        assert_eq!(fixture.messages(), want[..if merged { 2 } else { 1 }], "{link}");
    }
}

#[test]
fn a_file_in_the_place_of_a_default_directory_counts() {
    let fixture = Fixture::new(&[]);
    fixture.file("etc/modprobe.d", "options m etc\n").file("usr/lib/modprobe.d/a.conf", "options m a\n");
    fixture.file("lib/modprobe.d", "options m masked\n");
    assert_eq!(options(&fixture, ConfigPaths::Default), "a etc");
}

#[test]
fn given_paths_replace_the_directories() {
    let fixture = Fixture::new(&[]);
    fixture.etc("a.conf", "options m etc\n").module_file("modules.softdep", "options m soft\n");
    for (path, value) in [
        ("alt/a.conf", "alt"),
        ("alt2/a.conf", "alt2"),
        ("alt/file", "file"),
        ("alt2/file", "file2"),
        ("alt/modules.softdep", "no"),
    ] {
        fixture.file(path, &format!("options m {value}\n"));
    }
    let with = |paths: &[&str]| {
        let full = |path: &&str| fixture.path(path);
        options(&fixture, ConfigPaths::List(paths.iter().map(full).collect()))
    };
    assert_eq!(with(&[]), "soft");
    assert_eq!(with(&["alt", "alt2"]), "alt soft");
    assert_eq!(with(&["alt2", "alt"]), "alt2 soft");
    assert_eq!(with(&["alt/file", "alt2/file"]), "file soft");
    assert_eq!(with(&["alt/a.conf", "alt2"]), "alt soft");
    assert_eq!(with(&["alt/modules.softdep", "nowhere", "alt/file/x"]), "soft");
    assert_eq!(options(&fixture, ConfigPaths::List(vec!["".into()])), "soft");
    assert_eq!(options(&fixture, ConfigPaths::List(vec!["x".repeat(5000).into()])), "soft");
    assert_eq!(fixture.messages(), [""; 0]);
}

#[test]
fn odd_files_do_not_stop_or_hang_the_reading() {
    let fixture = Fixture::new(&[]);
    fixture.etc("a.conf", "options m a\n").etc("z.conf", "options m z\n");
    nix::unistd::mkfifo(&fixture.path("etc/modprobe.d/fifo.conf"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("/dev/zero", fixture.path("etc/modprobe.d/zero.conf")).unwrap();
    fs::create_dir_all(fixture.path("proc/cmdline")).unwrap();
    fs::create_dir(fixture.module_path("modules.weakdep")).unwrap();
    assert_eq!(options(&fixture, ConfigPaths::Default), "a z");
    let want = [
        "/etc/modprobe.d/zero.conf: larger than 67108864 bytes, ignored",
        "could not read from '/proc/cmdline': Is a directory",
    ];
    assert_eq!(fixture.messages(), want);
}

#[test]
fn a_watched_tree_notices_a_new_index_and_reads_it_when_told() {
    let fixture = sources();
    let mut tree = fixture.tree();
    tree.watch();
    let name = |tree: &Tree<'_>| shown(&tree.lookup(b"wild_y").unwrap());
    assert_eq!(tree.load(Which::Alias), Ok(()));
    assert!(!tree.is_stale());
    fixture.index("modules.alias", &[("wild_y", "loop"), ("more", "than before")]);
    assert!(tree.is_stale());
    let old = name(&tree);
    tree.renew();
    assert!(!tree.is_stale(), "what is closed is not stale");
    assert_eq!(name(&tree), old, "the configuration comes first");
    assert_eq!(shown(&tree.lookup(b"more").unwrap()), ["than before (more)"]);

    fs::remove_file(fixture.module_path("modules.alias.bin")).unwrap();
    assert!(tree.is_stale());
    assert_eq!(shown(&tree.lookup(b"more").unwrap()), ["than before (more)"], "until it is told");
    tree.close();
    assert!(tree.lookup(b"more").unwrap().is_empty());
    assert_eq!(tree.load(Which::Alias).unwrap_err().errno(), Errno::ENOENT);
    fixture.module_file("modules.alias.bin", "nonsense, long enough");
    tree.renew();
    assert_eq!(tree.load(Which::Alias).unwrap_err().errno(), Errno::EINVAL);
}
