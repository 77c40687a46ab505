//! The model world: the kernel's modules, lock files, a clock, and participants, each with the machine of its request. A step is
//! one action of a participant or one fault.

use crate::fingerprint::{Canon, FIRST_ID, fingerprint};
use crate::kernel::{Module, Stage};
use crate::mutants::{Mutant, Order};
use crate::scenarios::{Ask, Kind, Scenario, Which, Who};
use kmod_once::internals::error::Errno;
use kmod_once::internals::gate::protocol::{
    Action, Attempt, Ended, Failure, Guard, Lock, Machine, Relation, Rules,
};
use kmod_once::internals::system::sysfs::State;
use std::hash::Hash;
use std::time::Duration;

/// The number of modules.
pub const MODULES: usize = 2;
/// The start of the clock. Every other number is less, so the fingerprint knows times by their size.
pub const TIME_ZERO: Duration = Duration::from_secs(1 << 40);
/// How long a participant waits in total (`kmod.gate_timeout`).
pub const PATIENCE: Duration = Duration::from_secs(50);
/// The difference between the deadlines of two participants, so that each deadline passes in a step of its own.
pub const APART: Duration = Duration::from_secs(1);
/// The same for the ends of the waits for a module file. It shrinks each time, so that setting one does not pass another.
pub const NEARLY: Duration = Duration::from_millis(100);
/// The time of one step. All steps together take far less than the shortest time of the protocol.
pub const TICK: Duration = Duration::from_nanos(1);

/// How many faults of each kind may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Faults {
    pub kill: u8,
    /// A participant is stopped for ever. One that continues later needs no fault: every participant may be slow.
    pub stop: u8,
    /// A lock cannot be opened or tried, or a futex cannot be read.
    pub deny: u8,
    /// A record cannot be written.
    pub lose: u8,
    /// A deadline passes.
    pub deadline: u8,
}

/// All rules of the machine but this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Without(pub Option<Guard>);

impl Rules for Without {
    fn hold(self, guard: Guard) -> bool {
        self.0 != Some(guard)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    Person(u8),
    Stranger,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct File {
    pub holder: Option<Holder>,
    pub record: Option<Attempt>,
    pub futex: u32,
    /// Whether its holder died before it woke the followers.
    pub silent: bool,
}

/// The next thing that a participant does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum At {
    /// A helper that has not been started.
    Dormant,
    Start,
    Do(Action),
    /// In a mutant: it reads the futex, and then sleeps.
    BeforeSleep(Duration),
    Kernel(Stage),
    Done,
}

#[derive(Debug, Clone, Copy)]
pub struct Person {
    pub at: At,
    /// The index of its present request.
    pub turn: u8,
    pub machine: Option<Machine<Without>>,
    pub deadline: Duration,
    pub since: Duration,
    /// When its wait for the lock of the module file ends.
    pub bound: Option<Duration>,
    /// The result of its last call.
    pub answer: Option<Option<Failure>>,
    /// The module's state at its last look, since it took the lock or made its last call.
    pub looked: Option<State>,
    pub calls: u8,
    /// 1 if after its call it saw the module coming or going, 2 if it then saw it absent.
    pub transition: u8,
    /// The failures that it may report: those of [`Scene::possible_failures`] at any moment of this request.
    pub own_failures: u8,
    /// The steps that it made after its deadline.
    pub late: u8,
    /// The sleeps of this request that no wake ended.
    pub slices: u8,
    /// Whether nobody has woken those at its lock since its last sleep ended by time.
    pub unwoken: bool,
    pub stopped: bool,
    pub killed: bool,
    /// Whether a lock failed in this request.
    pub denied: bool,
    /// Whether it had its failure of [`CallFault::Once`](crate::scenarios::CallFault).
    pub had_failure: bool,
    /// Whether its call may overlap with those of others.
    pub may_overlap: bool,
    /// In a mutant: the record that it writes too late.
    pub unwritten: Option<(Duration, Option<Ended>)>,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A participant does its next thing.
    Act(u8),
    /// Its sleep ends by time.
    Slice(u8),
    /// The kernel gives up waiting for a symbol of a module that is coming.
    GiveUp(u8),
    Kill(u8),
    Stop(u8),
    Deny(u8),
    Lose(u8),
    /// The clock goes to the next deadline.
    Deadline,
    /// The clock goes to the next end of a wait for a module file.
    Bound,
}

#[derive(Debug, Clone)]
pub struct World {
    pub now: Duration,
    pub modules: [Module; MODULES],
    pub files: [File; 3 * MODULES],
    pub people: Vec<Person>,
    pub left: Faults,
    /// The number of deadlines and of ends of waits for a module file that were set.
    pub set: (u32, u32),
    /// Whether there was a fault. Then calls are no longer counted.
    pub had_fault: bool,
}

/// What does not change during an exploration.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    pub scenario: &'a Scenario,
    pub mutant: Option<Mutant>,
}

