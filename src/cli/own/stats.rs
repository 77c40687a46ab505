//! `kmod stats`: the gate's counters, and with `--who` the requesting processes.

use super::form::OutputForm;
use super::{openmetrics, traced};
use crate::cli::message::Log;
use crate::gate::counters::Counters;
use crate::gate::nanoseconds;
use crate::gate::stats::{self, Requester, RequesterTotals, Stats};
use crate::log::printable;
use crate::system::System;
use anyhow::{Context, Result};
use std::cmp::Reverse;

/// Print what loading each module once has saved
#[derive(clap::Args)]
#[command(after_help = super::TRACE)]
pub(crate) struct Options {
    #[command(flatten)]
    pub form: OutputForm,
    /// Who asked, from the trace
    #[arg(long)]
    who: bool,
    /// Print the counts for Prometheus
    #[arg(long, conflicts_with_all = ["json", "who"])]
    pub openmetrics: bool,
}

/// The output of the command.
pub(crate) fn text(options: &Options, system: &System<'_>, log: &Log<'_>) -> Result<String> {
    if options.who {
        let askers = traced(stats::by_requester(system), log)?;
        return Ok(if options.form.json { who_json(&askers) } else { who_table(&askers) });
    }
    let stats = stats::read(system).context("could not read what the gate counted")?;
    Ok(match options {
        Options { form: OutputForm { json: true, .. }, .. } => format!("{}\n", stats.to_json()),
        Options { openmetrics: true, .. } => openmetrics::text(&stats),
        _ => table(&stats),
    })
}

/// The total first, then every module.
fn table(stats: &Stats) -> String {
    let names = stats.modules.iter().map(|module| printable(&String::from_utf8_lossy(&module.name)));
    let names: Vec<String> = names.collect();
    let width = names.iter().map(|name| name.chars().count()).fold(6, usize::max);
    let mut text = format!(
        "{:width$} {:>7} {:>8} {:>8} {:>8} {:>7} {:>9} {:>12} {:>11}\n",
        "Module", "Loads", "Failed", "Joined", "Shared", "Bounds", "Fallbacks", "Saved KiB", "Waited ms"
    );
    let row = |name: &str, counters: Counters| {
        let Counters { loads, failures, joined, shared, bounds, fallbacks, .. } = counters;
        let (saved, waited) = (counters.bytes_saved / 1024, counters.waited / 1_000_000);
        format!(
            "{name:width$} {loads:>7} {failures:>8} {joined:>8} {shared:>8} {bounds:>7} {fallbacks:>9} {saved:>12} \
             {waited:>11}\n"
        )
    };
    text += &row("total", stats.total());
    // A lock file without counts comes from a request to remove the module.
    let counted = stats.modules.iter().zip(&names);
    for (module, name) in counted.filter(|(module, _)| module.counters != Counters::default()) {
        text += &row(name, module.counters);
    }
    if let Some(kernel) = &stats.kernel {
        text += "\nThe kernel's own count:\n";
        text.extend(String::from_utf8_lossy(kernel).lines().map(|line| printable(line) + "\n"));
    }
    text
}

type Who = (Requester, RequesterTotals);

/// Each kind of requesting process, with the modules that it requested most.
fn who_table(askers: &[Who]) -> String {
    const SHOWN: usize = 5;
    let mut text = format!(
        "{:16} {:16} {:>8} {:>8} {:>10}  Modules\n",
        "Parent", "Process", "Requests", "Served", "Waited ms"
    );
    for (asker, asked) in askers {
        let mut modules: Vec<_> = asked.modules.iter().collect();
        modules.sort_by_key(|&(name, count)| (Reverse(count), name));
        let shown = modules.iter().take(SHOWN).map(|(name, count)| format!("{} {count}", printable(name)));
        let more = (modules.len() > SHOWN).then(|| format!("and {} more", modules.len() - SHOWN));
        let names = shown.chain(more).collect::<Vec<_>>().join(", ");
        let (parent, comm) = (printable(&asker.parent), printable(&asker.comm));
        let (requests, served, waited) = (asked.requests, asked.served, asked.waited.as_millis());
        text += &format!("{parent:16} {comm:16} {requests:>8} {served:>8} {waited:>10}  {names}\n");
    }
    text
}

fn who_json(askers: &[Who]) -> String {
    let asker = |(asker, asked): &Who| {
        serde_json::json!({
            "parent": asker.parent,
            "comm": asker.comm,
            "requests": asked.requests,
            "served": asked.served,
            "waited_ns": nanoseconds(asked.waited),
            "modules": asked.modules,
        })
    };
    let askers: Vec<serde_json::Value> = askers.iter().map(asker).collect();
    format!("{}\n", serde_json::json!({ "askers": askers }))
}
