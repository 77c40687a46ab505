//! Removing: a module, what its softdeps name, and the modules that nobody else needs then.
//!
//! For each module, in this order: post-softdeps backwards; the modules that hold it (`--remove-holders`); the module, by
//! its command or by the kernel; each module it needs that is unused now; pre-softdeps backwards. A module that is not
//! loaded is no work at all.

use super::{Session, command};
use crate::bytes;
use crate::cli::{Exit, Outcome};
use crate::error::{Errno, strerror};
use crate::gate::{self, Patience};
use crate::load::command::fill_in;
use crate::load::remove::Remover;
use crate::system::sysfs;
use crate::tree::Module;
use std::time::Duration;

/// Removes what the operands name.
pub fn run(session: &Session<'_>) -> Outcome {
    let mut status = 0;
    for operand in &session.request.operands {
        status |= self::operand(session, operand)?;
    }
    Ok(status)
}

fn operand(session: &Session<'_>, operand: &[u8]) -> Outcome {
    // Unbalanced brackets fail without a word, as in kmod.
    let Ok(modules) = session.tree.lookup(operand) else { return Ok(1) };
    if modules.is_empty() {
        return session.fail(&bytes!["Module ", operand, " not found."]);
    }
    for module in &modules {
        if remove(session, module, Reached::Asked)? != 0 {
            return Ok(1);
        }
    }
    Ok(0)
}

/// How removal came to a module.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// It was asked for.
    Asked,
    /// As a softdep or a holder of another.
    Along,
}

/// The whole procedure for one module; its status.
fn remove(session: &Session<'_>, module: &Module, reached: Reached) -> Outcome {
    let (tree, request) = (session.tree, session.request);
    let name = &module.name;
    let (mut before, mut after, mut command) = (Vec::new(), Vec::new(), None);
    if !request.bare {
        (before, after) = tree.softdeps(module);
        command = tree.remove_command(module);
    }
    if command.is_none() && !request.depends {
        if tree.is_builtin(module) {
            return match reached {
                Reached::Asked => session.fail(&bytes!["Module ", name, " is builtin."]),
                Reached::Along => Ok(0),
            };
        }
        if gate::is_absent(&session.call.world.system, name) {
            return if request.first_time { not_in_kernel(session, name) } else { Ok(0) };
        }
    }
    along(session, &after)?;
    if request.holders && reached == Reached::Asked {
        let status = holders(session, name)?;
        if status != 0 {
            return Ok(status);
        }
    }
    let status = match &command {
        Some(command) => run_command(session, name, command)?,
        None => unload(session, name)?,
    };
    if status != 0 {
        return Ok(status);
    }
    if command.is_none() {
        for needed in tree.dependencies(module) {
            unload_unused(session, &needed.name);
        }
    }
    along(session, &before)?;
    Ok(0)
}

/// Softdeps, the last first. Whether they can be removed does not matter for the module they belong to.
fn along(session: &Session<'_>, modules: &[Module]) -> Result<(), Exit> {
    for module in modules.iter().rev() {
        remove(session, module, Reached::Along)?;
    }
    Ok(())
}

/// The modules that hold `name`, the last listed first; one level of them.
fn holders(session: &Session<'_>, name: &[u8]) -> Outcome {
    let Ok(holders) = sysfs::holders(session.call.world.system.roots, name) else { return Ok(0) };
    for holder in holders.into_iter().rev() {
        let status = remove(session, &Module::named(&holder), Reached::Along)?;
        if status != 0 {
            return Ok(status);
        }
    }
    Ok(0)
}

fn run_command(session: &Session<'_>, name: &[u8], text: &[u8]) -> Outcome {
    let filled = fill_in(text, b"");
    session.action(&[b"remove ", &filled]);
    if session.request.dry {
        return Ok(0);
    }
    match command::run(session, name, &filled) {
        Ok(0) => Ok(0),
        _ => session.fail(&bytes!["Error running remove command for ", name]),
    }
}

/// What keeps a module from being unloaded, or makes it needless.
enum Refusal {
    InUse,
    /// It went while we waited for our turn.
    Gone,
}

/// The module itself, by the kernel.
fn unload(session: &Session<'_>, name: &[u8]) -> Outcome {
    let request = session.request;
    let allowed = || {
        let system = &session.call.world.system;
        let count = sysfs::refcount(system.roots, name);
        if !request.depends && request.wait.is_zero() && matches!(count, Ok(1..)) {
            return Err(Refusal::InUse);
        }
        session.action(&[b"rmmod ", name]);
        match count {
            Err(_) if gate::is_absent(system, name) => Err(Refusal::Gone),
            // A kernel that cannot unload has no count for what is there; it says so itself.
            _ => Ok(()),
        }
    };
    let result = if request.dry {
        allowed().map(|()| Ok(()))
    } else {
        Remover::new(session.call.world.system, session.gate())
            .remove(name, request.force_removal, &Patience::new(&session.call.world.system), allowed)
            .map(|result| result.map_err(|error| error.errno()))
            .map(|result| wait_while_busy(session, name, result))
    };
    match result {
        Ok(Ok(())) => Ok(0),
        Err(Refusal::Gone) if request.first_time => not_in_kernel(session, name),
        Err(Refusal::Gone) => Ok(0),
        Err(Refusal::InUse) => session.fail(&bytes!["Module ", name, " is in use."]),
        Ok(Err(errno)) => {
            session.log.error(&bytes!["could not remove '", name, "': ", strerror(errno)]);
            match errno {
                // What a kernel would mean by it: it is not there.
                Errno::EEXIST if request.first_time => not_in_kernel(session, name),
                Errno::EEXIST => Ok(0),
                _ => Ok(1),
            }
        }
    }
}

/// With `-w`: asks again while the module is in use, until the time is over. The lock is free between two attempts.
fn wait_while_busy(session: &Session<'_>, name: &[u8], first: Result<(), Errno>) -> Result<(), Errno> {
    let system = session.call.world.system;
    let remover = Remover::new(system, session.gate());
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
            remover.remove(name, session.request.force_removal, &Patience::new(&system), || Ok(()));
        result = free.unwrap_or(Ok(())).map_err(|error| error.errno());
    }
    result
}

/// A module that the removed one needed: gone too if nothing uses it now. No softdeps, no commands, and it does not
/// matter if it stays.
fn unload_unused(session: &Session<'_>, name: &[u8]) {
    let unused = || match sysfs::refcount(session.call.world.system.roots, name) {
        Ok(0) => {
            session.action(&[b"rmmod ", name]);
            Ok(())
        }
        _ => Err(()),
    };
    if session.request.dry {
        let _ = unused();
        return;
    }
    let patience = Patience::new(&session.call.world.system);
    let remover = Remover::new(session.call.world.system, session.gate());
    if let Ok(Err(error)) = remover.remove(name, session.request.force_removal, &patience, unused) {
        session.log.error(&bytes!["could not remove '", name, "': ", strerror(error.errno())]);
    }
}

fn not_in_kernel(session: &Session<'_>, name: &[u8]) -> Outcome {
    session.fail(&bytes!["Module ", name, " is not in kernel."])
}