impl Scene<'_> {
    pub fn who(&self, person: usize) -> &Who {
        &self.scenario.people[person]
    }

    pub fn ask(&self, person: usize, world: &World) -> Ask {
        self.who(person).plan[world.people[person].turn as usize]
    }

    pub fn is(&self, order: Order) -> bool {
        self.mutant == Some(Mutant::Order(order))
    }

    /// The lock file that stands for `lock` in a request.
    pub fn file(&self, ask: Ask, lock: Lock) -> Option<Which> {
        match lock {
            Lock::Key if self.is_misnamed(ask) => Some(Which::ByFile(ask.module)),
            Lock::Key | Lock::Own => Some(Which::Own(ask.module)),
            Lock::ModuleFile => Some(Which::ModuleFile(ask.module)),
            Lock::Nothing => None,
        }
    }

    /// Whether a request uses another name than the kernel does.
    pub fn is_misnamed(&self, ask: Ask) -> bool {
        ask.by_file && self.scenario.modules[ask.module] == Kind::Misnamed
    }

    pub fn begin(&self) -> World {
        let person = |who: &Who| Person {
            at: if who.helper { At::Dormant } else { At::Start },
            turn: 0,
            machine: None,
            deadline: Duration::ZERO,
            since: Duration::ZERO,
            bound: None,
            answer: None,
            looked: None,
            calls: 0,
            transition: 0,
            own_failures: 0,
            late: 0,
            slices: 0,
            unwoken: false,
            stopped: false,
            killed: false,
            denied: false,
            had_failure: false,
            may_overlap: false,
            unwritten: None,
        };
        let mut world = World {
            now: TIME_ZERO,
            modules: Default::default(),
            files: Default::default(),
            people: self.scenario.people.iter().map(person).collect(),
            left: self.scenario.faults,
            set: (0, 0),
            had_fault: false,
        };
        for which in &self.scenario.strangers {
            world.files[which.index()].holder = Some(Holder::Stranger);
        }
        for (which, attempt) in &self.scenario.records {
            world.files[which.index()].record = Some(*attempt);
        }
        world
    }

    /// All steps that can happen next.
    pub fn steps(&self, world: &World, steps: &mut Vec<Step>) {
        steps.clear();
        for (index, person) in world.people.iter().enumerate() {
            let p = index as u8;
            let inside = matches!(person.at, At::Kernel(stage) if !matches!(stage, Stage::Back(..)));
            if matches!(person.at, At::Dormant | At::Done) {
                continue;
            }
            // A signal stops and kills a process when it comes back from the kernel.
            if person.stopped && !inside {
                continue;
            }
            match person.at {
                At::Do(Action::Sleep(futex, _)) => {
                    let woken = futex.is_some_and(|futex| futex != self.futex(world, index));
                    steps.push(if woken { Step::Act(p) } else { Step::Slice(p) });
                }
                At::Kernel(stage) => {
                    if self.can_go_on(world, index, stage) {
                        steps.push(Step::Act(p));
                    } else if self.can_give_up(world, index, stage) {
                        steps.push(Step::GiveUp(p));
                    }
                }
                _ => steps.push(Step::Act(p)),
            }
            if !self.who(index).gate || person.killed || person.at == At::Start {
                continue;
            }
            if world.left.deny > 0
                && matches!(person.at, At::Do(Action::Open(_) | Action::TryLock | Action::ReadFutex))
            {
                steps.push(Step::Deny(p));
            }
            if world.left.lose > 0 && matches!(person.at, At::Do(Action::Write(..))) {
                steps.push(Step::Lose(p));
            }
            if world.left.kill > 0 {
                steps.push(Step::Kill(p));
            }
            if world.left.stop > 0 && !person.stopped {
                steps.push(Step::Stop(p));
            }
        }
        let alive = world.people.iter().any(|p| !matches!(p.at, At::Done | At::Dormant) && !p.killed);
        if world.left.deadline > 0 && alive {
            steps.push(Step::Deadline);
        }
        if self.next_bound(world).is_some() {
            steps.push(Step::Bound);
        }
    }

    pub fn next_bound(&self, world: &World) -> Option<Duration> {
        let asleep = |p: &&Person| matches!(p.at, At::Do(Action::Sleep(..)));
        world.people.iter().filter(asleep).filter_map(|p| p.bound).filter(|bound| *bound > world.now).min()
    }

    /// The futex of the lock file that this participant uses.
    pub fn futex(&self, world: &World, index: usize) -> u32 {
        self.at_file(world, index).map_or(0, |file| world.files[file.index()].futex)
    }

    /// The lock file that this participant uses.
    pub fn at_file(&self, world: &World, index: usize) -> Option<Which> {
        let machine = world.people[index].machine.as_ref()?;
        self.file(self.ask(index, world), machine.lock())
    }

    /// The state of the module in /sys/module under the names that the participant knows.
    pub fn look(&self, world: &World, index: usize) -> State {
        let ask = self.ask(index, world);
        let knows = world.people[index].machine.is_some_and(|machine| machine.knows_other_name());
        if self.is_misnamed(ask) && !knows {
            return State::Absent;
        }
        world.modules[ask.module].seen()
    }

    pub fn relation(&self, world: &World, index: usize, leader: Option<i32>) -> Relation {
        let leader = leader.and_then(|leader| world.people.get((leader - FIRST_ID) as usize));
        match leader {
            _ if !self.who(index).helper => Relation::Unrelated,
            Some(leader) if leader.at != At::Done && !self.scenario.leader_unreadable => match leader.at {
                At::Kernel(Stage::Init(module)) if self.waits_for_a_helper(world, module) => {
                    Relation::MayBeAwaited
                }
                _ => Relation::NotAwaited,
            },
            _ => Relation::Unknown,
        }
    }

    pub fn waits_for_a_helper(&self, world: &World, module: usize) -> bool {
        match self.scenario.modules[module] {
            Kind::Asks(helper) => {
                world.modules[module].seen() == State::Coming && world.people[helper].at != At::Done
            }
            _ => false,
        }
    }

    /// The first participant with the same plan. A helper is the only member of its group, since a module starts it by index.
    fn group(&self, index: usize) -> usize {
        let who = self.who(index);
        let same = |other: &Who| other == who && !who.helper;
        self.scenario.people.iter().position(same).unwrap_or(index)
    }

    pub fn fingerprint(&self, world: &World) -> u64 {
        fingerprint(|canon| {
            (world.now, world.left, world.had_fault).hash(canon);
            world.modules.hash(canon);
            for file in &world.files {
                let holder = match file.holder {
                    None => -1,
                    Some(Holder::Stranger) => -2,
                    Some(Holder::Person(person)) => FIRST_ID + i32::from(person),
                };
                (holder, file.record, file.silent).hash(canon);
            }
            for (index, person) in world.people.iter().enumerate() {
                canon.futex = self.futex(world, index);
                canon.person(self.group(index), |canon| person.feed(canon));
            }
        })
    }
}

impl Person {
    fn feed(&self, canon: &mut Canon) {
        std::mem::discriminant(&self.at).hash(canon);
        match self.at {
            // The length of a sleep does not matter.
            At::Do(Action::Sleep(futex, _)) => (1000_i32, futex).hash(canon),
            At::Do(action) => action.hash(canon),
            At::Kernel(stage) => stage.hash(canon),
            _ => {}
        }
        let small = u64::from(self.turn) | u64::from(self.own_failures) << 8 | u64::from(self.late) << 16;
        (small, self.calls, self.transition, self.slices).hash(canon);
        (self.machine, self.deadline, self.since, self.bound, self.looked, self.answer).hash(canon);
        (self.stopped, self.killed, self.denied, self.had_failure, self.may_overlap, self.unwoken)
            .hash(canon);
        self.unwritten.hash(canon);
    }
}

/// The bit of an error in [`Person::own_failures`].
pub fn bit(errno: Errno) -> u8 {
    match errno {
        Errno::ENODEV => 1,
        Errno::EIO => 2,
        Errno::ENOENT => 4,
        Errno::EPERM => 8,
        Errno::ENOMEM => 16,
        Errno::EEXIST => 32,
        Errno::EBUSY => 64,
        _ => 128,
    }
}
