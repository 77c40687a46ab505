//! Prints a counterexample, one line for each step.

use crate::fingerprint::FIRST_ID;
use crate::kernel::Stage;
use crate::rules::name;
use crate::scenarios::Which;
use crate::search::Counterexample;
use crate::world::{At, Holder, Scene, Step, World};
use kmod_once::internals::gate::protocol::{Action, Failure, Purpose};
use std::fmt::Write;

/// The steps of the counterexample, and the rule that the last one breaks.
pub fn tell(scene: &Scene, found: &Counterexample) -> String {
    let mut text = String::new();
    let mut world = scene.begin();
    for (number, step) in found.path.iter().enumerate() {
        let before = world.clone();
        let result = scene.apply(&mut world, *step);
        let _ = writeln!(text, "{:4}. {}", number + 1, line(scene, &before, *step, &world));
        if let Err(broken) = result {
            let _ = writeln!(text, "      {}: {}", broken.rule, broken.what);
        }
    }
    text
}

fn line(scene: &Scene, before: &World, step: Step, after: &World) -> String {
    let who = |p: u8| {
        format!("{} {}", if scene.who(p.into()).gate { "modprobe" } else { "outsider" }, name(p.into()))
    };
    match step {
        Step::Act(p) => format!("{}: {}", who(p), act(scene, before, p.into(), after)),
        Step::Slice(p) => format!("{}: its sleep ends, nobody woke it{}", who(p), then(after, p.into())),
        Step::GiveUp(p) => format!("the kernel gives up {}'s wait for a symbol", who(p)),
        Step::Kill(p) => format!("{} is killed", who(p)),
        Step::Stop(p) => format!("{} is stopped", who(p)),
        Step::Deny(p) => format!("{}: cannot have the lock, or the futex{}", who(p), then(after, p.into())),
        Step::Lose(p) => format!("{}: its record cannot be written", who(p)),
        Step::Deadline => "a deadline passes".to_string(),
        Step::Bound => "the time to wait for the module file passes".to_string(),
    }
}

fn then(after: &World, p: usize) -> String {
    match after.people[p].at {
        At::Do(Action::End(_)) | At::Done => "; it is done".to_string(),
        At::Do(Action::Sleep(futex, longest)) => match futex {
            Some(futex) => format!("; next: sleeps at futex {futex}, {} ms at most", longest.as_millis()),
            None => format!("; next: sleeps {} ms", longest.as_millis()),
        },
        _ => String::new(),
    }
}

fn act(scene: &Scene, before: &World, p: usize, after: &World) -> String {
    let ask = scene.ask(p, before);
    let file = |which: Option<Which>| which.map_or("nothing".to_string(), |which| format!("{which:?}"));
    let at = scene.at_file(before, p);
    let what = match before.people[p].at {
        At::Start => {
            let by = if ask.by_file { " by its file's name" } else { "" };
            format!("is to {:?} module {}{by}", ask.purpose, ask.module)
        }
        At::Do(action) => match action {
            Action::Open(_) => format!("opens {}", file(at)),
            Action::TryLock => match at.and_then(|which| before.files[which.index()].holder) {
                None => format!("tries the lock {}: has it", file(at)),
                Some(Holder::Stranger) => format!("tries the lock {}: a stranger holds it", file(at)),
                Some(Holder::Person(other)) => {
                    format!("tries the lock {}: {} holds it", file(at), name(other.into()))
                }
            },
            Action::Look => {
                let seen = before.modules[ask.module].seen();
                let knows = before.people[p].machine.is_some_and(|machine| machine.knows_other_name());
                match scene.is_misnamed(ask) && !knows {
                    true => format!("looks under the file's name: absent (the module is {seen:?})"),
                    false => format!("looks: {seen:?}"),
                }
            }
            Action::ReadRecord => {
                let record = at.and_then(|which| before.files[which.index()].record);
                match record {
                    None => "reads no record".to_string(),
                    Some(record) => match record.end {
                        None => format!("reads the record: {} has begun", leader(record.leader)),
                        Some(end) => {
                            format!("reads the record of {}: {}", leader(record.leader), errno(end.failure))
                        }
                    },
                }
            }
            Action::Write(_, None) => "writes that it begins".to_string(),
            Action::Write(_, Some(end)) => format!("writes its result: {}", errno(end.failure)),
            Action::Call => {
                let call = if ask.purpose == Purpose::Remove { "delete_module" } else { "finit_module" };
                format!("calls {call}")
            }
            Action::Unlock => format!("lets go of {}", file(at)),
            Action::Wake => format!("wakes those at {}", file(at)),
            Action::Sleep(..) => "is woken by the futex".to_string(),
            other => format!("{other:?}"),
        },
        At::Kernel(Stage::Back(answer, _)) => format!("the call is back: {}", errno(answer)),
        At::Kernel(stage) => match after.people[p].at {
            At::Kernel(next) => format!("in the kernel: {stage:?}, then {next:?}"),
            _ => format!("in the kernel: {stage:?}"),
        },
        other => format!("{other:?}"),
    };
    what + &then(after, p)
}

fn errno(failure: Option<Failure>) -> String {
    failure.map_or("success".to_string(), |failure| format!("{:?}", failure.errno))
}

fn leader(id: i32) -> char {
    if id < FIRST_ID { '?' } else { name((id - FIRST_ID) as usize) }
}
