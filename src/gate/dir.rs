//! The gate's directory, `/run/kmod/gate`: owned by root, mode 0700, one lock file for each module that was requested since
//! boot. Lock files are never unlinked: a process that has the old file open would not exclude one that creates a new file.
//!
//! The directory is used only if `/run` is a mounted tmpfs or ramfs. Before systemd mounts `/run`, and in a chroot where an
//! image is built, it is a plain directory of the root file system: the mount would hide its files, or they would survive
//! into another boot.

use crate::error::Errno;
use crate::name::ModuleName;
use crate::system::Roots;
use crate::system::file::{open_at, visit_names_at};
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, fstatfs};
use nix::unistd::{AccessFlags, access};
use std::fmt;
use std::fs::{File, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// `RAMFS_MAGIC` of statfs(2).
// `as _`: the C type is signed on some machines.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6u32 as _);

/// The open directory of the gate.
pub(crate) struct GateDir {
    parent: File,
    directory: File,
}

/// Why the directory cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoGateDir {
    /// It cannot be created or opened: no /run, read-only, full, not permitted, no descriptors left.
    Unavailable(Errno),
    /// `/run` is not in memory, or is part of the root file system.
    OnDisk,
    /// The path is not a directory, is not owned by root, or is open to other users.
    Distrusted(PathBuf, &'static str),
}

impl GateDir {
    /// Opens the directory, and creates it if it is missing.
    pub(crate) fn open(roots: &Roots) -> Result<Self, NoGateDir> {
        Self::reach(roots, true)
    }

    /// Opens the directory if it exists. Writes nothing.
    pub(crate) fn existing(roots: &Roots) -> Result<Self, NoGateDir> {
        Self::reach(roots, false)
    }

    /// Whether the directory can be used, or could be created if it is missing. Writes nothing.
    pub(crate) fn verify(roots: &Roots) -> Result<(), NoGateDir> {
        let writable = |path: &Path| {
            access(path, AccessFlags::W_OK).map_err(|errno| NoGateDir::Unavailable(errno.into()))
        };
        match Self::existing(roots) {
            Err(NoGateDir::Unavailable(Errno::ENOENT)) => {
                let run = directory(AT_FDCWD, &roots.run, 0, false)?;
                in_memory(&run, &trusted(&run, &roots.run, roots.gate_owner, 0o022)?, roots)?;
                let parent = roots.gate_parent();
                writable(if parent.exists() { &parent } else { &roots.run })
            }
            other => other.and_then(|_| writable(&roots.gate_parent().join("gate"))),
        }
    }

    fn reach(roots: &Roots, make: bool) -> Result<Self, NoGateDir> {
        let parent_path = roots.gate_parent();
        let parent = match directory(AT_FDCWD, &parent_path, 0o755, false) {
            Err(NoGateDir::Unavailable(Errno::ENOENT)) if make => {
                let run = directory(AT_FDCWD, &roots.run, 0, false)?;
                in_memory(&run, &stat(&run)?, roots)?;
                directory(&run, Path::new("kmod"), 0o755, true).map_err(|e| e.at(&parent_path))?
            }
            parent => parent?,
        };
        let meta = trusted(&parent, &parent_path, roots.gate_owner, 0o022)?;
        in_memory(&parent, &meta, roots)?;
        let path = parent_path.join("gate");
        let directory = self::directory(&parent, Path::new("gate"), 0o700, make).map_err(|e| e.at(&path))?;
        trusted(&directory, &path, roots.gate_owner, 0o077)?;
        Ok(GateDir { parent, directory })
    }

    /// Opens the lock file of a module, and creates it if it is missing. Each call makes its own open file description, so
    /// that two threads exclude each other.
    pub(crate) fn file(&self, key: &ModuleName) -> Result<File, Errno> {
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW;
        let mode = Mode::from_bits_retain(0o600);
        match open_at(&self.directory, key.as_path(), flags, mode) {
            Err(Errno::ENOENT) => {}
            opened => return opened.map(File::from),
        }
        let new = flags | OFlag::O_CREAT | OFlag::O_EXCL;
        match open_at(&self.directory, key.as_path(), new, mode) {
            Ok(made) => {
                let made = File::from(made);
                unmask(&made, mode);
                Ok(made)
            }
            // Another process has just created it.
            Err(Errno::EEXIST) => open_at(&self.directory, key.as_path(), flags, mode).map(File::from),
            Err(errno) => Err(errno),
        }
    }

    /// Opens the lock file of a module for reading, if it exists.
    pub(crate) fn read(&self, key: &ModuleName) -> Result<File, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW;
        open_at(&self.directory, key.as_path(), flags, Mode::empty()).map(File::from)
    }

    /// The modules that have a lock file, in no order.
    ///
    /// # Errors
    /// The errno of opening the directory or of its first read.
    pub(crate) fn modules(&self) -> Result<Vec<ModuleName>, Errno> {
        let mut found = Vec::new();
        visit_names_at(&self.directory, Path::new("."), &mut Vec::new(), &mut |name, _| {
            found.extend(ModuleName::new(name));
        })?;
        Ok(found)
    }

    /// The parent directory, `/run/kmod`, which holds the trace.
    pub(crate) fn parent(&self) -> &File {
        &self.parent
    }
}

