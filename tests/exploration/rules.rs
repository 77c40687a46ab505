//! The rules that every state and every step must obey. A counterexample names the rule that it breaks.

use crate::fingerprint::FIRST_ID;
use crate::kernel::{Life, Stage};
use crate::scenarios::{Kind, Scenario};
use crate::world::{At, Holder, Person, Scene, World, bit};
use kmod_once::internals::error::Errno;
use kmod_once::internals::gate::protocol::{
    Action, CALLER_ERRNOS, End, Failure, LONGEST_SLICE, Lock, Purpose, SYMBOL_ERRNOS,
};
use kmod_once::internals::system::sysfs::State;
use std::time::Duration;

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub rule: &'static str,
    pub what: String,
}

pub fn broken<T>(rule: &'static str, what: impl Into<String>) -> Result<T, Broken> {
    Err(Broken { rule, what: what.into() })
}

fn holds(condition: bool, rule: &'static str, what: &str) -> Result<(), Broken> {
    if condition { Ok(()) } else { broken(rule, what) }
}

/// How many steps a participant may take after its deadline, without sleeps and kernel calls.
const LAST_STEPS: u8 = 40;

impl Person {
    fn is_past_its_deadline(&self, now: Duration) -> bool {
        now >= self.deadline
    }

    fn is_past_its_bound(&self, now: Duration) -> bool {
        self.bound.is_some_and(|bound| now >= bound)
    }
}

/// Whether there was no fault and only requests of the gate to load: only then calls are counted.
fn counts_calls(scenario: &Scenario, world: &World) -> bool {
    scenario.is_closed() && !world.had_fault
}

/// Checked before a call: no other call is running, the module was examined under the lock, and it is not a call too many.
pub fn may_call(scene: &Scene, world: &mut World, index: usize) -> Result<(), Broken> {
    let ask = scene.ask(index, world);
    let (now, person) = (world.now, world.people[index]);
    let Some(machine) = person.machine else { return Ok(()) };
    let late = person.is_past_its_deadline(now);

    let needless = "the gate is not left without need";
    let has_gate = scene.scenario.start == Lock::Key;
    match machine.lock() {
        Lock::Key | Lock::Own => {}
        Lock::ModuleFile => {
            holds(late || person.denied || !has_gate, needless, "it calls with another lock")?
        }
        Lock::Nothing => {
            let bound = person.is_past_its_bound(now) || ask.purpose == Purpose::Remove && !has_gate;
            let none = scene.scenario.start == Lock::Nothing;
            holds(late || person.denied || bound || none, needless, "it calls without a lock")?;
        }
    }

    let file = scene.at_file(world, index).map(|which| &world.files[which.index()]);
    let not_known_yet = machine.lock() == Lock::Key
        && scene.is_misnamed(ask)
        && file.is_some_and(|file| !file.record.is_some_and(|record| record.other_name));
    let may_overlap = !machine.lock().is_gate_file() || not_known_yet;
    world.people[index].may_overlap = may_overlap;
    for (other, theirs) in world.people.iter().enumerate() {
        let inside = matches!(theirs.at, At::Kernel(_)) && scene.ask(other, world).module == ask.module;
        if other != index && inside && scene.who(other).gate && !theirs.may_overlap && !may_overlap {
            return broken("one at a time", format!("{} is inside, too", name(other)));
        }
    }

    if ask.purpose != Purpose::Remove {
        let rule = "nobody calls for what is there";
        match person.looked {
            None => return broken(rule, "it has not looked"),
            Some(State::Live) => return broken(rule, "it saw it live"),
            Some(State::Coming) => holds(late, rule, "it saw it coming")?,
            Some(State::Going) => holds(late, rule, "it saw it going")?,
            Some(State::Absent | State::Nascent) => {}
        }
        had_no_failure(scene, world, index)?;
    }

    let person = &mut world.people[index];
    person.calls += 1;
    match person.calls {
        1 => Ok(()),
        2 => holds(
            person.transition == 2,
            "one call",
            "a second call, and it saw the module neither come nor go",
        ),
        _ => broken("one call", "a third call"),
    }
}

/// Without faults, a request that began before another one failed takes over that failure and makes no call of its own.
fn had_no_failure(scene: &Scene, world: &World, index: usize) -> Result<(), Broken> {
    let ask = scene.ask(index, world);
    let Some((errno, inputs, at)) = world.modules[ask.module].failed else { return Ok(()) };
    let shared = !CALLER_ERRNOS.contains(&errno) && !SYMBOL_ERRNOS.contains(&errno) && inputs == ask.inputs;
    let mine = at > world.people[index].since && world.people[index].calls == 0;
    holds(
        !(shared && mine && counts_calls(scene.scenario, world)),
        "a failure is asked for once",
        "the failure was there while it waited",
    )
}

