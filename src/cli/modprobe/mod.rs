//! `modprobe`: inserts and removes modules with their dependencies.
//!
//! The command line becomes a `Request`, the module directory a [`Tree`]. Then one of the modules below runs: `insert`
//! walks a plan, `remove` removes, `show` and `explain` only print.

pub(crate) mod args;
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
use crate::log::{Message, bytes};
use crate::system::System;
use crate::system::module_file::ModuleFile;
use crate::tree::{ConfigPaths, Module, Tree};
pub(crate) use args::USAGE;
use args::{Mode, Request};
use std::cell::{OnceCell, RefCell};
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;

/// Runs modprobe.
pub(crate) fn run(call: &Call<'_>) -> ToolResult {
    let log = call.log();
    let variable = call.world.host.variable(args::VARIABLE);
    let words = variable.as_deref().map(|text| [&args::split(text)[..], call.words].concat());
    let request = args::parse(call, &log, variable, words.as_deref().unwrap_or(call.words))?;
    let dir = call.module_directory(&log, request.root, request.release)?;
    let config = request.config.clone().map_or(ConfigPaths::Default, ConfigPaths::List);
    let sink = TreeLog::new(&log);
    // Never dropped: the process ends soon, and the kernel frees maps and memory faster.
    let tree = ManuallyDrop::new(Tree::open(call.world.system.roots, dir, config, &sink));
    if live::all_are_live(call, &request, &tree) {
        return Ok(0);
    }
    tree.config();
    sink.config_read();
    let session = Session {
        call,
        system: call.world.system,
        log: &log,
        request: &request,
        tree: &tree,
        gate: &OnceCell::new(),
        loader: &OnceCell::new(),
        gate_messages: RefCell::default(),
    };
    match request.mode {
        Mode::Insert => match parallel::jobs(&session) {
            1 => insert::walk(&session, &request.names, None),
            jobs => parallel::run(&session, jobs),
        },
        Mode::Remove => remove::run(&session),
        Mode::Config => show::config(&session),
        Mode::Modversions => show::modversions(&session),
        Mode::Exports => show::exports(&session),
        Mode::Explain => explain::run(&session),
    }
}

/// One run of modprobe.
struct Session<'s> {
    call: &'s Call<'s>,
    system: System<'s>,
    log: &'s Log<'s>,
    request: &'s Request<'s>,
    tree: &'s Tree<'s>,
    gate: &'s OnceCell<Gate<'s>>,
    loader: &'s OnceCell<Loader<'s>>,
    /// With `--jobs`: the messages from opening the gate. The first step that needs the gate logs them.
    gate_messages: RefCell<Vec<Message>>,
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
        self.loader.get_or_init(|| Loader::new(self.system, self.gate(), self.log))
    }

    /// Logs what `could not insert 'TARGET': REASON` does not say: which step failed, if it was not the target, why the
    /// configuration or the kernel refused it, and which file could not be opened.
    fn blame(&self, step: &Step, target: &[u8], errno: Errno) {
        let name = &step.module.name;
        let refused = |path| refusal::of_file(self.system.roots, name, path).map(|why| why.text.into());
        let refusal: Option<Vec<u8>> = match (&step.forbidden, &step.path) {
            (Some(forbidden), _) => Some(self.tree.forbidden_by(name, forbidden)),
            (None, Some(path)) if errno == Errno::EPERM => refused(path),
            _ => None,
        };
        let unopened = step.path.as_ref().filter(|path| {
            refusal.is_none() && ModuleFile::open(path).is_err_and(|error| error.errno() == errno)
        });
        let unopened = unopened.map(|path| bytes![path.as_os_str().as_bytes(), ": ", errno.to_string()]);
        let text = match (step.is_target, refusal, unopened) {
            (true, Some(why), _) => bytes!["'", name, "' is refused: ", why],
            (true, None, Some(why)) => bytes!["could not open ", why],
            (true, None, None) => return,
            (false, refusal, unopened) => {
                let why = refusal.or(unopened).map(|why| bytes![" (", why, ")"]).unwrap_or_default();
                let reason = insert_reason(errno);
                bytes!["'", target, "' needs '", name, "', which could not be inserted: ", reason, why]
            }
        };
        self.log.error(&text);
    }

    /// Whether a module of `tree` is live or built in.
    fn is_there(&self, tree: &Tree<'_>, module: &Module) -> bool {
        gate::is_live(&self.system, &module.name) || tree.is_builtin(module)
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
