//! `--explain`: what a request would do and why, in words or as JSON. Nothing is loaded, nothing is written, no lock is
//! taken.
//!
//! `finder` collects the facts; `words` or `json` prints them, so that both say the same. The steps are those of the plan
//! that a run walks.

mod finder;
mod json;
mod problems;
mod words;

use super::Session;
use super::kernel_messages::KernelMessage;
use crate::cli::ToolResult;
use crate::error::Errno;
use crate::gate::holder::LockState;
use crate::load::command::refuses;
use problems::Problems;
use std::time::Duration;

/// The explanation of one query.
struct Explanation {
    query: String,
    directory: String,
    modules: Vec<Explained>,
    /// What is wrong with the query as a whole.
    problem: Option<String>,
}

/// One module that the query leads to.
struct Explained {
    name: String,
    found: Found,
    path: Option<String>,
    state: Presence,
    /// The line that blacklists it, and whether that applies to this request.
    blacklist: Option<(FileLine, bool)>,
    /// What a run would do, in order; empty if it would do nothing.
    steps: Vec<Planned>,
    /// Where the blacklist leaves none: the steps of a request that it does not apply to.
    by_name: Vec<Planned>,
    gate: LockState,
    no_gate: Option<NoGate>,
    /// If the last load failed: its errno, and how long ago.
    failure: Option<(Errno, Duration)>,
    /// The kernel's last messages about it.
    kernel: Vec<KernelMessage>,
    /// The time now, on `CLOCK_BOOTTIME`.
    now: Duration,
}

/// Why a load would not use the gate.
struct NoGate {
    /// Whether the module's file is locked instead. Otherwise nothing is.
    locks_file: bool,
    /// The reason as a clause.
    why: String,
}

impl Explained {
    /// The result of a request in a word: `nothing` (it is loaded or built in), `blacklisted`, `load`, `missing` (a required
    /// step has no file), `refused` (the configuration, the kernel or a command refuses a required step).
    fn verdict(&self) -> &'static str {
        match self.blacklist {
            Some((_, true)) => "blacklisted",
            _ => verdict_of(&self.steps),
        }
    }
}

/// The same of a request that no blacklist applies to.
fn verdict_of(steps: &[Planned]) -> &'static str {
    let missing = |step: &Planned| step.required && matches!(step.action, Action::Missing(_));
    match steps {
        [] => "nothing",
        _ if steps.iter().any(missing) => "missing",
        _ if steps.iter().any(|step| step.required && step.refused().is_some()) => "refused",
        _ => "load",
    }
}

/// How the query led to a module.
struct Found {
    /// One of [`name`, `path`, `config-alias`, `alias`, `symbol`, `command`, `builtin`, `builtin-alias`].
    by: &'static str,
    pattern: Option<String>,
    place: Option<FileLine>,
}

/// A line of a file.
#[derive(Clone)]
struct FileLine {
    file: String,
    /// From 1; `None` if the file has no lines.
    line: Option<u32>,
}

/// The module's state in the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Builtin,
    Live,
    Coming,
    Going,
    Absent,
    /// sysfs could not be read.
    Unknown,
}

/// One step.
struct Planned {
    module: String,
    action: Action,
    options: String,
    /// Where the options come from.
    origins: Vec<(String, FileLine)>,
    why: Why,
    /// Whether the whole request fails if this step fails.
    required: bool,
    problems: Problems,
}

enum Action {
    /// It is loaded or built in.
    Skip(Presence),
    Insert(String),
    Run(String, Option<FileLine>),
    /// No file is known, or this one is not there.
    Missing(Option<String>),
    /// Forbidden: it, or this module, which it needs; with the name by which the kernel knows that one, if the line is about
    /// this name, and the line.
    Refuse {
        module: String,
        own_name: Option<String>,
        place: FileLine,
    },
}

impl Planned {
    /// Who refuses it, for the JSON output: the configuration, the kernel, or a command that only refuses.
    fn refused(&self) -> Option<&'static str> {
        match &self.action {
            Action::Refuse { .. } => Some("forbid"),
            Action::Run(command, _) if refuses(command.as_bytes()) => Some("command"),
            _ => self.problems.refusal.map(|refusal| refusal.word),
        }
    }
}

/// Why a step is in the plan: for which module, and by which line.
#[derive(Clone)]
enum Why {
    Asked,
    NeededBy(String),
    Before(String, FileLine),
    After(String, FileLine),
}

/// Explains every operand. The status is 1 if one of them is unknown.
pub(crate) fn run(session: &Session<'_>) -> ToolResult {
    let mut status = 0;
    for operand in &session.request.names {
        let explanation = finder::explain(session, operand);
        status |= u8::from(explanation.modules.is_empty());
        let text = if session.request.json { json::text(&explanation) } else { explanation.to_string() };
        session.call.print(text.as_bytes());
    }
    Ok(status)
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
