//! `kmod stats`: what the gate saved, and with `--who` who asked for it.

use super::getopt::{Opt, opt};
use super::usage::Usage;
use super::{Call, Outcome};
use crate::bytes;
use crate::error::Errno;
use crate::gate::counters::Counters;
use crate::gate::stats::{self, Stats};
use std::fmt::Write;
use std::time::Duration;

const JSON: u8 = 200;
const WHO: u8 = 201;

const OPTIONS: &[Opt] = &[
    opt(JSON, "json", "print JSON, for programs"),
    opt(WHO, "who", "who asked, from the trace"),
    opt(b'h', "help", "print this text"),
];

/// The help text, with the options.
pub const USAGE: Usage = Usage {
    forms: &["stats [options]"],
    groups: &["Options"],
    options: OPTIONS,
    notes: "\nThe trace is written while the file /run/kmod/trace exists, and where the kernel command line says\n\
            kmod.gate_trace=1.\n",
};

/// Prints the figures.
pub fn run(call: &Call<'_>) -> Outcome {
    let log = call.log();
    let (mut json, mut who) = (false, false);
    let operands = call.options(OPTIONS, |found| {
        match found.id {
            JSON => json = true,
            WHO => who = true,
            _ => return Err(call.help(&USAGE)),
        }
        Ok(())
    })?;
    if !operands.is_empty() {
        log.error(b"too many arguments provided.");
        return Ok(1);
    }
    let system = &call.world.system;
    let printed = match (who, json) {
        (false, false) => stats::read(system).map(|stats| table(&stats)),
        (false, true) => stats::read(system).map(|stats| format!("{}\n", stats.to_json())),
        (true, _) => match stats::who(system) {
            Err(error) if error.errno() == Errno::ENOENT => {
                log.error(b"nothing was traced: create /run/kmod/trace, or boot with kmod.gate_trace=1");
                return Ok(1);
            }
            who => who.map(|(askers, broken)| {
                if broken > 0 {
                    log.warning(
                        format!("{broken} lines of the trace are not whole, and do not count").as_bytes(),
                    );
                }
                if json { who_json(&askers) } else { who_table(&askers) }
            }),
        },
    };
    match printed {
        Ok(text) => {
            call.print(text.as_bytes());
            Ok(0)
        }
        Err(error) => {
            log.error(&bytes!["could not read what the gate counted: ", error.to_string()]);
            Ok(1)
        }
    }
}

/// The total first, then every module.
fn table(stats: &Stats) -> String {
    let width = stats.modules.iter().map(|module| module.name.len()).max().unwrap_or(0).max(6);
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
    // A lock file without a count: somebody asked for a removal.
    for module in stats.modules.iter().filter(|module| module.counters != Counters::default()) {
        row(&String::from_utf8_lossy(&module.name), module.counters);
    }
    if let Some(kernel) = &stats.kernel {
        text.push_str("\nThe kernel's own count:\n");
        text.push_str(&String::from_utf8_lossy(kernel));
    }
    text
}

type Who = [(stats::Asker, stats::Asked)];

/// Each kind of asker, and the modules it asked for most.
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
            modules.iter().take(SHOWN).map(|(name, count)| format!("{name} {count}")).collect();
        if modules.len() > SHOWN {
            names.push(format!("and {} more", modules.len() - SHOWN));
        }
        let _ = writeln!(
            text,
            "{:16} {:16} {:>8} {:>8} {:>10}  {}",
            asker.parent,
            asker.comm,
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
                "waited_ns": u64::try_from(asked.waited.as_nanos()).unwrap_or(u64::MAX),
                "modules": asked.modules,
            })
        })
        .collect();
    format!("{}\n", serde_json::json!({ "askers": askers }))
}
