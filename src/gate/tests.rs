//! The gate with threads in place of processes and a fixture in place of sysfs. `tests/lab` repeats the most important
//! cases on real kernels.

use super::*;
use crate::gate;
use crate::log::Kept;
use crate::system::clock::Real;
use crate::system::fake::FakeKernel;
use crate::system::flock::FileLock;
use crate::system::sysfs::State;
use crate::system::{Clock, Kernel, Roots};
use record::Record;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};

struct Fixture {
    dir: tempfile::TempDir,
    roots: Roots,
    kernel: FakeKernel,
    sink: Kept,
    settings: Settings,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::below(dir.path());
        std::fs::create_dir(&roots.run).unwrap();
        std::fs::write(dir.path().join("m.ko"), "not read by the fake").unwrap();
        let random = roots.boot_id();
        std::fs::create_dir_all(random.parent().unwrap()).unwrap();
        std::fs::write(random, "6fd5a44b-35f4-4ad4-a9b9-6b9be13e1fe9\n").unwrap();
        let kernel = FakeKernel::new(&roots);
        Fixture { dir, roots, kernel, sink: Kept::default(), settings: Settings::default() }
    }

    fn system(&self) -> System<'_> {
        System { roots: &self.roots, kernel: &self.kernel, clock: &Real }
    }

    fn gate(&self) -> Gate<'_> {
        self.gate_on(self.system())
    }

    fn gate_on<'f>(&'f self, system: System<'f>) -> Gate<'f> {
        Gate::with_settings(system, &self.sink, trace::Origin::default(), self.settings)
    }

    /// One request for the module `m`, whose kernel call is `call`.
    fn ask(
        &self,
        gate: &Gate<'_>,
        asks: Asks<'_>,
        call: &mut dyn FnMut() -> Result<(), Errno>,
    ) -> Result<Outcome> {
        let file = File::open(self.dir.path().join("m.ko")).unwrap();
        let key = ModuleName::new(b"m").unwrap();
        let load = Load {
            key: &key,
            since: Real.boottime(),
            inputs: asks.inputs,
            file_digest: 7,
            bytes: 20,
            file: &file,
            dependency: false,
            remember: asks.remember,
            request: asks.words,
            budget: &WaitBudget::new(&gate.system),
        };
        gate.load(&load, &mut Calls(call, asks.own_name))
    }

    fn request(&self, gate: &Gate<'_>, inputs: u64) -> Result<Outcome> {
        use std::os::fd::AsFd;
        let file = File::open(self.dir.path().join("m.ko")).unwrap();
        let asks = Asks { inputs, ..Asks::default() };
        self.ask(gate, asks, &mut || self.kernel.finit_module(file.as_fd(), c"", 0))
    }

    /// `count` requests at once, each with its own gate, as processes have.
    fn storm(&self, count: usize, inputs: impl Fn(usize) -> u64 + Sync) -> Vec<Result<Outcome>> {
        let barrier = Barrier::new(count);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..count)
                .map(|index| {
                    let (barrier, inputs) = (&barrier, &inputs);
                    scope.spawn(move || {
                        let gate = self.gate();
                        barrier.wait();
                        self.request(&gate, inputs(index))
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    fn calls(&self) -> usize {
        self.kernel.calls.lock().unwrap().len()
    }
}

#[derive(Clone, Copy)]
struct Asks<'a> {
    inputs: u64,
    remember: bool,
    words: &'a [u8],
    own_name: &'a str,
}

impl Default for Asks<'_> {
    fn default() -> Self {
        Asks { inputs: 1, remember: false, words: b"m", own_name: "m" }
    }
}

struct Calls<'c>(&'c mut dyn FnMut() -> Result<(), Errno>, &'c str);

impl Work for Calls<'_> {
    fn call(&mut self) -> Result<(), CallError> {
        self.0().map_err(CallError::by_kernel)
    }

    fn own_name(&mut self) -> Option<ModuleName> {
        ModuleName::new(self.1.as_bytes())
    }
}

