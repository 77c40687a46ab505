//! Replacing a set of files in a directory so that everybody, at every moment and after any crash, sees all of the old
//! set or all of the new one.
//!
//! One rename replaces one file. For several the names are made links for the blink of an eye, so that again a single
//! rename decides:
//!
//! ```text
//! 1  .depmod.new/X            written and synced, for every X that changes
//! 2  .depmod.old/X            the present X, a hard link
//! 3  .depmod.current          -> .depmod.old
//! 4  X                        -> .depmod.current/X     one by one; each still leads to the present content
//! 5  .depmod.current          -> .depmod.new           the rename that decides: all X change at once
//! 6  X                        the file itself again    one by one; each stays what it is
//! 7  .depmod.* removed
//! ```
//!
//! The directory is synced around step 5. What a crash leaves works as it is, since readers follow links; the next run
//! puts the files back in the place of the links ([`Directory::recover`]). A file whose content would not change is not
//! touched but for its times. Where a file system has no links, files are renamed one after another.
//!
//! One process at a time does this: it holds a lock on `.depmod.lock`, a file that only its owner can open, since a lock
//! on the directory itself could be held by everyone who may read it.

use super::System;
use super::flock;
use crate::error::{Errno, Error, Result, errno_of};
use crate::log::{Priority, Sink};
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

const NEW: &str = ".depmod.new";
const OLD: &str = ".depmod.old";
const CURRENT: &str = ".depmod.current";
const LOCK: &str = ".depmod.lock";
/// A link on its way to its name.
const LINK: &str = ".depmod.link";

/// The permissions of what is written, whatever the umask: everybody's modprobe reads it.
const FILE_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o755;

/// After this long a wait for another process is told.
const PATIENCE: Duration = Duration::from_secs(2);
/// After this long it is given up: a depmod takes seconds, on slow disks a minute.
const GIVE_UP: Duration = Duration::from_secs(600);

/// Creates a file that must not exist yet, with these permissions whatever the umask.
///
/// # Errors
/// What the system said.
pub fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

/// A directory whose files are being replaced, by this process alone.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// `None` where the directory takes no file; nothing can be replaced then either.
    lock: Option<File>,
}

impl Directory {
    /// Waits until no other process works on the directory at `path`, then finishes what a killed one left.
    ///
    /// A directory that cannot be written to is opened all the same: [`Directory::replace`] then says why not.
    ///
    /// # Errors
    /// `ETIMEDOUT` where another process does not finish; what the system said where there is no such directory.
    pub fn open(path: &Path, system: System<'_>, sink: &dyn Sink) -> Result<Self> {
        let at = |error: io::Error| Error::os(errno_of(&error)).at(path);
        fs::read_dir(path).map_err(at)?;
        let lock = lock(path, system, sink)?;
        let directory = Directory { path: path.to_path_buf(), lock };
        if directory.lock.is_some() {
            directory.recover()?;
        }
        Ok(directory)
    }

    /// Creates the directory at `path` and those above it, as far as they are missing.
    ///
    /// # Errors
    /// What the system said.
    pub fn create(path: &Path) -> Result<()> {
        let result = DirBuilder::new().recursive(true).mode(DIR_MODE).create(path);
        result.map_err(|error| Error::os(errno_of(&error)).at(path))
    }

    /// Replaces the files of these names by these contents, all or none.
    ///
    /// # Errors
    /// What the system said, with the path it was about. The files are then as they were, unless the error came after the
    /// rename that decides; they are the new ones then.
    pub fn replace(&self, files: &[(&str, &[u8])]) -> Result<()> {
        let (same, changed): (Vec<_>, Vec<_>) =
            files.iter().partition(|(name, contents)| is_same(&self.path.join(name), contents));
        let done = self.replace_changed(&changed);
        if done.is_err() {
            // What stays behind is what a crash leaves too.
            let _ = self.recover();
        }
        done?;
        for (name, _) in same {
            self.try_as(name, || touch(&self.path.join(name)))?;
        }
        Ok(())
    }

