//! `--explain`: what a request would do and why, in words or as JSON. Nothing is loaded, nothing is written, no lock is
//! taken.
//!
//! First everything is found out (`finder`), then it is put into words (`words`) or into JSON (`json`), so that both say the
//! same. What would be done is the plan that a real run walks.

mod doubts;
mod finder;
mod json;
mod words;

use super::Session;
use super::kernel_words::Said;
use crate::cli::refusal::Refusal;
use crate::cli::{Outcome, parameters};
use crate::error::Errno;
use crate::gate::holder::LockState;
use crate::load::command::refuses;
use doubts::Doubts;
use finder::Explainer;
use std::time::Duration;

/// Everything that there is to say about one query.
struct Explanation {
    query: String,
    directory: String,
    modules: Vec<Explained>,
    /// What is odd about the answer as a whole.
    problem: Option<String>,
}

/// One module that the query leads to.
struct Explained {
    name: String,
    found: Found,
    path: Option<String>,
    state: Presence,
    /// The line that blacklists it, and whether that counts for this request.
    blacklist: Option<(Place, bool)>,
    /// What a run would do, in order; empty where it would do nothing.
    steps: Vec<Planned>,
    gate: LockState,
    /// Why the module's file would be the lock and not the gate's.
    no_gate: Option<String>,
    /// How the last load ended if it failed: errno, and how long ago.
    failure: Option<(Errno, Duration)>,
    /// The kernel's last words about it.
    kernel: Vec<Said>,
    /// The time now, on `CLOCK_BOOTTIME`.
    now: Duration,
}

/// How the query led to a module.
struct Found {
    /// One of [`name`, `path`, `config-alias`, `alias`, `symbol`, `command`, `builtin`, `builtin-alias`].
    by: &'static str,
    pattern: Option<String>,
    place: Option<Place>,
}

/// A line of a file.
#[derive(Clone)]
struct Place {
    file: String,
    /// From 1; `None` where the file has no lines.
    line: Option<u32>,
}

/// Whether the kernel has it.
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
    origins: Vec<(String, Place)>,
    why: Why,
    /// Whether all comes to nothing if it fails.
    required: bool,
    doubts: Doubts,
    /// The install command that is not run, and where it is.
    passed_over: Option<(String, Place)>,
}

enum Action {
    /// Nothing: the kernel has it.
    Skip(Presence),
    Insert(String),
    Run(String, Option<Place>),
    /// No file is known.
    Missing,
    /// Nothing: it is forbidden, or this module is, which it needs.
    Refuse(String, Place),
}

impl Planned {
    /// Who will not have it, for programs: the configuration, the kernel, or a command that stands for a refusal.
    fn refused(&self) -> Option<&'static str> {
        match &self.action {
            Action::Refuse(..) => Some("forbid"),
            Action::Run(command, _) if refuses(command.as_bytes()) => Some("command"),
            _ => self.doubts.refusal.map(Refusal::word),
        }
    }
}

/// Why a step is in the plan.
enum Why {
    Asked,
    NeededBy(String),
    Before(String, Option<Place>),
    After(String, Option<Place>),
}

/// Explains every operand. The status is 1 if one of them leads nowhere.
pub(crate) fn run(session: &Session<'_>) -> Outcome {
    let operands = &session.request.operands;
    let (names, words) =
        if session.request.all { operands.split_at(operands.len()) } else { operands.split_at(1) };
    let parameters = parameters::join(words);
    let mut status = 0;
    for operand in names {
        let explanation = Explainer { session, parameters: &parameters }.explain(operand);
        status |= u8::from(explanation.modules.is_empty());
        let text = if session.request.json { json::text(&explanation) } else { words::text(&explanation) };
        session.call.print(text.as_bytes());
    }
    Ok(status)
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
