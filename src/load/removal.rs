//! From a module to what goes with it, in order: the plan that loads it, backwards. Each module is in it once, at the
//! place where loading would have inserted it.
//!
//! ```text
//! removal(M):  the plans of M and, if they are to go, of its holders (those of M first, each before its own holders),
//!              one after the other; of each module the first step; all of it backwards
//! ```
//!
//! M and the holders must go. Of the others those go that loading M can have brought in and nobody wants any more. One
//! stays
//!
//! - if it is built in, or not loaded (a name that has a `remove` command and no file is never loaded, and goes);
//! - if its use count says more than the modules that go before account for: a mount, an open device, another module;
//! - if a module that stays has it in a softdep.
//!
//! That somebody asked for a module by its own name is written nowhere, so such a one goes if nobody uses it.

use super::plan::{Ignore, plan};
use crate::error::Result;
use crate::gate;
use crate::system::{System, proc_modules, sysfs};
use crate::tree::{Module, Tree};
use std::collections::{BTreeMap, BTreeSet};

/// One module to be dealt with.
#[derive(Debug)]
pub(crate) struct Step {
    pub module: Module,
    /// The command that is run instead of removing it, as configured.
    pub command: Option<Vec<u8>>,
    /// Whether it must go: the module that was asked for, or a holder.
    pub required: bool,
    /// Whether something uses it besides the modules that go before it.
    pub used: bool,
    /// The modules that have it in a softdep: while one of them is there, it stays, unless it is required.
    pub wanted_by: Vec<Vec<u8>>,
}

/// The steps that remove `target`, with the modules that hold it if `holders` says so. `bare` says to ignore the remove
/// commands and soft dependencies of the modules that must go (`-i`). Looks at what is loaded, changes nothing.
pub(crate) fn removal(
    tree: &Tree<'_>,
    system: &System<'_>,
    target: &Module,
    bare: bool,
    holders: bool,
) -> Result<Vec<Step>> {
    let mut required = Vec::new();
    if holders {
        required = holders_first(system, &target.name);
        required.pop();
    }
    required.reverse();
    let required: Vec<Module> =
        std::iter::once(target.clone()).chain(required.iter().map(|name| Module::named(name))).collect();
    let mut steps: Vec<Step> = Vec::new();
    let mut seen = BTreeSet::new();
    for module in &required {
        // What is there goes, whether it may come back or not.
        for step in plan(tree, module, b"", Ignore { install: bare, forbid: true })? {
            if seen.insert(step.module.name.clone()) {
                let asked = required.iter().find(|module| module.name == step.module.name);
                steps.extend(candidate(tree, system, asked.unwrap_or(&step.module), asked.is_some(), bare));
            }
        }
    }
    steps.reverse();
    weigh(tree, system, &mut steps);
    Ok(steps)
}

/// The modules that hold `name`, and `name`: each after all that hold it, of several the last listed first.
fn holders_first(system: &System<'_>, name: &[u8]) -> Vec<Vec<u8>> {
    let holders = |name: &[u8]| sysfs::holders(system.roots, name).unwrap_or_default();
    let mut order = Vec::new();
    let mut seen = BTreeSet::from([name.to_vec()]);
    // Each with those of its holders that have not had their turn.
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

/// A step, if there is anything to remove.
fn candidate(
    tree: &Tree<'_>,
    system: &System<'_>,
    module: &Module,
    required: bool,
    bare: bool,
) -> Option<Step> {
    let command = if required && bare { None } else { tree.remove_command(module) };
    if !required {
        let alone = command.is_some() && tree.path(module).is_none();
        if tree.is_builtin(module) || (!alone && gate::is_absent(system, &module.name)) {
            return None;
        }
    }
    let command = command.map(<[u8]>::to_vec);
    Some(Step { module: module.clone(), command, required, used: false, wanted_by: Vec::new() })
}

/// Leaves out what stays, and notes what is used.
fn weigh(tree: &Tree<'_>, system: &System<'_>, steps: &mut Vec<Step>) {
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
        for step in steps.iter_mut() {
            step.wanted_by = wanted.remove(&step.module.name).unwrap_or_default();
        }
    }
    // No count: not loaded, or a kernel that cannot unload, which says so itself.
    let in_use = |step: &Step| {
        let name = &step.module.name;
        (sysfs::refcount(system.roots, name).ok(), sysfs::holders(system.roots, name).unwrap_or_default())
    };
    let mut uses: Vec<(Option<i64>, Vec<Vec<u8>>)> = steps.iter().map(in_use).collect();
    loop {
        let going: BTreeSet<Vec<u8>> = steps.iter().map(|step| step.module.name.clone()).collect();
        let mut goes = Vec::with_capacity(steps.len());
        for (step, (count, holders)) in steps.iter_mut().zip(&uses) {
            let accounted = holders.iter().filter(|holder| going.contains(*holder)).count();
            step.used = count.is_some_and(|count| count > i64::try_from(accounted).unwrap_or(i64::MAX));
            let free = !step.used && (count.is_some() || step.command.is_some());
            goes.push(step.required || (free && step.wanted_by.iter().all(|name| going.contains(name))));
        }
        if goes.iter().all(|&goes| goes) {
            return;
        }
        let mut kept = goes.iter();
        steps.retain(|_| kept.next() == Some(&true));
        let mut kept = goes.iter();
        uses.retain(|_| kept.next() == Some(&true));
    }
}

#[cfg(test)]
#[path = "removal_tests.rs"]
mod tests;