    fn replace_changed(&self, changed: &[&(&str, &[u8])]) -> Result<()> {
        if changed.is_empty() {
            return Ok(());
        }
        let new = self.path.join(NEW);
        self.make(&new)?;
        let mut written = Vec::new();
        for (name, contents) in changed {
            let path = new.join(name);
            let mut file = self.try_as(name, || create_new(&path, FILE_MODE))?;
            self.try_as(name, || file.write_all(contents))?;
            written.push((name, file));
        }
        // All are on their way to the disk before the first is waited for.
        for (name, file) in written {
            self.try_as(name, || file.sync_all())?;
        }
        if let [(name, _)] = changed {
            self.try_as(name, || fs::rename(new.join(name), self.path.join(name)))?;
        } else if self.point_names_at_links(changed)? {
            self.flip()?;
            self.put_files_in_place(changed)?;
        } else {
            for (name, _) in changed {
                self.try_as(name, || fs::rename(new.join(name), self.path.join(name)))?;
            }
        }
        self.sync()?;
        self.remove_traces()
    }

    /// Steps 2 to 4. False where this file system has no links; nothing has happened then.
    fn point_names_at_links(&self, changed: &[&(&str, &[u8])]) -> Result<bool> {
        let old = self.path.join(OLD);
        self.make(&old)?;
        for (name, _) in changed {
            self.try_as(name, || keep(&self.path.join(name), &old.join(name)))?;
        }
        match symlink(OLD, self.path.join(CURRENT)) {
            Ok(()) => {}
            Err(error) if lacks_links(&error) => return Ok(false),
            Err(error) => return Err(Error::os(errno_of(&error)).at(self.path.join(CURRENT))),
        }
        for (name, _) in changed {
            self.point(&format!("{CURRENT}/{name}"), name)?;
        }
        self.sync()?;
        Ok(true)
    }

    /// Step 5.
    fn flip(&self) -> Result<()> {
        self.point(NEW, CURRENT)?;
        self.sync()
    }

    /// Step 6.
    fn put_files_in_place(&self, changed: &[&(&str, &[u8])]) -> Result<()> {
        for (name, _) in changed {
            self.try_as(name, || fs::rename(self.path.join(NEW).join(name), self.path.join(name)))?;
        }
        Ok(())
    }

    /// Makes a directory of ours. What goes wrong is told of the one it is in, which is what somebody can do something about.
    fn make(&self, directory: &Path) -> Result<()> {
        self.try_at(&self.path, |_| {
            DirBuilder::new().mode(DIR_MODE).create(directory)?;
            // A umask that hides the directory would hide the files while names lead into it.
            fs::set_permissions(directory, fs::Permissions::from_mode(DIR_MODE))
        })
    }

    /// Makes `name` a link to `target`, in place of what it was.
    fn point(&self, target: &str, name: &str) -> Result<()> {
        let link = self.path.join(LINK);
        self.try_as(name, || symlink(target, &link))?;
        self.try_as(name, || fs::rename(&link, self.path.join(name)))
    }

