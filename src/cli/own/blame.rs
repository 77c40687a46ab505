//! `kmod blame`: which modules took long to load, and who requested them.

use super::form::OutputForm;
use super::traced;
use crate::cli::message::Log;
use crate::error::Errno;
use crate::gate::blame::{self, Module, RequestSource};
use crate::gate::trace;
use crate::log::printable;
use crate::system::System;
use anyhow::Result;
use std::time::Duration;

/// Print which modules took long to load, and who asked for them
#[derive(clap::Args)]
#[command(after_help = super::TRACE)]
pub(crate) struct Options {
    #[command(flatten)]
    pub form: OutputForm,
    #[command(flatten)]
    which: TraceFilter,
}

/// The most characters of a request that are shown: the alias of a CPU with all its features fills several lines.
const REQUEST: usize = 48;

/// Which requests count.
#[derive(clap::Args)]
pub(crate) struct TraceFilter {
    /// Only what was asked for so long after boot
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    until: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

impl TraceFilter {
    /// The modules of the trace, the longest calls first.
    pub(crate) fn modules(&self, system: &System<'_>, log: &Log<'_>) -> Result<Vec<Module>> {
        let mut entries = traced(trace::read(system), log)?;
        entries.retain(|entry| self.until.is_none_or(|until| entry.at <= until));
        Ok(blame::modules(entries))
    }
}

/// The list.
pub(crate) fn text(options: &Options, system: &System<'_>, log: &Log<'_>) -> Result<String> {
    let modules = options.which.modules(system, log)?;
    if options.form.json {
        let modules: Vec<serde_json::Value> = modules.iter().map(Module::to_json).collect();
        return Ok(format!("{}\n", serde_json::json!({ "modules": modules })));
    }
    let names: Vec<String> = modules.iter().map(|module| printable(&module.first.module)).collect();
    let width = names.iter().map(|name| name.chars().count()).fold(6, usize::max);
    let head =
        format!("{:>10} {:>10} {:>6} {:>10}  {:width$}  By\n", "Call", "Waited", "Asked", "First", "Module");
    let rows = modules.iter().zip(names).map(|(module, name)| {
        let (called, waited, requests) = (time(module.called), time(module.waited), module.requests);
        let first = format!("{:.3}s", module.first.at.as_secs_f64());
        format!("{called:>10} {waited:>10} {requests:>6} {first:>10}  {name:width$}  {}\n", who(module))
    });
    Ok(head + &rows.collect::<String>())
}

/// Who requested the module first, by what name, and how the last call failed.
pub(crate) fn who(module: &Module) -> String {
    let first = &module.first;
    let mut text = match first.by() {
        RequestSource::Kernel => "the kernel".to_owned(),
        RequestSource::Device(path) => printable(path),
        RequestSource::Process => {
            // Some processes put their name in parentheses.
            let comm = printable(first.comm.trim_matches(['(', ')']));
            match first.parent.as_str() {
                // The parent of process 1, which has none.
                "?" => format!("{comm} ({})", first.pid),
                parent => format!("{} ({comm} {})", printable(parent), first.pid),
            }
        }
    };
    if first.request.replace('-', "_") != first.module {
        text = format!("{text}, for {}", short(&first.request, REQUEST));
    }
    match module.errno.map(i32::try_from) {
        Some(Ok(errno)) => format!("{text}; {}", Errno::new(errno)),
        Some(Err(_)) => format!("{text}; failed"),
        None => text,
    }
}

/// A time as people read it: `1.234s`, `12ms`, `3us`.
pub(crate) fn time(time: Duration) -> String {
    match time.as_micros() {
        1_000_000.. => format!("{:.3}s", time.as_secs_f64()),
        1_000.. => format!("{}ms", time.as_millis()),
        micros => format!("{micros}us"),
    }
}

/// As [`printable`], cut to `most` characters.
pub(crate) fn short(text: &str, most: usize) -> String {
    let text = printable(text);
    match text.char_indices().nth(most) {
        None => text,
        Some(_) => text.chars().take(most - 3).chain("...".chars()).collect(),
    }
}
