//! Which process holds a module's lock, for `modprobe --explain`. Reads only: a trial lock would delay the waiters.
//!
//! /proc/locks lists the holders of a lock. The waiters sleep outside flock(2). They are found by having the file open.

use super::dir::GateDir;
use super::record::Record;
use crate::limits;
use crate::name::ModuleName;
use crate::system::file::{names, read_whole};
use crate::system::roots::as_path;
use crate::system::{System, process};
use nix::sys::stat::{major, minor};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// The state of one module's lock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LockState {
    pub holder: Option<Holder>,
    /// The number of other processes that have the lock file open.
    pub waiting: usize,
    /// The last load, if its record is whole.
    pub last: Option<Record>,
}

/// The process that holds the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// 0 for a process in another pid namespace.
    pub pid: i32,
    /// Its name, if it can be read.
    pub program: Option<String>,
    /// When its load began, on `CLOCK_BOOTTIME`. `None` if it has written no record: it removes the module or has just
    /// taken the lock.
    pub since: Option<Duration>,
}

/// The state of the lock of `name`. Empty without a gate directory and for everyone but root.
pub(crate) fn lock_state(system: &System<'_>, name: &ModuleName) -> LockState {
    let Some(file) = GateDir::existing(system.roots).ok().and_then(|directory| directory.read(name).ok())
    else {
        return LockState::default();
    };
    let mut found = LockState { last: Record::read(&file), ..LockState::default() };
    let (Ok(meta), Ok(locks)) = (file.metadata(), read_whole(&system.roots.locks(), limits::TEXT_FILE))
    else {
        return found;
    };
    let inode = format!("{:02x}:{:02x}:{}", major(meta.dev()), minor(meta.dev()), meta.ino());
    let locks = String::from_utf8_lossy(&locks);
    for lock in locks.lines().filter_map(LockLine::parse).filter(|lock| lock.inode == inode) {
        if lock.exclusive {
            let running = found.last.as_ref().filter(|record| record.end.is_none());
            let since = running.map(|record| record.begin);
            let program = process::name(system.roots, lock.pid);
            let program = program.map(|name| String::from_utf8_lossy(&name).into_owned());
            found.holder = Some(Holder { pid: lock.pid, program, since });
        }
    }
    if let Some(holder) = &found.holder {
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let file = (meta.dev(), meta.ino());
        found.waiting = openers(system, file).filter(|pid| *pid != holder.pid && *pid != own).count();
    }
    found
}

/// The processes that have a file open, as far as /proc lets this process see them.
fn openers(system: &System<'_>, file: (u64, u64)) -> impl Iterator<Item = i32> {
    let has = move |pid: &i32| {
        let descriptors = system.roots.process(*pid, "fd");
        let files = names(&descriptors).unwrap_or_default();
        let files = files.iter().map(|name| descriptors.join(as_path(name)));
        files.filter_map(|path| std::fs::metadata(path).ok()).any(|meta| (meta.dev(), meta.ino()) == file)
    };
    process::ids(system.roots).into_iter().filter(has)
}

/// A line of /proc/locks: `1: FLOCK  ADVISORY  WRITE 4711 00:17:815 0 EOF` (proc_locks(5)). Lines with `->` after the
/// number are processes that wait in flock(2). They are ignored, since the gate never waits there.
struct LockLine<'l> {
    exclusive: bool,
    pid: i32,
    /// Device and inode, `MAJOR:MINOR:INODE`.
    inode: &'l str,
}

impl<'l> LockLine<'l> {
    fn parse(line: &'l str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().skip(1);
        if words.next()? != "FLOCK" {
            return None;
        }
        let exclusive = words.nth(1)? == "WRITE";
        Some(LockLine { exclusive, pid: words.next()?.parse().ok()?, inode: words.next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock::Real;
    use crate::system::fake::FakeKernel;
    use crate::system::flock::FileLock;
    use crate::system::roots::Roots;
    use std::fs::File;
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    #[test]
    fn a_held_lock_shows_its_holder_and_a_free_one_nobody() {
        let dir = tempfile::tempdir().unwrap();
        // The real /proc/locks, and a gate directory of the fixture.
        let mut roots = Roots::below(dir.path());
        roots.proc_fs = "/proc".into();
        std::fs::create_dir_all(&roots.run).unwrap();
        let kernel = FakeKernel::new(&roots);
        let system = System { roots: &roots, kernel: &kernel, clock: &Real };
        let name = ModuleName::new(b"xfs").unwrap();
        assert_eq!(lock_state(&system, &name), LockState::default(), "there is no gate");
        let file = GateDir::open(&roots).unwrap().file(&name).unwrap();
        assert_eq!(lock_state(&system, &name), LockState::default());
        let begin = Duration::from_secs(5);
        let record = Record { begin, leader: 1, sequence: 1, ..Record::default() };
        record.write(&file, true).unwrap();
        let _lock = FileLock::try_on(&file).unwrap().unwrap();
        let found = lock_state(&system, &name);
        let holder = found.holder.unwrap();
        assert_eq!((holder.pid, holder.since), (i32::try_from(std::process::id()).unwrap(), Some(begin)));
        assert!(holder.program.is_some());
        assert_eq!((found.waiting, found.last), (0, Some(record)));
        // A waiter is any process that has the file open. It says when it runs: under valgrind, spawn returns before the
        // child has its files.
        let file = File::open(roots.run.join("kmod/gate/xfs")).unwrap();
        let mut waiter = Command::new("sh");
        let waiter = waiter.args(["-c", "echo && exec sleep 60"]).stdin(file).stdout(Stdio::piped());
        let mut waiting = waiter.spawn().unwrap();
        assert_eq!(waiting.stdout.take().unwrap().read(&mut [0; 1]).unwrap(), 1);
        let found = lock_state(&system, &name);
        waiting.kill().unwrap();
        waiting.wait().unwrap();
        assert_eq!(found.waiting, 1);
    }

    #[test]
    fn only_those_who_hold_count() {
        let lock = LockLine::parse("12: FLOCK  ADVISORY  WRITE 4711 fe:01:9 0 EOF").unwrap();
        assert!(lock.exclusive && lock.pid == 4711 && lock.inode == "fe:01:9");
        assert!(LockLine::parse("7: -> FLOCK  ADVISORY  WRITE 12 00:17:815 0 EOF").is_none());
        for other in
            ["1: POSIX  ADVISORY  WRITE 1 00:17:815 0 EOF", "1: FLOCK", "", "1: FLOCK ADVISORY WRITE x y"]
        {
            assert!(LockLine::parse(other).is_none(), "{other}");
        }
    }
}
