//! `rmmod`: removes the named modules, and no others.

use super::getopt::{Opt, opt};
use super::message::Log;
use super::usage::Usage;
use super::{Call, ToolResult};
use crate::error::Errno;
use crate::gate::{self, Gate, WaitBudget};
use crate::load::remove::delete_module;
use crate::log::bytes;
use crate::name;
use crate::system::roots::as_path;
use crate::system::sysfs;
use crate::tree::{ConfigPaths, Module, Tree};

const OPTIONS: &[Opt] = &[
    opt(b'f', "force", "remove a module even while it is in use. DANGEROUS"),
    opt(b's', "syslog", "messages go to the system log, not to stderr"),
    opt(b'v', "verbose", "more messages"),
    opt(b'V', "version", "print the version"),
    opt(b'h', "help", "print this text"),
    // Ignored. kmod 30 accepted the letter and then failed on it.
    opt(b'w', "", "").unlisted(),
];

/// The help text, with the options.
pub(crate) const USAGE: Usage =
    Usage { forms: &["[options] NAME..."], groups: &["Options"], options: OPTIONS, notes: "" };

/// Removes the modules.
pub(crate) fn run(call: &Call<'_>) -> ToolResult {
    let log = call.log();
    let mut force = false;
    let mut threshold = 3;
    let operands = call.options(&USAGE, |found| {
        match found.id {
            b'f' => force = true,
            b's' => log.use_syslog(),
            b'v' => threshold += 1,
            _ => {}
        }
        Ok(())
    })?;
    if operands.is_empty() {
        log.error(b"missing module name.");
        return Ok(1);
    }
    log.set_threshold(threshold);
    let dir = call.module_directory(&log, None, None)?;
    let tree = Tree::open(&call.world.system, dir, ConfigPaths::List(Vec::new()), &log);
    let gate = call.gate(&log);
    let tool = Tool { call, log: &log, tree: &tree, gate: &gate, force };
    let mut status = 0;
    for operand in operands {
        if tool.remove(operand).is_err() {
            status = 1;
        }
    }
    Ok(status)
}

/// The module was not removed; the reason has been logged.
struct NotRemoved;

struct Tool<'t> {
    call: &'t Call<'t>,
    log: &'t Log<'t>,
    tree: &'t Tree<'t>,
    gate: &'t Gate<'t>,
    force: bool,
}

impl Tool<'_> {
    fn remove(&self, operand: &[u8]) -> Result<(), NotRemoved> {
        let system = self.call.world.system;
        let name = match std::fs::metadata(as_path(operand)) {
            Ok(_) => match name::from_path(operand) {
                Some(name) => name,
                None => {
                    let reason = Errno::ENOENT.to_string();
                    return self.refuse(&[b"could not use module ", operand, b": ", reason.as_bytes()]);
                }
            },
            Err(_) => name::canonical(operand),
        };
        if !self.force {
            if self.tree.is_builtin(&Module::named(&name)) {
                return self.refuse(&["Module ".as_ref(), &name, b" is builtin."]);
            }
            if gate::is_absent(&system, &name) {
                return self.refuse(&["Module ".as_ref(), &name, b" is not currently loaded"]);
            }
        }
        let allowed = || if self.force { Ok(()) } else { self.unused(&name) };
        let budget = WaitBudget::new(&system);
        match delete_module(&system, self.gate, &name, self.force, &budget, allowed)? {
            Ok(()) => Ok(()),
            Err(error) => {
                let reason = error.errno().to_string();
                self.log.error(&bytes!["could not remove '", name, "': ", reason]);
                self.refuse(&[b"could not remove module ", operand, b": ", reason.as_bytes()])
            }
        }
    }

    /// Whether nothing uses the module. Called with the module's lock held.
    fn unused(&self, name: &[u8]) -> Result<(), NotRemoved> {
        let roots = self.call.world.system.roots;
        let holders = sysfs::holders(roots, name).unwrap_or_default();
        if !holders.is_empty() {
            return self.refuse(&[b"Module ", name, b" is in use by: ", &holders.join(&b' ')]);
        }
        match sysfs::refcount(roots, name) {
            Ok(0) => Ok(()),
            Ok(1..) => self.refuse(&[b"Module ", name, b" is in use"]),
            // -1: another process has it removed, without the module's lock.
            Ok(_) => self.refuse(&[b"Module ", name, b" is being removed"]),
            Err(error) if error.errno() == Errno::ENOENT => {
                self.refuse(&[b"Module unloading is not supported"])
            }
            Err(error) => {
                self.refuse(&[b"Module ", name, b": use count: ", error.errno().to_string().as_bytes()])
            }
        }
    }

    fn refuse(&self, parts: &[&[u8]]) -> Result<(), NotRemoved> {
        self.log.error(&parts.concat());
        Err(NotRemoved)
    }
}