#[test]
fn a_storm_for_one_module_is_one_call() {
    let mut fixture = Fixture::new();
    fixture.kernel.init_takes = Duration::from_millis(100);
    let results = fixture.storm(32, |_| 1);
    assert_eq!(fixture.calls(), 1);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(results.iter().filter(|r| **r == Ok(Outcome::Loaded)).count(), 1);
    let stats = stats::read(&fixture.system()).unwrap();
    assert_eq!(stats.total().loads, 1);
    assert_eq!(stats.total().joined, 31);
    assert_eq!(stats.total().bytes_saved, 31 * 20);
}

#[test]
fn an_overlapping_failure_is_shared_and_a_later_request_tries_again() {
    let mut fixture = Fixture::new();
    fixture.kernel.init_takes = Duration::from_millis(200);
    *fixture.kernel.answers.lock().unwrap() = vec![Some(Errno::ENODEV)];
    let results = fixture.storm(16, |_| 1);
    assert_eq!(fixture.calls(), 1);
    assert!(results.iter().all(|r| r.as_ref().is_err_and(|e| e.errno() == Errno::ENODEV)), "{results:?}");
    let gate = fixture.gate();
    assert_eq!(fixture.request(&gate, 1), Ok(Outcome::Loaded));
    assert_eq!(fixture.calls(), 2);
}

#[test]
fn other_inputs_are_not_answered_with_a_shared_failure() {
    let mut fixture = Fixture::new();
    fixture.kernel.init_takes = Duration::from_millis(50);
    *fixture.kernel.answers.lock().unwrap() = vec![Some(Errno::EINVAL); 4];
    let results = fixture.storm(4, |index| index as u64);
    assert_eq!(fixture.calls(), 4);
    assert!(!fixture.kernel.overlapped());
    assert!(results.iter().all(Result::is_err));
}

#[test]
fn a_failure_is_remembered_only_when_asked_for() {
    let mut fixture = Fixture::new();
    fixture.settings.failure_ttl = Duration::from_secs(60);
    let gate = fixture.gate();
    let calls = AtomicU32::new(0);
    let mut fails = || {
        calls.fetch_add(1, Ordering::SeqCst);
        Err(Errno::ENOEXEC)
    };
    let asks = Asks { remember: true, ..Asks::default() };
    for (asks, made) in [(asks, 1), (asks, 1), (Asks::default(), 2)] {
        let failed = fixture.ask(&gate, asks, &mut fails).unwrap_err();
        assert_eq!((failed.errno(), calls.load(Ordering::SeqCst)), (Errno::ENOEXEC, made));
    }
}

#[test]
fn what_one_cpu_was_refused_all_are() {
    let fixture = Fixture::new();
    let gate = fixture.gate();
    let calls = AtomicU32::new(0);
    let cpu = Asks { words: b"cpu:type:x86,ven0000fam0006mod0055:feature:,0000", ..Asks::default() };
    for (errno, asks, made) in [
        (Errno::ENODEV, cpu, 1),
        (Errno::ENODEV, cpu, 1),
        (Errno::ENODEV, Asks::default(), 2),
        (Errno::ENOEXEC, Asks { inputs: 2, ..cpu }, 3),
        (Errno::ENOEXEC, Asks { inputs: 2, ..cpu }, 4),
    ] {
        let mut call = || {
            calls.fetch_add(1, Ordering::SeqCst);
            Err(errno)
        };
        assert_eq!(fixture.ask(&gate, asks, &mut call).unwrap_err().errno(), errno);
        assert_eq!(calls.load(Ordering::SeqCst), made);
    }
}

