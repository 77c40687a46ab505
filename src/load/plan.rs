//! From a module to the list of what is to be loaded, in order: its dependencies, the soft dependencies of all of
//! them, and itself. Decides nothing from what is loaded, so that a dry run shows exactly what a real one does.
//!
//! ```text
//! plan(M):   unless M was planned already:
//!              for each D that M needs, in load order: place(D)
//!              if M is the target and -i is given: emit M   else: place(M)
//! place(X):  for each P before X: plan(P);   emit X;   for each P after X: plan(P)
//! ```
//!
//! Dependencies are placed, not planned, so one module can stand in the list several times; the second time it is
//! loaded already. A module whose soft dependencies lead to any module is inserted in spite of its install command. Both
//! are what kmod does, and programs that make an initramfs read the list. But a command that only refuses
//! ([`super::command::refuses`]) holds wherever the module stands: who wrote it forbids the module.
//!
//! A module that the configuration forbids stays in the list, with the line that says so; it is never made. Where it, or
//! what it needs, is forbidden and only a soft dependency led there, nothing is planned for it.

use super::command::refuses;
use crate::error::{Errno, Error, Result};
use crate::limits;
use crate::log::bytes;
use crate::tree::{Forbidden, Key, Module, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

/// One module to be dealt with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub module: Module,
    /// Whether an error ends the run: it is the target, or the target needs it.
    pub required: bool,
    /// Whether it is the module that was asked for.
    pub is_target: bool,
    /// The install command that is run instead of inserting it, as configured.
    pub command: Option<Vec<u8>>,
    /// The file; `None` where none is known.
    pub path: Option<PathBuf>,
    /// The parameters: the configured ones with a blank behind them if there are any, and for the target the extra
    /// ones.
    pub options: Vec<u8>,
    /// Why it is not made.
    pub forbidden: Option<Forbidden>,
}

/// What of the configuration does not count.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ignore {
    /// The target's own install command and soft dependencies (`-i`), not those of others.
    pub install: bool,
    /// What it forbids.
    pub forbid: bool,
}

/// The steps that load `target`. `extra` are parameters for it besides the configured ones.
///
/// # Errors
/// `ELOOP` where the list would be longer than any honest one ([`limits::PLAN_TASKS`], [`limits::PLAN_NAMES`]).
pub(crate) fn plan(tree: &Tree<'_>, target: &Module, extra: &[u8], ignore: Ignore) -> Result<Vec<Step>> {
    let mut planner = Planner {
        tree,
        target,
        ignore,
        tasks: Vec::new(),
        spent: 0,
        names: 0,
        planned: BTreeSet::new(),
        needed: Vec::new(),
        around: BTreeMap::new(),
        left_out: BTreeMap::new(),
        emitted: Vec::new(),
    };
    planner.run()?;
    let modules = std::mem::take(&mut planner.emitted);
    Ok(modules.into_iter().map(|module| planner.step(module, extra)).collect())
}

/// What is still to be done; the order of the recursion, without its depth.
enum Task {
    Plan(Module),
    Place(Module),
    Emit(Module),
}

impl Task {
    fn module(&self) -> &Module {
        match self {
            Task::Plan(module) | Task::Place(module) | Task::Emit(module) => module,
        }
    }
}

/// What is before and what is after a module.
type Around = Rc<(Vec<Module>, Vec<Module>)>;

struct Planner<'p> {
    tree: &'p Tree<'p>,
    target: &'p Module,
    ignore: Ignore,
    tasks: Vec<Task>,
    spent: usize,
    names: usize,
    /// What was planned besides the target.
    planned: BTreeSet<Key>,
    /// The names of what the target needs, sorted.
    needed: Vec<Vec<u8>>,
    /// By module name; only modules that have any.
    around: BTreeMap<Vec<u8>, Around>,
    /// The soft dependencies that are not planned, by name.
    left_out: BTreeMap<Vec<u8>, Forbidden>,
    emitted: Vec<Module>,
}

