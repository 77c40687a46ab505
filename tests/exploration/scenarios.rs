//! The scenarios: participants with their requests, modules, and the faults that may happen.

use crate::world::{Faults, MODULES, TIME_ZERO};
use kmod_once::internals::error::Errno;
use kmod_once::internals::gate::protocol::{Attempt, Ended, Failure, FailureCache, Lock, Purpose};
use std::time::Duration;

/// What happens when a module is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Loads,
    /// Its init always fails with this errno, which may be `EEXIST`.
    Fails(Errno),
    /// Its init fails with this errno the first time.
    FailsFirst(Errno),
    /// Its init fails with this errno if these are the inputs.
    FailsFor(u64, Errno),
    /// It needs a symbol of this module.
    Needs(usize),
    /// The name of its file differs from its own.
    Misnamed,
    /// Its init starts this participant and waits for its end.
    Asks(usize),
}

/// How the calls of a participant fail, apart from the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFault {
    None,
    /// Each fails with `EPERM`.
    NotPermitted,
    /// The first one fails so, for any module.
    Once(Failure),
}

/// One request of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    pub purpose: Purpose,
    pub module: usize,
    /// Whether the request uses the name of the file where it differs from the module's.
    pub by_file: bool,
    pub inputs: u64,
}

/// A participant, which makes its requests one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    pub plan: Vec<Ask>,
    /// Whether it uses the gate. If not, it only calls the kernel.
    pub gate: bool,
    /// Whether the kernel starts it, as a usermode helper.
    pub helper: bool,
    pub call_fault: CallFault,
    pub failure_cache: FailureCache,
}

/// How a kernel answers a load of a module that it has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// 5.10: waits until the module is live or gone, then tries again.
    Old,
    /// 6.1, 6.12: waits while it is coming, then `EEXIST` or `EBUSY`; `EBUSY` if it is going.
    New,
}

/// A lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The gate's file for the module's own name.
    Own(usize),
    /// The gate's file for the name of the module's file.
    ByFile(usize),
    ModuleFile(usize),
}

