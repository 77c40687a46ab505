//! `kmod stats`: the gate's counters, and with `--who` the requesting processes.

use super::form::OutputForm;
use super::{openmetrics, traced};
use crate::cli::message::Log;
use crate::gate::counters::Counters;
use crate::gate::nanoseconds;
use crate::gate::stats::{self, Stats};
use crate::log::printable;
use crate::system::System;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::time::Duration;

/// Print what loading each module once has saved
#[derive(clap::Args)]
#[command(after_help = super::TRACE)]
pub(crate) struct Options {
    #[command(flatten)]
    form: OutputForm,
    /// Who asked, from the trace
    #[arg(long)]
    who: bool,
    /// Print the counts for Prometheus
    #[arg(long, conflicts_with_all = ["json", "who"])]
    openmetrics: bool,
}

impl Options {
    /// Whether it may be shown page by page.
    pub(super) fn is_paged(&self) -> bool {
        self.form.is_paged() && !self.openmetrics
    }
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
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(6);
    let mut text = format!(
        "{:width$} {:>7} {:>8} {:>8} {:>8} {:>7} {:>9} {:>12} {:>11}\n",
        "Module", "Loads", "Failed", "Joined", "Shared", "Bounds", "Fallbacks", "Saved KiB", "Waited ms"
    );
    let mut row = |name: &str, counters: Counters| {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{name:width$} {:>7} {:>8} {:>8} {:>8} {:>7} {:>9} {:>12} {:>11}",
            counters.loads,
            counters.failures,
            counters.joined,
            counters.shared,
            counters.bounds,
            counters.fallbacks,
            counters.bytes_saved / 1024,
            Duration::from_nanos(counters.waited).as_millis()
        );
    };
    row("total", stats.total());
    // A lock file without counts comes from a request to remove the module.
    let counted = stats.modules.iter().zip(&names);
    for (module, name) in counted.filter(|(module, _)| module.counters != Counters::default()) {
        row(name, module.counters);
    }
    if let Some(kernel) = &stats.kernel {
        text.push_str("\nThe kernel's own count:\n");
        String::from_utf8_lossy(kernel)
            .lines()
            .for_each(|line| text.push_str(&format!("{}\n", printable(line))));
    }
    text
}

type Who = [(stats::Requester, stats::RequesterTotals)];

/// Each kind of requesting process, with the modules that it requested most.
fn who_table(askers: &Who) -> String {
    const SHOWN: usize = 5;
    let mut text = format!(
        "{:16} {:16} {:>8} {:>8} {:>10}  Modules\n",
        "Parent", "Process", "Requests", "Served", "Waited ms"
    );
    for (asker, asked) in askers {
        let mut modules: Vec<_> = asked.modules.iter().collect();
        modules.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        let mut names: Vec<String> =
            modules.iter().take(SHOWN).map(|(name, count)| format!("{} {count}", printable(name))).collect();
        if modules.len() > SHOWN {
            names.push(format!("and {} more", modules.len() - SHOWN));
        }
        let _ = writeln!(
            text,
            "{:16} {:16} {:>8} {:>8} {:>10}  {}",
            printable(&asker.parent),
            printable(&asker.comm),
            asked.requests,
            asked.served,
            asked.waited.as_millis(),
            names.join(", ")
        );
    }
    text
}

fn who_json(askers: &Who) -> String {
    let askers: Vec<serde_json::Value> = askers
        .iter()
        .map(|(asker, asked)| {
            serde_json::json!({
                "parent": asker.parent,
                "comm": asker.comm,
                "requests": asked.requests,
                "served": asked.served,
                "waited_ns": nanoseconds(asked.waited),
                "modules": asked.modules,
            })
        })
        .collect();
    format!("{}\n", serde_json::json!({ "askers": askers }))
}