impl NoGateDir {
    fn at(self, path: &Path) -> Self {
        match self {
            NoGateDir::Distrusted(_, why) => NoGateDir::Distrusted(path.to_path_buf(), why),
            other => other,
        }
    }
}

impl fmt::Display for NoGateDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoGateDir::Unavailable(errno) => write!(f, "/run/kmod/gate: {errno}"),
            NoGateDir::OnDisk => f.write_str("/run is not a file system in memory"),
            NoGateDir::Distrusted(path, why) => write!(f, "{} {why}", path.display()),
        }
    }
}

/// Sets the mode of a new file or directory, which the umask has reduced. If this fails it stays more private than needed.
fn unmask(file: &File, mode: Mode) {
    let _ = fchmod(file, mode);
}

fn directory(at: impl AsFd + Copy, path: &Path, mode: u32, make: bool) -> Result<File, NoGateDir> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let mode = Mode::from_bits_retain(mode);
    let (mut tried, mut made) = (false, false);
    loop {
        match open_at(at, path, flags, Mode::empty()) {
            Ok(fd) => {
                let file = File::from(fd);
                if made {
                    unmask(&file, mode);
                }
                return Ok(file);
            }
            // For a link, O_NOFOLLOW with O_DIRECTORY fails with ENOTDIR, and O_NOFOLLOW alone with ELOOP.
            Err(Errno::ELOOP | Errno::ENOTDIR) => {
                return Err(NoGateDir::Distrusted(path.to_path_buf(), "is not a directory"));
            }
            Err(Errno::ENOENT) if make && !tried => {
                tried = true;
                match mkdirat(at, path, mode).map_err(Errno::from) {
                    Ok(()) => made = true,
                    // Another process has just created it.
                    Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(NoGateDir::Unavailable(errno)),
                }
            }
            Err(errno) => return Err(NoGateDir::Unavailable(errno)),
        }
    }
}

fn stat(file: &File) -> Result<Metadata, NoGateDir> {
    file.metadata().map_err(|e| NoGateDir::Unavailable(Errno::of(&e)))
}

fn trusted(file: &File, path: &Path, owner: u32, forbidden: u32) -> Result<Metadata, NoGateDir> {
    let meta = stat(file)?;
    let distrusted = |why| Err(NoGateDir::Distrusted(path.to_path_buf(), why));
    if !meta.is_dir() {
        return distrusted("is not a directory");
    }
    if meta.uid() != owner {
        return distrusted("is not owned by root");
    }
    if meta.mode() & forbidden != 0 {
        return distrusted("is open to other users");
    }
    Ok(meta)
}

