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
    eprintln!("make library");
    let mut make = Command::new("make");
    make.args(["--silent", "-C", env!("CARGO_MANIFEST_DIR"), "library", "env"])
        .env("CARGO_TARGET_DIR", target());
    let said = run(make.env("CARGO", env!("CARGO")).env_remove("RUSTFLAGS"))?;
    let place =
        said.lines().find_map(|line| line.strip_prefix("export KMOD_ONCE_LIBRARY='")?.strip_suffix('\''));
    place.map(PathBuf::from).ok_or_else(|| format!("make env does not say where the library is:\n{said}"))
}

/// Cargo's target directory.
pub fn target() -> &'static Path {
    // TARGET/tmp, or TARGET/TRIPLE/tmp where a target is named.
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let is_triple =
        |dir: &Path| dir.file_name().is_some_and(|name| name.to_string_lossy().contains("-linux-"));
    let above = tmp.parent().unwrap_or(tmp);
    above.parent().filter(|dir| is_triple(above) && dir.join("CACHEDIR.TAG").exists()).unwrap_or(above)
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
