//! The model's kernel: what a load or a removal does, in steps. After `kernel/module/main.c`.

use crate::rules::Broken;
use crate::scenarios::{CallFault, Era, Kind};
use crate::world::{At, Scene, World, bit};
use kmod_once::internals::error::Errno;
use kmod_once::internals::gate::protocol::{Failure, FailureCache, Purpose, SYMBOL_ERRNOS, Seen};
use kmod_once::internals::system::sysfs::State;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Life {
    #[default]
    Absent,
    /// In the kernel's list of modules, but not yet in sysfs.
    Unformed,
    Coming,
    Live,
    Going,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Module {
    pub life: Life,
    /// Whether its init has failed before.
    pub tried: bool,
    /// The number of calls to load it, while the world counts them.
    pub calls: u8,
    /// The last failure of its init, the inputs of that load, and when its caller received the failure.
    pub failed: Option<(Errno, u64, Duration)>,
}

impl Module {
    /// What `/sys/module` shows.
    pub fn seen(&self) -> State {
        match self.life {
            Life::Absent | Life::Unformed => State::Absent,
            Life::Coming => State::Coming,
            Life::Live => State::Live,
            Life::Going => State::Going,
        }
    }
}

/// How far a kernel call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The file is copied. Next: look up the name.
    Enter,
    /// It waits for another load of the same module.
    WaitForName,
    /// Next: look up the symbols.
    Symbols,
    /// The init of that module runs.
    Init(usize),
    /// Its init failed with this errno. Next: remove it.
    Dying(Errno),
    /// It is being removed.
    Leaving,
    /// The call returns this answer; whether the module's own init gave it.
    Back(Option<Failure>, bool),
}

fn kernel(errno: Errno) -> Stage {
    Stage::Back(Some(Failure { errno, by_kernel: true }), false)
}

