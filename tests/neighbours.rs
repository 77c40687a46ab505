//! Hostile neighbours: what a caller leaves to the program it starts (descriptors, signals, limits, the working directory,
//! the environment, a file mask) must neither turn it against anybody nor keep it from its work.
//!
//! The real program, in a mount namespace with a /run, an /etc and a module directory of its own and without the right to
//! load modules: it goes all the way to the kernel, which refuses. What needs a kernel that does not refuse is in the lab.

#[path = "common/elf.rs"]
mod elf;
#[path = "common/needs.rs"]
mod needs;
#[path = "common/program.rs"]
mod program;

use elf::KoBuilder;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, signal, sigprocmask};
use nix::unistd::{Pid, Uid, setresuid};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The places that a machine has, below a directory of the test's own; they are mounted where they belong.
struct Machine {
    dir: tempfile::TempDir,
}

const PLACES: [(&str, &str); 2] = [("run", "/run"), ("etc", "/etc")];
const NOBODY: u32 = 65534;

impl Machine {
    /// A machine with one module, `a`, without dependencies.
    fn new() -> Self {
        let machine = Machine { dir: tempfile::tempdir().unwrap() };
        // The gate is used only where /run is a file system in memory.
        let none: Option<&str> = None;
        fs::create_dir(machine.path("run")).unwrap();
        mount(none, &machine.path("run"), Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).unwrap();
        // Others must reach what is below it, as they do on a real one.
        fs::set_permissions(machine.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(machine.path("etc")).unwrap();
        // By a process of its own (see tests/process.rs), and to where everybody can start it.
        let copied = Command::new("cp").arg(program::static_program()).arg(machine.path("kmod")).status();
        assert!(copied.unwrap().success());
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let tree = machine.path("lib/modules").join(release.trim());
        fs::create_dir_all(&tree).unwrap();
        fs::create_dir(machine.path("etc/modprobe.d")).unwrap();
        fs::write(tree.join("a.ko"), KoBuilder::new().modinfo("license", "GPL").build()).unwrap();
        fs::write(tree.join("modules.dep"), "a.ko:\n").unwrap();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn configure(&self, text: &str) {
        fs::write(self.path("etc/modprobe.d/test.conf"), text).unwrap();
    }

    fn lock(&self) -> PathBuf {
        self.path("run/kmod/gate/a")
    }

    /// The tool on this machine; `last` is done just before it starts.
    fn tool(
        &self,
        name: &str,
        words: &[&str],
        last: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> Command {
        let mut last = last;
        let mut command = Command::new(self.path("kmod"));
        command.arg0(name);
        if name == "modprobe" {
            command.arg("-d").arg(self.dir.path());
        }
        command.args(words).env_clear().env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let places = PLACES.map(|(from, to)| (self.path(from), to));
        // SAFETY: only system calls are made between fork and exec, on what was made before.
        unsafe {
            command.pre_exec(move || {
                const CAP_SYS_MODULE: libc::c_ulong = 16;
                let none: Option<&str> = None;
                unshare(CloneFlags::CLONE_NEWNS)?;
                mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
                for (from, to) in &places {
                    mount(Some(from), *to, none, MsFlags::MS_BIND, none)?;
                }
                if libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_MODULE, 0, 0, 0) == -1 {
                    return Err(io::Error::last_os_error());
                }
                last()
            });
        }
        command
    }

    /// Runs it to its end.
    fn run(
        &self,
        name: &str,
        words: &[&str],
        last: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> Answer {
        Answer::of(end(self.tool(name, words, last).spawn().unwrap()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = umount2(&self.path("run"), MntFlags::MNT_DETACH);
    }
}

fn nothing() -> io::Result<()> {
    Ok(())
}

/// The end of a process, within a bound.
fn end(mut child: Child) -> Output {
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("hung: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

struct Answer {
    code: Option<i32>,
    signal: Option<i32>,
    out: String,
    err: String,
}

impl Answer {
    fn of(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (code, signal) = (output.status.code(), output.status.signal());
        Answer { code, signal, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// The kernel was asked and refused: everything before it worked.
    #[track_caller]
    fn was_refused_by_the_kernel(&self) {
        let refused = ["Operation not permitted", "Function not implemented"];
        assert!(
            self.code == Some(1) && refused.iter().any(|why| self.err.contains(why)),
            "{:?} {:?} {}",
            self.code,
            self.signal,
            self.err
        );
    }
}

/// A whole record, and nothing else, in a lock file.
#[track_caller]
fn only_a_record(lock: &Path) {
    let bytes = fs::read(lock).unwrap();
    assert_eq!(bytes.len(), 256, "{:?}", String::from_utf8_lossy(&bytes));
    assert_eq!(&bytes[..4], b"KMG2");
    assert!(!bytes.windows(8).any(|word| word == b"modprobe"), "{:?}", String::from_utf8_lossy(&bytes));
}

#[test]
fn no_file_lands_on_a_closed_standard_descriptor() {
    if !needs::root() {
        return;
    }
    for closed in 0..8 {
        let machine = Machine::new();
        fs::create_dir(machine.path("run/kmod")).unwrap();
        fs::write(machine.path("run/kmod/trace"), "").unwrap();
        machine.configure("options a x=1\nnonsense\n");
        let answer = machine.run("modprobe", &["-v", "a"], move || {
            for fd in (0..3).filter(|fd| closed & (1 << fd) != 0) {
                nix::unistd::close(fd)?;
            }
            Ok(())
        });
        assert_eq!(answer.code, Some(1), "{closed:03b}: {:?} {}", answer.signal, answer.err);
        if closed & 4 == 0 {
            answer.was_refused_by_the_kernel();
        }
        only_a_record(&machine.lock());
        let trace = fs::read_to_string(machine.path("run/kmod/gate.trace")).unwrap();
        assert!(trace.starts_with('{') && trace.lines().count() == 1, "{closed:03b}: {trace}");
        assert_eq!(fs::read(machine.path("etc/modprobe.d/test.conf")).unwrap(), b"options a x=1\nnonsense\n");
    }
}

#[test]
fn a_limit_on_the_size_of_files_is_no_signal() {
    if !needs::root() {
        return;
    }
    for limit in [0, 1, 100, 191] {
        let machine = Machine::new();
        fs::create_dir(machine.path("run/kmod")).unwrap();
        fs::write(machine.path("run/kmod/trace"), "").unwrap();
        let no_growth = move || {
            let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
            // SAFETY: the kernel reads one struct rlimit.
            if unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) } == -1 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the default action is no code of ours.
            unsafe { signal(Signal::SIGXFSZ, SigHandler::SigDfl) }?;
            Ok(())
        };
        machine.run("modprobe", &["a"], no_growth).was_refused_by_the_kernel();
        // What it says goes to a file that may not grow: it goes on, and its work with it.
        let said = File::create(machine.path("said")).unwrap();
        let child = machine.tool("modprobe", &["-v", "a"], no_growth).stdout(said).spawn().unwrap();
        Answer::of(end(child)).was_refused_by_the_kernel();
    }
}

#[test]
fn a_command_gets_the_size_signal_back() {
    if !needs::root() {
        return;
    }
    let machine = Machine::new();
    // Field 2 of SigIgn: bit 24 is SIGXFSZ (25), bit 12 SIGPIPE (13).
    machine.configure("install a grep SigIgn /proc/self/status\n");
    let answer = machine.run("modprobe", &["-v", "a"], nothing);
    let ignored = answer.out.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect(&answer.out);
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    assert_eq!(ignored & (1 << 24 | 1 << 12), 0, "{ignored:x}");
}

#[test]
fn few_descriptors_are_told_and_kill_nothing() {
    if !needs::root() {
        return;
    }
    let mut refused = 0;
    for descriptors in 3..12 {
        let machine = Machine::new();
        let answer = machine.run("modprobe", &["a"], move || {
            let limit = libc::rlimit { rlim_cur: descriptors, rlim_max: descriptors };
            // SAFETY: the kernel reads one struct rlimit.
            if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } == -1 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
        assert_eq!(answer.code, Some(1), "{descriptors}: {:?} {}", answer.signal, answer.err);
        assert!(!answer.err.is_empty() && !answer.err.contains("panicked"), "{descriptors}: {}", answer.err);
        refused +=
            usize::from(answer.err.contains("not permitted") || answer.err.contains("not implemented"));
    }
    assert!(refused > 3, "only {refused} came to the kernel");
}

#[test]
fn the_environment_of_somebody_with_fewer_rights_is_not_believed() {
    if !needs::root() {
        return;
    }
    let machine = Machine::new();
    let evil = machine.path("evil");
    fs::create_dir(&evil).unwrap();
    fs::set_permissions(&evil, fs::Permissions::from_mode(0o777)).unwrap();
    let trap = evil.join("id");
    fs::write(&trap, "#!/bin/sh\necho trapped\n").unwrap();
    fs::set_permissions(&trap, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(evil.join("x.conf"), "install a echo trapped\n").unwrap();
    machine.configure("install a id; echo uid $UID_OF_EVIL $MODPROBE_OPTIONS\n");
    let run = |last: fn() -> io::Result<()>| {
        let mut command = machine.tool("modprobe", &["a"], last);
        command.env("PATH", &evil).env("MODPROBE_OPTIONS", format!("-C {}", evil.display()));
        command.env("UID_OF_EVIL", "1").env("KMOD_LOG", "7").env("KMOD_JOBS", "nonsense");
        let answer = Answer::of(end(command.spawn().unwrap()));
        assert_eq!(answer.code, Some(0), "{:?} {}", answer.signal, answer.err);
        (answer.out, answer.err)
    };
    // Root's own environment is taken at its word.
    assert!(run(nothing).0.contains("trapped"), "the trap works");
    // As a set-uid program starts it that keeps its caller's real uid.
    let (out, err) = run(|| Ok(setresuid(Uid::from_raw(NOBODY), Uid::from_raw(0), Uid::from_raw(0))?));
    assert!(out.starts_with("uid=") && out.ends_with("uid\n"), "{out}");
    assert_eq!(err, "");
}

#[test]
fn an_ignored_sigchld_does_not_lose_the_end_of_a_command() {
    if !needs::root() {
        return;
    }
    for (code, wanted) in [(0, 0), (3, 1)] {
        let machine = Machine::new();
        machine.configure(&format!("install a echo ran; exit {code}\n"));
        let answer = machine.run("modprobe", &["a"], || {
            // SAFETY: ignoring a signal installs no code of ours.
            unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }?;
            Ok(())
        });
        assert_eq!((answer.code, answer.out.as_str()), (Some(wanted), "ran\n"), "{}", answer.err);
    }
}

/// Waits until a process sleeps with a lock's file open.
fn until_it_waits(pid: u32, lock: &Path) {
    let begin = Instant::now();
    let file = fs::metadata(lock).unwrap();
    let open = || {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let mut files = descriptors.filter_map(|fd| fs::metadata(fd.path()).ok());
        files.any(|open| (open.dev(), open.ino()) == (file.dev(), file.ino()))
    };
    while !open() || !fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") S ") {
        assert!(begin.elapsed() < Duration::from_secs(60), "it does not wait for the lock");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_waiting_request_ends_at_a_signal_and_leaves_the_lock_free() {
    if !needs::root() {
        return;
    }
    for end_by in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGKILL, Signal::SIGPIPE] {
        let machine = Machine::new();
        machine.run("modprobe", &["a"], nothing).was_refused_by_the_kernel();
        let held = Flock::lock(File::open(machine.lock()).unwrap(), FlockArg::LockExclusive).unwrap();
        // Whoever runs the tests may have them ignored.
        let by_default = || {
            for end_by in [Signal::SIGTERM, Signal::SIGINT] {
                // SAFETY: the default is no code of ours.
                unsafe { signal(end_by, SigHandler::SigDfl) }?;
            }
            Ok(())
        };
        let child = machine.tool("modprobe", &["a"], by_default).spawn().unwrap();
        until_it_waits(child.id(), &machine.lock());
        kill(Pid::from_raw(child.id().try_into().unwrap()), end_by).unwrap();
        let answer = Answer::of(end(child));
        assert_eq!(answer.signal, Some(end_by as i32), "{:?} {}", answer.code, answer.err);
        drop(held);
        let probe = File::open(machine.lock()).unwrap();
        assert!(
            Flock::lock(probe, FlockArg::LockExclusiveNonblock).is_ok(),
            "{end_by}: somebody has the lock"
        );
    }
}

#[test]
fn blocked_and_ignored_signals_do_not_make_a_wait_endless() {
    if !needs::root() {
        return;
    }
    let machine = Machine::new();
    machine.run("modprobe", &["a"], nothing).was_refused_by_the_kernel();
    let held = Flock::lock(File::open(machine.lock()).unwrap(), FlockArg::LockExclusive).unwrap();
    let child = machine
        .tool("modprobe", &["a"], || {
            // SAFETY: ignoring a signal installs no code of ours.
            unsafe { signal(Signal::SIGALRM, SigHandler::SigIgn) }?;
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
            Ok(())
        })
        .spawn()
        .unwrap();
    let pid = child.id();
    until_it_waits(pid, &machine.lock());
    // It looks around every half second: it is seen to wait anew, in another slice.
    let switches = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    let before = switches();
    let begin = Instant::now();
    while switches() < before + 2 {
        assert!(begin.elapsed() < Duration::from_secs(60), "nothing breaks its wait off");
        std::thread::sleep(Duration::from_millis(5));
    }
    // SIGALRM from somebody else is no end either.
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGALRM).unwrap();
    drop(held);
    Answer::of(end(child)).was_refused_by_the_kernel();
}

#[test]
fn a_working_directory_that_is_gone_or_closed_is_no_obstacle() {
    if !needs::root() {
        return;
    }
    let machine = Machine::new();
    let gone = machine.path("gone");
    let child = {
        fs::create_dir(&gone).unwrap();
        let gone = gone.clone();
        let mut command = machine.tool("modprobe", &["a"], move || {
            nix::unistd::chdir(&gone)?;
            std::fs::remove_dir(&gone)
        });
        command.spawn().unwrap()
    };
    Answer::of(end(child)).was_refused_by_the_kernel();
    fs::create_dir(&gone).unwrap();
    let answer = machine.run("insmod", &["./a.ko"], move || {
        nix::unistd::chdir(&gone)?;
        std::fs::remove_dir(&gone)
    });
    assert_eq!(answer.code, Some(1));
    assert!(answer.err.contains("No such file"), "{}", answer.err);
    // Nobody's own, and closed to him.
    let closed = machine.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let answer = machine.run("modprobe", &["-D", "a"], move || {
        nix::unistd::chdir(&closed)?;
        let nobody = Uid::from_raw(NOBODY);
        Ok(setresuid(nobody, nobody, nobody)?)
    });
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""));
}

#[test]
fn a_file_mask_neither_opens_nor_closes_the_gate() {
    if !needs::root() {
        return;
    }
    for mask in [0o000, 0o777] {
        let machine = Machine::new();
        let masked = move || {
            nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_retain(mask));
            Ok(())
        };
        machine.run("modprobe", &["a"], masked).was_refused_by_the_kernel();
        let mode = |name: &str| fs::metadata(machine.path(name)).unwrap().mode() & 0o777;
        let modes = [mode("run/kmod"), mode("run/kmod/gate"), mode("run/kmod/gate/a")];
        assert_eq!(modes, [0o755, 0o700, 0o600], "with the mask {mask:o}");
    }
}

#[test]
fn nobody_learns_nothing_and_leaves_nothing() {
    if !needs::root() {
        return;
    }
    let machine = Machine::new();
    let as_nobody = || {
        let nobody = Uid::from_raw(NOBODY);
        Ok(setresuid(nobody, nobody, nobody)?)
    };
    // /run is root's, and the gate is not there yet: nobody cannot make it.
    machine.run("modprobe", &["a"], as_nobody).was_refused_by_the_kernel();
    assert_eq!(fs::read_dir(machine.path("run")).unwrap().count(), 0);
    machine.run("modprobe", &["a"], nothing).was_refused_by_the_kernel();
    only_a_record(&machine.lock());
    let before = fs::read(machine.lock()).unwrap();
    machine.run("modprobe", &["a"], as_nobody).was_refused_by_the_kernel();
    assert_eq!(fs::read(machine.lock()).unwrap(), before);
    let answer = machine.run("kmod", &["stats"], as_nobody);
    assert!(answer.code == Some(1) && answer.err.contains("Permission denied"), "{}", answer.err);
}
