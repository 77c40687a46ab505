//! Replaces files of a directory, each by one rename(2): at any time, also after a crash, each is the whole old or new file.
//!
//! ```text
//! 1  .depmod.X         written, for every X that changes
//! 2  .depmod.X         synced: errors of the disk are found before a file is replaced
//! 3  .depmod.X -> X    renamed, in the order of the caller
//! 4  the directory     synced
//! ```
//!
//! A file whose content would not change only gets a new time. All files get the same modification time, that of the run's
//! beginning: `depmod -A` takes files of different times for the work of different runs. The next process overwrites the
//! `.depmod.X` that a killed one left.
//!
//! One process at a time does this. It locks `.depmod.lock`, which only its owner can open. A lock on the directory itself
//! could be held by everyone who may read the directory.

use super::{System, file, flock};
use crate::error::{Errno, Error, Result};
use crate::log::{Priority, Sink};
use nix::libc;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const LOCK: &str = ".depmod.lock";

/// The permissions of the files, independent of the umask: every user's modprobe reads them.
const FILE_MODE: u32 = 0o644;

/// The wait for another process after which a warning is logged.
const WARN_AFTER: Duration = Duration::from_secs(2);
/// The longest wait for another process: a depmod takes seconds, on slow disks a minute.
const LOCK_TIMEOUT: Duration = Duration::from_secs(600);
/// How long the locked file may differ from the one at its path; then the run goes on. Some file systems change inodes.
const MISMATCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The pauses between these checks; each is twice the one before.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Creates a file that must not exist, with the permissions `mode`, independent of the umask.
pub(crate) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

/// A directory that this process has locked. Dropping it removes the lock file, if that is still at its path, and unlocks it.
#[derive(Debug)]
pub(crate) struct LockedDirectory {
    path: PathBuf,
    /// `None` if no file can be created in the directory. Then no file can be replaced either.
    lock: Option<File>,
}

impl LockedDirectory {
    /// Locks the directory at `path`; waits while another process holds the lock.
    ///
    /// A directory that cannot be written to is no error here: [`LockedDirectory::replace`] then fails with the reason.
    ///
    /// # Errors
    /// `ETIMEDOUT` if the other process keeps the lock for too long; the errno of opening the directory.
    pub(crate) fn open(path: &Path, system: System<'_>, sink: &dyn Sink) -> Result<Self> {
        fs::read_dir(path).map_err(|error| Error::from(error).at(path))?;
        Ok(LockedDirectory { path: path.to_path_buf(), lock: lock(path, system, sink)? })
    }

    /// Creates the directory at `path` and its missing parents, with permissions that the umask reduces.
    pub(crate) fn create(path: &Path) -> Result<()> {
        DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(|e| Error::from(e).at(path))
    }

    /// Replaces files, given as names and contents, in this order. `time` becomes their modification time.
    ///
    /// # Errors
    /// The errno of the failed system call, with the path. No file has been replaced, except if a rename or the sync of the
    /// directory failed: then the files renamed before are the new ones.
    pub(crate) fn replace(&self, files: &[(&str, &[u8])], time: SystemTime) -> Result<()> {
        let (same, changed): (Vec<_>, Vec<_>) =
            files.iter().partition(|(name, contents)| is_up_to_date(&self.path.join(name), contents));
        self.replace_changed(&changed, time).inspect_err(|_| {
            // A temporary file that cannot be removed is overwritten by the next run.
            changed.iter().for_each(|(name, _)| drop(fs::remove_file(self.temporary(name))));
        })?;
        same.iter().try_for_each(|(name, _)| self.with_path(name, || touch(&self.path.join(name), time)))
    }

    fn replace_changed(&self, changed: &[&(&str, &[u8])], time: SystemTime) -> Result<()> {
        let mut written = Vec::new();
        for (name, contents) in changed {
            written.push((name, self.with_path(name, || write_new(&self.temporary(name), contents, time))?));
        }
        // Sync after all writes, so that the disk can work on all files at once.
        for (name, file) in written {
            self.with_path(name, || file.sync_all())?;
        }
        for (name, _) in changed {
            self.with_path(name, || fs::rename(self.temporary(name), self.path.join(name)))?;
        }
        if changed.is_empty() {
            return Ok(());
        }
        match file::open(&self.path)?.sync_all() {
            // Some file systems cannot sync a directory.
            Err(error) if Errno::of(&error) == Errno::EINVAL => Ok(()),
            result => result.map_err(|error| Error::from(error).at(&self.path)),
        }
    }

    /// Where the file `name` is until it is renamed.
    fn temporary(&self, name: &str) -> PathBuf {
        self.path.join(format!(".depmod.{name}"))
    }