/// Checked at the end of a request: the end that it reports is true.
pub fn at_the_end(scene: &Scene, world: &World, index: usize, end: End) -> Result<(), Broken> {
    let ask = scene.ask(index, world);
    let (now, person) = (world.now, &world.people[index]);
    let late = person.is_past_its_deadline(now) || person.is_past_its_bound(now);
    let waited_for = scene.who(index).helper && scene.waits_for_a_helper(world, ask.module);
    let me = Holder::Person(index as u8);
    holds(
        world.files.iter().all(|file| file.holder != Some(me)),
        "no lock is left",
        "it ends and holds one",
    )?;
    let rule = "the end that it says is so";
    match end {
        End::Called => holds(person.answer == Some(None), rule, "no call of its own worked"),
        End::Joined => holds(person.looked == Some(State::Live), rule, "it has not seen the module live"),
        End::StillComing => {
            let coming = person.looked == Some(State::Coming);
            let recursion = scene.who(index).helper && (waited_for || coming);
            let dependency = ask.purpose == Purpose::LoadDependency;
            holds(
                dependency && (recursion || late && coming),
                rule,
                "the module is not coming, or waiting was not over",
            )
        }
        End::Recursion => {
            holds(waited_for && late && ask.purpose == Purpose::Load, rule, "nobody waits for it")
        }
        End::Shared(errno) => is_its_own(world, index, errno),
        End::Failed(failure) => {
            holds(person.answer == Some(Some(failure)), rule, "its last call gave something else")?;
            not_the_gates_fault(scene, world, index, failure)
        }
    }
}

/// A shared failure is one that the request's own call would have had, or one that the failure cache holds.
fn is_its_own(world: &World, index: usize, errno: Errno) -> Result<(), Broken> {
    let person = &world.people[index];
    holds(
        person.own_failures & bit(errno) != 0,
        "a shared failure is its own",
        "its own call would not have failed so",
    )
}

/// The gate prevents errors that come only from two calls at once.
fn not_the_gates_fault(scene: &Scene, world: &World, index: usize, failure: Failure) -> Result<(), Broken> {
    let ask = scene.ask(index, world);
    if ask.purpose == Purpose::Remove || !counts_calls(scene.scenario, world) {
        return Ok(());
    }
    let said = scene.scenario.modules[ask.module] == Kind::Fails(failure.errno);
    let symbols = scene.scenario.modules.iter().any(|kind| matches!(kind, Kind::Asks(_)));
    let collision = failure.by_kernel && [Errno::EEXIST, Errno::EBUSY].contains(&failure.errno);
    holds(!collision || said || symbols, "a load that would work works", "it collided in the kernel")
}

/// No sleep is longer than [`LONGEST_SLICE`].
pub fn sleeps_shortly(longest: Duration) -> Result<(), Broken> {
    holds(longest <= LONGEST_SLICE, "a slice is the longest sleep", "a longer one")
}

pub fn past_its_deadline(world: &World, index: usize) -> Result<(), Broken> {
    holds(world.now >= world.people[index].deadline, "a warning says what is so", "no deadline was passed")
}

/// A request ends soon after its deadline. Checked before each of its steps but sleeps.
pub fn ends_in_time(_: &Scene, world: &mut World, index: usize) -> Result<(), Broken> {
    let now = world.now;
    let person = &mut world.people[index];
    let Some(machine) = person.machine else { return Ok(()) };
    if matches!(person.at, At::Kernel(_)) {
        return Ok(());
    }
    let at_module_file = machine.lock() == Lock::ModuleFile && !machine.holds();
    let late = if at_module_file { person.is_past_its_bound(now) } else { person.is_past_its_deadline(now) };
    if late {
        person.late += 1;
    }
    holds(person.late <= LAST_STEPS, "a wait ends at the deadline", "it goes on and on")
}

