//! `modprobe`: inserts and removes modules with their dependencies.
//!
//! The command line becomes a `Request`, the module directory a [`Tree`]. Then one of the modules below runs: `insert`
//! walks a plan, `remove` removes, `show` and `explain` only print.

pub(crate) mod args;
mod batch;
mod command;
mod explain;
mod insert;
mod kernel_messages;
mod live;
mod parallel;
mod remove;
mod show;

use super::message::{Log, TreeLog};
use super::{Call, ToolResult, refusal};
use crate::error::Errno;
use crate::gate::{self, Gate};
use crate::load::insert::Loader;
use crate::load::plan::Step;
use crate::log::bytes;
use crate::system::module_file::ModuleFile;
use crate::system::roots::into_path;
use crate::tree::{ConfigPaths, Module, Tree};
pub(crate) use args::USAGE;
use args::{Mode, Request};
use std::cell::OnceCell;
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;

/// Runs modprobe.
pub(crate) fn run(call: &Call<'_>) -> ToolResult {
    let log = call.log();
    let variable = call.world.host.variable(args::VARIABLE);
    let words = args::words(call, variable.as_deref());
    let request = args::parse(call, &log, variable, &words)?;
    let dir = call.module_directory(&log, request.root, request.release)?;
    let config = if request.config.is_empty() {
        ConfigPaths::Default
    } else {
        ConfigPaths::List(request.config.iter().map(|path| into_path(path.to_vec())).collect())
    };
    let sink = TreeLog::new(&log);
    // Never dropped: the process ends soon, and the kernel frees maps and memory faster.
    let tree = ManuallyDrop::new(Tree::open(&call.world.system, dir, config, &sink));
    if live::all_are_live(call, &request, &tree) {
        return Ok(0);
    }
    tree.config();
    sink.config_read();
    let gate = OnceCell::new();
    let loader = OnceCell::new();
    let session = Session { call, log: &log, request: &request, tree: &tree, gate: &gate, loader: &loader };
    match request.mode() {
        Mode::Insert => insert(&session),
        Mode::Remove => remove::run(&session),
        Mode::Config => show::config(&session),
        Mode::Modversions => show::modversions(&session),
        Mode::Exports => show::exports(&session),
        Mode::Explain => explain::run(&session),
    }
}

/// Inserts the modules of the operands.
fn insert(session: &Session<'_>) -> ToolResult {
    let (names, parameters) = session.request.names_and_parameters();
    match parallel::jobs(session) {
        1 => insert::walk(session, names, &parameters, None),
        jobs => parallel::run(session, names, &parameters, jobs),
    }
}

/// One run of modprobe.
struct Session<'s> {
    call: &'s Call<'s>,
    log: &'s Log<'s>,
    request: &'s Request<'s>,
    tree: &'s Tree<'s>,
    gate: &'s OnceCell<Gate<'s>>,
    loader: &'s OnceCell<Loader<'s>>,
}

impl<'s> Session<'s> {
    /// Prints the line of a step (`insmod PATH`), if steps are printed.
    fn action(&self, parts: &[&[u8]]) {
        if self.request.actions {
            self.call.print(&parts.concat());
            self.call.print(b"\n");
        }
    }

    /// Logs a FATAL, or with `-a` a WARNING; the status is 1.
    fn fail(&self, text: &[u8]) -> ToolResult {
        if self.request.all {
            self.log.warning(text);
        } else {
            self.log.fatal(text)?;
        }
        Ok(1)
    }

    /// The gate, opened when it is first needed: queries, and requests for loaded modules, do not need it.
    fn gate(&self) -> &'s Gate<'s> {
        self.gate.get_or_init(|| self.call.gate(self.log))
    }

    fn loader(&self) -> &'s Loader<'s> {
        self.loader.get_or_init(|| Loader::new(self.call.world.system, self.gate(), self.log))
    }

    /// Logs what `could not insert 'TARGET': REASON` does not say: which step failed, if it was not the target, why the
    /// configuration or the kernel refused it, and which file could not be opened.
    fn blame(&self, step: &Step, target: &[u8], errno: Errno) {
        let (roots, name) = (self.call.world.system.roots, &step.module.name);
        let path = step.path.as_ref().filter(|_| errno == Errno::EPERM);
        let refusal = match &step.forbidden {
            Some(forbidden) => Some(self.tree.forbidden_by(name, forbidden)),
            None => path.and_then(|path| refusal::of_file(roots, name, path)).map(|why| why.text.into()),
        };
        let unopened = step.path.as_ref().filter(|path| {
            refusal.is_none() && ModuleFile::open(path).is_err_and(|error| error.errno() == errno)
        });
        let unopened = unopened.map(|path| bytes![path.as_os_str().as_bytes(), ": ", errno.to_string()]);
        let text = match (step.is_target, refusal.or_else(|| unopened.clone())) {
            (true, None) => return,
            (true, Some(why)) if unopened.is_some() => bytes!["could not open ", why],
            (true, Some(why)) => bytes!["'", name, "' is refused: ", why],
            (false, why) => {
                let why = why.map(|why| bytes![" (", why, ")"]).unwrap_or_default();
                let reason = insert_reason(errno);
                bytes!["'", target, "' needs '", name, "', which could not be inserted: ", reason, why]
            }
        };
        self.log.error(&text);
    }

    /// Whether the module is live or built in.
    fn is_there(&self, module: &Module) -> bool {
        gate::is_live(&self.call.world.system, &module.name) || self.tree.is_builtin(module)
    }
}

/// The reason for an errno at the end of `could not insert 'NAME': `.
fn insert_reason(errno: Errno) -> String {
    match errno {
        Errno::EEXIST => "Module already in kernel".to_string(),
        Errno::ENOENT => "Unknown symbol in module, or unknown parameter (see dmesg)".to_string(),
        other => other.to_string(),
    }
}
