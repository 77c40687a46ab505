//! An explanation as text.

use super::{Action, Explained, Explanation, FileLine, NoGate, Planned, Presence, Why, verdict_of};
use crate::cli::modprobe::insert_reason;
use crate::log::printable;
use crate::tree::forbids;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

impl Display for Explanation {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Explanation { query, directory, modules, problem } = self;
        match (problem, &modules[..]) {
            (Some(problem), []) => writeln!(out, "{query}: {problem}")?,
            (None, []) => {
                writeln!(out, "{query} leads to nothing in {directory}:")?;
                writeln!(out, "  no module of that name, no alias that fits, no install or remove command.")?;
            }
            (_, [_]) => {}
            (_, many) => writeln!(out, "{query} leads to {} modules, each tried in turn:\n", many.len())?,
        }
        for (index, module) in modules.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            self::module(query, module, out)?;
        }
        Ok(())
    }
}

fn module(query: &str, module: &Explained, out: &mut Formatter<'_>) -> fmt::Result {
    let Explained { name, found, .. } = module;
    let at = in_parentheses(found.place.as_ref());
    let pattern = found.pattern.as_deref().unwrap_or(query);
    match found.by {
        "name" | "builtin" if query == name => write!(out, "{name} is a module")?,
        "name" | "builtin" => write!(out, "{query} is the module {name}")?,
        "path" => write!(out, "{query} is a file with the module {name}")?,
        "command" => write!(out, "{name} is known by its command alone{at}")?,
        "config-alias" => write!(out, "{query} is the module {name} by the configured alias {pattern}{at}")?,
        "symbol" => write!(out, "{query} is a symbol of the module {name}{at}")?,
        _ => write!(out, "{query} is the module {name} by its alias {pattern}{at}")?,
    }
    match &module.path {
        Some(path) if found.by != "path" => writeln!(out, ",\n  {path}")?,
        _ => writeln!(out)?,
    }
    match module.state {
        Presence::Builtin => return writeln!(out, "  It is built into the kernel: there is nothing to do."),
        Presence::Live if module.steps.is_empty() => {
            return writeln!(out, "  It is loaded: there is nothing to do.");
        }
        Presence::Live => writeln!(out, "  It is loaded.")?,
        Presence::Coming => writeln!(out, "  It is being loaded: its init runs.")?,
        Presence::Going => writeln!(out, "  It is being removed.")?,
        Presence::Absent => writeln!(out, "  It is not loaded.")?,
        Presence::Unknown => writeln!(out, "  Whether it is loaded cannot be told.")?,
    }
    gate(module, out)?;
    match &module.blacklist {
        Some((place, true)) => {
            writeln!(out, "  It is blacklisted in {place}: modprobe would do nothing, and say nothing.")?;
            match verdict_of(&module.by_name) {
                "missing" | "refused" => {
                    writeln!(out, "  By its name, without -b, modprobe would:")?;
                    module.by_name.iter().try_for_each(|step| self::step(step, out))?;
                    writeln!(out, "  So it will not be loaded.")?;
                }
                _ => writeln!(out, "  (By its name, without -b, modprobe {name} would load it.)")?,
            }
        }
        Some((place, false)) => {
            writeln!(out, "  It is blacklisted in {place}, which does not count for a module's own name.")?;
        }
        None => {}
    }
    if !module.steps.is_empty() {
        match module.gate.holder {
            Some(_) => writeln!(out, "  Should that come to nothing, modprobe would:")?,
            None => writeln!(out, "  modprobe would:")?,
        }
        module.steps.iter().try_for_each(|step| self::step(step, out))?;
        match (module.verdict(), &module.no_gate) {
            ("refused" | "missing", _) => writeln!(out, "  So it will not be loaded.")?,
            (_, None) => {}
            (_, Some(NoGate { locks_file: false, why })) => {
                writeln!(out, "  Nothing would be locked: {why}.")?
            }
            (_, Some(NoGate { why, .. })) => {
                writeln!(out, "  The lock would be the module's file, and not the gate: {why}.")?;
            }
        }
    }
    failure(module, out)
}

