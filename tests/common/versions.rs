//! What the tests compare with and boot, by version and hash: tests/versions. apt has checked a package against the archive's
//! signed lists when it comes here; this says whether it is the one that was meant.

use std::io;
use std::path::Path;
use std::process::Command;

const FILE: &str = include_str!("../versions");

/// How it is said that something else than what was recorded is used.
pub const LOUD: &str = "!! THE ARCHIVE HAS MOVED ON";

/// The packages that a result depends on; of others no version is kept. Kernels by the start of their names.
const TOOLS: [&str; 3] = ["kmod", "libkmod2", "udev"];
const KERNELS: [&str; 3] = ["linux-image-", "linux-modules-", "linux-binary-"];

/// One line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    suite: &'static str,
    /// The package's name.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    hash: &'static str,
}

/// All lines.
pub fn all() -> impl Iterator<Item = Recorded> {
    FILE.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut words = line.split_whitespace();
        let mut word = || words.next();
        Some(Recorded { suite: word()?, package: word()?, version: word()?, hash: word()? })
    })
}

/// The line of a package; of a kernel there is one, whatever release it comes from.
pub fn of(suite: Option<&str>, package: &str) -> Option<Recorded> {
    all().find(|line| line.package == package && suite.is_none_or(|suite| suite == line.suite))
}

/// Name and version of a package's file, `NAME_VERSION_ARCHITECTURE.deb`.
fn named(deb: &Path) -> Option<(String, String)> {
    let name = deb.file_name()?.to_str()?;
    let mut words = name.split('_');
    Some((words.next()?.to_owned(), words.next()?.replace("%3a", ":")))
}

/// Checks the file of a package that comes from a suite, or is a kernel. The text is for everybody who uses it: empty, or
/// that it is not what was recorded, since the archive has moved on.
///
/// # Errors
/// It has the recorded version and is another file all the same.
pub fn check(suite: Option<&str>, deb: &Path) -> io::Result<String> {
    let (package, version) =
        named(deb).ok_or_else(|| io::Error::other(format!("{}: no package's name", deb.display())))?;
    let kernel = KERNELS.iter().any(|start| package.starts_with(start));
    // A release that changes every day has no version to keep.
    let tool = TOOLS.contains(&package.as_str()) && all().any(|line| Some(line.suite) == suite);
    if !kernel && !tool {
        return Ok(String::new());
    }
    let hash = sha256(deb)?;
    let recorded = of(suite, &package).filter(|line| line.version == version);
    match recorded {
        Some(line) if line.hash == hash => Ok(String::new()),
        Some(line) => Err(io::Error::other(format!(
            "{}: its SHA-256 is {hash}, and tests/versions says {}",
            deb.display(),
            line.hash
        ))),
        None => Ok(format!(
            "{LOUD}, and tests/versions wants a commit: {} {package} {version} {hash}\n",
            suite.unwrap_or("-")
        )),
    }
}

fn sha256(file: &Path) -> io::Result<String> {
    let output = Command::new("sha256sum").arg("--").arg(file).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // A name with a backslash or a newline is escaped, and the line begins with a backslash.
    let word = text.split_whitespace().next().unwrap_or_default().trim_start_matches('\\');
    if word.len() == 64 {
        return Ok(word.to_owned());
    }
    Err(io::Error::other(format!(
        "sha256sum {}: {}",
        file.display(),
        String::from_utf8_lossy(&output.stderr)
    )))
}