    /// Ends what a killed run began: every name that leads to `.depmod.current` becomes the file that it leads to.
    ///
    /// # Errors
    /// What the system said.
    pub fn recover(&self) -> Result<()> {
        let at = |error: io::Error| Error::os(errno_of(&error)).at(&self.path);
        let mut traces = false;
        let mut links = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(at)? {
            let entry = entry.map_err(at)?;
            let name = entry.file_name();
            if [NEW, OLD, CURRENT, LINK].iter().any(|trace| name == *trace) {
                traces = true;
            } else if entry.file_type().map_err(at)?.is_symlink() {
                let target = fs::read_link(entry.path()).map_err(at)?;
                if target == Path::new(CURRENT).join(&name) {
                    links.push(name);
                }
            }
        }
        if !traces && links.is_empty() {
            return Ok(());
        }
        if !links.is_empty() && !self.path.join(CURRENT).is_dir() && self.path.join(OLD).is_dir() {
            // A disk that lost its power kept later changes but not this earlier one.
            self.point(OLD, CURRENT)?;
        }
        for name in links {
            let path = self.path.join(&name);
            match fs::rename(self.path.join(CURRENT).join(&name), &path) {
                Ok(()) => {}
                // There was no such file before, and the link led nowhere.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.try_at(&path, |path| fs::remove_file(path))?;
                }
                Err(error) => return Err(Error::os(errno_of(&error)).at(&path)),
            }
        }
        self.sync()?;
        self.remove_traces()
    }

    fn remove_traces(&self) -> Result<()> {
        // The pointer first: what it points at is whole as long as it is there.
        for name in [CURRENT, LINK] {
            self.try_at(&self.path.join(name), |path| absent_is_fine(fs::remove_file(path)))?;
        }
        for name in [NEW, OLD] {
            self.try_at(&self.path.join(name), |path| absent_is_fine(fs::remove_dir_all(path)))?;
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.try_at(&self.path, |path| match File::open(path)?.sync_all() {
            // Some file systems cannot sync a directory, and need not.
            Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => Ok(()),
            other => other,
        })
    }

    /// An error of `work` is one about the file `name`, whatever it is called meanwhile.
    fn try_as<T>(&self, name: &str, work: impl FnOnce() -> io::Result<T>) -> Result<T> {
        work().map_err(|error| Error::os(errno_of(&error)).at(self.path.join(name)))
    }

    fn try_at<T>(&self, path: &Path, work: impl FnOnce(&Path) -> io::Result<T>) -> Result<T> {
        work(path).map_err(|error| Error::os(errno_of(&error)).at(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // While the lock is held: whoever waits for it sees that the file is gone, and begins anew.
            let _ = fs::remove_file(self.path.join(LOCK));
        }
    }
}

/// Takes the lock of the directory at `path`; `None` where no file can be created in it.
fn lock(path: &Path, system: System<'_>, sink: &dyn Sink) -> Result<Option<File>> {
    let name = path.join(LOCK);
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW);
    let start = system.clock.boottime();
    let mut told = false;
    loop {
        let file = match options.open(&name) {
            Ok(file) => file,
            // The write that comes later says why.
            Err(_) => return Ok(None),
        };
        let held = match flock::try_lock(&file) {
            Ok(held) => held,
            // A file system without locks: two at once are then no worse off than with kmod.
            Err(_) => return Ok(Some(file)),
        };
        let held = held || {
            flock::lock_within(&file, PATIENCE, system.clock).map_err(|errno| Error::os(errno).at(&name))?
        };
        if held && is_still(&file, &name) {
            return Ok(Some(file));
        }
        let waited = system.clock.boottime().saturating_sub(start);
        if waited >= GIVE_UP {
            return Err(Error::new(Errno::ETIMEDOUT, "another depmod does not finish").at(path));
        }
        if waited >= PATIENCE && !std::mem::replace(&mut told, true) {
            let text = crate::bytes!["waiting for another depmod on ", path.as_os_str().as_bytes()];
            sink.log(Priority::Warning, &text);
        }
    }
}

/// Whether `name` is still the file that was opened.
fn is_still(file: &File, name: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(name)) {
        (Ok(open), Ok(present)) => open.dev() == present.dev() && open.ino() == present.ino(),
        _ => false,
    }
}

/// Whether the file at `path` is already what it should be.
fn is_same(path: &Path, contents: &[u8]) -> bool {
    let same = || -> io::Result<bool> {
        let meta = fs::symlink_metadata(path)?;
        let right = meta.is_file()
            && meta.len() == contents.len() as u64
            && meta.mode() & 0o7777 == FILE_MODE
            && meta.uid() == nix::unistd::geteuid().as_raw();
        if !right {
            return Ok(false);
        }
        let mut present = Vec::with_capacity(contents.len());
        File::open(path)?.take(meta.len() + 1).read_to_end(&mut present)?;
        Ok(present == contents)
    };
    same().unwrap_or(false)
}

/// Makes sure that what a file holds is on the disk, and gives it the present time: `depmod -A` compares times, and what
/// is right is as new as what was written.
fn touch(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_data()?;
    let now = TimeSpec::UTIME_NOW;
    Ok(utimensat(AT_FDCWD, path, &now, &now, UtimensatFlags::NoFollowSymlink)?)
}

/// Gives the file at `from`, if there is one, a second name. What is no regular file, or lies where hard links are
/// refused, is copied.
fn keep(from: &Path, to: &Path) -> io::Result<()> {
    let meta = match fs::symlink_metadata(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if meta.is_dir() {
        return Err(io::Error::from_raw_os_error(nix::libc::EISDIR));
    }
    if meta.is_file() && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    match fs::copy(from, to) {
        Ok(_) => File::open(to)?.sync_all(),
        // A link that leads nowhere is as good as no file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn lacks_links(error: &io::Error) -> bool {
    matches!(errno_of(error), Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL)
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