#[test]
fn a_module_of_another_name_than_its_file_is_called_once() {
    let fixture = Fixture::new();
    let gate = fixture.gate();
    let asks = Asks { own_name: "real", ..Asks::default() };
    let calls = AtomicU32::new(0);
    let mut call = || {
        calls.fetch_add(1, Ordering::SeqCst);
        if gate::is_live(&fixture.system(), b"real") {
            return Err(Errno::EEXIST);
        }
        fixture.kernel.set_state("real", "live");
        Ok(())
    };
    assert_eq!(fixture.ask(&gate, asks, &mut call), Ok(Outcome::Loaded));
    assert_eq!(fixture.ask(&fixture.gate(), asks, &mut call), Ok(Outcome::Joined));
    // Loaded by a process that left no record: the kernel answers EEXIST, and the file tells the name.
    std::fs::remove_dir_all(fixture.roots.run.join("kmod")).unwrap();
    assert_eq!(fixture.ask(&fixture.gate(), asks, &mut call), Ok(Outcome::Joined));
    assert_eq!(fixture.ask(&fixture.gate(), asks, &mut call), Ok(Outcome::Joined));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    // After its removal it is loaded under the lock of its own name.
    fixture.kernel.remove("real");
    assert_eq!(fixture.ask(&fixture.gate(), asks, &mut call), Ok(Outcome::Loaded));
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    let directory = GateDir::existing(&fixture.roots).unwrap();
    let mut names = directory.modules().unwrap();
    names.sort();
    assert_eq!(names, [b"m".as_slice(), b"real"].map(|name| ModuleName::new(name).unwrap()));
}

#[test]
fn an_init_that_says_eexist_is_asked_once() {
    let fixture = Fixture::new();
    let calls = AtomicU32::new(0);
    let mut call = || {
        calls.fetch_add(1, Ordering::SeqCst);
        Err(Errno::EEXIST)
    };
    for made in 1..4 {
        let said = fixture.ask(&fixture.gate(), Asks::default(), &mut call).unwrap_err();
        assert_eq!((said.errno(), calls.load(Ordering::SeqCst)), (Errno::EEXIST, made));
    }
}

#[test]
fn a_number_without_a_name_is_shared_as_it_is() {
    let mut fixture = Fixture::new();
    fixture.kernel.init_takes = Duration::from_millis(200);
    *fixture.kernel.answers.lock().unwrap() = vec![Some(Errno::new(517))];
    let results = fixture.storm(4, |_| 1);
    assert_eq!(fixture.calls(), 1);
    assert!(results.iter().all(|r| r.as_ref().is_err_and(|e| e.errno() == Errno::new(517))), "{results:?}");
}

#[test]
fn a_record_of_another_boot_is_not_believed() {
    let mut fixture = Fixture::new();
    fixture.settings.failure_ttl = Duration::from_secs(60);
    let asks = Asks { remember: true, ..Asks::default() };
    assert!(fixture.ask(&fixture.gate(), asks, &mut || Err(Errno::ENODEV)).is_err());
    std::fs::write(fixture.roots.boot_id(), "00000000-35f4-4ad4-a9b9-6b9be13e1fe9\n").unwrap();
    assert_eq!(fixture.ask(&fixture.gate(), asks, &mut || Ok(())), Ok(Outcome::Loaded));
}

#[test]
fn past_the_bound_a_stopped_leader_is_not_waited_for() {
    let mut fixture = Fixture::new();
    fixture.settings.timeout = Duration::from_millis(80);
    let directory = GateDir::open(&fixture.roots).unwrap();
    let stopped = directory.file(&ModuleName::new(b"m").unwrap()).unwrap();
    let _lock = FileLock::try_on(&stopped).unwrap().unwrap();
    Record::default().write(&stopped, true).unwrap();
    // All deadlines pass together. The lock on the module file still makes it one call.
    let results = fixture.storm(8, |_| 1);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(fixture.calls(), 1);
    let warnings = fixture.sink.take();
    assert!(warnings.iter().any(|(_, text)| text.starts_with(b"m: waited 0 s")), "{warnings:?}");
    assert!(stats::read(&fixture.system()).unwrap().total().bounds >= 1);
}

