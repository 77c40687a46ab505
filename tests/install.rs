//! `make install` and `make uninstall`: the files that INSTALL.md lists and no other, wherever they are put.
//!
//! make runs in a mount namespace in which only the directory under test can be written to. That takes root.

#[path = "common/library.rs"]
mod library;
#[path = "common/needs.rs"]
mod needs;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");
const TOOLS: [&str; 6] = ["modprobe", "insmod", "rmmod", "lsmod", "modinfo", "depmod"];

/// The program under test.
fn program() -> String {
    std::env::var("KMOD_ONCE_BIN").unwrap_or(env!("CARGO_BIN_EXE_kmod").into())
}

/// The library under test.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| library::library().expect("make library"))
}

/// Runs make with `words` to install what is under test; only `dir` is writable.
fn make(dir: &Path, words: &[&str]) {
    let made = [format!("KMOD={}", program()), format!("LIBRARY={}", library().display())];
    let output = attempt(dir, &[&[&*made[0], &*made[1]], words].concat());
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));
}

/// Runs make with `words`; only `dir` is writable.
fn attempt(dir: &Path, words: &[&str]) -> Output {
    let mut command = Command::new("make");
    command
        .args(["-C", SOURCE, "--no-print-directory"])
        .args(words)
        // What a make around this was told.
        .env_remove("MAKEFLAGS")
        .env_remove("DESTDIR")
        .env_remove("PREFIX");
    let dir = dir.to_owned();
    // SAFETY: single system calls on paths that were made before the fork.
    unsafe {
        command.pre_exec(move || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            mount(Some(&dir), &dir, none, MsFlags::MS_BIND, none)?;
            mount(none, "/", none, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY, none)?;
            Ok(())
        });
    }
    command.output().expect("make")
}

/// What is in a directory, by path below it: the mode of a file, where a link leads.
fn listing(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let what = if meta.is_dir() {
                pending.push(path);
                continue;
            } else if meta.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else {
                format!("{:o}", meta.permissions().mode() & 0o7777)
            };
            found.insert(path.strip_prefix(dir).unwrap().to_owned(), what);
        }
    }
    found
}

/// The files that INSTALL.md names, below the prefix.
fn promised() -> Vec<PathBuf> {
    let page = fs::read_to_string(Path::new(SOURCE).join("INSTALL.md")).unwrap();
    let block =
        page.split_once("<!-- installed -->\n").unwrap().1.split_once("<!-- /installed -->").unwrap().0;
    let mut files: Vec<PathBuf> = block
        .lines()
        .flat_map(|line| {
            let path = line.split_whitespace().next().unwrap();
            match path.split_once('{') {
                None => vec![path.into()],
                Some((before, rest)) => {
                    let (names, after) = rest.split_once('}').unwrap();
                    names.split(',').map(|name| format!("{before}{name}{after}").into()).collect()
                }
            }
        })
        .collect();
    files.sort();
    files
}

#[test]
fn what_is_installed_is_what_the_page_lists() {
    if !needs::root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), &["install", &format!("DESTDIR={}", dir.path().display())]);
    let installed = listing(dir.path());
    let prefix = dir.path().join("usr/local");
    let names: Vec<PathBuf> =
        installed.keys().map(|path| path.strip_prefix("usr/local").unwrap().to_owned()).collect();
    assert_eq!(names, promised());
    for (path, what) in &installed {
        let expected = if path.ends_with("bin/kmod") { "755" } else { "644" };
        assert!(what.starts_with("-> ") || what == expected, "{}: {what}", path.display());
        assert!(dir.path().join(path).exists(), "{} leads nowhere", path.display());
    }
    for tool in TOOLS {
        assert_eq!(installed[&Path::new("usr/local/sbin").join(tool)], "-> ../bin/kmod");
        let output = Command::new(prefix.join("sbin").join(tool)).arg("-V").output().unwrap();
        assert!(output.status.success() && output.stdout.starts_with(b"kmod version "), "{tool}");
    }
    let rules = fs::read_to_string(prefix.join("share/kmod-once/udev/80-drivers.rules")).unwrap();
    let calls = rules.matches("modprobe -").count();
    assert!(calls > 0 && rules.matches("\"/usr/local/sbin/modprobe -").count() == calls, "{rules}");

    make(dir.path(), &["install", &format!("DESTDIR={}", dir.path().display())]);
    assert_eq!(listing(dir.path()), installed, "a second time");
    make(dir.path(), &["uninstall", &format!("DESTDIR={}", dir.path().display())]);
    assert_eq!(listing(dir.path()), BTreeMap::new());
}

