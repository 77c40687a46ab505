//! Writes an initramfs: the "newc" cpio format, which the kernel unpacks at boot.
//!
//! Layout of one entry, all numbers as 8 upper-case hexadecimal digits:
//!
//! ```text
//! "070701" ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
//! name NUL, padded with NUL to a multiple of 4 counted from the start of the header
//! data,     padded with NUL to a multiple of 4
//! ```
//!
//! The archive ends with an entry named `TRAILER!!!`. Source: Documentation/driver-api/early-userspace/buffer-format.rst.
//! Every entry belongs to root, whoever builds the image.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

/// What a path of the image holds.
enum Entry {
    Dir(u32),
    Link(PathBuf),
    Copy(PathBuf, u32),
}

/// An initramfs that is put together in memory (names only) and then written out.
///
/// Paths are given without a leading `/`; `bin`, `sbin`, `lib` and `lib64` at the top are links into `usr`, and paths
/// that start with them are written where the links lead.
#[derive(Default)]
pub struct Image {
    entries: BTreeMap<PathBuf, Entry>,
}

const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

impl Image {
    /// An image with the merged-/usr links and nothing else.
    pub fn new() -> Self {
        let mut image = Self::default();
        for name in MERGED {
            image.entries.insert(name.into(), Entry::Link(Path::new("usr").join(name)));
            image.dir(&Path::new("usr").join(name), 0o755);
        }
        image
    }

    fn place(path: &Path) -> PathBuf {
        let path = path.strip_prefix("/").unwrap_or(path);
        let mut parts = path.components();
        match parts.next() {
            Some(Component::Normal(first)) if MERGED.iter().any(|m| first == *m) => {
                Path::new("usr").join(first).join(parts.as_path())
            }
            _ => path.to_owned(),
        }
    }

    fn put(&mut self, path: &Path, entry: Entry) {
        let path = Self::place(path);
        for parent in path.ancestors().skip(1) {
            if !parent.as_os_str().is_empty() {
                self.entries.entry(parent.to_owned()).or_insert(Entry::Dir(0o755));
            }
        }
        self.entries.insert(path, entry);
    }

    /// A directory.
    pub fn dir(&mut self, path: &Path, mode: u32) {
        if !self.entries.contains_key(&Self::place(path)) {
            self.put(path, Entry::Dir(mode));
        }
    }

    /// A symbolic link at `path` that holds `target`.
    pub fn link(&mut self, path: &str, target: &str) {
        self.put(Path::new(path), Entry::Link(target.into()));
    }

    /// A copy of the host's file `from` (links are followed).
    pub fn file(&mut self, path: &Path, from: &Path) -> Result<()> {
        let meta = fs::metadata(from).with_context(|| format!("{}", from.display()))?;
        if !meta.is_file() {
            bail!("{}: not a file", from.display());
        }
        self.put(path, Entry::Copy(from.to_owned(), meta.permissions().mode() & 0o7777));
        Ok(())
    }

    /// The tree below `from`, put below `path`; `keep` is asked about each path relative to `from`.
    pub fn tree(&mut self, path: &Path, from: &Path, keep: &dyn Fn(&Path) -> bool) -> Result<()> {
        self.walk(path, from, Path::new(""), keep)
    }

    fn walk(&mut self, to: &Path, from: &Path, below: &Path, keep: &dyn Fn(&Path) -> bool) -> Result<()> {
        let here = from.join(below);
        for item in fs::read_dir(&here).with_context(|| format!("{}", here.display()))? {
            let item = item?;
            let name = below.join(item.file_name());
            if !keep(&name) {
                continue;
            }
            let kind = item.file_type()?;
            let target = to.join(&name);
            if kind.is_dir() {
                self.dir(&target, 0o755);
                self.walk(to, from, &name, keep)?;
            } else if kind.is_symlink() {
                // The links that make a merged /usr are already there, as directories of the image.
                if !(below.as_os_str().is_empty() && MERGED.iter().any(|m| name == Path::new(m))) {
                    self.put(&target, Entry::Link(fs::read_link(item.path())?));
                }
            } else if kind.is_file() {
                self.file(&target, &item.path())?;
            }
        }
        Ok(())
    }

    /// Writes the archive and returns its size in bytes.
    pub fn write(&self, to: &Path) -> Result<u64> {
        let mut out = Out { to: BufWriter::with_capacity(1 << 20, File::create(to)?), at: 0 };
        for (ino, (path, entry)) in self.entries.iter().enumerate() {
            let name = path.as_os_str().as_bytes();
            let ino = ino as u64 + 1;
            match entry {
                Entry::Dir(mode) => out.header(ino, 0o040_000 | mode, 2, 0, name)?,
                Entry::Link(target) => {
                    let target = target.as_os_str().as_bytes();
                    out.header(ino, 0o120_777, 1, target.len() as u64, name)?;
                    out.body(target)?;
                }
                Entry::Copy(from, mode) => {
                    let mut file = File::open(from).with_context(|| format!("{}", from.display()))?;
                    let size = file.metadata()?.len();
                    out.header(ino, 0o100_000 | mode, 1, size, name)?;
                    let copied = io::copy(&mut file, &mut out.to)?;
                    if copied != size {
                        bail!("{}: changed while it was copied", from.display());
                    }
                    out.at += copied;
                    out.pad()?;
                }
            }
        }
        out.header(0, 0, 1, 0, b"TRAILER!!!")?;
        out.to.flush()?;
        Ok(out.at)
    }
}

struct Out {
    to: BufWriter<File>,
    at: u64,
}

impl Out {
    fn header(&mut self, ino: u64, mode: u32, nlink: u32, size: u64, name: &[u8]) -> Result<()> {
        if size > u64::from(u32::MAX) {
            bail!("{}: too big for a cpio archive", String::from_utf8_lossy(name));
        }
        let namesize = name.len() + 1;
        let head = format!(
            "070701{ino:08X}{mode:08X}{0:08X}{0:08X}{nlink:08X}{0:08X}{size:08X}{0:08X}{0:08X}{0:08X}{0:08X}{namesize:08X}{0:08X}",
            0
        );
        self.to.write_all(head.as_bytes())?;
        self.to.write_all(name)?;
        self.to.write_all(&[0])?;
        self.at += (head.len() + namesize) as u64;
        self.pad()
    }

    fn body(&mut self, bytes: &[u8]) -> Result<()> {
        self.to.write_all(bytes)?;
        self.at += bytes.len() as u64;
        self.pad()
    }

    fn pad(&mut self) -> Result<()> {
        let missing = (4 - self.at % 4) % 4;
        self.to.write_all(&[0; 3][..missing as usize])?;
        self.at += missing;
        Ok(())
    }
}
