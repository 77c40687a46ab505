//! The three sets of tools: Debian 12's kmod 30, Debian 13's kmod 34.2, and ours, each with what it needs to run in a
//! root directory of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::debian::Cache;

/// One implementation and the files that have to be in a root for it.
pub struct Tools {
    /// `30`, `34.2` or `ours`.
    pub name: &'static str,
    /// (path below the root, the file to link there)
    pub files: Vec<(PathBuf, PathBuf)>,
}

/// The names under which kmod is known besides its own.
pub const LINKS: [&str; 6] = ["modprobe", "insmod", "rmmod", "lsmod", "modinfo", "depmod"];

/// Where the loader is and looks for libraries. Debian's architectures differ in these names only.
const LOADER: &str = "lib64/ld-linux-x86-64.so.2";
const LIBRARIES: &str = "lib/x86_64-linux-gnu";

impl Tools {
    /// kmod 30 of Debian 12.
    ///
    /// # Errors
    /// The packages cannot be had.
    pub fn kmod_30(cache: &Cache) -> io::Result<Tools> {
        let packages = ["kmod", "libc6", "liblzma5", "libzstd1", "libssl3", "dash"];
        let dir = cache.userland("kmod-bookworm", "bookworm", &packages)?;
        Tools::installed("30", &dir, &["libc.so.6", "liblzma.so.5", "libzstd.so.1", "libcrypto.so.3"])
    }

    /// kmod 34.2 of Debian 13.
    ///
    /// # Errors
    /// The packages cannot be had.
    pub fn kmod_34(cache: &Cache) -> io::Result<Tools> {
        let packages = ["kmod", "libc6", "liblzma5", "libzstd1", "zlib1g", "libssl3t64", "dash"];
        let dir = cache.userland("kmod-trixie", "trixie", &packages)?;
        let libraries = ["libc.so.6", "liblzma.so.5", "libzstd.so.1", "libz.so.1", "libcrypto.so.3"];
        Tools::installed("34.2", &dir, &libraries)
    }

    /// Our own binary, with the shell of `theirs` for install commands.
    pub fn ours(binary: &Path, theirs: &Tools) -> Tools {
        let kmod = Path::new("bin/kmod");
        let mut files = theirs.files.clone();
        for (path, source) in &mut files {
            if path == kmod {
                *source = binary.to_owned();
            }
        }
        Tools { name: "ours", files }
    }

    fn installed(name: &'static str, dir: &Path, libraries: &[&str]) -> io::Result<Tools> {
        let mut files = vec![
            (PathBuf::from("bin/kmod"), find(dir, &["bin", "usr/bin"], "kmod")?),
            (PathBuf::from("bin/sh"), find(dir, &["bin", "usr/bin"], "dash")?),
            (PathBuf::from(LOADER), find(dir, &["lib64", "usr/lib64", LIBRARIES], "ld-linux-x86-64.so.2")?),
        ];
        let usr = format!("usr/{LIBRARIES}");
        for library in libraries {
            let source = find(dir, &[LIBRARIES, &usr], library)?;
            files.push((Path::new(LIBRARIES).join(library), source));
        }
        Ok(Tools { name, files })
    }

    /// Copies of the files in `dir`, so that roots made beside it can have them as hard links even if the cache is on
    /// another file system.
    ///
    /// # Errors
    /// Reading or writing failed.
    pub fn staged(mut self, dir: &Path) -> io::Result<Tools> {
        let dir = dir.join(self.name);
        fs::create_dir_all(&dir)?;
        for (path, source) in &mut self.files {
            let copy = dir.join(path.file_name().expect("a file"));
            if fs::hard_link(&*source, &copy).is_err() {
                fs::copy(&*source, &copy)?;
            }
            *source = copy;
        }
        Ok(self)
    }

    /// Puts the tools into a root.
    ///
    /// # Errors
    /// The root cannot be written to.
    pub fn install(&self, root: &Path) -> io::Result<()> {
        for (path, source) in &self.files {
            let target = root.join(path);
            fs::create_dir_all(target.parent().expect("below the root"))?;
            fs::hard_link(source, target)?;
        }
        fs::create_dir_all(root.join("sbin"))?;
        for link in LINKS {
            std::os::unix::fs::symlink("../bin/kmod", root.join("sbin").join(link))?;
        }
        Ok(())
    }

    /// Whether a path below the root belongs to the tools.
    pub fn owns(path: &Path) -> bool {
        ["bin", "sbin", "lib64", LIBRARIES].iter().any(|dir| path.starts_with(dir))
    }
}

/// The real file `name` in the first of some directories of an unpacked package that has it.
fn find(dir: &Path, places: &[&str], name: &str) -> io::Result<PathBuf> {
    for place in places {
        if let Ok(path) = dir.join(place).join(name).canonicalize() {
            return Ok(path);
        }
    }
    Err(io::Error::other(format!("{}: no {name} in any of {places:?}", dir.display())))
}
