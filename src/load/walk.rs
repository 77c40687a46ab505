//! Walks a plan: the one place where a step is passed over, run or inserted, and where a failure ends the walk. The tools and
//! the library tell it what it looks like from their side.

use super::command::fill_in;
use super::plan::Step;
use crate::error::Errno;
use crate::gate::Outcome;

/// Who asked for the plan, tool or host of the library.
pub(crate) trait Host {
    /// Whether there is nothing to do for the step at `index`: its module is live, or part of the kernel.
    fn is_there(&mut self, index: usize, step: &Step) -> bool;
    /// Is told of the step before it is made, or instead of making it.
    fn begin(&mut self, index: usize, step: &Step);
    /// Runs the step's command. The value is the host's own.
    fn command(&mut self, index: usize, step: &Step, command: &[u8]) -> Result<i32, Errno>;
    /// Is told of a step that the configuration forbids, and that is not made.
    fn refuse(&mut self, index: usize, step: &Step);
    /// Inserts the step's module.
    ///
    /// # Errors
    /// Why it failed; `ENOENT` for a step without a file.
    fn insert(&mut self, index: usize, step: &Step) -> Result<Outcome, Errno>;
}

/// How to walk.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manner {
    /// Only tell of the steps.
    pub dry: bool,
    /// Fail with `EEXIST` if the target is there already.
    pub first_time: bool,
}

/// Makes the steps in their order; the value of the last one. Where a required step is forbidden and its module is not
/// there, none is made.
///
/// # Errors
/// That of the first required step that failed; `EPERM` for one that is forbidden. A module that somebody else loads
/// meanwhile is there: no failure, unless [`Manner::first_time`] says so.
pub(crate) fn walk<'s>(
    steps: impl Iterator<Item = &'s Step> + Clone,
    manner: Manner,
    host: &mut dyn Host,
) -> Result<i32, Errno> {
    let mut forbidden =
        steps.clone().enumerate().filter(|(_, step)| step.required && step.forbidden.is_some());
    if let Some((index, step)) = forbidden.find(|(index, step)| !host.is_there(*index, step)) {
        host.refuse(index, step);
        return Err(Errno::EPERM);
    }
    let mut last = 0;
    // The target itself was looked at before there was a plan; only a step before it can have changed that.
    let mut changed = false;
    for (index, step) in steps.enumerate() {
        let known = step.is_target && !changed;
        let made = if !known && host.is_there(index, step) {
            Err(Errno::EEXIST)
        } else {
            changed = !manner.dry;
            make(index, step, manner, host)
        };
        last = match made {
            Ok(value) => value,
            Err(Errno::EEXIST) if step.is_target && manner.first_time => return Err(Errno::EEXIST),
            Err(errno) if errno != Errno::EEXIST && step.required => return Err(errno),
            Err(_) => 0,
        };
    }
    Ok(last)
}

fn make(index: usize, step: &Step, manner: Manner, host: &mut dyn Host) -> Result<i32, Errno> {
    if step.forbidden.is_some() {
        host.refuse(index, step);
        return Err(Errno::EPERM);
    }
    host.begin(index, step);
    if manner.dry {
        return Ok(0);
    }
    match &step.command {
        Some(command) => host.command(index, step, &fill_in(command, &step.options)),
        None => match host.insert(index, step)? {
            // As the kernel would have said.
            Outcome::Joined => Err(Errno::EEXIST),
            Outcome::Loaded | Outcome::StillComing => Ok(0),
        },
    }
}