/// A helper that a module's init waits for does not wait for that module. Checked when one of its sleeps has ended.
pub fn recursion_is_seen(scene: &Scene, world: &World, index: usize) -> Result<(), Broken> {
    let ask = scene.ask(index, world);
    let person = &world.people[index];
    let waited_for = scene.who(index).helper && scene.waits_for_a_helper(world, ask.module);
    // An exception: the loader does not use the gate, and a third process holds the lock and waits for that load. Then the helper
    // waits until its deadline.
    let hidden = scene.at_file(world, index).is_some_and(|which| match world.files[which.index()].holder {
        Some(Holder::Person(holder)) => {
            !matches!(world.people[usize::from(holder)].at, At::Kernel(Stage::Init(_)))
        }
        _ => false,
    });
    let kept = ask.purpose == Purpose::LoadDependency && waited_for && !hidden && person.slices > 2;
    holds(!kept, "a helper is not kept waiting", "the third sleep, and the module waits for it")
}

/// Checked after each step.
pub fn in_every_state(scene: &Scene, world: &World) -> Result<(), Broken> {
    no_wake_is_missed(scene, world)?;
    if !somebody_moves(scene, world) {
        let inside =
            |person: &Person| matches!(person.at, At::Kernel(stage) if !matches!(stage, Stage::Back(..)));
        if world.people.iter().any(inside) {
            return broken("nobody hangs", "all that is left waits in the kernel for each other");
        }
        return at_rest(scene, world);
    }
    Ok(())
}

/// After the lock became free, each sleeper is woken or about to be.
fn no_wake_is_missed(scene: &Scene, world: &World) -> Result<(), Broken> {
    for (index, person) in world.people.iter().enumerate() {
        let At::Do(Action::Sleep(Some(futex), _)) = person.at else { continue };
        let Some(which) = scene.at_file(world, index) else { continue };
        let file = &world.files[which.index()];
        let will_wake = |other: usize| {
            matches!(world.people[other].at, At::Do(Action::Wake))
                && scene.at_file(world, other) == Some(which)
        };
        let free = file.holder.is_none() && file.futex == futex && !file.silent;
        if free && !(0..world.people.len()).any(will_wake) {
            return broken(
                "no wake is missed",
                format!("{} sleeps, the lock is free, and nobody wakes it", name(index)),
            );
        }
    }
    Ok(())
}

fn somebody_moves(scene: &Scene, world: &World) -> bool {
    world.people.iter().enumerate().any(|(index, person)| match person.at {
        At::Dormant | At::Done => false,
        At::Kernel(Stage::Back(..)) => !person.stopped,
        At::Kernel(stage) => scene.can_go_on(world, index, stage) || scene.can_give_up(world, index, stage),
        _ => !person.stopped,
    })
}

/// Checked when no participant can go on: no lock is held, the records say what happened, and each module was loaded by one call.
fn at_rest(scene: &Scene, world: &World) -> Result<(), Broken> {
    for file in &world.files {
        if let Some(Holder::Person(holder)) = file.holder {
            holds(
                world.people[usize::from(holder)].stopped,
                "no lock is left",
                "all is done, and one is held",
            )?;
        }
    }
    let was = scene.scenario.faults;
    let whole = (was.kill, was.stop, was.lose) == (world.left.kill, world.left.stop, world.left.lose);
    let open = world.files.iter().any(|file| file.record.is_some_and(|record| record.end.is_none()));
    holds(!(whole && open), "what was begun is ended", "a record says that an attempt is running")?;
    if !counts_calls(scene.scenario, world) {
        return Ok(());
    }
    for (index, module) in world.modules.iter().enumerate() {
        let asks =
            || scene.scenario.people.iter().flat_map(|who| &who.plan).filter(|ask| ask.module == index);
        let one_name = asks().all(|ask| ask.by_file) || asks().all(|ask| !ask.by_file);
        let faultless =
            scene.scenario.people.iter().all(|who| who.call_fault == crate::scenarios::CallFault::None);
        let loads = matches!(scene.scenario.modules[index], Kind::Loads | Kind::Misnamed | Kind::Asks(_));
        if loads && one_name && faultless && module.life == Life::Live {
            holds(module.calls == 1, "all requests make one call", &format!("{} calls", module.calls))?;
        }
        for file in [index, index + world.modules.len()] {
            let Some(record) = world.files[file].record.filter(|record| record.leader >= FIRST_ID) else {
                continue;
            };
            let rule = "the record says what happened";
            let worked = record.end.is_some_and(|end| end.failure.is_none());
            let live = module.life == Life::Live;
            holds(worked == live || !faultless, rule, "the module is in another state")?;
        }
    }
    Ok(())
}

/// The name of a participant.
pub fn name(index: usize) -> char {
    (b'A' + index as u8) as char
}
