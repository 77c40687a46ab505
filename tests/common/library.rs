//! Our libkmod.so.2 for tests: built by `make library`, which does nothing where nothing changed.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The library that `KMOD_ONCE_LIBRARY` names, else a new one: the real file.
///
/// # Errors
/// What make said.
pub fn library() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("KMOD_ONCE_LIBRARY") {
        return PathBuf::from(named).canonicalize().map_err(|error| format!("KMOD_ONCE_LIBRARY: {error}"));
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    // CARGO_TARGET_TMPDIR is TARGET/tmp, or TARGET/TRIPLE/tmp where a target is named.
    let target = target.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists() && !is_triple(dir));
    let target = target.ok_or("no target directory")?;
    eprintln!("make library");
    let mut make = Command::new("make");
    make.args(["--silent", "-C", env!("CARGO_MANIFEST_DIR"), "library"]).env("CARGO_TARGET_DIR", target);
    run(make.env("CARGO", env!("CARGO")).env_remove("RUSTFLAGS"))?;
    target.join("lib/libkmod.so.2").canonicalize().map_err(|error| error.to_string())
}

fn is_triple(dir: &Path) -> bool {
    dir.file_name().is_some_and(|name| name.to_string_lossy().contains("-linux-"))
}

/// Runs a program and gives what it printed.
///
/// # Errors
/// The program with its complaints.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}\n{said}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