#[test]
fn a_packagers_own_places() {
    if !needs::root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let destdir = format!("DESTDIR={}", dir.path().display());
    let words = [
        &destdir,
        "PREFIX=/usr",
        "SBINDIR=/usr/bin",
        "LIBDIR=/usr/lib64",
        "MANDIR=/usr/man",
        "MODULEDIR=/usr/lib/modules",
        "STRIP=strip",
    ];
    make(dir.path(), &[&["install"], &words[..]].concat());
    let installed = listing(dir.path());
    for tool in TOOLS {
        assert_eq!(installed[&Path::new("usr/bin").join(tool)], "-> kmod");
    }
    for file in ["usr/man/man8/modprobe.8", "usr/lib64/libkmod.so.2.5.1", "usr/lib64/pkgconfig/libkmod.pc"] {
        assert!(installed.contains_key(Path::new(file)), "{file}: {installed:?}");
    }
    assert_eq!(installed.len(), promised().len());
    let text = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
    assert!(text("usr/share/pkgconfig/kmod.pc").contains("\nmodule_directory=/usr/lib/modules\n"));
    assert!(text("usr/lib64/pkgconfig/libkmod.pc").contains("\nlibdir=/usr/lib64\n"));
    assert!(text("usr/share/kmod-once/udev/80-drivers.rules").contains("\"/usr/bin/modprobe -"));
    let size = |path: &Path| path.metadata().unwrap().len();
    assert!(size(&dir.path().join("usr/bin/kmod")) < size(Path::new(&program())), "it is stripped");
    make(dir.path(), &[&["uninstall"], &words[..]].concat());
    assert_eq!(listing(dir.path()), BTreeMap::new());
}

#[test]
fn what_is_missing_or_stale_is_not_installed_and_nothing_is_compiled() {
    if !needs::root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let words = [
        "install",
        &format!("DESTDIR={}", root.display()),
        &format!("CARGO_TARGET_DIR={}", dir.path().display()),
        "CARGO_BUILD_TARGET=t-gnu",
        // Whoever compiles fails.
        "CARGO=false",
        "CC=false",
    ];
    let refused = |what: &str, goal: &str| {
        let output = attempt(dir.path(), &words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(what), "{what}: {said}");
        assert!(said.contains(&format!(": run make {goal} first\n")), "{said}");
    };
    // The source, the list of them that cargo writes, and what was made of them.
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let list = format!("out: {}\n", dir.path().join("source.rs").display());
    write("source.rs", "");
    write("t-gnu/lib/t-gnu/library/libkmod_once.d", &list);
    write("t-gnu/release/kmod.d", &list);
    refused("t-gnu/release/kmod is not there", "build");
    write("t-gnu/release/kmod", "");
    refused("libkmod.so.2.5.1 is not there", "library");
    write("t-gnu/lib/libkmod.so.2.5.1", "");
    // Newer than both.
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    let set = |path: &str| {
        fs::File::options().write(true).open(dir.path().join(path)).unwrap().set_modified(later).unwrap();
    };
    set("source.rs");
    refused("t-gnu/release/kmod is older than", "build");
    set("t-gnu/release/kmod");
    refused("libkmod.so.2.5.1 is older than", "library");
    assert_eq!(listing(&root), BTreeMap::new());
    set("t-gnu/lib/libkmod.so.2.5.1");
    let output = attempt(dir.path(), &words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(root.join("usr/local/bin/kmod")).unwrap(), b"");

    // Of the two C libraries, the one that it was linked with last.
    write("program", "t-musl\n");
    refused("t-musl/release/kmod is not there", "build");
    write("t-musl/release/kmod.d", &list);
    write("t-musl/release/kmod", "musl");
    set("t-musl/release/kmod");
    let output = attempt(dir.path(), &words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(root.join("usr/local/bin/kmod")).unwrap(), b"musl");
}

