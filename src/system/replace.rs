//! Replacing files of a directory one by one, each by one rename: at every moment and after any crash each is the old one
//! or the new one, and whole.
//!
//! ```text
//! 1  .depmod.X    written, for every X that changes
//! 2  .depmod.X    synced: a disk that is full, or broken, shows before anything is replaced
//! 3  .depmod.X -> X    renamed, one after the other in the order that is asked for
//! 4  the directory is synced
//! ```
//!
//! A file whose content would not change is not touched but for its times. A run that was killed leaves its `.depmod.X`,
//! over which the next one writes.
//!
//! One process at a time does this: it holds a lock on `.depmod.lock`, a file that only its owner can open, since a lock
//! on the directory itself could be held by everyone who may read it.

use super::System;
use super::flock;
use crate::error::{Errno, Error, Result};
use crate::log::{Priority, Sink};
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const LOCK: &str = ".depmod.lock";

/// The permissions of what is written, whatever the umask: everybody's modprobe reads it.
const FILE_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o755;

/// After this long a wait for another process is told.
const PATIENCE: Duration = Duration::from_secs(2);
/// After this long it is given up: a depmod takes seconds, on slow disks a minute.
const GIVE_UP: Duration = Duration::from_secs(600);
/// For this long a locked file may be another one than its path says, then the lock counts as none: there are file systems
/// whose inode numbers do not hold.
const DISAGREEMENT: Duration = Duration::from_secs(5);
/// The pauses between looks in it; each is twice the one before.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Creates a file that must not exist yet, with these permissions whatever the umask.
pub(crate) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

/// A directory whose files are being replaced, by this process alone.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// `None` where the directory takes no file; nothing can be replaced then either.
    lock: Option<File>,
}

impl Directory {
    /// Waits until no other process works on the directory at `path`.
    ///
    /// A directory that cannot be written to is opened all the same: [`Directory::replace`] then says why not.
    ///
    /// # Errors
    /// `ETIMEDOUT` where another process does not finish; what the system said where there is no such directory.
    pub(crate) fn open(path: &Path, system: System<'_>, sink: &dyn Sink) -> Result<Self> {
        let at = |error: io::Error| Error::os(Errno::of(&error)).at(path);
        fs::read_dir(path).map_err(at)?;
        Ok(Directory { path: path.to_path_buf(), lock: lock(path, system, sink)? })
    }

    /// Creates the directory at `path` and those above it, as far as they are missing.
    pub(crate) fn create(path: &Path) -> Result<()> {
        let result = DirBuilder::new().recursive(true).mode(DIR_MODE).create(path);
        result.map_err(|error| Error::os(Errno::of(&error)).at(path))
    }

    /// Replaces the files of these names by these contents, in this order.
    ///
    /// # Errors
    /// What the system said, with the path it was about. The files are then as they were, unless it was a rename or the
    /// sync of the directory that failed: those before it are the new ones then.
    pub(crate) fn replace(&self, files: &[(&str, &[u8])]) -> Result<()> {
        let (same, changed): (Vec<_>, Vec<_>) =
            files.iter().partition(|(name, contents)| is_same(&self.path.join(name), contents));
        let done = self.replace_changed(&changed);
        if done.is_err() {
            // What cannot be removed either is overwritten by the next run.
            changed.iter().for_each(|(name, _)| drop(fs::remove_file(self.temporary(name))));
        }
        done?;
        same.iter().try_for_each(|(name, _)| self.try_as(name, || touch(&self.path.join(name))))
    }

    fn replace_changed(&self, changed: &[&(&str, &[u8])]) -> Result<()> {
        let mut written = Vec::new();
        for (name, contents) in changed {
            written.push((name, self.try_as(name, || write_new(&self.temporary(name), contents))?));
        }
        // All are on their way to the disk before the first is waited for.
        for (name, file) in written {
            self.try_as(name, || file.sync_all())?;
        }
        for (name, _) in changed {
            self.try_as(name, || fs::rename(self.temporary(name), self.path.join(name)))?;
        }
        if changed.is_empty() { Ok(()) } else { self.sync() }
    }

    /// Where the file `name` is until it is renamed.
    fn temporary(&self, name: &str) -> PathBuf {
        self.path.join(format!(".depmod.{name}"))
    }

    fn sync(&self) -> Result<()> {
        let sync = || match File::open(&self.path)?.sync_all() {
            // Some file systems cannot sync a directory, and need not.
            Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => Ok(()),
            other => other,
        };
        sync().map_err(|error| Error::os(Errno::of(&error)).at(&self.path))
    }

