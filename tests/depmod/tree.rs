//! Module trees for tests.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::elf::KoBuilder;
use crate::stage::Stage;

/// The version that synthetic trees are for.
pub const VERSION: &str = "1.2.3";
/// Where they lie in the root.
pub const DIR: &str = "lib/modules/1.2.3";

/// What lies at a path.
#[derive(Clone)]
pub enum Node {
    /// A file.
    File(Vec<u8>),
    /// A symbolic link.
    Link(String),
    /// A fifo.
    Fifo,
    /// An empty directory.
    Directory,
}

/// Paths below the root with what lies there, in the order in which they are made.
#[derive(Clone, Default)]
pub struct Tree {
    nodes: Vec<(String, Node)>,
}

impl Tree {
    /// A tree with the three lists of a kernel build, all empty.
    pub fn new() -> Tree {
        let mut tree = Tree::default();
        for list in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
            tree = tree.file(list, "");
        }
        tree
    }

    /// Adds anything at a path below the module directory; `/...` is below the root.
    pub fn node(mut self, path: &str, node: Node) -> Tree {
        let path = match path.strip_prefix('/') {
            Some(path) => path.to_owned(),
            None => format!("{DIR}/{path}"),
        };
        self.nodes.retain(|(old, _)| *old != path);
        self.nodes.push((path, node));
        self
    }

    /// Adds a file.
    pub fn file(self, path: &str, contents: impl AsRef<[u8]>) -> Tree {
        self.node(path, Node::File(contents.as_ref().to_vec()))
    }

    /// Adds a module; compressed if the path says so.
    pub fn ko(self, path: &str, module: KoBuilder) -> Tree {
        let image = module.build();
        let contents = match path.rsplit('.').next() {
            Some("xz") => xz(&image),
            Some("zst") => zstd::bulk::compress(&image, 3).expect("zstd"),
            _ => image,
        };
        self.file(path, contents)
    }

    /// Adds a symbolic link.
    pub fn link(self, path: &str, target: &str) -> Tree {
        self.node(path, Node::Link(target.to_owned()))
    }

    /// Adds a file of depmod.d.
    pub fn conf(self, text: &str) -> Tree {
        self.file("/etc/depmod.d/test.conf", text)
    }

    /// Takes a path away again.
    pub fn without(mut self, path: &str) -> Tree {
        let path = format!("{DIR}/{path}");
        self.nodes.retain(|(old, _)| *old != path);
        self
    }

    /// Makes it all.
    ///
    /// # Errors
    /// What could not be made.
    pub fn make(&self, stage: &Stage) -> io::Result<()> {
        fs::create_dir_all(stage.at(DIR))?;
        for (path, node) in &self.nodes {
            let path = stage.at(path);
            fs::create_dir_all(path.parent().expect("below the root"))?;
            match node {
                Node::File(contents) => fs::write(&path, contents)?,
                Node::Link(target) => std::os::unix::fs::symlink(target, &path)?,
                Node::Directory => fs::create_dir_all(&path)?,
                Node::Fifo => {
                    let name = CString::new(path.as_os_str().as_bytes())?;
                    nix::unistd::mkfifo(name.as_c_str(), nix::sys::stat::Mode::from_bits_truncate(0o644))?;
                }
            }
        }
        Ok(())
    }
}

/// A module without content.
pub fn ko() -> KoBuilder {
    KoBuilder::new().modinfo("license", "GPL")
}

/// As `xz -1 --check=crc32`: kernels take no other check.
pub fn xz(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let stream = xz2::stream::Stream::new_easy_encoder(1, xz2::stream::Check::Crc32).expect("an encoder");
    let mut encoder = xz2::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes it")
}

/// Copies a directory, so that nothing that happens to the copy touches the original.
///
/// # Errors
/// The first thing that could not be copied.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The module files below a directory, sorted.
///
/// # Errors
/// A directory could not be read.
pub fn modules(dir: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            } else if name.ends_with(".ko") || name.ends_with(".ko.xz") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}