/// musl is chosen where it can be linked with, and the build says so.
#[test]
fn the_c_library_is_musl_where_it_is_to_be_had() {
    let dir = tempfile::tempdir().unwrap();
    let script = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("rustc", "case $1 in -vV) echo host: x86_64-unknown-linux-gnu ;; *) echo \"${0%/*}/$4\" ;; esac");
    script("musl-gcc", "");
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let linked_with = |words: &[&str]| {
        let output = Command::new("make")
            .args(["-C", SOURCE, "-n", "build"])
            .args(words)
            .env_clear()
            .env("PATH", &path)
            .output()
            .expect("make");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let after = said.split_once("The program is linked with ").expect("it says it").1;
        let library = after.split_once('.').expect("a sentence").0.to_owned();
        assert_eq!(said.contains("-linux-musl/release/kmod"), library == "musl", "{said}");
        library
    };
    assert_eq!(linked_with(&[]), "glibc", "Rust has none for musl");
    assert_eq!(linked_with(&["LIBC=musl"]), "musl");
    // With its sources (Debian's rust-src) Rust's library is made for musl.
    let sources = dir.path().join("lib/rustlib/src/rust/library/sysroot");
    fs::create_dir_all(&sources).unwrap();
    fs::write(sources.join("Cargo.toml"), "").unwrap();
    fs::write(dir.path().join("libc.a"), "").unwrap();
    let musl = format!("MUSL_LIB={}", dir.path().display());
    assert_eq!(linked_with(&[&musl]), "musl");
    assert_eq!(linked_with(&[&musl, "LIBC=gnu"]), "glibc");
    assert_eq!(linked_with(&["MUSL_LIB=/nowhere"]), "glibc");
    fs::remove_dir_all(dir.path().join("lib")).unwrap();
    for target in ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"] {
        fs::create_dir(dir.path().join(target)).unwrap();
        fs::write(dir.path().join(target).join("libstd-0123.rlib"), "").unwrap();
    }
    assert_eq!(linked_with(&[]), "musl");
    for other in ["LIBC=gnu", "STATIC=0", "MUSL_CC=/nowhere/musl-gcc"] {
        assert_eq!(linked_with(&[other]), "glibc", "{other}");
    }
    // The compiler is for this machine, unless it is said which it is.
    let arm = "CARGO_BUILD_TARGET=aarch64-unknown-linux-gnu";
    assert_eq!(linked_with(&[arm]), "glibc");
    assert_eq!(linked_with(&[arm, "MUSL_CC=musl-gcc"]), "musl");
}

/// The tools run as root on strings that strangers choose: what the linker can do for them is done.
#[test]
fn program_and_library_are_hardened() {
    let binary = program();
    for file in [Path::new(&binary), library()] {
        let output =
            Command::new("readelf").args(["-W", "-h", "-l", "-d"]).arg(file).output().expect("readelf");
        let said = String::from_utf8(output.stdout).unwrap();
        let line = |words: &[&str]| {
            let found = said.lines().find(|line| words.iter().all(|word| line.contains(word)));
            found.unwrap_or_else(|| panic!("{}: no line with {words:?}\n{said}", file.display()))
        };
        // At an address that is chosen anew each time.
        line(&["Type:", "DYN"]);
        // What was relocated is made read-only, and nothing is relocated after that.
        line(&["GNU_RELRO"]);
        line(&["(FLAGS_1)", "NOW"]);
        line(&["(FLAGS)", "BIND_NOW"]);
        // No memory is executable and writable, the stack least of all.
        assert!(!line(&["GNU_STACK"]).contains("RWE"), "{said}");
        let both = said.lines().find(|line| line.trim_start().starts_with("LOAD") && line.contains("RWE"));
        assert_eq!(both, None, "{said}");
        assert!(!said.contains("(TEXTREL)"), "{said}");
    }
}

