//! Executes a plan, for the tools and for the library: skips a step, runs its command or inserts its module.

use super::command::fill_in;
use super::plan::Step;
use crate::error::Errno;
use crate::gate::Outcome;

/// The parts of a step that differ between a tool and the library.
pub(crate) trait StepHandler {
    /// Whether the step at `index` needs no work: its module is live or built in.
    fn is_there(&mut self, index: usize, step: &Step) -> bool;
    /// Called before the step is executed, or in a dry run instead.
    fn begin(&mut self, index: usize, step: &Step);
    /// Runs the step's command. [`walk`] returns the value of the last step.
    fn command(&mut self, index: usize, step: &Step, command: &[u8]) -> Result<i32, Errno>;
    /// Called for a step that is not executed, since the configuration forbids it.
    fn refuse(&mut self, index: usize, step: &Step);
    /// Inserts the step's module.
    ///
    /// # Errors
    /// The errno of the failure; `ENOENT` for a step without a file.
    fn insert(&mut self, index: usize, step: &Step) -> Result<Outcome, Errno>;
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WalkMode {
    /// Only call [`StepHandler::begin`].
    pub dry: bool,
    /// Fail with `EEXIST` if the target is loaded already.
    pub first_time: bool,
}

/// Executes the steps in order and returns the value of the last one. Executes none if a required step is forbidden and its
/// module is not loaded.
///
/// # Errors
/// The errno of the first required step that failed; `EPERM` for a forbidden one. A module that another process has loaded
/// in the meantime is no failure, except with [`WalkMode::first_time`].
pub(crate) fn walk<'s>(
    steps: impl Iterator<Item = &'s Step> + Clone,
    mode: WalkMode,
    handler: &mut dyn StepHandler,
) -> Result<i32, Errno> {
    let mut forbidden =
        steps.clone().enumerate().filter(|(_, step)| step.required && step.forbidden.is_some());
    if let Some((index, step)) = forbidden.find(|(index, step)| !handler.is_there(*index, step)) {
        handler.refuse(index, step);
        return Err(Errno::EPERM);
    }
    let mut last = 0;
    // The caller has checked the target before it made the plan. Check it again only after another step, or if it is
    // forbidden: then it is loaded under its own name, which the caller does not know.
    let mut changed = false;
    for (index, step) in steps.enumerate() {
        let known = step.is_target && step.forbidden.is_none() && !changed;
        let made = if !known && handler.is_there(index, step) {
            Err(Errno::EEXIST)
        } else {
            changed = !mode.dry;
            make(index, step, mode, handler)
        };
        last = match made {
            Ok(value) => value,
            Err(Errno::EEXIST) if step.is_target && mode.first_time => return Err(Errno::EEXIST),
            Err(errno) if errno != Errno::EEXIST && step.required => return Err(errno),
            Err(_) => 0,
        };
    }
    Ok(last)
}

fn make(index: usize, step: &Step, mode: WalkMode, handler: &mut dyn StepHandler) -> Result<i32, Errno> {
    if step.forbidden.is_some() {
        handler.refuse(index, step);
        return Err(Errno::EPERM);
    }
    handler.begin(index, step);
    if mode.dry {
        return Ok(0);
    }
    match &step.command {
        Some(command) => handler.command(index, step, &fill_in(command, &step.options)),
        None => match handler.insert(index, step)? {
            // As the kernel would have answered.
            Outcome::Joined => Err(Errno::EEXIST),
            Outcome::Loaded | Outcome::StillComing => Ok(0),
        },
    }
}
