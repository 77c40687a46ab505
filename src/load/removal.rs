//! The plan of a removal:
//!
//! ```text
//! removal(M):  the load plans of M and, if they are to be removed, of its holders (those of M first, each before its own
//!              holders); of each module the first step; all in reverse order
//! ```
//!
//! M and the holders must be removed. Another module of the plan is removed if it is unused. It stays
//!
//! - if it is built in or not loaded (a name with a `remove` command and without a file is kept in the plan);
//! - if its use count is larger than the number of its holders in the plan: a mount, an open device, another module;
//! - if a module that stays names it in a softdep.
//!
//! It is not known which modules were loaded by their own names. Such a module is removed too if it is unused.

use super::plan::{Ignore, plan};
use crate::error::Result;
use crate::gate;
use crate::system::{System, proc_modules, sysfs};
use crate::tree::{Module, Tree};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(crate) struct RemovalStep {
    pub module: Module,
    /// The remove command that replaces the removal, as configured.
    pub command: Option<Vec<u8>>,
    /// Whether it must be removed: it is the requested module or a holder.
    pub required: bool,
    /// Whether it is in use by anything else than modules of the plan.
    pub used: bool,
    /// The modules that name it in a softdep. While one of them is loaded, it stays, unless it is required.
    pub wanted_by: Vec<Vec<u8>>,
}

/// The steps that remove `target`, and with `holders` also its holders. `bare` ignores the remove commands and soft
/// dependencies of the modules that must be removed (`-i`). Reads the state of the modules and changes nothing.
///
/// # Errors
/// As [`plan`].
pub(crate) fn removal(
    tree: &Tree<'_>,
    system: &System<'_>,
    target: &Module,
    bare: bool,
    holders: bool,
) -> Result<Vec<RemovalStep>> {
    let mut required = vec![target.clone()];
    if holders {
        let order = holders_first(system, &target.name);
        // Without the last one, which is the target.
        required.extend(order.iter().rev().skip(1).map(|name| Module::named(name)));
    }
    let mut steps = Vec::new();
    let mut seen = BTreeSet::new();
    for module in &required {
        // A forbidden module can be removed.
        for step in plan(tree, module, b"", Ignore { install: bare, forbid: true })? {
            if !seen.insert(step.module.name.clone()) {
                continue;
            }
            let asked = required.iter().find(|module| module.name == step.module.name);
            let (module, required) = (asked.unwrap_or(&step.module), asked.is_some());
            let command = if required && bare { None } else { tree.remove_command(module) };
            let removable = || {
                let alone = command.is_some() && tree.path(module).is_none();
                !tree.is_builtin(module) && (alone || !gate::is_absent(system, &module.name))
            };
            if required || removable() {
                let (module, command) = (module.clone(), command.map(<[u8]>::to_vec));
                steps.push(RemovalStep { module, command, required, used: false, wanted_by: Vec::new() });
            }
        }
    }
    steps.reverse();
    Ok(retain_removable(tree, system, steps))
}

/// The direct and indirect holders of `name`, and `name`, each after its own holders.
fn holders_first(system: &System<'_>, name: &[u8]) -> Vec<Vec<u8>> {
    let holders = |name: &[u8]| sysfs::holders(system.roots, name).unwrap_or_default();
    let mut order = Vec::new();
    let mut seen = BTreeSet::from([name.to_vec()]);
    // Each module with its holders that are not visited yet.
    let mut path = vec![(name.to_vec(), holders(name))];
    while let Some((_, left)) = path.last_mut() {
        match left.pop() {
            Some(holder) if seen.insert(holder.clone()) => {
                let above = holders(&holder);
                path.push((holder, above));
            }
            Some(_) => {}
            None => order.extend(path.pop().map(|(name, _)| name)),
        }
    }
    order
}

/// `steps` without those of modules that stay, with `used` and `wanted_by`.
fn retain_removable(tree: &Tree<'_>, system: &System<'_>, mut steps: Vec<RemovalStep>) -> Vec<RemovalStep> {
    if steps.iter().any(|step| !step.required) {
        let mut wanted: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        let text = proc_modules::read(system.roots).unwrap_or_default();
        let loaded = proc_modules::lines(&text).map(|line| line.name.to_vec());
        let known = steps.iter().map(|step| step.module.name.clone());
        for name in loaded.chain(known).collect::<BTreeSet<_>>() {
            let (before, after) = tree.softdeps(&Module::named(&name));
            for other in before.into_iter().chain(after).filter(|other| other.name != name) {
                wanted.entry(other.name).or_default().push(name.clone());
            }
        }
        for step in &mut steps {
            step.wanted_by = wanted.remove(&step.module.name).unwrap_or_default();
        }
    }
    // There is no use count if the module is not loaded or if the kernel cannot unload modules.
    let with_uses = |step: RemovalStep| {
        let name = &step.module.name;
        let count = sysfs::refcount(system.roots, name).ok();
        (count, sysfs::holders(system.roots, name).unwrap_or_default(), step)
    };
    let mut left: Vec<_> = steps.into_iter().map(with_uses).collect();
    loop {
        let before = left.len();
        let going: BTreeSet<Vec<u8>> = left.iter().map(|(_, _, step)| step.module.name.clone()).collect();
        left.retain_mut(|(count, holders, step)| {
            let accounted = holders.iter().filter(|holder| going.contains(*holder)).count();
            step.used = count.is_some_and(|count| count > i64::try_from(accounted).unwrap_or(i64::MAX));
            let free = !step.used && (count.is_some() || step.command.is_some());
            step.required || (free && step.wanted_by.iter().all(|name| going.contains(name)))
        });
        if left.len() == before {
            return left.into_iter().map(|(_, _, step)| step).collect();
        }
    }
}

#[cfg(test)]
#[path = "removal_tests.rs"]
mod tests;
