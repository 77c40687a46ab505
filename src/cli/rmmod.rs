//! `rmmod`: removes the named modules, and no others.

use super::getopt::{Opt, opt};
use super::message::Log;
use super::usage::Usage;
use super::{Call, Exit, ToolResult};
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

pub(crate) const USAGE: Usage =
    Usage { forms: &["[options] NAME..."], groups: &["Options"], options: OPTIONS, notes: "" };

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
        return Err(log.end(b"missing module name."));
    }
    log.set_threshold(threshold);
    let dir = call.module_directory(&log, None, None)?;
    let tree = Tree::open(call.world.system.roots, dir, ConfigPaths::List(Vec::new()), &log);
    let gate = call.gate(&log);
    let tool = Tool { call, log: &log, tree: &tree, gate: &gate, force };
    let mut status = 0;
    for operand in operands {
        status |= u8::from(tool.remove(operand).is_err());
    }
    Ok(status)
}

struct Tool<'t> {
    call: &'t Call<'t>,
    log: &'t Log<'t>,
    tree: &'t Tree<'t>,
    gate: &'t Gate<'t>,
    force: bool,
}

impl Tool<'_> {
    /// Removes the module of an operand. An error has been logged.
    fn remove(&self, operand: &[u8]) -> Result<(), Exit> {
        let (log, system) = (self.log, self.call.world.system);
        let could_not = |what: &str, errno: Errno| {
            log.end(&bytes!["could not ", what, " module ", operand, ": ", errno.to_string()])
        };
        let name = match std::fs::metadata(as_path(operand)) {
            Ok(_) => name::from_path(operand).ok_or_else(|| could_not("use", Errno::ENOENT))?,
            Err(_) => name::canonical(operand),
        };
        if !self.force && self.tree.is_builtin(&Module::named(&name)) {
            return Err(log.end(&bytes!["Module ", name, " is builtin."]));
        }
        if !self.force && gate::is_absent(&system, &name) {
            return Err(log.end(&bytes!["Module ", name, " is not currently loaded"]));
        }
        let allowed = || if self.force { Ok(()) } else { self.unused(&name) };
        let budget = WaitBudget::new(&system);
        let removed = delete_module(&system, self.gate, &name, self.force, &budget, allowed)?;
        removed.map_err(|error| {
            log.error(&bytes!["could not remove '", name, "': ", error.errno().to_string()]);
            could_not("remove", error.errno())
        })
    }

    /// Whether nothing uses the module. Called with the module's lock held.
    fn unused(&self, name: &[u8]) -> Result<(), Exit> {
        let roots = self.call.world.system.roots;
        let holders = sysfs::holders(roots, name).unwrap_or_default();
        if !holders.is_empty() {
            return Err(self.log.end(&bytes!["Module ", name, " is in use by: ", holders.join(&b' ')]));
        }
        let problem = match sysfs::refcount(roots, name).map_err(|error| error.errno()) {
            Ok(0) => return Ok(()),
            Ok(1..) => " is in use".to_owned(),
            // -1: another process has it removed, without the module's lock.
            Ok(_) => " is being removed".to_owned(),
            Err(Errno::ENOENT) => return Err(self.log.end(b"Module unloading is not supported")),
            Err(errno) => format!(": use count: {errno}"),
        };
        Err(self.log.end(&bytes!["Module ", name, problem]))
    }
}
