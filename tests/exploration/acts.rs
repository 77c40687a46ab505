//! Applies steps to the model world.

use crate::fingerprint::FIRST_ID;
use crate::mutants::{Mutant, Order};
use crate::rules::{self, Broken, broken};
use crate::scenarios::Which;
use crate::world::{APART, At, Holder, NEARLY, PATIENCE, Person, Scene, Step, TICK, Without, World};
use kmod_once::internals::gate::protocol::{
    Action, Attempt, End, Ended, Lock, MODULE_FILE_WAIT, MODULE_FILE_WAIT_LATE, Machine, Purpose, Request,
    Seen,
};
use kmod_once::internals::system::sysfs::State;
use std::time::Duration;

impl Scene<'_> {
    /// Applies one step, and checks the rules afterwards.
    pub fn apply(&self, world: &mut World, step: Step) -> Result<(), Broken> {
        world.now += TICK;
        match step {
            Step::Act(p) => self.act(world, p.into())?,
            Step::Slice(p) => {
                let person = &mut world.people[usize::from(p)];
                person.slices = (person.slices + 1).min(3);
                person.unwoken = true;
                rules::recursion_is_seen(self, world, p.into())?;
                self.next(world, p.into(), Seen::Done)?;
            }
            Step::GiveUp(p) => self.give_up(world, p.into()),
            Step::Kill(p) => self.kill(world, p.into()),
            Step::Stop(p) => {
                world.people[usize::from(p)].stopped = true;
                world.left.stop -= 1;
            }
            Step::Deny(p) => {
                world.left.deny -= 1;
                let futex = world.people[usize::from(p)].at == At::Do(Action::ReadFutex);
                world.people[usize::from(p)].denied = !futex;
                // Who cannot read the futex cannot wake anybody.
                world.people[usize::from(p)].unwoken &= !futex;
                self.next(world, p.into(), if futex { Seen::Futex(None) } else { Seen::Failed })?;
            }
            Step::Lose(p) => {
                world.left.lose -= 1;
                self.next(world, p.into(), Seen::Done)?;
            }
            Step::Deadline => {
                world.left.deadline -= 1;
                let running = world.people.iter().filter(|p| p.machine.is_some()).map(|p| p.deadline);
                let next = running.filter(|deadline| *deadline > world.now).min();
                world.now = next.unwrap_or(world.now + PATIENCE);
            }
            Step::Bound => world.now = self.next_bound(world).unwrap_or(world.now),
        }
        if !matches!(step, Step::Act(_) | Step::Slice(_) | Step::GiveUp(_)) {
            world.had_fault = true;
        }
        for index in 0..world.people.len() {
            world.people[index].own_failures |= self.possible_failures(world, index);
        }
        rules::in_every_state(self, world)
    }

    fn act(&self, world: &mut World, index: usize) -> Result<(), Broken> {
        rules::ends_in_time(self, world, index)?;
        match world.people[index].at {
            At::Start => self.start(world, index),
            At::Do(action) => match self.perform(world, index, action)? {
                Some(seen) => self.next(world, index, seen),
                None => Ok(()),
            },
            At::BeforeSleep(longest) => {
                let futex = self.futex(world, index);
                world.people[index].at = At::Do(Action::Sleep(Some(futex), longest));
                Ok(())
            }
            At::Kernel(stage) => self.in_kernel(world, index, stage),
            At::Dormant | At::Done => Ok(()),
        }
    }

    /// Starts the next request. It ends at once if the module is live.
    fn start(&self, world: &mut World, index: usize) -> Result<(), Broken> {
        let (who, ask, now) = (self.who(index), self.ask(index, world), world.now);
        let turn = usize::from(world.people[index].turn);
        let person = &mut world.people[index];
        person.since = now;
        if turn == 0 || who.plan[turn - 1].purpose != Purpose::LoadDependency {
            person.deadline = now + PATIENCE + APART * world.set.0;
            world.set.0 += 1;
        }
        if !who.gate {
            return self.enter(world, index);
        }
        let request = Request {
            purpose: ask.purpose,
            since: now,
            deadline: person.deadline,
            inputs: ask.inputs,
            failure_cache: who.failure_cache,
        };
        let guard = match self.mutant {
            Some(Mutant::Guard(guard)) => Some(guard),
            _ => None,
        };
        let mut machine = Machine::under(Without(guard), request);
        let live = self.look(world, index) == State::Live;
        if ask.purpose != Purpose::Remove && live {
            return self.finish(world, index, None);
        }
        // Without a gate the machine starts at the gate's file, too, and fails to open it.
        let first = if self.scenario.start == Lock::Nothing { Lock::Nothing } else { Lock::Key };
        let action = machine.start(first, now);
        world.people[index].machine = Some(machine);
        self.set(world, index, action)
    }

    /// Gives the machine an answer, and takes its next action.
    pub fn next(&self, world: &mut World, index: usize, seen: Seen) -> Result<(), Broken> {
        let now = world.now;
        let Some(machine) = &mut world.people[index].machine else { return Ok(()) };
        let action = machine.next(seen, now);
        self.set(world, index, action)
    }

    fn set(&self, world: &mut World, index: usize, action: Action) -> Result<(), Broken> {
        if self.is_invisible(world, action) {
            let seen = self.perform(world, index, action)?.unwrap_or(Seen::Done);
            return self.next(world, index, seen);
        }
        let (now, person) = (world.now, &mut world.people[index]);
        person.at = At::Do(action);
        let at_module_file = person.machine.is_some_and(|m| m.lock() == Lock::ModuleFile);
        if at_module_file && person.bound.is_none() {
            let late = now >= person.deadline;
            person.bound = Some(if late {
                now + MODULE_FILE_WAIT_LATE
            } else {
                person.deadline.min(now + MODULE_FILE_WAIT)
            });
            world.now += NEARLY / 4_u32.saturating_pow(world.set.1);
            world.set.1 += 1;
        }
        match action {
            Action::End(end) => {
                rules::at_the_end(self, world, index, end)?;
                // Who finds the result unwoken has to wake the others: from now on they may not sleep.
                let found = matches!(end, End::Joined | End::Shared(_)) && world.people[index].unwoken;
                if let Some(which) = self.at_file(world, index).filter(|_| found) {
                    world.files[which.index()].silent = false;
                }
                self.finish(world, index, Some(end))
            }
            Action::Sleep(futex, longest) => {
                rules::sleeps_shortly(longest)?;
                if futex.is_some() && self.is(Order::FutexReadAfterTryLock) {
                    world.people[index].at = At::BeforeSleep(longest);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether no other participant can notice when this action happens. It is then part of the step before.
    fn is_invisible(&self, world: &World, action: Action) -> bool {
        match action {
            Action::Open(_) => world.left.deny == 0,
            Action::Warn | Action::ReadOwnName => true,
            _ => false,
        }
    }

    /// Ends a request; the next one of the plan follows. If a dependency failed, the rest of the plan is given up.
    pub fn finish(&self, world: &mut World, index: usize, end: Option<End>) -> Result<(), Broken> {
        let failed = matches!(end, Some(End::Failed(_) | End::Shared(_) | End::Recursion));
        let given_up = failed && self.ask(index, world).purpose == Purpose::LoadDependency;
        let person = &mut world.people[index];
        let over = given_up || usize::from(person.turn) + 1 == self.who(index).plan.len();
        let (turn, deadline) = (person.turn + u8::from(!over), person.deadline);
        let at = if over || person.killed { At::Done } else { At::Start };
        let fresh = &self.begin().people[index];
        *person = Person { at, turn, had_failure: person.had_failure, stopped: person.stopped, ..*fresh };
        if at == At::Start {
            world.people[index].deadline = deadline;
        }
        Ok(())
    }

    /// Performs an action of the machine. The kernel call has steps of its own.
    fn perform(&self, world: &mut World, index: usize, action: Action) -> Result<Option<Seen>, Broken> {
        let which = self.at_file(world, index);
        let file = which.map_or(usize::MAX, Which::index);
        let me = Holder::Person(index as u8);
        Ok(Some(match action {
            Action::TryLock if world.files.iter().any(|file| file.holder == Some(me)) => {
                return broken("no two locks at once", "it holds one already");
            }
            Action::TryLock => {
                let free = world.files[file].holder.is_none();
                if free {
                    world.files[file].holder = Some(me);
                    world.people[index].looked = None;
                }
                Seen::Locked(free)
            }
            Action::ReadFutex => Seen::Futex(Some(world.files[file].futex)),
            Action::Look => {
                let state = self.look(world, index);
                let person = &mut world.people[index];
                person.looked = Some(state);
                person.transition = match state {
                    State::Coming | State::Going if person.calls > 0 => 1,
                    State::Absent if person.transition > 0 => 2,
                    _ => person.transition,
                };
                Seen::State(state)
            }
            Action::ReadRecord => Seen::Record(world.files[file].record),
            Action::ReadRelation(leader) => Seen::Relation(self.relation(world, index, leader)),
            Action::Write(..) if self.loses(action) => Seen::Done,
            Action::Write(begin, end) => {
                if end.is_some() && self.is(Order::ResultAfterTheLock) {
                    world.people[index].unwritten = Some((begin, end));
                    self.unlock(world, index, file)?;
                } else {
                    self.write(world, index, file, begin, end);
                }
                Seen::Done
            }
            Action::Call => {
                rules::may_call(self, world, index)?;
                self.enter(world, index)?;
                return Ok(None);
            }
            Action::ReadOwnName => Seen::OtherName(self.is_misnamed(self.ask(index, world))),
            Action::Unlock => {
                let gates = !matches!(which, Some(Which::ModuleFile(_)));
                if let Some((begin, end)) = world.people[index].unwritten.take() {
                    self.write(world, index, file, begin, end);
                } else if gates && self.is(Order::WakeBeforeUnlock) {
                    world.files[file].futex += 1;
                } else {
                    self.unlock(world, index, file)?;
                }
                Seen::Done
            }
            Action::Wake if self.is(Order::WakeBeforeUnlock) => {
                self.unlock(world, index, file)?;
                Seen::Done
            }
            Action::Wake if self.is(Order::NoWake) => Seen::Done,
            Action::Wake => {
                world.files[file].futex += 1;
                world.files[file].silent = false;
                for other in 0..world.people.len() {
                    world.people[other].unwoken &= self.at_file(world, other) != which;
                }
                Seen::Done
            }
            Action::Warn => {
                rules::past_its_deadline(world, index)?;
                Seen::Done
            }
            Action::Open(_) if self.scenario.start == Lock::ModuleFile => Seen::Failed,
            Action::Open(_) | Action::Sleep(..) | Action::End(_) => Seen::Done,
        }))
    }

    fn loses(&self, action: Action) -> bool {
        match action {
            Action::Write(_, None) => self.is(Order::NoBegin),
            Action::Write(_, Some(_)) => self.is(Order::NoResult),
            _ => false,
        }
    }

    fn write(&self, world: &mut World, index: usize, file: usize, begin: Duration, end: Option<Ended>) {
        let other_name = world.people[index].machine.is_some_and(|machine| machine.knows_other_name());
        let inputs = self.ask(index, world).inputs;
        let leader = FIRST_ID + index as i32;
        world.files[file].record = Some(Attempt { this_boot: true, begin, end, inputs, leader, other_name });
    }

    fn unlock(&self, world: &mut World, index: usize, file: usize) -> Result<(), Broken> {
        if world.files[file].holder != Some(Holder::Person(index as u8)) {
            return broken("a lock is let go by who holds it", "it does not");
        }
        world.files[file].holder = None;
        Ok(())
    }

    fn kill(&self, world: &mut World, index: usize) {
        world.left.kill -= 1;
        world.people[index].killed = true;
        if !matches!(world.people[index].at, At::Kernel(_)) {
            self.die(world, index);
        }
    }

    /// Removes a killed participant and frees its locks. Nobody is woken.
    pub fn die(&self, world: &mut World, index: usize) {
        let me = Holder::Person(index as u8);
        for file in world.files.iter_mut().filter(|file| file.holder == Some(me)) {
            (file.holder, file.silent) = (None, true);
        }
        if let (At::Do(Action::Wake), Some(which)) = (world.people[index].at, self.at_file(world, index)) {
            world.files[which.index()].silent = true;
        }
        world.people[index] = Person { at: At::Done, ..self.begin().people[index] };
    }
}