#[test]
fn a_leader_that_died_leaves_nothing_to_clean_up() {
    let fixture = Fixture::new();
    let directory = GateDir::open(&fixture.roots).unwrap();
    let dead = directory.file(&ModuleName::new(b"m").unwrap()).unwrap();
    // A process that dies does not unlock; the kernel does when it closes the file.
    std::mem::forget(FileLock::try_on(&dead).unwrap().unwrap());
    Record { sequence: 3, inputs: 1, ..Record::default() }.write(&dead, true).unwrap();
    drop(dead);
    assert_eq!(fixture.request(&fixture.gate(), 1), Ok(Outcome::Loaded));
    assert_eq!(fixture.calls(), 1);
}

#[test]
fn a_module_that_others_load_is_waited_for_and_not_called() {
    let fixture = Fixture::new();
    fixture.kernel.set_state("m", "coming");
    std::thread::scope(|scope| {
        let request = scope.spawn(|| fixture.request(&fixture.gate(), 1));
        std::thread::sleep(Duration::from_millis(30));
        fixture.kernel.set_state("m", "live");
        assert_eq!(request.join().unwrap(), Ok(Outcome::Joined));
    });
    assert_eq!(fixture.calls(), 0);
}

#[test]
fn eexist_is_success_when_the_module_is_live() {
    let fixture = Fixture::new();
    let raced = fixture.ask(&fixture.gate(), Asks::default(), &mut || {
        fixture.kernel.set_state("m", "live");
        Err(Errno::EEXIST)
    });
    assert_eq!(raced, Ok(Outcome::Joined));
    fixture.kernel.remove("m");
    let gone = fixture.ask(&fixture.gate(), Asks::default(), &mut || Err(Errno::EEXIST));
    assert_eq!(gone.unwrap_err().errno(), Errno::EEXIST);
}

#[test]
fn without_a_directory_the_module_file_is_the_lock() {
    for broken in ["missing", "link"] {
        let mut fixture = Fixture::new();
        fixture.kernel.init_takes = Duration::from_millis(50);
        std::fs::remove_dir(&fixture.roots.run).unwrap();
        if broken == "link" {
            std::fs::create_dir_all(fixture.roots.run.join("kmod")).unwrap();
            std::os::unix::fs::symlink(fixture.dir.path(), fixture.roots.run.join("kmod/gate")).unwrap();
        }
        let results = fixture.storm(8, |_| 1);
        assert!(results.iter().all(Result::is_ok), "{broken}: {results:?}");
        assert_eq!(fixture.calls(), 1, "{broken}");
        let warned = !fixture.sink.take().is_empty();
        assert_eq!(warned, broken == "link");
    }
}

#[test]
fn switched_off_it_writes_nothing() {
    let mut fixture = Fixture::new();
    fixture.settings.enabled = false;
    assert_eq!(fixture.request(&fixture.gate(), 1), Ok(Outcome::Loaded));
    assert_eq!(std::fs::read_dir(&fixture.roots.run).unwrap().count(), 0);
}

#[test]
fn the_trace_names_the_asker() {
    let mut fixture = Fixture::new();
    fixture.settings.trace = true;
    fixture.kernel.init_takes = Duration::from_millis(20);
    assert_eq!(fixture.request(&fixture.gate(), 1), Ok(Outcome::Loaded));
    let (lines, _) = trace::read(&fixture.system()).unwrap();
    let line = &lines[0];
    // The fixture has no /proc/PID/stat, so the process may be one that the kernel started.
    assert_eq!((line.module.as_str(), line.kernel, line.dependency, line.served), ("m", true, false, false));
    assert!(line.called >= Duration::from_millis(20) && line.waited.is_zero(), "{line:?}");
    let (askers, broken) = stats::by_requester(&fixture.system()).unwrap();
    assert_eq!((askers.len(), broken), (1, 0));
    assert_eq!(askers[0].1.modules["m"], 1);
}

