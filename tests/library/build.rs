//! What is compared: Debian's libraries, ours, and the C program linked to each of theirs.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian::Cache;
pub use crate::shared::run;
use crate::tools::Tools;

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/library");
const LIBRARIES: &str = "lib/x86_64-linux-gnu";
const SONAME: &str = "libkmod.so.2";
const SOURCES: [&str; 5] = ["ask.c", "objects.c", "about.c", "kernel.c", "threads.c"];

/// Everything that was fetched and built.
pub struct Build {
    /// Our library, the real file.
    pub library: PathBuf,
    /// Debian 13's first.
    pub releases: [Release; 2],
    /// The program built with AddressSanitizer, for our library.
    pub sanitized: PathBuf,
}

/// The library of one release.
pub struct Release {
    /// `34.2` or `30`.
    pub name: &'static str,
    /// Its shared object.
    pub library: PathBuf,
    /// The directory of its header.
    pub include: PathBuf,
    /// The program linked to it.
    pub program: PathBuf,
    /// What goes into a root directory: the program (as /bin/kmod) with their library, and with ours.
    pub theirs: Tools,
    /// See `theirs`.
    pub ours: Tools,
}

impl Build {
    /// Fetches and builds.
    ///
    /// # Errors
    /// A sentence: what could not be had.
    pub fn new(cache: &Cache, dir: &Path) -> Result<Build, String> {
        let library = crate::shared::library()?;
        let new =
            ["libkmod2", "libkmod-dev", "libc6", "liblzma5", "libzstd1", "zlib1g", "libssl3t64", "dash"];
        let old = ["libkmod2", "libkmod-dev", "libc6", "liblzma5", "libzstd1", "libssl3", "dash"];
        let new_needs = ["libc.so.6", "liblzma.so.5", "libzstd.so.1", "libz.so.1", "libcrypto.so.3"];
        let old_needs = ["libc.so.6", "liblzma.so.5", "libzstd.so.1", "libcrypto.so.3"];
        let release = |name, suite, packages: &[&str], needs: &[&str], flags: &[&str]| {
            let unpacked = cache
                .userland(&format!("libkmod-{suite}"), suite, packages)
                .map_err(|error| error.to_string())?;
            Release::new(name, unpacked, needs, flags, &library, dir)
        };
        let releases = [
            release("34.2", "trixie", &new, &new_needs, &[])?,
            release("30", "bookworm", &old, &old_needs, &["-DKMOD_30"])?,
        ];
        let sanitized = dir.join("ask-sanitized");
        let sources = SOURCES.map(|file| Path::new(HERE).join(file));
        crate::memory::sanitized(&sources, &releases[0].include, &library, &sanitized)?;
        Ok(Build { library, releases, sanitized })
    }
}

impl Release {
    fn new(
        name: &'static str,
        dir: PathBuf,
        needs: &[&str],
        flags: &[&str],
        ours: &Path,
        out: &Path,
    ) -> Result<Release, String> {
        let said = |error: io::Error| error.to_string();
        let library = find(&dir, SONAME).map_err(said)?;
        let include = dir.join("usr/include");
        let program = out.join(format!("ask-{name}"));
        let mut cc = compiler();
        cc.arg("-pthread").args(flags).arg("-I").arg(&include).arg("-o").arg(&program);
        cc.args(SOURCES.map(|file| Path::new(HERE).join(file))).arg(&library);
        // What their library itself needs is in the root that it runs in, not here.
        run(cc.arg("-Wl,--allow-shlib-undefined"))?;
        let loader = find(&dir, "ld-linux-x86-64.so.2").map_err(said)?;
        let shell = dir.join("bin/dash").canonicalize().or_else(|_| dir.join("usr/bin/dash").canonicalize());
        let mut files = vec![
            (PathBuf::from("bin/kmod"), program.clone()),
            (PathBuf::from("bin/sh"), shell.map_err(said)?),
            (PathBuf::from("lib64/ld-linux-x86-64.so.2"), loader),
        ];
        for needed in needs {
            files.push((Path::new(LIBRARIES).join(needed), find(&dir, needed).map_err(said)?));
        }
        let with = |tools, library: &Path| -> Result<Tools, String> {
            let mut files = files.clone();
            files.push((Path::new(LIBRARIES).join(SONAME), library.to_owned()));
            Tools { name: tools, files }.staged(&out.join(name)).map_err(said)
        };
        let theirs = with("theirs", &library)?;
        let ours = with("ours", ours)?;
        Ok(Release { name, library, include, program, theirs, ours })
    }
}

/// The C compiler, with the warnings of this suite.
pub fn compiler() -> Command {
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Wno-deprecated-declarations", "-Werror"]);
    cc
}

/// A file of an unpacked package's library directories.
fn find(dir: &Path, name: &str) -> io::Result<PathBuf> {
    for place in [LIBRARIES, "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64"] {
        if let Ok(path) = dir.join(place).join(name).canonicalize() {
            return Ok(path);
        }
    }
    Err(io::Error::other(format!("{}: no {name}", dir.display())))
}
