//! The protocol with threads for processes and a fixture for sysfs. The lab repeats the essential ones on real
//! kernels.

use super::*;
use crate::log::Kept;
use crate::system::clock::Real;
use crate::system::fake::FakeKernel;
use crate::system::flock::Wait;
use crate::system::{Clock, Kernel, Roots};
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
        let kernel = FakeKernel::new(&roots);
        Fixture { dir, roots, kernel, sink: Kept::default(), settings: Settings::default() }
    }

    fn system(&self) -> System<'_> {
        System { roots: &self.roots, kernel: &self.kernel, clock: &Real, wait: Wait::Alarm }
    }

    fn gate(&self) -> Gate<'_> {
        self.gate_on(self.system())
    }

    fn gate_on<'f>(&'f self, system: System<'f>) -> Gate<'f> {
        Gate::with_settings(system, &self.sink, trace::Origin::default(), self.settings.clone())
    }

    fn request(&self, gate: &Gate<'_>, arrival: Duration, inputs: u64) -> Result<Outcome> {
        use std::os::fd::AsFd;
        let file = File::open(self.dir.path().join("m.ko")).unwrap();
        let key = ModuleName::new(b"m").unwrap();
        let load = Load {
            key: &key,
            arrival,
            inputs,
            bytes: 20,
            file: &file,
            dependency: false,
            remember: false,
            request: b"m",
        };
        gate.load(&load, &mut || self.kernel.finit_module(file.as_fd(), c"", 0).map_err(Error::os))
    }

    /// `count` requests at once, each through a gate of its own like a process; every other one waits as the library
    /// does.
    fn storm(&self, count: usize, inputs: impl Fn(usize) -> u64 + Sync) -> Vec<Result<Outcome>> {
        let barrier = Barrier::new(count);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..count)
                .map(|index| {
                    let (barrier, inputs) = (&barrier, &inputs);
                    scope.spawn(move || {
                        let wait = [Wait::Alarm, Wait::Poll][index % 2];
                        let gate = self.gate_on(System { wait, ..self.system() });
                        let arrival = Real.boottime();
                        barrier.wait();
                        self.request(&gate, arrival, inputs(index))
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
    assert_eq!(fixture.request(&gate, Real.boottime(), 1), Ok(Outcome::Loaded));
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
    *fixture.kernel.answers.lock().unwrap() = vec![Some(Errno::ENODEV)];
    fixture.settings.failure_ttl = Duration::from_secs(60);
    let gate = fixture.gate();
    assert!(fixture.request(&gate, Real.boottime(), 1).is_err());
    let later = Real.boottime() + Duration::from_millis(1);
    let file = File::open(fixture.dir.path().join("m.ko")).unwrap();
    let key = ModuleName::new(b"m").unwrap();
    let mut load = Load {
        key: &key,
        arrival: later,
        inputs: 1,
        bytes: 0,
        file: &file,
        dependency: false,
        remember: true,
        request: b"m",
    };
    std::thread::sleep(Duration::from_millis(2));
    let calls = AtomicU32::new(0);
    let mut call = || {
        calls.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    assert_eq!(gate.load(&load, &mut call).unwrap_err().errno(), Errno::ENODEV);
    load.remember = false;
    assert_eq!(gate.load(&load, &mut call), Ok(Outcome::Loaded));
    assert_eq!(calls.into_inner(), 1);
}

#[test]
fn past_the_bound_a_stopped_leader_is_not_waited_for() {
    let mut fixture = Fixture::new();
    fixture.settings.holder_bound = Duration::from_millis(80);
    let room = Room::open(&fixture.roots).unwrap();
    let stopped = room.file(&ModuleName::new(b"m").unwrap()).unwrap();
    assert!(try_lock(&stopped, Mode::Exclusive).unwrap());
    Record::default().write(&stopped, true).unwrap();
    // All of them pass the bound together; the lock on the module file still makes it one call.
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
    let room = Room::open(&fixture.roots).unwrap();
    let dead = room.file(&ModuleName::new(b"m").unwrap()).unwrap();
    assert!(try_lock(&dead, Mode::Exclusive).unwrap());
    Record { sequence: 3, inputs: 1, ..Record::default() }.write(&dead, true).unwrap();
    drop(dead);
    assert_eq!(fixture.request(&fixture.gate(), Duration::ZERO, 1), Ok(Outcome::Loaded));
    assert_eq!(fixture.calls(), 1);
}

#[test]
fn a_module_that_others_load_is_waited_for_and_not_called() {
    let fixture = Fixture::new();
    fixture.kernel.set_state("m", "coming");
    std::thread::scope(|scope| {
        let request = scope.spawn(|| fixture.request(&fixture.gate(), Real.boottime(), 1));
        std::thread::sleep(Duration::from_millis(30));
        fixture.kernel.set_state("m", "live");
        assert_eq!(request.join().unwrap(), Ok(Outcome::Joined));
    });
    assert_eq!(fixture.calls(), 0);
}

#[test]
fn eexist_is_success_when_the_module_is_live() {
    let fixture = Fixture::new();
    let file = File::open(fixture.dir.path().join("m.ko")).unwrap();
    let key = ModuleName::new(b"m").unwrap();
    let load = Load {
        key: &key,
        arrival: Duration::ZERO,
        inputs: 1,
        bytes: 0,
        file: &file,
        dependency: false,
        remember: false,
        request: b"m",
    };
    let raced = fixture.gate().load(&load, &mut || {
        fixture.kernel.set_state("m", "live");
        Err(Error::os(Errno::EEXIST))
    });
    assert_eq!(raced, Ok(Outcome::Joined));
    fixture.kernel.remove("m");
    let gone = fixture.gate().load(&load, &mut || Err(Error::os(Errno::EEXIST)));
    assert_eq!(gone.unwrap_err().errno(), Errno::EEXIST);
}

#[test]
fn without_a_room_the_module_file_is_the_lock() {
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
    assert_eq!(fixture.request(&fixture.gate(), Real.boottime(), 1), Ok(Outcome::Loaded));
    assert_eq!(std::fs::read_dir(&fixture.roots.run).unwrap().count(), 0);
}

#[test]
fn the_trace_names_the_asker() {
    let mut fixture = Fixture::new();
    fixture.settings.trace = true;
    assert_eq!(fixture.request(&fixture.gate(), Real.boottime(), 1), Ok(Outcome::Loaded));
    let (askers, broken) = stats::who(&fixture.system()).unwrap();
    assert_eq!((askers.len(), broken), (1, 0));
    assert_eq!(askers[0].1.modules["m"], 1);
}

#[test]
fn without_sysfs_proc_modules_tells() {
    let fixture = Fixture::new();
    std::fs::remove_dir_all(&fixture.roots.sys_fs).unwrap();
    std::fs::create_dir(&fixture.roots.proc_fs).unwrap();
    let lines = "other 1 0 - Live 0x0\nm 4096 0 - Live 0x0\nslow 4096 1 - Loading 0x0\n";
    std::fs::write(fixture.roots.proc_modules(), lines).unwrap();
    let gate = fixture.gate();
    assert_eq!(gate.state(b"m"), State::Live);
    assert_eq!(gate.state(b"slow"), State::Coming);
    assert_eq!(gate.state(b"absent"), State::Absent);
}

#[test]
fn who_waits_long_looks_around_seldom() {
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
    let mut fixture = Fixture::new();
    fixture.kernel.init_takes = Duration::from_secs(3);
    // So that this process is seen not to be the kernel's.
    fixture.roots.proc_fs = "/proc".into();
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| fixture.request(&fixture.gate(), Real.boottime(), 1));
        while fixture.calls() == 0 {
            std::thread::yield_now();
        }
        for wait in [Wait::Alarm, Wait::Poll] {
            let fixture = &fixture;
            scope.spawn(move || {
                let clock = Counting(AtomicU32::new(0));
                let gate = fixture.gate_on(System { wait, clock: &clock, ..fixture.system() });
                assert_eq!(fixture.request(&gate, Real.boottime(), 1), Ok(Outcome::Joined));
                // After 0.1, 0.3, 0.7, 1.5 s: each look asks at most four times.
                let asked = clock.0.load(Ordering::Relaxed);
                assert!(asked <= 4 * 4 + 8, "{wait:?}: asked for the time {asked} times");
            });
        }
        assert_eq!(leader.join().unwrap(), Ok(Outcome::Loaded));
    });
}
