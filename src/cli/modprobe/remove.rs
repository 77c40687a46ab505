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
    let mut status = 0;
    for operand in &session.request.names {
        status |= self::operand(session, operand)?;
    }
    Ok(status)
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
    let (tree, request, system) = (session.tree, session.request, &session.call.world.system);
    let name = &module.name;
    if (request.bare || tree.remove_command(module).is_none()) && !request.depends {
        if tree.is_builtin(module) {
            return session.fail(&bytes!["Module ", name, " is builtin."]);
        }
        if gate::is_absent(system, name) {
            return if request.first_time { not_in_kernel(session, name) } else { Ok(0) };
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
        return in_use(session, &step.module.name);
    }
    let budget = WaitBudget::new(system);
    let mut stayed = BTreeSet::new();
    for step in &steps {
        let other = &step.module.name;
        if !step.required {
            if step.wanted_by.iter().any(|name| stayed.contains(name))
                || !remove_if_unused(session, step, &budget)
            {
                stayed.insert(other.clone());
            }
            continue;
        }
        let status = match &step.command {
            Some(command) if shell(session, other, command) => 0,
            Some(_) => session.fail(&bytes!["Error running remove command for ", other])?,
            None => unload(session, other, &budget)?,
        };
        if status != 0 {
            return Ok(status);
        }
        // A command may leave the module loaded; then its dependencies stay, too.
        if step.command.is_some() && other == name && !request.dry && !gate::is_absent(system, name) {
            return Ok(0);
        }
    }
    Ok(0)
}

/// Removes a module that is not required, if it is unused; false if it stays, which is no failure.
fn remove_if_unused(session: &Session<'_>, step: &RemovalStep, budget: &WaitBudget) -> bool {
    let name = &step.module.name;
    let system = session.call.world.system;
    let dry = session.request.dry;
    let count = || sysfs::refcount(system.roots, name);
    if let Some(text) = &step.command {
        if !dry && matches!(count(), Ok(1..)) {
            return false;
        }
        let done = shell(session, name, text);
        if !done {
            session.log.error(&bytes!["Error running remove command for ", name]);
        }
        return done;
    }
    if dry {
        session.action(&[b"rmmod ", name]);
        return true;
    }
    let unused = || match count() {
        Ok(0) => {
            session.action(&[b"rmmod ", name]);
            Ok(())
        }
        _ => Err(()),
    };
    match delete_module(&system, session.gate(), name, session.request.force_removal, budget, unused) {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            session.log.error(&bytes!["could not remove '", name, "': ", error.errno().to_string()]);
            false
        }
        Err(()) => false,
    }
}

/// Prints and runs a remove command; whether it succeeded.
fn shell(session: &Session<'_>, name: &[u8], text: &[u8]) -> bool {
    let filled = fill_in(text, b"");
    session.action(&[b"remove ", &filled]);
    session.request.dry || matches!(command::run(session, name, &filled), Ok(0))
}

fn in_use(session: &Session<'_>, name: &[u8]) -> ToolResult {
    session.fail(&bytes!["Module ", name, " is in use."])
}

/// Why a module is not removed.
enum Refusal {
    InUse,
    /// Another process removed it while this one waited for the lock.
    Gone,
}

/// Removes a required module by the kernel.
fn unload(session: &Session<'_>, name: &[u8], budget: &WaitBudget) -> ToolResult {
    let request = session.request;
    if request.dry {
        session.action(&[b"rmmod ", name]);
        return Ok(0);
    }
    let system = &session.call.world.system;
    let allowed = || {
        let count = sysfs::refcount(system.roots, name);
        if request.wait.is_zero() && matches!(count, Ok(1..)) {
            return Err(Refusal::InUse);
        }
        if count.is_err() && gate::is_absent(system, name) {
            return Err(Refusal::Gone);
        }
        // A kernel that cannot unload modules has no use count; it reports that itself.
        session.action(&[b"rmmod ", name]);
        Ok(())
    };
    let result = delete_module(system, session.gate(), name, request.force_removal, budget, allowed)
        .map(|result| result.map_err(|error| error.errno()))
        .map(|result| wait_while_busy(session, name, budget, result));
    match result {
        Ok(Ok(())) => Ok(0),
        Err(Refusal::Gone) if request.first_time => not_in_kernel(session, name),
        Err(Refusal::Gone) => Ok(0),
        Err(Refusal::InUse) => in_use(session, name),
        Ok(Err(errno)) => {
            session.log.error(&bytes!["could not remove '", name, "': ", errno.to_string()]);
            match errno {
                // A kernel that does not have the module answers so.
                Errno::EEXIST if request.first_time => not_in_kernel(session, name),
                Errno::EEXIST => Ok(0),
                _ => Ok(1),
            }
        }
    }
}

/// With `-w`: tries again while the module is in use, until the time is over. The lock is free between two attempts.
fn wait_while_busy(
    session: &Session<'_>,
    name: &[u8],
    budget: &WaitBudget,
    first: Result<(), Errno>,
) -> Result<(), Errno> {
    let system = session.call.world.system;
    let mut result = first;
    let mut pause = Duration::from_millis(2);
    let deadline = system.clock.boottime().saturating_add(session.request.wait);
    while result == Err(Errno::EAGAIN) && !session.request.wait.is_zero() {
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
        let free: Result<Result<(), _>, Refusal> =
            delete_module(&system, session.gate(), name, session.request.force_removal, budget, || Ok(()));
        result = free.unwrap_or(Ok(())).map_err(|error| error.errno());
    }
    result
}

fn not_in_kernel(session: &Session<'_>, name: &[u8]) -> ToolResult {
    session.fail(&bytes!["Module ", name, " is not in kernel."])
}