impl Planner<'_> {
    fn run(&mut self) -> Result<()> {
        let needed = self.tree.dependencies(self.target);
        self.needed = needed.iter().map(|module| module.name.clone()).collect();
        self.needed.sort_unstable();
        let last = if self.ignore.install { Task::Emit } else { Task::Place }(self.target.clone());
        self.push(needed.into_iter().map(Task::Place).chain([last]))?;
        while let Some(task) = self.tasks.pop() {
            match task {
                Task::Plan(module) => {
                    if !self.is_target(&module) && self.planned.insert(module.key()) {
                        let needed = self.tree.dependencies(&module);
                        let forbidden =
                            [&module].into_iter().chain(&needed).find_map(|it| self.forbidden(it));
                        match forbidden {
                            None => self.push(needed.into_iter().chain([module]).map(Task::Place))?,
                            Some(forbidden) => {
                                self.left_out.insert(module.name.clone(), forbidden);
                                self.emitted.push(module);
                            }
                        }
                    }
                }
                Task::Place(module) => self.place(module)?,
                Task::Emit(module) => self.emitted.push(module),
            }
        }
        Ok(())
    }

    /// Whether it is the module that was asked for, found the same way.
    fn is_target(&self, module: &Module) -> bool {
        module.name == self.target.name && module.alias == self.target.alias
    }

    fn forbidden(&self, module: &Module) -> Option<Forbidden> {
        if self.ignore.forbid { None } else { self.tree.forbidden(module) }
    }

    fn place(&mut self, module: Module) -> Result<()> {
        let around = match self.around.get(&module.name) {
            Some(around) => around.clone(),
            None => {
                let around = Rc::new(self.tree.softdeps(&module));
                if !around.0.is_empty() || !around.1.is_empty() {
                    self.around.insert(module.name.clone(), around.clone());
                }
                around
            }
        };
        let (before, after) = &*around;
        if before.is_empty() && after.is_empty() {
            self.emitted.push(module);
            return Ok(());
        }
        let before = before.iter().cloned().map(Task::Plan);
        let after = after.iter().cloned().map(Task::Plan);
        self.push(before.chain([Task::Emit(module)]).chain(after).collect::<Vec<_>>().into_iter())
    }

    /// Puts tasks before all that are waiting, the first one foremost.
    fn push(&mut self, tasks: impl Iterator<Item = Task>) -> Result<()> {
        let waiting = self.tasks.len();
        self.tasks.extend(tasks);
        self.spent += self.tasks.len() - waiting;
        self.names += self.tasks[waiting..].iter().map(|task| task.module().names()).sum::<usize>();
        let too_much = match (self.spent > limits::PLAN_TASKS, self.names > limits::PLAN_NAMES) {
            (true, _) => Some(format!("{} steps", limits::PLAN_TASKS)),
            (_, true) => Some(format!("{} bytes of names", limits::PLAN_NAMES)),
            _ => None,
        };
        if let Some(limit) = too_much {
            let name = String::from_utf8_lossy(&self.target.name);
            let what = format!("loading {name} would take more than {limit}");
            return Err(Error::new(Errno::ELOOP, what));
        }
        self.tasks[waiting..].reverse();
        Ok(())
    }

    fn step(&self, module: Module, extra: &[u8]) -> Step {
        let is_target = self.is_target(&module);
        // Where somebody needs the module that was asked for by path, that file is meant.
        let module = if is_target { self.target.clone() } else { module };
        let extra = if is_target { extra } else { b"" };
        // The target of -i is inserted, whatever its command. So is a module with soft dependencies, unless that forbids it.
        let command =
            if is_target && self.ignore.install { None } else { self.tree.install_command(&module) };
        let around = self.around.contains_key(&module.name);
        let command = command.filter(|command| !around || refuses(command));
        Step {
            required: is_target
                || (module.alias.is_none() && self.needed.binary_search(&module.name).is_ok()),
            is_target,
            command: command.map(<[u8]>::to_vec),
            path: self.tree.path(&module),
            options: match self.tree.options(&module) {
                Some(configured) => bytes![configured, " ", extra],
                None => extra.to_vec(),
            },
            forbidden: self.left_out.get(&module.name).cloned().or_else(|| self.forbidden(&module)),
            module,
        }
    }
}

#[cfg(test)]
mod tests;
