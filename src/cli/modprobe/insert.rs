//! Inserting: each operand becomes modules, each module a plan, and the plan is walked. `-D` and `-v` print that plan; a
//! run executes the same plan. With `--jobs` the walk takes results that threads have prepared (`batch`).

use super::batch::Batch;
use super::kernel_messages::{KernelListener, kernel_lines};
use super::{Session, command, insert_reason};
use crate::cli::ToolResult;
use crate::error::Errno;
use crate::gate::{self, WaitBudget};
use crate::load::ahead::{Attempt, JobResult};
use crate::load::insert::{Force, Insertion, Loader};
use crate::load::plan::{Step, plan};
use crate::load::walk::{self, WalkMode};
use crate::log::{Priority, Sink, bytes};
use crate::system::Roots;
use crate::tree::{Module, Tree};
use std::cell::OnceCell;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Inserts one operand after the other; `batch` has the results of threads.
pub(crate) fn walk(
    session: &Session<'_>,
    names: &[&[u8]],
    parameters: &[u8],
    batch: Option<&Batch<'_>>,
) -> ToolResult {
    let mut status = 0;
    for name in names {
        // An operand that fails does not stop the next.
        status |= operand(session, name, parameters, batch)?;
    }
    Ok(status)
}

fn is_path(operand: &[u8]) -> bool {
    operand.starts_with(b"/") || operand.starts_with(b"./")
}

/// The modules of an operand; none if it is unknown.
///
/// # Errors
/// Why the file cannot be used, or the errors of [`Tree::lookup`].
pub(crate) fn find(session: &Session<'_>, tree: &Tree<'_>, operand: &[u8]) -> Result<Vec<Module>, Errno> {
    if !is_path(operand) {
        return tree.lookup(operand);
    }
    let path = session.call.absolute(operand)?;
    Ok(vec![tree.module_from_path(path.as_os_str().as_bytes())?])
}

/// Inserts all modules of one operand. The status is that of the last module: of the drivers that share an alias the first
/// may fail and the second succeed.
fn operand(
    session: &Session<'_>,
    operand: &[u8],
    parameters: &[u8],
    batch: Option<&Batch<'_>>,
) -> ToolResult {
    let request = Insert { session, operand, parameters, budget: OnceCell::new(), batch };
    let mut status = 0;
    let modules = match find(session, session.tree, operand) {
        Err(errno) if is_path(operand) => {
            let reason = errno.to_string();
            return session.fail(&bytes!["Failed to get module from path ", operand, ": ", reason]);
        }
        found => found.unwrap_or_default(),
    };
    if modules.is_empty() {
        let dir = session.tree.dir().as_os_str().as_bytes();
        return session.fail(&bytes!["Module ", operand, " not found in directory ", dir]);
    }
    for module in &modules {
        status = if session.request.resolve {
            session.call.print(&bytes![module.name, "\n"]);
            0
        } else {
            request.module(module)
        };
    }
    Ok(status)
}

/// The request of one operand.
struct Insert<'i, 's> {
    session: &'i Session<'s>,
    operand: &'i [u8],
    parameters: &'i [u8],
    budget: OnceCell<WaitBudget>,
    batch: Option<&'i Batch<'i>>,
}

impl Insert<'_, '_> {
    /// Inserts one module with everything it needs; returns its status.
    fn module(&self, module: &Module) -> u8 {
        let (tree, request) = (self.session.tree, self.session.request);
        // The step that failed.
        let mut culprit = None;
        let result = if self.is_there(module) {
            if request.first_time { Err(Errno::EEXIST) } else { Ok(()) }
        } else if (request.blacklist || module.alias.is_some()) && tree.blacklisted(module) {
            Ok(())
        } else {
            plan(tree, module, self.parameters, request.ignore())
                .map_err(|error| {
                    self.session.log.error(error.to_string().as_bytes());
                    error.errno()
                })
                .and_then(|steps| {
                    let mode = WalkMode { dry: request.dry, first_time: request.first_time };
                    let mut walk = Walk { insert: self, ahead: None, begun: 0 };
                    let result = walk::walk(steps.iter(), mode, &mut walk).map(drop);
                    culprit = steps.into_iter().nth(walk.begun);
                    result
                })
        };
        if let Some(batch) = self.batch {
            batch.plan_is_over();
        }
        match result {
            Ok(()) => 0,
            Err(errno) => {
                // The first message names the requested module, whichever step failed; the next names the step.
                let reason = insert_reason(errno);
                self.session.log.error(&bytes!["could not insert '", module.name, "': ", reason]);
                // A target that is loaded already (--first-time) is no step's failure.
                if let Some(step) = culprit.filter(|_| errno != Errno::EEXIST) {
                    self.session.blame(&step, &module.name, errno);
                }
                1
            }
        }
    }

    /// The time limits of this request. One that loads nothing does not read the clock.
    fn budget(&self) -> &WaitBudget {
        self.budget.get_or_init(|| WaitBudget::new(&self.session.call.world.system))
    }

    /// Whether there is nothing to do for a module. A module that threads loaded ahead for a later step does not count yet.
    fn is_there(&self, module: &Module) -> bool {
        !self.session.request.depends
            && !self.batch.is_some_and(|batch| batch.holds(&module.name))
            && self.session.is_there(module)
    }

