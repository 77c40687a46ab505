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
use std::process::Command;
use std::sync::OnceLock;

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");
const TOOLS: [&str; 6] = ["modprobe", "insmod", "rmmod", "lsmod", "modinfo", "depmod"];

/// Runs make with `words`; only `dir` is writable.
fn make(dir: &Path, words: &[&str]) {
    let binary = std::env::var("KMOD_ONCE_BIN").unwrap_or(env!("CARGO_BIN_EXE_kmod").into());
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| library::library().expect("make library"));
    let mut command = Command::new("make");
    command
        .args(["-C", SOURCE, "--no-print-directory", &format!("KMOD={binary}")])
        .arg(format!("LIBRARY={}", library.display()))
        .args(words)
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
    let output = command.output().expect("make");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));
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
