//! The plan of a load: the module's dependencies, the soft dependencies of all of them, and the module itself, in load
//! order. It does not depend on what is loaded, so that a dry run shows what a real run does.
//!
//! ```text
//! plan(M):   unless M was planned already:
//!              for each D that M needs, in load order: place(D)
//!              if M is the target and -i is given: emit M   else: place(M)
//! place(X):  for each P in X's "pre" softdeps: plan(P);   emit X;   for each P in its "post" softdeps: plan(P)
//! ```
//!
//! Dependencies are placed, not planned, so a module can be in the list several times; the later steps find it loaded. A module
//! with soft dependencies is inserted even if it has an install command. kmod does both, and programs that make an initramfs
//! read the list. An install command that only refuses ([`super::command::refuses`]) is kept: it forbids the module.
//!
//! A forbidden module stays in the list with the configuration line that forbids it, but is never loaded. If a module that
//! only a soft dependency names is forbidden, or needs a forbidden module, its own dependencies are left out.

use super::command::refuses;
use crate::error::{Errno, Error, Result};
use crate::limits;
use crate::log::bytes;
use crate::tree::{Forbidden, Key, Module, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

/// One module to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub module: Module,
    /// Whether an error ends the run: the module is the target, or the target needs it.
    pub required: bool,
    /// Whether it is the requested module.
    pub is_target: bool,
    /// The install command that replaces the insertion, as configured.
    pub command: Option<Vec<u8>>,
    /// The module file, if it is known.
    pub path: Option<PathBuf>,
    /// The configured parameters, with a blank after them; for the target the extra ones follow.
    pub options: Vec<u8>,
    /// The configuration line that forbids the module.
    pub forbidden: Option<Forbidden>,
    /// The name by which the kernel knows a forbidden module: it may be loaded under this one.
    pub own_name: Option<Vec<u8>>,
}

/// The parts of the configuration to ignore.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ignore {
    /// The install command and the soft dependencies of the target (`-i`), not those of other modules.
    pub install: bool,
    /// Everything that forbids a module.
    pub forbid: bool,
}

/// The steps that load `target`. `extra` are additional parameters for it.
///
/// # Errors
/// `ELOOP` if the list would exceed [`limits::PLAN_TASKS`] or [`limits::PLAN_NAMES`].
pub(crate) fn plan(tree: &Tree<'_>, target: &Module, extra: &[u8], ignore: Ignore) -> Result<Vec<Step>> {
    let mut planner = Planner {
        tree,
        target,
        ignore,
        tasks: Vec::new(),
        task_count: 0,
        name_bytes: 0,
        planned: BTreeSet::new(),
        needed: Vec::new(),
        softdeps: BTreeMap::new(),
        left_out: BTreeMap::new(),
        emitted: Vec::new(),
    };
    planner.run()?;
    let modules = std::mem::take(&mut planner.emitted);
    Ok(modules.into_iter().map(|module| planner.step(module, extra)).collect())
}

/// A pending call of the functions above. A stack of tasks replaces the recursion.
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

/// The "pre" and the "post" soft dependencies of a module.
type Softdeps = Rc<(Vec<Module>, Vec<Module>)>;

struct Planner<'p> {
    tree: &'p Tree<'p>,
    target: &'p Module,
    ignore: Ignore,
    tasks: Vec<Task>,
    /// The number of tasks so far.
    task_count: usize,
    /// The size of the names in them, in bytes.
    name_bytes: usize,
    /// The modules that were planned, without the target.
    planned: BTreeSet<Key>,
    /// The names of the target's dependencies, sorted.
    needed: Vec<Vec<u8>>,
    /// By module name; only modules that have any.
    softdeps: BTreeMap<Vec<u8>, Softdeps>,
    /// The forbidden soft dependencies, by name.
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
                Task::Plan(module) if self.is_target(&module) || !self.planned.insert(module.key()) => {}
                Task::Plan(module) => {
                    let needed = self.tree.dependencies(&module);
                    let forbidden = [&module].into_iter().chain(&needed).find_map(|it| self.forbidden(it));
                    match forbidden {
                        None => self.push(needed.into_iter().chain([module]).map(Task::Place))?,
                        Some(forbidden) => {
                            self.left_out.insert(module.name.clone(), forbidden);
                            self.emitted.push(module);
                        }
                    }
                }
                Task::Place(module) => self.place(module)?,
                Task::Emit(module) => self.emitted.push(module),
            }
        }
        Ok(())
    }

    /// Whether it is the requested module, found by the same alias.
    fn is_target(&self, module: &Module) -> bool {
        module.name == self.target.name && module.alias == self.target.alias
    }

    fn forbidden(&self, module: &Module) -> Option<Forbidden> {
        if self.ignore.forbid { None } else { self.tree.forbidden(module) }
    }

    fn place(&mut self, module: Module) -> Result<()> {
        let known = self.softdeps.get(&module.name).cloned();
        let softdeps = known.unwrap_or_else(|| Rc::new(self.tree.softdeps(&module)));
        let (before, after) = &*softdeps;
        if before.is_empty() && after.is_empty() {
            self.emitted.push(module);
            return Ok(());
        }
        self.softdeps.entry(module.name.clone()).or_insert_with(|| softdeps.clone());
        let before = before.iter().cloned().map(Task::Plan);
        let after = after.iter().cloned().map(Task::Plan);
        self.push(before.chain([Task::Emit(module)]).chain(after))
    }

    /// Puts tasks on the stack, so that the first of them is done next.
    fn push(&mut self, tasks: impl Iterator<Item = Task>) -> Result<()> {
        let waiting = self.tasks.len();
        self.tasks.extend(tasks);
        self.task_count += self.tasks.len() - waiting;
        self.name_bytes += self.tasks[waiting..].iter().map(|task| task.module().names()).sum::<usize>();
        let limit = if self.task_count > limits::PLAN_TASKS {
            format!("{} steps", limits::PLAN_TASKS)
        } else if self.name_bytes > limits::PLAN_NAMES {
            format!("{} bytes of names", limits::PLAN_NAMES)
        } else {
            self.tasks[waiting..].reverse();
            return Ok(());
        };
        let name = String::from_utf8_lossy(&self.target.name);
        Err(Error::new(Errno::ELOOP, format!("loading {name} would take more than {limit}")))
    }

    fn step(&self, module: Module, extra: &[u8]) -> Step {
        let is_target = self.is_target(&module);
        // If a module needs the target, and the target was requested by path, use that file.
        let module = if is_target { self.target.clone() } else { module };
        let extra = if is_target { extra } else { b"" };
        // Ignored: with -i the target's command; that of a module with soft dependencies, unless it only refuses.
        let command =
            if is_target && self.ignore.install { None } else { self.tree.install_command(&module) };
        let command = command.filter(|text| !self.softdeps.contains_key(&module.name) || refuses(text));
        let forbidden = self.left_out.get(&module.name).cloned().or_else(|| self.forbidden(&module));
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
            own_name: forbidden.as_ref().and_then(|_| self.tree.own_name(&module)),
            forbidden,
            module,
        }
    }
}

#[cfg(test)]
mod tests;