/// At boot the dynamic loader would cost more than the work itself.
#[test]
fn what_make_builds_needs_no_loader() {
    let Ok(binary) = std::env::var("KMOD_ONCE_BIN") else { return };
    let output = Command::new("readelf").args(["-W", "-l", "-d", &binary]).output().expect("readelf");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("LOAD") && !said.contains("INTERP") && !said.contains("(NEEDED)"), "{said}");
}

#[test]
fn another_prefix_and_no_destdir() {
    if !needs::root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let words = format!("PREFIX={}", dir.path().display());
    make(dir.path(), &["install", &words]);
    assert_eq!(listing(dir.path()).into_keys().collect::<Vec<_>>(), promised());
    let rules = fs::read_to_string(dir.path().join("share/kmod-once/udev/80-drivers.rules")).unwrap();
    assert!(rules.contains(&format!("\"{}/sbin/modprobe -", dir.path().display())), "{rules}");
    make(dir.path(), &["uninstall", &words]);
    assert_eq!(listing(dir.path()), BTreeMap::new());
}

#[test]
fn a_distributions_links_are_replaced_and_not_written_through() {
    if !needs::root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let [bin, sbin, victims] = ["root/usr/bin", "root/usr/sbin", "victims"].map(|name| dir.path().join(name));
    for made in [&bin, &sbin, &victims, &victims.join("directory")] {
        fs::create_dir_all(made).unwrap();
    }
    for name in ["kmod", "lsmod", "insmod"] {
        fs::write(victims.join(name), name).unwrap();
    }
    let man = root.join("usr/share/man/man8");
    fs::create_dir_all(&man).unwrap();
    // As Debian 12 has them, absolute; outside a test they lead to the host's own kmod.
    symlink(victims.join("kmod"), bin.join("kmod")).unwrap();
    symlink("/bin/kmod", sbin.join("modprobe")).unwrap();
    symlink(victims.join("lsmod"), sbin.join("lsmod")).unwrap();
    symlink(victims.join("directory"), sbin.join("rmmod")).unwrap();
    symlink(victims.join("insmod"), man.join("insmod.8")).unwrap();
    fs::write(sbin.join("depmod"), "a file").unwrap();
    // And whatever else is written, edited in place afterwards or not.
    let others = [
        "lib/libkmod.so.2",
        "lib/libkmod.so.2.5.1",
        "lib/pkgconfig/libkmod.pc",
        "include/libkmod.h",
        "share/pkgconfig/kmod.pc",
        "share/kmod-once/udev/80-drivers.rules",
        "share/bash-completion/completions/modprobe",
    ];
    for other in others {
        let (link, victim) = (root.join("usr").join(other), victims.join(other.replace('/', "-")));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        fs::write(&victim, other).unwrap();
        symlink(&victim, link).unwrap();
    }
    let before = listing(&victims);

    make(dir.path(), &["install", "PREFIX=/usr", &format!("DESTDIR={}", root.display())]);
    assert_eq!(listing(&victims), before);
    for name in ["kmod", "lsmod", "insmod"] {
        assert_eq!(fs::read_to_string(victims.join(name)).unwrap(), name);
    }
    for other in others {
        assert_eq!(fs::read_to_string(victims.join(other.replace('/', "-"))).unwrap(), other);
    }
    let installed = listing(&root.join("usr"));
    assert_eq!(installed.keys().cloned().collect::<Vec<_>>(), promised());
    for tool in TOOLS {
        assert_eq!(installed[&Path::new("sbin").join(tool)], "-> ../bin/kmod");
    }
    assert_eq!(
        (&*installed[Path::new("bin/kmod")], &*installed[Path::new("share/man/man8/insmod.8")]),
        ("755", "644")
    );
}