    /// An error of `work` is one about the file `name`, whatever it is called meanwhile.
    fn try_as<T>(&self, name: &str, work: impl FnOnce() -> io::Result<T>) -> Result<T> {
        work().map_err(|error| Error::os(Errno::of(&error)).at(self.path.join(name)))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let name = self.path.join(LOCK);
        if self.lock.as_ref().is_some_and(|lock| is_still(lock, &name)) {
            // While the lock is held: a process that waits for it finds the file gone, and starts again.
            let _ = fs::remove_file(name);
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
    // Since when each file that was free when it was locked was another one than the path said by then.
    let mut disagree: Option<Duration> = None;
    let mut pause = SHORTEST_PAUSE;
    loop {
        let file = match options.open(&name) {
            Ok(file) => file,
            // The write that comes later says why.
            Err(_) => return Ok(None),
        };
        let mut held = match flock::try_lock(&file) {
            Ok(held) => held,
            // A file system without locks: two at once are then no worse off than with kmod.
            Err(_) => return Ok(Some(file)),
        };
        if !held {
            (disagree, pause) = (None, SHORTEST_PAUSE);
            held = flock::lock_within(&file, PATIENCE, system.clock)
                .map_err(|errno| Error::os(errno).at(&name))?;
        }
        let now = system.clock.boottime();
        let waited = now.saturating_sub(start);
        if held {
            let since = *disagree.get_or_insert(now);
            if is_still(&file, &name) || now.saturating_sub(since) >= DISAGREEMENT {
                return Ok(Some(file));
            }
            system.clock.sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if waited >= GIVE_UP {
            return Err(Error::new(Errno::ETIMEDOUT, "another depmod does not finish").at(path));
        }
        if waited >= PATIENCE && !std::mem::replace(&mut told, true) {
            let text = crate::log::bytes!["waiting for another depmod on ", path.as_os_str().as_bytes()];
            sink.log(Priority::Warning, &text);
        }
    }
}

/// Writes a file, in place of what a killed run left.
fn write_new(path: &Path, contents: &[u8]) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_new(path, FILE_MODE)?;
    file.write_all(contents)?;
    Ok(file)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Silent;
    use crate::system::fake::FakeKernel;
    use crate::system::{Clock, Roots};
    use std::sync::Mutex;

    /// A clock whose every look puts another file at the path of the lock, until `until`. Sleeping takes no time.
    struct Replacing {
        lock: PathBuf,
        until: Duration,
        /// The time, and how often somebody looked.
        state: Mutex<(Duration, u32)>,
    }

    impl Clock for Replacing {
        fn boottime(&self) -> Duration {
            let mut state = self.state.lock().unwrap();
            state.1 += 1;
            if state.0 < self.until {
                let other = self.lock.with_extension("other");
                fs::write(&other, "").and_then(|()| fs::rename(other, &self.lock)).unwrap();
            }
            state.0
        }

        fn sleep(&self, time: Duration) {
            self.state.lock().unwrap().0 += time;
        }
    }

    /// How long it takes to open a directory, how many looks at the clock, and whether the lock is then at its path.
    fn open_while_replaced(until: Duration) -> (Duration, u32, bool) {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join(LOCK);
        let clock = Replacing { lock: lock.clone(), until, state: Mutex::default() };
        let roots = Roots::default();
        let kernel = FakeKernel::new(&roots);
        let system = System { roots: &roots, kernel: &kernel, clock: &clock };
        let directory = Directory::open(dir.path(), system, &Silent).unwrap();
        let ours = is_still(directory.lock.as_ref().unwrap(), &lock);
        drop(directory);
        assert_eq!(lock.exists(), !ours, "a lock file that is another's stays");
        let (took, looks) = clock.state.into_inner().unwrap();
        (took, looks, ours)
    }

    #[test]
    fn a_lock_file_that_is_not_at_its_path_is_asked_for_seldom_and_not_for_ever() {
        let (took, looks, ours) = open_while_replaced(Duration::from_secs(1));
        assert!(ours && took >= Duration::from_secs(1) && looks < 25, "{took:?}, {looks} looks");
        let (took, looks, ours) = open_while_replaced(Duration::MAX);
        assert!(!ours && took < DISAGREEMENT + LONGEST_PAUSE && looks < 70, "{took:?}, {looks} looks");
    }

    #[test]
    fn what_a_killed_run_left_is_overwritten_and_nothing_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".depmod.a"), "half").unwrap();
        fs::write(dir.path().join("b"), "old").unwrap();
        let directory = Directory { path: dir.path().to_path_buf(), lock: None };
        directory.replace(&[("a", b"new a"), ("b", b"new b")]).unwrap();
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(fs::read(dir.path().join("b")).unwrap(), b"new b");
        // The last one cannot be written: none is replaced.
        fs::create_dir(dir.path().join(".depmod.b")).unwrap();
        let error = directory.replace(&[("a", b"newer a"), ("b", b"newer b")]).unwrap_err();
        assert!(error.to_string().contains("/b: "), "{error}");
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"new a");
        assert!(!dir.path().join(".depmod.a").exists());
    }
}
