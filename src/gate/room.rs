//! The gate's directory, `/run/kmod/gate`: owned by root, mode 0700, one file for each module that was ever asked
//! for. Lock files are never unlinked: a process that had opened the old one would then not exclude one that makes a
//! new one.

use crate::error::Errno;
use crate::name::ModuleName;
use crate::system::Roots;
use crate::system::descriptors::opening;
use nix::dir::Dir;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, mkdirat};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The open directory of the gate.
pub struct Room {
    parent: OwnedFd,
    directory: OwnedFd,
}

/// Why there is no room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoom {
    /// It cannot be made or opened: no /run, read-only, full, not permitted, no descriptors left.
    Unavailable(Errno),
    /// Something is there that root did not put there, or that others may write to. It is not used.
    Distrusted(PathBuf, &'static str),
}

impl Room {
    /// Opens the room, making it where it is missing.
    ///
    /// # Errors
    /// See [`NoRoom`].
    pub fn open(roots: &Roots) -> Result<Self, NoRoom> {
        Self::reach(roots, true)
    }

    /// Opens the room if it is there, and writes nothing.
    ///
    /// # Errors
    /// See [`NoRoom`].
    pub fn existing(roots: &Roots) -> Result<Self, NoRoom> {
        Self::reach(roots, false)
    }

    fn reach(roots: &Roots, make: bool) -> Result<Self, NoRoom> {
        let parent_path = roots.gate_parent();
        let parent = directory(AT_FDCWD, &parent_path, 0o755, make)?;
        trusted(&parent, &parent_path, roots.gate_owner, 0o022)?;
        let path = parent_path.join("gate");
        let directory = self::directory(&parent, Path::new("gate"), 0o700, make).map_err(|e| e.at(&path))?;
        trusted(&directory, &path, roots.gate_owner, 0o077)?;
        Ok(Room { parent, directory })
    }

    /// Opens the lock file of a module, making it where it is missing. Every call gives an open file description of
    /// its own, so that two threads exclude each other.
    ///
    /// # Errors
    /// What openat(2) said.
    pub fn file(&self, key: &ModuleName) -> Result<File, Errno> {
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let mode = Mode::from_bits_retain(0o600);
        match opening(|| openat(&self.directory, key.as_path(), flags, mode)) {
            Err(Errno::ENOENT) => {}
            opened => return opened.map(File::from),
        }
        let new = flags | OFlag::O_CREAT | OFlag::O_EXCL;
        match opening(|| openat(&self.directory, key.as_path(), new, mode)) {
            Ok(made) => {
                unmask(&made, mode);
                Ok(File::from(made))
            }
            // Somebody else has just made it.
            Err(Errno::EEXIST) => openat(&self.directory, key.as_path(), flags, mode).map(File::from),
            Err(errno) => Err(errno),
        }
    }

    /// Opens a module's file for reading, if there is one.
    ///
    /// # Errors
    /// What openat(2) said.
    pub fn read(&self, key: &ModuleName) -> Result<File, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        openat(&self.directory, key.as_path(), flags, Mode::empty()).map(File::from)
    }

    /// The modules that have a file, in no order.
    ///
    /// # Errors
    /// What reading the directory said.
    pub fn modules(&self) -> Result<Vec<ModuleName>, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut listing = Dir::openat(&self.directory, ".", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            names.extend(ModuleName::new(entry?.file_name().to_bytes()));
        }
        Ok(names)
    }

    /// The directory above, `/run/kmod`, where the trace lies.
    pub fn parent(&self) -> &OwnedFd {
        &self.parent
    }
}

impl NoRoom {
    fn at(self, path: &Path) -> Self {
        match self {
            NoRoom::Distrusted(_, why) => NoRoom::Distrusted(path.to_path_buf(), why),
            other => other,
        }
    }
}

/// Gives what was just made its mode, whatever the caller's file mask is. A failure leaves it more private than it need be.
fn unmask(fd: &OwnedFd, mode: Mode) {
    let _ = fchmod(fd, mode);
}

fn directory(at: impl AsFd + Copy, path: &Path, mode: u32, make: bool) -> Result<OwnedFd, NoRoom> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_retain(mode);
    let (mut tried, mut made) = (false, false);
    loop {
        match opening(|| openat(at, path, flags, Mode::empty())) {
            Ok(fd) => {
                if made {
                    unmask(&fd, mode);
                }
                return Ok(fd);
            }
            // O_NOFOLLOW with O_DIRECTORY answers ENOTDIR to a link, plain O_NOFOLLOW ELOOP.
            Err(Errno::ELOOP | Errno::ENOTDIR) => {
                return Err(NoRoom::Distrusted(path.to_path_buf(), "is not a directory"));
            }
            Err(Errno::ENOENT) if make && !tried => {
                tried = true;
                match mkdirat(at, path, mode) {
                    Ok(()) => made = true,
                    // Somebody else has just made it.
                    Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(NoRoom::Unavailable(errno)),
                }
            }
            Err(errno) => return Err(NoRoom::Unavailable(errno)),
        }
    }
}

fn trusted(fd: &OwnedFd, path: &Path, owner: u32, forbidden: u32) -> Result<(), NoRoom> {
    let stat: FileStat = fstat(fd).map_err(NoRoom::Unavailable)?;
    let distrusted = |why| Err(NoRoom::Distrusted(path.to_path_buf(), why));
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFDIR {
        return distrusted("is not a directory");
    }
    if stat.st_uid != owner {
        return distrusted("is not owned by root");
    }
    if stat.st_mode & forbidden != 0 {
        return distrusted("is open to other users");
    }
    Ok(())
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
        match Room::open(roots) {
            Err(NoRoom::Distrusted(_, why)) => why,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("trusted"),
        }
    }

    #[test]
    fn it_is_made_private_and_found_again() {
        let (_dir, roots) = fixture();
        assert!(matches!(Room::existing(&roots), Err(NoRoom::Unavailable(Errno::ENOENT))));
        Room::open(&roots).unwrap().file(&ModuleName::new(b"xfs").unwrap()).unwrap();
        let mode = roots.run.join("kmod/gate").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(Room::existing(&roots).unwrap().modules().unwrap(), [ModuleName::new(b"xfs").unwrap()]);
    }

    #[test]
    fn a_link_an_open_door_and_a_stranger_are_not_used() {
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
    fn a_link_in_place_of_a_lock_file_is_not_followed() {
        let (dir, roots) = fixture();
        let room = Room::open(&roots).unwrap();
        let victim = dir.path().join("victim");
        symlink(&victim, roots.run.join("kmod/gate/xfs")).unwrap();
        assert_eq!(room.file(&ModuleName::new(b"xfs").unwrap()).unwrap_err(), Errno::ELOOP);
        assert!(!victim.exists());
    }
}