fn gate(module: &Explained, out: &mut Formatter<'_>) -> fmt::Result {
    let Some(holder) = &module.gate.holder else { return Ok(()) };
    write!(out, "  Process {}{} ", holder.pid, in_parentheses(holder.program.as_deref().map(printable)))?;
    match holder.since {
        Some(since) => write!(out, "has been loading it for {}", seconds(module.now.saturating_sub(since)))?,
        None => write!(out, "has its lock")?,
    }
    match module.gate.waiting {
        0 => writeln!(out, "; a request now would wait for that one's result."),
        others => writeln!(out, "; {others} more wait for the result, as a request now would."),
    }
}

fn step(step: &Planned, out: &mut Formatter<'_>) -> fmt::Result {
    let name = &step.module;
    match &step.action {
        Action::Skip(Presence::Builtin) => write!(out, "    pass over {name}, which is built in")?,
        Action::Skip(_) => write!(out, "    pass over {name}, which is loaded")?,
        Action::Insert(path) => write!(out, "    insert {path}")?,
        Action::Run(command, at) => {
            write!(out, "    run \"{command}\" instead of inserting {name}{}", in_parentheses(at.as_ref()))?;
        }
        Action::Missing(None) => write!(out, "    look for {name} in vain: it has no file")?,
        Action::Missing(Some(path)) => write!(out, "    look for {name} in vain: {path} is not there")?,
        Action::Refuse { module, own_name, place } => {
            let what = if step.required { "refuse" } else { "leave out" };
            let own_name = own_name.as_deref().map(str::as_bytes);
            let forbids = forbids(module.as_bytes(), own_name, name.as_bytes(), "");
            write!(out, "    {what} {name} ({place} {})", String::from_utf8_lossy(&forbids))?;
        }
    }
    match &step.why {
        Why::Asked => writeln!(out)?,
        Why::NeededBy(by) => writeln!(out, ", which {by} needs")?,
        Why::Before(by, at) => writeln!(out, ", wished for before {by} ({at})")?,
        Why::After(by, at) => writeln!(out, ", wished for after {by} ({at})")?,
    }
    if !step.options.is_empty() && !matches!(step.action, Action::Skip(_) | Action::Refuse { .. }) {
        write!(out, "      with {}", step.options)?;
        for (index, (_, place)) in step.origins.iter().enumerate() {
            write!(out, "{}{place}", if index == 0 { ", from " } else { ", " })?;
        }
        writeln!(out)?;
    }
    problems(step, out)
}

/// The problems of a step, a line each.
fn problems(step: &Planned, out: &mut Formatter<'_>) -> fmt::Result {
    let name = &step.module;
    if let Some((command, place)) = &step.problems.passed_over {
        writeln!(out, "      The install command \"{command}\" ({place}) does not count here.")?;
    }
    for odd in &step.problems.parameters {
        let text = |at: &Option<FileLine>| at.as_ref().map_or("the command line".into(), FileLine::to_string);
        let places = odd.places.iter().map(text).collect::<Vec<_>>().join(", ");
        let parameter = &odd.name;
        if odd.repeated {
            writeln!(out, "      {parameter} is given more than once ({places}): the last counts.")?;
        } else {
            write!(out, "      {name} names no parameter {parameter} (from {places}): ")?;
            writeln!(out, "the kernel ignores what it does not know.")?;
        }
    }
    if let Some(refusal) = step.problems.refusal {
        writeln!(out, "      The kernel will refuse it: {}.", refusal.text)?;
    }
    if let (Action::Run(..), Some(_)) = (&step.action, step.refused()) {
        writeln!(out, "      That command loads nothing: it refuses the module.")?;
    }
    Ok(())
}

fn failure(module: &Explained, out: &mut Formatter<'_>) -> fmt::Result {
    if let Some((errno, ago)) = module.failure {
        writeln!(out, "  The last attempt failed {} ago: {}.", seconds(ago), insert_reason(errno))?;
    }
    if !module.kernel.is_empty() {
        writeln!(out, "  The kernel's last words about it:")?;
    }
    for message in &module.kernel {
        writeln!(out, "    [{:.3}] {}", message.time.as_secs_f64(), message.text)?;
        if let Some(meaning) = &message.meaning {
            writeln!(out, "      It {meaning}.")?;
        }
    }
    Ok(())
}

impl Display for FileLine {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(out, "{}:{line}", self.file),
            None => out.write_str(&self.file),
        }
    }
}

/// A text in parentheses after a blank; nothing for `None`.
fn in_parentheses(text: Option<impl Display>) -> String {
    text.map(|text| format!(" ({text})")).unwrap_or_default()
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