/// Fails unless the directory is on a tmpfs or ramfs other than the root file system.
fn in_memory(directory: &File, meta: &Metadata, roots: &Roots) -> Result<(), NoGateDir> {
    if roots.gate_on_disk {
        return Ok(());
    }
    let kind = fstatfs(directory).map_err(|e| NoGateDir::Unavailable(e.into()))?.filesystem_type();
    let root = std::fs::metadata("/").map_err(|e| NoGateDir::Unavailable(Errno::of(&e)))?;
    let own = meta.dev() != root.dev();
    if own && (kind == TMPFS_MAGIC || kind == RAMFS_MAGIC) { Ok(()) } else { Err(NoGateDir::OnDisk) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn fixture() -> (tempfile::TempDir, Roots) {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::below(dir.path());
        std::fs::create_dir(&roots.run).unwrap();
        (dir, roots)
    }

    fn distrust(roots: &Roots) -> &'static str {
        match GateDir::open(roots) {
            Err(NoGateDir::Distrusted(_, why)) => why,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("trusted"),
        }
    }

    #[test]
    fn it_is_made_private_and_found_again() {
        let (_dir, roots) = fixture();
        assert!(matches!(GateDir::existing(&roots), Err(NoGateDir::Unavailable(Errno::ENOENT))));
        GateDir::open(&roots).unwrap().file(&ModuleName::new(b"xfs").unwrap()).unwrap();
        let mode = roots.run.join("kmod/gate").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(GateDir::existing(&roots).unwrap().modules().unwrap(), [ModuleName::new(b"xfs").unwrap()]);
    }

    #[test]
    fn a_link_open_permissions_and_another_owner_are_not_trusted() {
        let (dir, mut roots) = fixture();
        let gate = roots.run.join("kmod/gate");
        std::fs::create_dir(roots.run.join("kmod")).unwrap();
        symlink(dir.path(), &gate).unwrap();
        assert_eq!(distrust(&roots), "is not a directory");
        std::fs::remove_file(&gate).unwrap();
        std::fs::create_dir(&gate).unwrap();
        std::fs::set_permissions(&gate, std::fs::Permissions::from_mode(0o770)).unwrap();
        assert_eq!(distrust(&roots), "is open to other users");
        std::fs::set_permissions(&gate, std::fs::Permissions::from_mode(0o700)).unwrap();
        roots.gate_owner += 1;
        assert_eq!(distrust(&roots), "is not owned by root");
    }

    #[test]
    fn what_could_be_made_is_told_without_making_it() {
        let (_dir, roots) = fixture();
        assert_eq!(GateDir::verify(&roots), Ok(()));
        assert!(!roots.run.join("kmod").exists());
        std::fs::set_permissions(&roots.run, std::fs::Permissions::from_mode(0o777)).unwrap();
        let open = NoGateDir::Distrusted(roots.run.clone(), "is open to other users");
        assert_eq!(GateDir::verify(&roots), Err(open));
        std::fs::remove_dir(&roots.run).unwrap();
        assert_eq!(GateDir::verify(&roots), Err(NoGateDir::Unavailable(Errno::ENOENT)));
        let mut on_disk = roots.clone();
        (on_disk.gate_on_disk, on_disk.run) = (false, format!("/proc/{}", std::process::id()).into());
        assert_eq!(GateDir::verify(&on_disk), Err(NoGateDir::OnDisk));
    }

    #[test]
    fn a_link_in_place_of_a_lock_file_is_not_followed() {
        let (dir, roots) = fixture();
        let gate_dir = GateDir::open(&roots).unwrap();
        let victim = dir.path().join("victim");
        symlink(&victim, roots.run.join("kmod/gate/xfs")).unwrap();
        assert_eq!(gate_dir.file(&ModuleName::new(b"xfs").unwrap()).unwrap_err(), Errno::ELOOP);
        assert!(!victim.exists());
    }

    #[test]
    fn a_run_on_a_disk_or_in_the_root_file_system_is_not_used() {
        let (_dir, mut roots) = fixture();
        roots.gate_on_disk = false;
        // The fixture is in the directory for temporary files, which is on disk or on a tmpfs.
        let root = std::fs::metadata("/").unwrap().dev();
        let kind = fstatfs(File::open(&roots.run).unwrap()).unwrap().filesystem_type();
        let here = roots.run.metadata().unwrap().dev() != root && kind == TMPFS_MAGIC;
        let opened = GateDir::open(&roots).map(drop);
        assert_eq!(opened, if here { Ok(()) } else { Err(NoGateDir::OnDisk) });
        assert_eq!(roots.run.join("kmod").exists(), here, "nothing is left there");
        // /proc is a separate mount, but not a tmpfs.
        roots.run = format!("/proc/{}", std::process::id()).into();
        assert_eq!(GateDir::open(&roots).map(drop), Err(NoGateDir::OnDisk));
    }
}