impl Which {
    pub fn index(self) -> usize {
        match self {
            Which::Own(module) => module,
            Which::ByFile(module) => MODULES + module,
            Which::ModuleFile(module) => 2 * MODULES + module,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: &'static str,
    pub modules: [Kind; MODULES],
    pub people: Vec<Who>,
    pub era: Era,
    /// How many faults of each kind may happen.
    pub faults: Faults,
    /// The first lock that can be used.
    pub start: Lock,
    /// Files that another program has locked for ever.
    pub strangers: Vec<Which>,
    /// The records in the gate's files at the start.
    pub records: Vec<(Which, Attempt)>,
    /// Whether /proc does not say what a leader waits for.
    pub leader_unreadable: bool,
    /// After this many states the search ends.
    pub budget: usize,
    /// Whether it is explored only with `KMOD_ONCE_FULL`.
    pub long: bool,
}

impl Scenario {
    fn new(name: &'static str, first: Kind, people: impl IntoIterator<Item = Who>) -> Self {
        Scenario {
            name,
            modules: [first, Kind::Loads],
            people: people.into_iter().collect(),
            era: Era::New,
            faults: Faults::default(),
            start: Lock::Key,
            strangers: Vec::new(),
            records: Vec::new(),
            leader_unreadable: false,
            budget: 3_000_000,
            long: false,
        }
    }

    fn second(mut self, kind: Kind) -> Self {
        self.modules[1] = kind;
        self
    }

    fn faults(self, faults: Faults) -> Self {
        Scenario { faults, ..self }
    }

    fn old(self) -> Self {
        Scenario { era: Era::Old, ..self }
    }

    fn long(self, budget: usize) -> Self {
        Scenario { long: true, budget, ..self }
    }

    fn at(self, start: Lock) -> Self {
        Scenario { start, ..self }
    }

    fn stranger(mut self, which: Which) -> Self {
        self.strangers.push(which);
        self
    }

    fn record(mut self, this_boot: bool, at: Duration) -> Self {
        let end = Some(Ended { at, failure: Some(Failure { errno: Errno::ENODEV, by_kernel: true }) });
        let attempt = Attempt { this_boot, begin: at, end, inputs: 0, leader: 99, other_name: false };
        self.records.push((Which::Own(0), attempt));
        self
    }

    fn leader_unreadable(self) -> Self {
        Scenario { leader_unreadable: true, ..self }
    }

    /// Whether there are only requests of the gate to load.
    pub fn is_closed(&self) -> bool {
        self.people.iter().all(|who| who.gate && who.plan.iter().all(|ask| ask.purpose != Purpose::Remove))
            && self.start == Lock::Key
            && self.strangers.is_empty()
    }
}

fn ask(purpose: Purpose, module: usize) -> Ask {
    Ask { purpose, module, by_file: false, inputs: 0 }
}

fn load(module: usize) -> Ask {
    ask(Purpose::Load, module)
}

fn need(module: usize) -> Ask {
    ask(Purpose::LoadDependency, module)
}

fn remove(module: usize) -> Ask {
    ask(Purpose::Remove, module)
}

fn by_file(ask: Ask) -> Ask {
    Ask { by_file: true, ..ask }
}

fn with(inputs: u64, ask: Ask) -> Ask {
    Ask { inputs, ..ask }
}

fn who(plan: &[Ask]) -> Who {
    Who {
        plan: plan.to_vec(),
        gate: true,
        helper: false,
        call_fault: CallFault::None,
        failure_cache: FailureCache::None,
    }
}

fn outsider(plan: &[Ask]) -> Who {
    Who { gate: false, ..who(plan) }
}

fn helper(plan: &[Ask]) -> Who {
    Who { helper: true, ..who(plan) }
}

fn with_fault(call_fault: CallFault, who: Who) -> Who {
    Who { call_fault, ..who }
}

fn cpu(who: Who) -> Who {
    Who { failure_cache: FailureCache::NoDevice(Duration::from_secs(30)), ..who }
}

fn failure(errno: Errno, by_kernel: bool) -> CallFault {
    CallFault::Once(Failure { errno, by_kernel })
}

/// All scenarios. Counterexamples and the list of mutants use their names.
pub fn all() -> Vec<Scenario> {
    let none = Faults::default();
    let kill = Faults { kill: 1, ..none };
    let stop = Faults { stop: 1, deadline: 1, ..none };
    let late = Faults { deadline: 1, ..none };
    let lose = Faults { lose: 1, ..none };
    let everything = Faults { kill: 1, stop: 1, deny: 1, lose: 1, deadline: 1 };
    let a = || who(&[load(0)]);
    let dependant = || who(&[need(0), load(1)]);
    let churn = [load(0), remove(0), load(0), remove(0)];
    // After the first request has started and before it reads the record.
    let oldest = TIME_ZERO + Duration::from_nanos(3);
    let future = TIME_ZERO + Duration::from_secs(100_000);
    let again = || who(&[load(0), load(0)]);
    let twice_by_file = || who(&[by_file(load(0)), by_file(load(0))]);
    let once_by_file = || who(&[by_file(load(0))]);
    let enodev = Kind::FailsFirst(Errno::ENODEV);
    vec![
        // No faults.
        Scenario::new("two, then again", Kind::Loads, [again(), again()]),
        Scenario::new("three ask for one", Kind::Loads, [a(), a(), a()]),
        Scenario::new("three ask for one that fails", Kind::Fails(Errno::ENODEV), [a(), a(), a()]),
        Scenario::new("a failure is tried again", Kind::FailsFirst(Errno::EIO), [again(), a()]),
        Scenario::new("a dependency of two", Kind::Loads, [dependant(), dependant()]).second(Kind::Needs(0)),
        Scenario::new("a dependency fails first", enodev, [dependant(), dependant()]).second(Kind::Needs(0)),
        Scenario::new("a symbol comes", Kind::Loads, [who(&[load(1)]), dependant()]).second(Kind::Needs(0)),
        Scenario::new(
            "a symbol comes and goes",
            Kind::Loads,
            [who(&[load(1)]), who(&[need(0), remove(0), load(1)])],
        )
        .second(Kind::Needs(0)),
        Scenario::new(
            "other parameters",
            Kind::FailsFor(1, Errno::ENODEV),
            [who(&[with(1, load(0))]), again()],
        ),
        Scenario::new("init says EEXIST", Kind::Fails(Errno::EEXIST), [again(), a()]),
        Scenario::new("not permitted", Kind::Loads, [with_fault(CallFault::NotPermitted, a()), again()]),
        Scenario::new("no memory", Kind::Loads, [with_fault(failure(Errno::ENOMEM, false), a()), again()]),
        Scenario::new("a file not read", Kind::Loads, [with_fault(failure(Errno::EIO, false), a()), again()]),
        Scenario::new("misnamed", Kind::Misnamed, [once_by_file(), once_by_file(), once_by_file()]),
        Scenario::new("misnamed, both names", Kind::Misnamed, [twice_by_file(), again()]),
        Scenario::new("misnamed, removed", Kind::Misnamed, [twice_by_file(), who(&[load(0), remove(0)])]),
        Scenario::new(
            "loads and removals",
            Kind::Loads,
            [who(&[load(0), remove(0)]), who(&[remove(0), load(0)])],
        ),
        Scenario::new("many CPUs", enodev, [cpu(again()), cpu(a())]),
        Scenario::new("a refusal is forgotten", enodev, [cpu(again())]).faults(late),
        Scenario::new("many CPUs, another failure", Kind::FailsFirst(Errno::EIO), [cpu(again()), cpu(a())]),
        // Processes that do not use the gate.
        Scenario::new("an outsider loads", Kind::Loads, [outsider(&[load(0)]), a(), a()]),
        Scenario::new("an outsider loads, old kernel", Kind::Loads, [outsider(&[load(0)]), a(), a()]).old(),
        Scenario::new("an outsider fails", Kind::FailsFirst(Errno::EIO), [outsider(&[load(0)]), a(), a()]),
        Scenario::new("an outsider loads and removes", Kind::Loads, [outsider(&churn), a()]),
        Scenario::new(
            "an outsider loads and removes, misnamed",
            Kind::Misnamed,
            [outsider(&churn), twice_by_file()],
        ),
        Scenario::new(
            "an outsider's churn, a dependency, late",
            Kind::Loads,
            [outsider(&churn), who(&[need(0)])],
        )
        .faults(late),
        // A module whose init waits for a helper.
        Scenario::new("recursion", Kind::Asks(1), [a(), helper(&[need(0), load(1)]), a()])
            .second(Kind::Needs(0)),
        Scenario::new(
            "recursion, the leader cannot be read",
            Kind::Asks(1),
            [a(), helper(&[need(0), load(1)]), a()],
        )
        .second(Kind::Needs(0))
        .leader_unreadable(),
        Scenario::new("recursion without a gate", Kind::Asks(1), [a(), helper(&[need(0), load(1)]), a()])
            .second(Kind::Needs(0))
            .at(Lock::ModuleFile),
        Scenario::new(
            "recursion of an outsider",
            Kind::Asks(1),
            [outsider(&[load(0)]), helper(&[need(0), load(1)]), a()],
        )
        .second(Kind::Needs(0)),
        Scenario::new("recursion of the target", Kind::Asks(1), [a(), helper(&[load(0)])])
            .faults(Faults { deadline: 2, ..none }),
        Scenario::new("a helper of another", Kind::Asks(1), [a(), helper(&[load(1)]), dependant()]),
        // Records in the gate's files, and strangers that hold locks.
        Scenario::new("another boot", Kind::Loads, [a(), a()]).record(false, oldest),
        Scenario::new("the future", Kind::Loads, [a(), a()]).record(true, future),
        Scenario::new("a stranger at the gate", Kind::Loads, [a(), who(&[need(0)])])
            .stranger(Which::Own(0))
            .faults(late),
        Scenario::new("a stranger at both locks", Kind::Loads, [a(), who(&[remove(0)])])
            .stranger(Which::Own(0))
            .stranger(Which::ModuleFile(0))
            .faults(Faults { deadline: 2, ..none }),
        Scenario::new("no gate", Kind::Loads, [a(), a(), who(&[remove(0)])]).at(Lock::ModuleFile),
        Scenario::new("no gate, fails", enodev, [again(), a()]).at(Lock::ModuleFile),
        Scenario::new("no gate, a stranger", Kind::Loads, [a(), a()])
            .at(Lock::ModuleFile)
            .stranger(Which::ModuleFile(0)),
        Scenario::new("no lock at all", Kind::Loads, [a(), a(), a()]).at(Lock::Nothing),
        // Faults, between any two steps.
        Scenario::new("killed", Kind::Loads, [a(), a(), a()]).faults(kill),
        Scenario::new("killed, fails", enodev, [a(), again()]).faults(kill),
        Scenario::new("killed, misnamed", Kind::Misnamed, [twice_by_file(), once_by_file()]).faults(kill),
        Scenario::new("stopped", Kind::Loads, [a(), a()]).faults(stop),
        Scenario::new("stopped, removed", Kind::Loads, [a(), who(&[remove(0)])]).faults(stop),
        Scenario::new("a deadline passes", Kind::Loads, [a(), a()]).faults(Faults { deadline: 2, ..none }),
        Scenario::new("no lock", enodev, [a(), a()]).faults(Faults { deny: 2, ..none }),
        Scenario::new("/run full", enodev, [again(), a()]).faults(lose),
        Scenario::new("/run full, misnamed", Kind::Misnamed, [once_by_file(), twice_by_file()]).faults(lose),
        Scenario::new("killed, no lock, and /run full", enodev, [a(), a()]).faults(Faults {
            kill: 1,
            deny: 1,
            lose: 1,
            ..none
        }),
        // Longer ones.
        Scenario::new("four ask for one", Kind::Loads, [a(), a(), a(), a()]).long(5_000_000),
        Scenario::new("two and everything", enodev, [a(), a()]).faults(everything).long(3_000_000),
        Scenario::new("a deadline passes for three", Kind::Loads, [a(), a(), a()])
            .faults(late)
            .long(3_000_000),
        Scenario::new(
            "three with other parameters",
            Kind::FailsFor(1, Errno::ENODEV),
            [who(&[with(1, load(0))]), a(), a()],
        )
        .long(3_000_000),
        Scenario::new("three, init says EEXIST", Kind::Fails(Errno::EEXIST), [a(), a(), a()]).long(3_000_000),
        Scenario::new(
            "three loads and removals",
            Kind::Loads,
            [who(&[load(0), remove(0)]), who(&[remove(0), load(0)]), a()],
        )
        .long(3_000_000),
        Scenario::new("three, misnamed, removed", Kind::Misnamed, [twice_by_file(), a(), who(&[remove(0)])])
            .long(3_000_000),
        Scenario::new(
            "a symbol comes and goes for three",
            Kind::Loads,
            [who(&[load(1)]), dependant(), who(&[remove(0)])],
        )
        .second(Kind::Needs(0))
        .long(3_000_000),
        Scenario::new("an outsider's churn and two", Kind::Loads, [outsider(&churn), a(), a()])
            .long(3_000_000),
        Scenario::new("four, one killed", enodev, [a(), a(), a(), a()]).faults(kill).long(3_000_000),
        Scenario::new("three and everything", Kind::Loads, [a(), a(), a()])
            .faults(everything)
            .long(3_000_000),
        Scenario::new("misnamed and everything", Kind::Misnamed, [once_by_file(), twice_by_file()])
            .faults(everything)
            .long(3_000_000),
        Scenario::new("dependants and everything", enodev, [dependant(), dependant()])
            .second(Kind::Needs(0))
            .faults(everything)
            .long(3_000_000),
        Scenario::new("churn and everything", Kind::Loads, [outsider(&churn), a()])
            .faults(everything)
            .long(3_000_000),
    ]
}
