//! What tests need of the machine: root, packages from a network. Where that is missing they are left out by name, so that a
//! distribution can test in its build; continuous integration, which sets `CI`, promises it, and there they fail.

// Every test program includes this file and uses its own part of it.
#![allow(dead_code)]

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

/// Whether this is root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether this test may go on: it runs as root. If not, the test says so.
pub fn root() -> bool {
    is_root() || left_out("needs root")
}

/// What could be had from the network, or this test says that it could not.
pub fn fetched<T, E: Display>(had: Result<T, E>) -> Option<T> {
    had.map_err(|why| left_out(&format!("needs packages: {why}"))).ok()
}

/// A new folder for a suite in the build directory, which another run of it at the same time does not touch. What runs that were
/// killed left there is removed.
pub fn folder(suite: &str) -> io::Result<PathBuf> {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let abandoned = |name: &str| {
        let owner = name.strip_prefix(suite).and_then(|rest| rest.strip_prefix('-'));
        owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    };
    for entry in fs::read_dir(base)?.filter_map(Result::ok) {
        if entry.file_name().to_str().is_some_and(abandoned) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let folder = base.join(format!("{suite}-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Says that this test does not run; false. It is not for libtest to swallow, as what passes is.
fn left_out(why: &str) -> bool {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    assert!(std::env::var_os("CI").is_none(), "{name} {why}");
    // In one piece, since others write at the same time.
    let _ = std::io::stderr().write_all(format!("LEFT OUT: {name} {why}\n").as_bytes());
    false
}

/// The same for a whole suite that has a `main` of its own.
pub fn suite_left_out(suite: &str, why: &str) -> ExitCode {
    if std::env::var_os("CI").is_none() {
        eprintln!("\n{suite}: LEFT OUT, nothing was tested: {why}\n");
        return ExitCode::SUCCESS;
    }
    eprintln!("\n{suite}: FAILED, nothing can be tested: {why}\n");
    ExitCode::FAILURE
}