impl Scene<'_> {
    pub fn enter(&self, world: &mut World, index: usize) -> Result<(), Broken> {
        let ask = self.ask(index, world);
        if ask.purpose != Purpose::Remove {
            let module = &mut world.modules[ask.module];
            module.calls = (module.calls + 1).min(7);
        }
        world.people[index].at = At::Kernel(Stage::Enter);
        Ok(())
    }

    pub fn can_go_on(&self, world: &World, index: usize, stage: Stage) -> bool {
        let module = self.ask(index, world).module;
        let life = world.modules[module].life;
        match (stage, self.scenario.era, self.scenario.modules[module]) {
            (Stage::WaitForName, Era::New, _) => !matches!(life, Life::Unformed | Life::Coming),
            (Stage::WaitForName, Era::Old, _) => matches!(life, Life::Live | Life::Absent),
            (Stage::Symbols, _, Kind::Needs(needed)) => world.modules[needed].life != Life::Coming,
            (Stage::Init(_), _, Kind::Asks(helper)) => world.people[helper].at == At::Done,
            _ => true,
        }
    }

    /// The kernel waits at most 30 s for symbols. The model ends such a wait only if it would last for ever.
    pub fn can_give_up(&self, world: &World, index: usize, stage: Stage) -> bool {
        let module = self.ask(index, world).module;
        match (stage, self.scenario.modules[module]) {
            (Stage::Symbols, Kind::Needs(needed)) => self.waits_for_a_helper(world, needed),
            _ => false,
        }
    }

    pub fn give_up(&self, world: &mut World, index: usize) {
        let module = self.ask(index, world).module;
        world.modules[module].life = Life::Absent;
        world.people[index].at = At::Kernel(kernel(Errno::EBUSY));
    }

    pub fn in_kernel(&self, world: &mut World, index: usize, stage: Stage) -> Result<(), Broken> {
        let ask = self.ask(index, world);
        let kind = self.scenario.modules[ask.module];
        let life = world.modules[ask.module].life;
        let stage = match stage {
            Stage::Enter if ask.purpose == Purpose::Remove => self.enter_removal(world, ask.module),
            Stage::Enter => match self.who(index).call_fault {
                CallFault::NotPermitted => kernel(Errno::EPERM),
                CallFault::Once(failure) if !world.people[index].had_failure => {
                    world.people[index].had_failure = true;
                    Stage::Back(Some(failure), false)
                }
                _ => self.take_name(world, ask.module),
            },
            Stage::WaitForName if life == Life::Live => kernel(Errno::EEXIST),
            Stage::WaitForName if self.scenario.era == Era::New => kernel(Errno::EBUSY),
            Stage::WaitForName => self.take_name(world, ask.module),
            Stage::Symbols => match kind {
                Kind::Needs(needed) if world.modules[needed].life != Life::Live => {
                    world.modules[ask.module].life = Life::Absent;
                    kernel(Errno::ENOENT)
                }
                _ => {
                    world.modules[ask.module].life = Life::Coming;
                    if let Kind::Asks(helper) = kind {
                        if world.people[helper].at == At::Dormant {
                            world.people[helper].at = At::Start;
                        }
                    }
                    Stage::Init(ask.module)
                }
            },
            Stage::Init(_) => {
                let failure = match kind {
                    Kind::Fails(errno) => Some(errno),
                    Kind::FailsFirst(errno) => Some(errno).filter(|_| !world.modules[ask.module].tried),
                    Kind::FailsFor(inputs, errno) => Some(errno).filter(|_| ask.inputs == inputs),
                    _ => None,
                };
                let module = &mut world.modules[ask.module];
                match failure {
                    Some(errno) => {
                        (module.life, module.tried) = (Life::Going, true);
                        Stage::Dying(errno)
                    }
                    None => {
                        module.life = Life::Live;
                        Stage::Back(None, true)
                    }
                }
            }
            Stage::Dying(errno) => {
                world.modules[ask.module].life = Life::Absent;
                Stage::Back(Some(Failure { errno, by_kernel: true }), true)
            }
            Stage::Leaving => {
                world.modules[ask.module].life = Life::Absent;
                Stage::Back(None, true)
            }
            Stage::Back(answer, by_module) => return self.back(world, index, answer, by_module),
        };
        world.people[index].at = At::Kernel(stage);
        Ok(())
    }

    fn take_name(&self, world: &mut World, module: usize) -> Stage {
        match (world.modules[module].life, self.scenario.era) {
            (Life::Absent, _) => {
                world.modules[module].life = Life::Unformed;
                Stage::Symbols
            }
            (Life::Live, _) => kernel(Errno::EEXIST),
            (Life::Going, Era::New) => kernel(Errno::EBUSY),
            _ => Stage::WaitForName,
        }
    }

    fn enter_removal(&self, world: &mut World, module: usize) -> Stage {
        let used = |other: usize| {
            self.scenario.modules[other] == Kind::Needs(module)
                && matches!(world.modules[other].life, Life::Coming | Life::Live | Life::Going)
        };
        match world.modules[module].life {
            Life::Absent | Life::Unformed => kernel(Errno::ENOENT),
            Life::Coming | Life::Going => kernel(Errno::EBUSY),
            Life::Live if (0..world.modules.len()).any(used) => kernel(Errno::EAGAIN),
            Life::Live => {
                world.modules[module].life = Life::Going;
                Stage::Leaving
            }
        }
    }

    fn back(
        &self,
        world: &mut World,
        index: usize,
        answer: Option<Failure>,
        by_module: bool,
    ) -> Result<(), Broken> {
        let ask = self.ask(index, world);
        let person = &mut world.people[index];
        (person.looked, person.transition, person.may_overlap) = (None, 0, false);
        if person.killed {
            self.die(world, index);
            return Ok(());
        }
        let remembers = self.scenario.is_closed() && !world.had_fault
            || self.who(index).failure_cache != FailureCache::None;
        if ask.purpose != Purpose::Remove && remembers && by_module {
            if let Some(Failure { errno, .. }) = answer {
                world.modules[ask.module].failed = Some((errno, ask.inputs, world.now));
            }
        }
        if world.people[index].machine.is_none() {
            return self.finish(world, index, None);
        }
        world.people[index].answer = Some(answer);
        self.next(world, index, Seen::Answer(answer))
    }

    /// The failures that this participant may report, as bits: of a call that it would make now, of a call of another
    /// participant that is running, and of one that the failure cache still holds.
    pub fn possible_failures(&self, world: &World, index: usize) -> u8 {
        if world.people[index].machine.is_none() {
            return 0;
        }
        let ask = self.ask(index, world);
        let module = &world.modules[ask.module];
        let own = match self.scenario.modules[ask.module] {
            Kind::Fails(errno) => bit(errno),
            Kind::FailsFirst(errno) if !module.tried => bit(errno),
            Kind::FailsFor(inputs, errno) if inputs == ask.inputs => bit(errno),
            Kind::Needs(needed) if !matches!(world.modules[needed].life, Life::Live | Life::Coming) => {
                bit(Errno::ENOENT)
            }
            _ => 0,
        };
        let under_way = world.people.iter().enumerate().map(|(other, person)| match person.at {
            At::Kernel(stage) if other != index => {
                let theirs = self.ask(other, world);
                let same = (theirs.module, theirs.inputs) == (ask.module, ask.inputs);
                match stage {
                    Stage::Dying(errno) | Stage::Back(Some(Failure { errno, .. }), true)
                        if same && !SYMBOL_ERRNOS.contains(&errno) =>
                    {
                        bit(errno)
                    }
                    _ => 0,
                }
            }
            _ => 0,
        });
        let remembered = match (self.who(index).failure_cache, module.failed) {
            (FailureCache::Any(ttl), Some((errno, _, at))) if world.now - at < ttl => bit(errno),
            (FailureCache::NoDevice(ttl), Some((Errno::ENODEV, _, at))) if world.now - at < ttl => {
                bit(Errno::ENODEV)
            }
            _ => 0,
        };
        own | remembered | under_way.fold(0, |all, one| all | one)
    }
}
