//! Inserting: each operand becomes modules, each module a plan, and the plan is walked. `-D` and `-v` print that plan; a
//! run executes the same plan. With `--jobs` the walk takes results that threads have prepared (`load::ahead`).

use super::args::Request;
use super::kernel_messages::messages_about;
use super::{Session, command, insert_reason};
use crate::cli::ToolResult;
use crate::error::{Errno, Result};
use crate::gate::{self, WaitBudget};
use crate::load::ahead::{Ahead, Attempt, JobResult};
use crate::load::insert::{Force, Insertion, Loader};
use crate::load::plan::{Step, plan};
use crate::load::walk::{self, WalkMode};
use crate::log::{Message, Priority, Sink, bytes};
use crate::system::Roots;
use crate::system::kmsg::KmsgReader;
use crate::tree::{Module, Tree};
use std::cell::OnceCell;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Inserts one operand after the other; one that fails does not stop the next. `ahead` has the results of threads.
pub(crate) fn walk(session: &Session<'_>, names: &[&[u8]], ahead: Option<&Ahead<'_>>) -> ToolResult {
    names.iter().try_fold(0, |status, name| Ok(status | operand(session, name, ahead)?))
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

/// The steps that insert a module with everything it needs; none if it is blacklisted.
///
/// # Errors
/// As [`plan`].
pub(crate) fn steps(request: &Request<'_>, tree: &Tree<'_>, module: &Module) -> Result<Vec<Step>> {
    if (request.blacklist || module.alias.is_some()) && tree.blacklisted(module) {
        return Ok(Vec::new());
    }
    plan(tree, module, &request.parameters, request.ignore())
}

/// Inserts all modules of one operand. The status is that of the last module: of the drivers that share an alias the first
/// may fail and the second succeed.
fn operand(session: &Session<'_>, operand: &[u8], ahead: Option<&Ahead<'_>>) -> ToolResult {
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
    if session.request.resolve {
        modules.iter().for_each(|module| session.call.print(&bytes![module.name, "\n"]));
        return Ok(0);
    }
    let mut insert = Insert { session, operand, budget: OnceCell::new(), ahead, tried: None, begun: 0 };
    let mut status = 0;
    for module in &modules {
        status = insert.module(module);
    }
    Ok(status)
}

/// The request of one operand, and the walk over the plan of one of its modules.
struct Insert<'i, 's> {
    session: &'i Session<'s>,
    operand: &'i [u8],
    budget: OnceCell<WaitBudget>,
    ahead: Option<&'i Ahead<'i>>,
    /// The result of a thread for the current step.
    tried: Option<Attempt>,
    /// The index of the last step that began.
    begun: usize,
}

impl Insert<'_, '_> {
    /// Inserts one module with everything it needs; returns its status.
    fn module(&mut self, module: &Module) -> u8 {
        let Session { tree, request, log, .. } = *self.session;
        let steps = match self.is_done(module) {
            true if request.first_time => Err(Errno::EEXIST),
            true => Ok(Vec::new()),
            false => steps(request, tree, module).map_err(|error| {
                log.error(error.to_string().as_bytes());
                error.errno()
            }),
        };
        let mode = WalkMode { dry: request.dry, first_time: request.first_time };
        (self.tried, self.begun) = (None, 0);
        let result = steps.as_ref().map_err(|errno| *errno);
        let result = result.and_then(|steps| walk::walk(steps.iter(), mode, self));
        if let Some(ahead) = self.ahead {
            ahead.plan_is_over();
        }
        let Err(errno) = result else { return 0 };
        // The first message names the requested module, whichever step failed; the next names the step.
        log.error(&bytes!["could not insert '", module.name, "': ", insert_reason(errno)]);
        // A target that is loaded already (--first-time) is no step's failure.
        if let Some(step) = steps.iter().flatten().nth(self.begun).filter(|_| errno != Errno::EEXIST) {
            self.session.blame(step, &module.name, errno);
        }
        1
    }

    /// The time limits of this request. One that loads nothing does not read the clock.
    fn budget(&self) -> &WaitBudget {
        self.budget.get_or_init(|| WaitBudget::new(&self.session.system))
    }

    /// Whether there is nothing to do for a module. A module that threads loaded ahead for a later step does not count yet.
    fn is_done(&self, module: &Module) -> bool {
        !self.session.request.depends
            && !self.ahead.is_some_and(|ahead| ahead.holds(&module.name))
            && self.session.is_there(self.session.tree, module)
    }

    /// Takes the result of a thread for a step; whether the thread found the module loaded.
    fn take(&mut self, step: &Step) -> bool {
        match self.ahead.and_then(|ahead| ahead.take(step)) {
            Some(JobResult::AlreadyLive) => return true,
            Some(JobResult::Attempted(tried)) => self.tried = Some(tried),
            None => {}
        }
        false
    }
}

impl walk::StepHandler for Insert<'_, '_> {
    fn is_there(&mut self, _: usize, step: &Step) -> bool {
        let own_name = step.own_name.as_deref().map(Module::named);
        // The result for a module that is left out here belongs to another plan.
        [&step.module].into_iter().chain(&own_name).any(|module| self.is_done(module))
            || (step.forbidden.is_none() && self.take(step))
    }

    fn begin(&mut self, index: usize, step: &Step) {
        self.begun = index;
        let path = step.path.as_ref().map(|path| path.as_os_str().as_bytes());
        match (&step.command, path) {
            (Some(command), _) => self.session.action(&[b"install ", command, b" ", &step.options]),
            (None, Some(path)) => self.session.action(&[b"insmod ", path, b" ", &step.options]),
            (None, None) if self.session.tree.is_builtin(&step.module) => {
                self.session.action(&[b"builtin ", &step.module.name]);
            }
            (None, None) => {}
        }
    }

    fn refuse(&mut self, index: usize, step: &Step) {
        self.begun = index;
        // A refused required module is reported when the walk has ended.
        if let Some(forbidden) = step.forbidden.as_ref().filter(|_| !step.required) {
            let name = &step.module.name;
            let why = self.session.tree.forbidden_by(name, forbidden);
            self.session.log.log(Priority::Notice, &bytes!["'", name, "' is left out: ", why]);
        }
    }

    fn insert(&mut self, _: usize, step: &Step) -> Result<gate::Outcome, Errno> {
        let (session, operand, name) = (self.session, self.operand, &step.module.name);
        let log = |(priority, text): &Message| session.log.log(*priority, text);
        if self.tried.is_none() && self.take(step) {
            return Ok(gate::Outcome::Joined);
        }
        let Some(path) = &step.path else {
            session.log.error(&bytes!["could not find module by name='", name, "'"]);
            return Err(Errno::ENOENT);
        };
        session.gate_messages.take().iter().for_each(log);
        let tried = self.tried.take();
        let tried = tried.unwrap_or_else(|| Loads::new(session).load(step, path, self.budget(), operand));
        tried.messages.iter().for_each(log);
        for message in messages_about(&tried.kernel_log, session.tree, name) {
            let meaning = message.meaning.map(|meaning| bytes![" (", name, " ", meaning, ")"]);
            log(&(Priority::Notice, bytes!["the kernel: ", message.text, meaning.unwrap_or_default()]));
        }
        tried.result
    }

    fn command(&mut self, _: usize, step: &Step, filled: &[u8]) -> Result<i32, Errno> {
        let (session, name) = (self.session, &step.module.name);
        let problem = match self.budget().work(&session.system, || command::run(session, name, filled)) {
            Ok(0) => return Ok(0),
            Ok(code) => format!("retcode {code}"),
            Err(Errno::ELOOP) => "install and remove commands start each other without end".to_owned(),
            Err(errno) => errno.to_string(),
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
    pub(crate) fn new(session: &Session<'l>) -> Self {
        let request = session.request;
        Loads {
            loader: session.loader(),
            force: request.force,
            remember: (request.quiet || request.blacklist) && request.parameters.is_empty(),
            listen: request.actions.then_some(session.system.roots),
        }
    }

    /// Loads the file of a step through the gate. `budget` limits the waits of `request`, the operand as given. If the load
    /// fails, the result has what the kernel logged meanwhile.
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
        let kernel_log = self.listen.and_then(|roots| KmsgReader::from_now(roots).ok());
        let result = self.loader.insert(&insertion).map_err(|error| error.errno());
        let kernel_log = kernel_log.filter(|_| result.is_err()).map(|log| log.read()).unwrap_or_default();
        Attempt { result, messages: Vec::new(), kernel_log }
    }
}