    /// Adds the path of `name` to an error of `work`, which may work on the temporary file.
    fn with_path<T, E: Into<Error>>(&self, name: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T> {
        work().map_err(|error| error.into().at(self.path.join(name)))
    }
}

impl Drop for LockedDirectory {
    fn drop(&mut self) {
        let name = self.path.join(LOCK);
        if self.lock.as_ref().is_some_and(|lock| file::is_same(lock.metadata(), fs::symlink_metadata(&name)))
        {
            // While the lock is held: a waiter then finds that its file is not at the path any more, and opens the new one.
            let _ = fs::remove_file(name);
        }
    }
}

/// Locks the directory at `path`; `None` if no file can be created in it.
fn lock(path: &Path, system: System<'_>, sink: &dyn Sink) -> Result<Option<File>> {
    let name = path.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let start = system.clock.boottime();
    let mut warned = false;
    // Since when every file that was locked without waiting differed from the one at the path.
    let mut mismatch: Option<Duration> = None;
    let mut pause = SHORTEST_PAUSE;
    loop {
        // The later write fails with the reason.
        let Ok(file) = options.open(&name) else { return Ok(None) };
        // The file system has no locks. kmod takes none either.
        let Ok(mut held) = flock::try_lock(&file) else { return Ok(Some(file)) };
        if !held {
            (mismatch, pause) = (None, SHORTEST_PAUSE);
            held = flock::lock_within(&file, WARN_AFTER, system.clock)
                .map_err(|errno| Error::os(errno).at(&name))?;
        }
        let now = system.clock.boottime();
        let waited = now.saturating_sub(start);
        if held {
            let since = *mismatch.get_or_insert(now);
            let is_at_path = file::is_same(file.metadata(), fs::symlink_metadata(&name));
            if is_at_path || now.saturating_sub(since) >= MISMATCH_TIMEOUT {
                return Ok(Some(file));
            }
            system.clock.sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if waited >= LOCK_TIMEOUT {
            return Err(Error::new(Errno::ETIMEDOUT, "another depmod does not finish").at(path));
        }
        if waited >= WARN_AFTER && !std::mem::replace(&mut warned, true) {
            let text = crate::log::bytes!["waiting for another depmod on ", path.as_os_str().as_bytes()];
            sink.log(Priority::Warning, &text);
        }
    }
}

/// Writes a temporary file; one that a killed process left is removed first.
fn write_new(path: &Path, contents: &[u8], time: SystemTime) -> io::Result<File> {
    fs::remove_file(path).or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
    let mut file = create_new(path, FILE_MODE)?;
    file.write_all(contents)?;
    file.set_modified(time)?;
    Ok(file)
}

/// Whether the file at `path` has this content, and the type, mode and owner of a new one.
fn is_up_to_date(path: &Path, contents: &[u8]) -> bool {
    let same = || -> Result<bool> {
        let meta = fs::symlink_metadata(path)?;
        let right = meta.is_file()
            && meta.len() == contents.len() as u64
            && meta.mode() & 0o7777 == FILE_MODE
            && meta.uid() == nix::unistd::geteuid().as_raw();
        Ok(right && file::read_to_end(&file::open(path)?, path, meta.len(), contents.len())? == contents)
    };
    same().unwrap_or(false)
}

/// Syncs a file that is up to date, and gives it the time of those that were written.
fn touch(path: &Path, time: SystemTime) -> Result<()> {
    let file = file::open(path)?;
    file.sync_data()?;
    Ok(file.set_modified(time)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Silent;
    use crate::system::fake::FakeKernel;
    use crate::system::{Clock, Roots};
    use std::sync::Mutex;

    /// A clock that puts a new file at the path of the lock whenever it is read, until `until`. Sleeping takes no time.
    struct Replacing {
        lock: PathBuf,
        until: Duration,
        /// The time, and how often it was read.
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

    /// Opens a directory: how long that takes, how often the clock is read, and whether the locked file is at its path.
    fn open_while_replaced(until: Duration) -> (Duration, u32, bool) {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join(LOCK);
        let clock = Replacing { lock: lock.clone(), until, state: Mutex::default() };
        let roots = Roots::default();
        let kernel = FakeKernel::new(&roots);
        let system = System { roots: &roots, kernel: &kernel, clock: &clock };
        let directory = LockedDirectory::open(dir.path(), system, &Silent).unwrap();
        let locked = directory.lock.as_ref().unwrap();
        let ours = file::is_same(locked.metadata(), fs::symlink_metadata(&lock));
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
        assert!(!ours && took < MISMATCH_TIMEOUT + LONGEST_PAUSE && looks < 70, "{took:?}, {looks} looks");
    }

    #[test]
    fn what_a_killed_run_left_is_overwritten_and_nothing_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".depmod.a"), "half").unwrap();
        fs::write(dir.path().join("b"), "old").unwrap();
        fs::write(dir.path().join("same"), "same").unwrap();
        let directory = LockedDirectory { path: dir.path().to_path_buf(), lock: None };
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 5);
        directory.replace(&[("a", b"new a"), ("b", b"new b"), ("same", b"same")], time).unwrap();
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a", "b", "same"]);
        for name in ["a", "b", "same"] {
            assert_eq!(fs::metadata(dir.path().join(name)).unwrap().modified().unwrap(), time, "{name}");
        }
        assert_eq!(fs::read(dir.path().join("b")).unwrap(), b"new b");
        // If the last file cannot be written, none is replaced.
        fs::create_dir(dir.path().join(".depmod.b")).unwrap();
        let error = directory.replace(&[("a", b"newer a"), ("b", b"newer b")], time).unwrap_err();
        assert!(error.to_string().contains("/b: "), "{error}");
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"new a");
        assert!(!dir.path().join(".depmod.a").exists());
    }
}