#[test]
fn a_fifo_in_place_of_the_trace_is_not_used() {
    let mut fixture = Fixture::new();
    fixture.settings.trace = true;
    let path = fixture.roots.run.join("kmod").join(trace::FILE);
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Neither without a reader nor with one.
    assert_eq!(fixture.request(&fixture.gate(), 1), Ok(Outcome::Loaded));
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    assert_eq!(fixture.request(&fixture.gate(), 1), Ok(Outcome::Joined));
    let mut polled = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&file), nix::poll::PollFlags::POLLIN)];
    assert_eq!(
        nix::poll::poll(&mut polled, nix::poll::PollTimeout::ZERO),
        Ok(0),
        "a stranger read the trace"
    );
    assert_eq!(trace::read(&fixture.system()).unwrap_err().what(), "not a regular file");
}

#[test]
fn without_sysfs_proc_modules_tells() {
    let fixture = Fixture::new();
    std::fs::remove_dir_all(&fixture.roots.sys_fs).unwrap();
    let lines = "other 1 0 - Live 0x0\nm 4096 0 - Live 0x0\nslow 4096 1 - Loading 0x0\n";
    std::fs::write(fixture.roots.proc_modules(), lines).unwrap();
    let states = ["m", "slow", "absent"].map(|name| super::look::look(&fixture.system(), name.as_bytes()));
    assert_eq!(states, [State::Live, State::Coming, State::Absent]);
}

#[test]
fn in_a_long_wait_one_follower_looks_every_half_second() {
    struct Counting(AtomicU32);
    impl Clock for Counting {
        fn boottime(&self) -> Duration {
            self.0.fetch_add(1, Ordering::Relaxed);
            Real.boottime()
        }

        fn sleep(&self, time: Duration) {
            Real.sleep(time);
        }
    }
    for followers in [1, 8] {
        let mut fixture = Fixture::new();
        fixture.kernel.init_takes = Duration::from_secs(3);
        // The real /proc shows that the kernel did not start this process.
        fixture.roots.proc_fs = "/proc".into();
        let (clock, begin) = (Counting(AtomicU32::new(0)), Real.boottime());
        std::thread::scope(|scope| {
            let leader = scope.spawn(|| fixture.request(&fixture.gate(), 1));
            while fixture.calls() == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            for _ in 0..followers {
                scope.spawn(|| {
                    let gate = fixture.gate_on(System { clock: &clock, ..fixture.system() });
                    assert_eq!(fixture.request(&gate, 1), Ok(Outcome::Joined));
                });
            }
            assert_eq!(leader.join().unwrap(), Ok(Outcome::Loaded));
        });
        // Each looks at the beginning, after 0.1 s and at the end, and one of them every half second. A look reads the clock
        // eight or nine times.
        let half_seconds = ((Real.boottime() - begin).as_millis() / 500) as u32;
        let (asked, looks) = (clock.0.load(Ordering::Relaxed), 3 * followers + half_seconds);
        assert!(asked <= 9 * looks, "{followers} asked for the time {asked} times in {looks} looks");
    }
}

#[test]
fn followers_take_turns() {
    const SECOND: u64 = 1_000_000_000;
    let five = 5 * SECOND;
    let mut last = 0;
    let turns: Vec<u64> = (0..12)
        .map(|_| {
            last = protocol::next_turn(last, 100 * SECOND, five);
            last - 100 * SECOND
        })
        .collect();
    let half_seconds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10].map(|turn| turn * SECOND / 2);
    assert_eq!(turns, half_seconds);
    assert_eq!(protocol::next_turn(last, 103 * SECOND, five), 105 * SECOND + SECOND / 2, "behind the others");
    assert_eq!(protocol::next_turn(u64::MAX, 100 * SECOND, five), 105 * SECOND, "no time of this boot");
}