    /// Logs the messages of a thread that tried a module and, if it failed, the messages of the kernel.
    fn log_tried(&self, step: &Step, tried: &Attempt) {
        let log = self.session.log;
        tried.messages.iter().for_each(|(priority, text)| log.log(*priority, text));
        if tried.result.is_err() {
            for line in kernel_lines(&tried.kernel_log, self.session.tree, &step.module.name) {
                log.log(Priority::Notice, &line);
            }
        }
    }
}

/// The walk over one plan.
struct Walk<'w, 'i, 's> {
    insert: &'w Insert<'i, 's>,
    /// The result of a thread for the current step.
    ahead: Option<Attempt>,
    /// The index of the last step that began.
    begun: usize,
}

impl Walk<'_, '_, '_> {
    /// Takes the result of a thread for a step; whether the thread found the module loaded.
    fn take(&mut self, step: &Step) -> bool {
        match self.insert.batch.and_then(|batch| batch.take(step)) {
            Some(JobResult::AlreadyLive) => true,
            Some(JobResult::Attempted(tried)) => {
                self.ahead = Some(tried);
                false
            }
            None => false,
        }
    }
}

impl walk::StepHandler for Walk<'_, '_, '_> {
    fn is_there(&mut self, _: usize, step: &Step) -> bool {
        let own_name = step.own_name.as_deref().map(Module::named);
        // The result for a module that is left out here belongs to another plan.
        [&step.module].into_iter().chain(&own_name).any(|module| self.insert.is_there(module))
            || (step.forbidden.is_none() && self.take(step))
    }

    fn begin(&mut self, index: usize, step: &Step) {
        self.begun = index;
        let session = self.insert.session;
        match (&step.command, &step.path) {
            (Some(command), _) => session.action(&[b"install ", command, b" ", &step.options]),
            (None, Some(path)) => {
                session.action(&[b"insmod ", path.as_os_str().as_bytes(), b" ", &step.options])
            }
            (None, None) if session.tree.is_builtin(&step.module) => {
                session.action(&[b"builtin ", &step.module.name])
            }
            (None, None) => {}
        }
    }

    fn refuse(&mut self, index: usize, step: &Step) {
        self.begun = index;
        let (session, name) = (self.insert.session, &step.module.name);
        // A refused required module is reported when the walk has ended.
        if let Some(forbidden) = step.forbidden.as_ref().filter(|_| !step.required) {
            let why = session.tree.forbidden_by(name, forbidden);
            session.log.log(Priority::Notice, &bytes!["'", name, "' is left out: ", why]);
        }
    }

    fn insert(&mut self, _: usize, step: &Step) -> Result<gate::Outcome, Errno> {
        let Insert { session, operand, parameters, .. } = *self.insert;
        if self.ahead.is_none() && self.take(step) {
            return Ok(gate::Outcome::Joined);
        }
        let Some(path) = &step.path else {
            session.log.error(&bytes!["could not find module by name='", step.module.name, "'"]);
            return Err(Errno::ENOENT);
        };
        if let Some(batch) = self.insert.batch {
            batch.log_gate_messages();
        }
        let tried = match self.ahead.take() {
            Some(tried) => tried,
            None => Loads::new(session, parameters).load(step, path, self.insert.budget(), operand),
        };
        self.insert.log_tried(step, &tried);
        tried.result
    }

    fn command(&mut self, _: usize, step: &Step, filled: &[u8]) -> Result<i32, Errno> {
        let session = self.insert.session;
        let name = &step.module.name;
        let system = &session.call.world.system;
        let run = || command::run(session, name, filled);
        let problem = match self.insert.budget().work(system, run) {
            Ok(0) => return Ok(0),
            Ok(code) => bytes!["retcode ", code.to_string()],
            Err(Errno::ELOOP) => b"install and remove commands start each other without end".to_vec(),
            Err(errno) => errno.to_string().into_bytes(),
        };
        let text = bytes!["Error running install command '", filled, "' for module ", name, ": ", problem];
        session.log.error(&text);
        Err(Errno::EINVAL)
    }
}

/// What all loads of a run share. Threads use it, too.
#[derive(Clone, Copy)]
pub(crate) struct Loads<'l> {
    loader: &'l Loader<'l>,
    force: Force,
    /// Whether a remembered failure may answer.
    remember: bool,
    /// The roots for reading the kernel log; `None` if it is not read.
    listen: Option<&'l Roots>,
}

impl<'l> Loads<'l> {
    /// The loads of this request, with these parameters.
    pub(crate) fn new(session: &Session<'l>, parameters: &[u8]) -> Self {
        let request = session.request;
        Loads {
            loader: session.loader(),
            force: request.force,
            remember: (request.quiet || request.blacklist) && parameters.is_empty(),
            listen: request.actions.then_some(session.call.world.system.roots),
        }
    }

    /// Loads the file of a step through the gate. `budget` limits the waits of `request`, the operand as given.
    pub(crate) fn load(&self, step: &Step, path: &Path, budget: &WaitBudget, request: &[u8]) -> Attempt {
        let insertion = Insertion {
            path,
            // A file given by path may hold a module of another name; the gate then reads the name from the file.
            name: step.module.file.is_none().then_some(&step.module.name[..]),
            parameters: &step.options,
            // For dependencies, too: modprobe(8).
            force: self.force,
            budget,
            dependency: !step.is_target,
            remember: self.remember,
            request,
        };
        let listener = self.listen.map(KernelListener::new);
        let result = self.loader.insert(&insertion).map_err(|error| error.errno());
        let kernel_log = listener.filter(|_| result.is_err()).map(KernelListener::read).unwrap_or_default();
        Attempt { result, messages: Vec::new(), kernel_log }
    }
}
