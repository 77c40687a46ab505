//! The model world: a kernel's modules, lock files, a clock, and participants, each with the machine of its request. A step is
//! what one of them does at one moment, or something that befalls it.

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

/// How many modules a world has.
pub const MODULES: usize = 2;
/// Greater than every other number in a world: times are told from numbers by it.
pub const TIME_ZERO: Duration = Duration::from_secs(1 << 40);
/// How long a participant waits in all (`kmod.gate_timeout`).
pub const PATIENCE: Duration = Duration::from_secs(50);
/// How much later the deadline of whoever starts later is: each passes by itself.
pub const APART: Duration = Duration::from_secs(1);
/// The same for the bounds of waiting for a module file, less each time: none passes because another is set.
pub const NEARLY: Duration = Duration::from_millis(100);
/// What a step takes. All of them together stay far below the least bound of the protocol.
pub const TICK: Duration = Duration::from_nanos(1);

/// Everything that may go wrong, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Faults {
    pub kill: u8,
    /// Stopped for good. Who is continued later is but slow, and all are as slow as can be.
    pub stop: u8,
    /// A lock cannot be opened or tried, or a futex cannot be read.
    pub deny: u8,
    /// A record cannot be written.
    pub lose: u8,
    /// A deadline passes.
    pub deadline: u8,
}

/// The machine's rules, or all but one of them.
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
    /// Whether one who held it died before it woke the others.
    pub silent: bool,
}

/// What a participant is about to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum At {
    /// A helper that nobody has started.
    Dormant,
    Start,
    Do(Action),
    /// A mutant's: about to read the futex, and to sleep then.
    Drowsy(Duration),
    Kernel(Stage),
    Done,
}

#[derive(Debug, Clone, Copy)]
pub struct Person {
    pub at: At,
    /// Which of its requests it is at.
    pub turn: u8,
    pub machine: Option<Machine<Without>>,
    pub deadline: Duration,
    pub since: Duration,
    /// When waiting for the lock of the module file ends.
    pub bound: Option<Duration>,
    /// What its last call gave.
    pub answer: Option<Option<Failure>>,
    /// The last look since the lock was taken or the last call was made.
    pub looked: Option<State>,
    pub calls: u8,
    /// After its call the module was seen to come or go (1), and then to be gone (2).
    pub transition: u8,
    /// The failures that a call of its own would have had at some moment of this request, as bits.
    pub doom: u8,
    /// Steps made when it should have come to an end.
    pub late: u8,
    /// Sleeps that nobody ended, in this request.
    pub slices: u8,
    pub stopped: bool,
    pub killed: bool,
    /// It was refused a lock in this request.
    pub denied: bool,
    /// Its luck is used up.
    pub spent: bool,
    /// It is in the kernel with leave to be there with others.
    pub excused: bool,
    /// What a mutant writes too late.
    pub unwritten: Option<(Duration, Option<Ended>)>,
}

/// One step of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A participant does what it is about to do.
    Act(u8),
    /// Its sleep ends, and nobody woke it.
    Slice(u8),
    /// The kernel gives up waiting for a symbol of a module that is coming.
    GiveUp(u8),
    Kill(u8),
    Stop(u8),
    Deny(u8),
    Lose(u8),
    /// The clock goes to the next deadline.
    Deadline,
    /// The clock goes to where somebody stops waiting for a module file.
    Bound,
}

#[derive(Debug, Clone)]
pub struct World {
    pub now: Duration,
    pub modules: [Module; MODULES],
    pub files: [File; 3 * MODULES],
    pub people: Vec<Person>,
    pub left: Faults,
    /// How many deadlines and how many bounds were set.
    pub set: (u32, u32),
    /// Something went wrong: calls are no longer counted.
    pub impure: bool,
}

/// What does not change: the scenario, and which mutant is looked at.
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
            doom: 0,
            late: 0,
            slices: 0,
            stopped: false,
            killed: false,
            denied: false,
            spent: false,
            excused: false,
            unwritten: None,
        };
        let mut world = World {
            now: TIME_ZERO,
            modules: Default::default(),
            files: Default::default(),
            people: self.scenario.people.iter().map(person).collect(),
            left: self.scenario.faults,
            set: (0, 0),
            impure: false,
        };
        for which in &self.scenario.strangers {
            world.files[which.index()].holder = Some(Holder::Stranger);
        }
        for (which, attempt) in &self.scenario.records {
            world.files[which.index()].record = Some(*attempt);
        }
        world
    }

    /// Everything that can happen next.
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

    /// The value of the futex in the file that this participant is at.
    pub fn futex(&self, world: &World, index: usize) -> u32 {
        self.at_file(world, index).map_or(0, |file| world.files[file.index()].futex)
    }

    /// The lock file that this participant is at.
    pub fn at_file(&self, world: &World, index: usize) -> Option<Which> {
        let machine = world.people[index].machine.as_ref()?;
        self.file(self.ask(index, world), machine.lock())
    }

    /// What `/sys/module` says under the names that the participant knows.
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
            Some(leader) if leader.at != At::Done && !self.scenario.dark => match leader.at {
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

    /// The first participant with the same plan. A helper is known by its number.
    fn group(&self, index: usize) -> usize {
        let who = self.who(index);
        let same = |other: &Who| other == who && !who.helper;
        self.scenario.people.iter().position(same).unwrap_or(index)
    }

    pub fn fingerprint(&self, world: &World) -> u64 {
        fingerprint(|canon| {
            (world.now, world.left, world.impure).hash(canon);
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
            // However long.
            At::Do(Action::Sleep(futex, _)) => (1000_i32, futex).hash(canon),
            At::Do(action) => action.hash(canon),
            At::Kernel(stage) => stage.hash(canon),
            _ => {}
        }
        let small = u64::from(self.turn) | u64::from(self.doom) << 8 | u64::from(self.late) << 16;
        (small, self.calls, self.transition, self.slices).hash(canon);
        (self.machine, self.deadline, self.since, self.bound, self.looked, self.answer).hash(canon);
        (self.stopped, self.killed, self.denied, self.spent, self.excused).hash(canon);
        self.unwritten.hash(canon);
    }
}

/// The bit of an error in [`Person::doom`].
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
