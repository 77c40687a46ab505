//! Makes a case's root directory and says afterwards what the tools changed in it.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use crate::case::{Case, Entry, Loaded};
use crate::tools::Tools;
use crate::transcript;

/// A root directory with tools and a case's files in it. Removed when dropped.
pub struct Root {
    /// Where it is.
    pub path: PathBuf,
    before: BTreeMap<PathBuf, String>,
    /// The listener on /dev/log.
    pub log: Option<UnixDatagram>,
}

impl Root {
    /// Makes the root. `tree`, if there is one, is copied to `/lib/modules/RELEASE`.
    ///
    /// # Errors
    /// The file that could not be made.
    pub fn new(
        path: PathBuf,
        tools: &Tools,
        case: &Case,
        tree: Option<&Path>,
        release: &str,
    ) -> io::Result<Root> {
        skeleton(&path, tools)?;
        let mut root = Root { path, before: BTreeMap::new(), log: None };
        if let Some(tree) = tree {
            copy_tree(tree, &root.path.join("lib/modules").join(release))?;
        }
        let mut modules = String::new();
        for module in &case.loaded {
            modules.push_str(&root.load(module)?);
        }
        fs::write(root.path.join("proc/modules"), modules)?;
        for (path, entry) in &case.files {
            root.place(path, entry)
                .map_err(|error| io::Error::other(format!("{}: {}: {error}", case.place, path.display())))?;
        }
        if case.syslog {
            let listener = UnixDatagram::bind(root.path.join("dev/log"))?;
            listener.set_nonblocking(true)?;
            root.log = Some(listener);
        }
        root.before = root.listing()?;
        Ok(root)
    }

    fn place(&self, path: &Path, entry: &Entry) -> io::Result<()> {
        let path = self.path.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        // never through what is there: it may be a link out of the root
        if path.symlink_metadata().is_ok_and(|meta| !meta.is_dir()) {
            fs::remove_file(&path)?;
        }
        match entry {
            Entry::File(content) => fs::write(path, content),
            Entry::Link(target) => std::os::unix::fs::symlink(target, path),
            Entry::Directory => fs::create_dir_all(path),
            Entry::Fifo => {
                let name = CString::new(path.as_os_str().as_bytes())?;
                Ok(nix::unistd::mkfifo(name.as_c_str(), nix::sys::stat::Mode::from_bits_truncate(0o644))?)
            }
            Entry::Gone if path.is_dir() => fs::remove_dir_all(path),
            Entry::Gone => Ok(()),
        }
    }

    /// Makes a module's directory in /sys/module and gives its line of /proc/modules.
    fn load(&self, module: &Loaded) -> io::Result<String> {
        let dir = self.path.join("sys/module").join(&module.name);
        fs::create_dir_all(dir.join("holders"))?;
        for holder in &module.holders {
            fs::create_dir_all(dir.join("holders").join(holder))?;
        }
        for (file, content) in
            [("initstate", &module.state), ("refcnt", &module.refcnt), ("coresize", &module.size)]
        {
            if !content.is_empty() {
                fs::write(dir.join(file), format!("{content}\n"))?;
            }
        }
        let used_by = if module.holders.is_empty() { "-".to_owned() } else { module.holders.join(",") + "," };
        let state = match module.state.as_str() {
            "coming" => "Loading",
            "going" => "Unloading",
            _ => "Live",
        };
        let refcnt = if module.refcnt.is_empty() { "-" } else { &module.refcnt };
        Ok(format!("{} {} {refcnt} {used_by} {state} 0x0000000000000000\n", module.name, module.size))
    }

    /// What was changed since the root was made, as lines of a transcript.
    ///
    /// # Errors
    /// The root cannot be read.
    pub fn changes(&self) -> io::Result<String> {
        let after = self.listing()?;
        let mut out = String::new();
        for (path, content) in &after {
            if self.before.get(path) != Some(content) {
                out.push_str(&transcript::lines(&format!("file {}", path.display()), content.as_bytes()));
            }
        }
        for path in self.before.keys().filter(|path| !after.contains_key(*path)) {
            out.push_str(&format!("gone {}\n", path.display()));
        }
        Ok(out)
    }

    fn listing(&self) -> io::Result<BTreeMap<PathBuf, String>> {
        let mut found = BTreeMap::new();
        let mut pending = vec![PathBuf::new()];
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(self.path.join(&dir))? {
                let entry = entry?;
                let path = dir.join(entry.file_name());
                if Tools::owns(&path) {
                    continue;
                }
                let kind = entry.file_type()?;
                let content = if kind.is_dir() {
                    pending.push(path.clone());
                    "directory\n".to_owned()
                } else if kind.is_symlink() {
                    format!("-> {}\n", fs::read_link(entry.path())?.display())
                } else if kind.is_file() {
                    transcript::escape(&fs::read(entry.path())?)
                } else {
                    continue;
                };
                found.insert(path, content);
            }
        }
        Ok(found)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // what stays behind is inside the build directory and is removed with it
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Makes a root directory with tools in it and nothing else.
///
/// # Errors
/// What could not be made.
pub fn skeleton(path: &Path, tools: &Tools) -> io::Result<()> {
    for dir in ["proc", "sys/module", "run", "tmp", "etc", "lib", "usr/lib", "dev"] {
        fs::create_dir_all(path.join(dir))?;
    }
    tools.install(path)?;
    fs::write(path.join("proc/cmdline"), "quiet\n")
}

/// Copies a directory: regular files, directories and links.
///
/// # Errors
/// The first thing that could not be copied.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    tree(from, to, &|from, to| fs::copy(from, to).map(|_| ()))
}

/// The same with hard links to the files, or copies if `to` is on another file system.
///
/// # Errors
/// The first thing that could be neither linked nor copied.
pub fn link_tree(from: &Path, to: &Path) -> io::Result<()> {
    tree(from, to, &|from, to| fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(|_| ())))
}

fn tree(from: &Path, to: &Path, file: &dyn Fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            tree(&entry.path(), &target, file)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, target)?;
        } else {
            file(&entry.path(), &target)?;
        }
    }
    Ok(())
}
