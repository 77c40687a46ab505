//! Removing: a module, and those that were loaded for it and are no longer used, in the order of [`crate::load::removal`].
//!
//! Required are the module and, with `--remove-holders`, its holders. Each is removed by its remove command or by the
//! kernel; the first failure ends the run. The other modules are removed if they are unused when their turn comes. A module
//! that is not loaded is skipped.

use super::{Session, command};
use crate::cli::ToolResult;
use crate::error::Errno;
use crate::gate::{self, WaitBudget};
use crate::load::command::fill_in;
use crate::load::removal::{RemovalStep, removal};
use crate::load::remove::delete_module;
use crate::log::bytes;
use crate::system::sysfs;
use crate::tree::Module;
use std::collections::BTreeSet;
use std::time::Duration;

/// Removes the modules of the operands.
pub(crate) fn run(session: &Session<'_>) -> ToolResult {
    session.request.names.iter().try_fold(0, |status, name| Ok(status | operand(session, name)?))
}

fn operand(session: &Session<'_>, operand: &[u8]) -> ToolResult {
    // Unbalanced brackets fail without a message, as in kmod.
    let Ok(modules) = session.tree.lookup(operand) else { return Ok(1) };
    if modules.is_empty() {
        return session.fail(&bytes!["Module ", operand, " not found."]);
    }
    for module in &modules {
        if remove(session, module)? != 0 {
            return Ok(1);
        }
    }
    Ok(0)
}

/// Removes one module; returns its status.
fn remove(session: &Session<'_>, module: &Module) -> ToolResult {
    let (tree, request, system) = (session.tree, session.request, &session.system);
    let name = &module.name;
    let fail = |name: &[u8], what: &str| session.fail(&bytes!["Module ", name, what]);
    if (request.bare || tree.remove_command(module).is_none()) && !request.depends {
        if tree.is_builtin(module) {
            return fail(name, " is builtin.");
        }
        if gate::is_absent(system, name) {
            return if request.first_time { fail(name, " is not in kernel.") } else { Ok(0) };
        }
    }
    let steps = match removal(tree, system, module, request.bare, request.holders) {
        Ok(steps) => steps,
        Err(error) => {
            session.log.error(error.to_string().as_bytes());
            return Ok(1);
        }
    };
    // Report it before anything is changed.
    let blocked = |step: &&RemovalStep| step.required && step.used && step.command.is_none();
    if let Some(step) = steps.iter().find(blocked).filter(|_| !request.depends && request.wait.is_zero()) {
        return fail(&step.module.name, " is in use.");
    }
    let budget = WaitBudget::new(system);
    let mut stayed = BTreeSet::new();
    for step in &steps {
        let other = &step.module.name;
        let wanted = !step.required && step.wanted_by.iter().any(|name| stayed.contains(name));
        let result = if wanted { Err(NotRemoved::InUse) } else { attempt(session, step, &budget) };
        if let Err(NotRemoved::Kernel(errno)) = result {
            session.log.error(&bytes!["could not remove '", other, "': ", errno.to_string()]);
        }
        let command_failed = || bytes!["Error running remove command for ", other];
        match result {
            // A command may leave the module loaded; then its dependencies stay, too.
            Ok(()) if step.command.is_some() && other == name => {
                if !request.dry && !gate::is_absent(system, name) {
                    return Ok(0);
                }
            }
            Ok(()) => {}
            Err(problem) if !step.required => {
                if let NotRemoved::Command = problem {
                    session.log.error(&command_failed());
                }
                stayed.insert(other);
            }
            Err(NotRemoved::InUse) => return fail(other, " is in use."),
            Err(NotRemoved::Command) => return session.fail(&command_failed()),
            // As in kmod, EEXIST means the same. Linux answers ENOENT: delete_module(2).
            Err(NotRemoved::Gone | NotRemoved::Kernel(Errno::EEXIST)) => {
                if request.first_time {
                    return fail(other, " is not in kernel.");
                }
            }
            Err(NotRemoved::Kernel(_)) => return Ok(1),
        }
    }
    Ok(0)
}

/// Why a module was not removed by this process.
enum NotRemoved {
    InUse,
    /// Another process removed it while this one waited for the lock.
    Gone,
    /// Its remove command failed.
    Command,
    /// The kernel did not remove it.
    Kernel(Errno),
}

/// Removes the module of a step. One that is not required must be unused.
fn attempt(session: &Session<'_>, step: &RemovalStep, budget: &WaitBudget) -> Result<(), NotRemoved> {
    let (request, system, name) = (session.request, &session.system, &step.module.name);
    let count = || sysfs::refcount(system.roots, name);
    if let Some(command) = &step.command {
        if !step.required && !request.dry && matches!(count(), Ok(1..)) {
            return Err(NotRemoved::InUse);
        }
        let command = fill_in(command, b"");
        session.action(&[b"remove ", &command]);
        let done = request.dry || matches!(command::run(session, name, &command), Ok(0));
        return if done { Ok(()) } else { Err(NotRemoved::Command) };
    }
    if request.dry {
        session.action(&[b"rmmod ", name]);
        return Ok(());
    }
    let allowed = || {
        match count() {
            Ok(0) => {}
            _ if !step.required => return Err(NotRemoved::InUse),
            Ok(1..) if request.wait.is_zero() => return Err(NotRemoved::InUse),
            Err(_) if gate::is_absent(system, name) => return Err(NotRemoved::Gone),
            // The kernel reports what remains: that it is in use (-w), that another process removes it (the count is -1), or
            // that modules cannot be unloaded (there is no count).
            _ => {}
        }
        session.action(&[b"rmmod ", name]);
        Ok(())
    };
    let delete = |allowed: &dyn Fn() -> Result<(), NotRemoved>| {
        delete_module(system, session.gate(), name, request.force_removal, budget, allowed)
    };
    let mut result = delete(&allowed)?;
    // With -w: try again while the module is in use, until the time is over. The lock is free between two attempts.
    let deadline = system.clock.boottime().saturating_add(request.wait);
    let mut pause = Duration::from_millis(2);
    while step.required && matches!(&result, Err(error) if error.errno() == Errno::EAGAIN) {
        let left = deadline.saturating_sub(system.clock.boottime());
        if left.is_zero() {
            break;
        }
        let mut sleep = pause;
        while sleep > left {
            sleep /= 2;
        }
        system.clock.sleep(if sleep < Duration::from_millis(1) { left } else { sleep });
        pause = pause.saturating_mul(2);
        result = delete(&|| Ok(()))?;
    }
    result.map_err(|error| NotRemoved::Kernel(error.errno()))
}
