//! The packages on real systems: Debian 12 and 13 as debootstrap makes them, with real dpkg; and rpm.
//!
//! Installing gives the machine our tools and our library and leaves kmod, libkmod2 and what depends on them as they are;
//! removing gives back the tree as it was, to the byte, in whatever order. At no moment is there no modprobe. All of it runs in
//! chroots, which takes root.

// Only a part of each is needed here.
#[path = "../common/debian.rs"]
mod debian;
#[path = "../common/needs.rs"]
mod needs;
#[path = "../common/library.rs"]
mod our_library;

mod asking;
mod rounds;
mod rpm;
mod system;
mod upgrades;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");
const TOOLS: [&str; 6] = ["modprobe", "insmod", "rmmod", "lsmod", "modinfo", "depmod"];

/// The library under test.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| our_library::library().expect("make library"))
}

/// The packages that `make WHAT` makes of the programs under test.
fn packages(what: &str) -> Vec<PathBuf> {
    let binary = std::env::var("KMOD_ONCE_BIN").unwrap_or(env!("CARGO_BIN_EXE_kmod").into());
    packages_of(&binary, what, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages"))
}

/// The packages that `make WHAT` makes of that program and the library under test.
fn packages_of(binary: &str, what: &str, to: &Path) -> Vec<PathBuf> {
    let mut make = Command::new("make");
    make.args(["--silent", "-C", SOURCE, what, &format!("KMOD={binary}")])
        .arg(format!("LIBRARY={}", library().display()))
        .arg(format!("PACKAGES={}", to.display()))
        .env_remove("DESTDIR")
        .env_remove("PREFIX");
    let end = format!(".{what}");
    said(&mut make).lines().filter(|line| line.ends_with(&end)).map(PathBuf::from).collect()
}

/// The Debian packages, made once: kmod-once and libkmod2-once.
fn debs() -> [&'static Path; 2] {
    static DEBS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let debs = DEBS.get_or_init(|| packages("deb"));
    assert_eq!(debs.len(), 2, "{debs:?}");
    [&debs[0], &debs[1]]
}

/// The library as it is in its package: stripped.
fn packaged_library() -> &'static [u8] {
    static CONTENT: OnceLock<Vec<u8>> = OnceLock::new();
    CONTENT.get_or_init(|| {
        let script = "dpkg-deb --fsys-tarfile \"$0\" | tar -xO --wildcards '*/libkmod.so.2.99'";
        let output = Command::new("sh").args(["-c", script]).arg(debs()[1]).output().unwrap();
        assert!(output.stdout.starts_with(b"\x7fELF"), "{}", text(&output));
        output.stdout
    })
}

/// What a command printed, to stdout and stderr; it has to succeed.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = text(&output);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn lintian_finds_no_errors() {
    if !needs::root() {
        return;
    }
    let output =
        Command::new("lintian").args(["--fail-on", "error", "--allow-root"]).args(debs()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}
