//! An explanation as JSON: one object for each operand, on a line of its own. Times are in milliseconds. kmod-json(5) lists
//! the members; later versions may add members, but never change or remove one.

use super::{Action, Explained, Explanation, FileLine, KernelMessage, Planned, Presence, Why};
use crate::cli::modprobe::insert_reason;
use serde_json::{Value, json};

pub(super) fn text(explanation: &Explanation) -> String {
    let value = json!({
        "query": explanation.query,
        "directory": explanation.directory,
        "problem": explanation.problem,
        "modules": explanation.modules.iter().map(module).collect::<Vec<_>>(),
    });
    format!("{value}\n")
}

fn module(module: &Explained) -> Value {
    let found = json!({
        "by": module.found.by,
        "pattern": module.found.pattern,
        "place": module.found.place.as_ref().map(place),
    });
    let gate = module.gate.holder.as_ref().map(|holder| {
        json!({
            "pid": holder.pid,
            "program": holder.program,
            "since_ms": holder.since.map(|since| module.now.saturating_sub(since).as_millis()),
            "waiting": module.gate.waiting,
        })
    });
    let failure = module.failure.map(|(errno, ago)| {
        let name = errno.name();
        json!({"errno": errno.number(), "name": name, "text": insert_reason(errno), "ago_ms": ago.as_millis()})
    });
    json!({
        "name": module.name,
        "found": found,
        "path": module.path,
        "state": presence(module.state),
        "verdict": module.verdict(),
        "blacklist": module.blacklist.as_ref().map(|(at, counts)| json!({"place": place(at), "counts": counts})),
        "steps": module.steps.iter().map(step).collect::<Vec<_>>(),
        "gate": gate,
        "no_gate": module.no_gate.as_ref().map(|no_gate| &no_gate.why),
        "last_failure": failure,
        "kernel_log": module.kernel.iter().map(kernel_message).collect::<Vec<_>>(),
    })
}

fn step(step: &Planned) -> Value {
    let (action, path, command, at, forbidden) = match &step.action {
        Action::Skip(_) => ("skip", None, None, None, None),
        Action::Insert(path) => ("insert", Some(path), None, None, None),
        Action::Run(command, at) => ("run", None, Some(command), at.as_ref(), None),
        Action::Missing(path) => ("missing", path.as_ref(), None, None, None),
        Action::Refuse { module, own_name, place: at } => {
            let forbidden = json!({"module": module, "own_name": own_name, "place": place(at)});
            ("refuse", None, None, None, Some(forbidden))
        }
    };
    let (why, by, why_at) = match &step.why {
        Why::Asked => ("asked", None, None),
        Why::NeededBy(by) => ("needed", Some(by), None),
        Why::Before(by, at) => ("before", Some(by), Some(at)),
        Why::After(by, at) => ("after", Some(by), Some(at)),
    };
    let origins = step.origins.iter().map(|(text, at)| json!({"options": text, "place": place(at)}));
    let odd = step.problems.parameters.iter().map(|odd| {
        let problem = if odd.repeated { "repeated" } else { "unknown" };
        let places = odd.places.iter().map(|at| at.as_ref().map(place));
        json!({"name": odd.name, "problem": problem, "places": places.collect::<Vec<_>>()})
    });
    let passed_over = step.problems.passed_over.as_ref();
    let passed_over = passed_over.map(|(command, at)| json!({"command": command, "place": place(at)}));
    json!({
        "module": step.module,
        "action": action,
        "path": path,
        "command": command,
        "place": at.map(place),
        "options": step.options,
        "options_from": origins.collect::<Vec<_>>(),
        "odd_parameters": odd.collect::<Vec<_>>(),
        "refused": step.refused(),
        "forbidden": forbidden,
        "passed_over": passed_over,
        "why": {"reason": why, "module": by, "place": why_at.map(place)},
    })
}

fn kernel_message(message: &KernelMessage) -> Value {
    json!({"time_ms": message.time.as_millis(), "text": message.text, "meaning": message.meaning})
}

fn place(place: &FileLine) -> Value {
    json!({"file": place.file, "line": place.line})
}

fn presence(presence: Presence) -> &'static str {
    match presence {
        Presence::Builtin => "builtin",
        Presence::Live => "live",
        Presence::Coming => "coming",
        Presence::Going => "going",
        Presence::Absent => "absent",
        Presence::Unknown => "unknown",
    }
}
