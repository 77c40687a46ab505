//! `make demo`: what a storm of modprobes and udev's coldplug cost with the stock kmod and with ours, in numbers, in a picture
//! and in words.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::report::{self, Row};
use super::series::{SERIES, Series};
use super::suite::Lab;
use super::{plot, qemu};
use crate::scenarios;
use crate::tool::Tool;

const KERNEL: &str = "6.1";
/// 64 modprobes at once.
const STORM: &str = "storm_64";
/// How many CPUs the machine seems to have.
const POINTS: [&str; 3] = ["coldplug_of_1", "coldplug_of_8", "coldplug_of_32"];

/// Boots, and prints.
pub fn main() -> ExitCode {
    end(demo())
}

/// Downloads what that needs.
pub fn fetch() -> ExitCode {
    end(Lab::new().and_then(|lab| lab.fetch(series()?)))
}

fn end(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("lab: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn series() -> Result<&'static Series> {
    SERIES.iter().find(|series| series.name == KERNEL).context("no such kernel")
}

fn demo() -> Result<()> {
    if let Some(reason) = qemu::missing() {
        bail!("{reason}");
    }
    let lab = Lab::new()?;
    let series = series()?;
    let boot = |name: &str| -> Result<Vec<Row>> {
        println!("lab: booting Linux {KERNEL}: {name}, with Debian's kmod and with ours");
        let scenario = scenarios::find(name).context("no such scenario")?;
        let reports = lab.scenario(scenario, series)?;
        let failures: Vec<_> = reports.iter().flat_map(|report| report.failures.clone()).collect();
        if !failures.is_empty() {
            bail!("{name}: {}", failures.join("; "));
        }
        let mut rows: Vec<Row> = reports.into_iter().flat_map(|report| report.rows).collect();
        // Before and after.
        rows.sort_by_key(is_ours);
        Ok(rows)
    };
    let storm = boot(STORM)?;
    let mut rows = Vec::new();
    for name in POINTS {
        rows.extend(boot(name)?);
    }
    lab.finish();
    let picture = lab.out.join("demo.svg");
    fs::write(&picture, plot::draw(&rows)?).with_context(|| picture.display().to_string())?;
    println!(
        "\n{:<20}{:<14}{:>14}{:>20}{:>9}",
        "at once", "with", "kernel calls", "loaded for nothing", "time"
    );
    for row in storm.iter().chain(&rows) {
        let what = match row.number("requests") {
            0 => format!("udev on {} CPUs", row.number("cpus")),
            requests => format!("{requests} x modprobe xfs"),
        };
        println!(
            "{what:<20}{:<14}{:>14}{:>20}{:>7.1} s",
            row.tool,
            row.number("calls"),
            report::mib(row.number("wasted")),
            seconds(row)
        );
    }
    println!("\nudev's as a picture: {}\n\n{}", picture.display(), summary(&rows)?);
    Ok(())
}

fn is_ours(row: &Row) -> bool {
    Tool::named(&row.tool).is_some_and(|tool| tool.suite().is_none())
}

fn seconds(row: &Row) -> f64 {
    row.number("wall_ms") as f64 / 1000.0
}

/// For somebody who has never heard of it.
fn summary(rows: &[Row]) -> Result<String> {
    let most = |ours: bool| {
        let of_it = rows.iter().filter(|row| is_ours(row) == ours);
        of_it.max_by_key(|row| row.number("cpus")).context("nothing was measured")
    };
    let (stock, ours) = (most(false)?, most(true)?);
    Ok(format!(
        "At boot udev asks for the same modules once for each CPU. On a machine with {} CPUs, Linux {} and Debian's {}\n\
         were given {} modules to load, of which {} were needed, and {} of them were read and thrown away.\n\
         With kmod-once in its place, and nothing else changed: {} calls, {}, and {:.1} s instead of {:.1} s.\n\
         The numbers were counted by the kernel itself, in virtual machines. Nothing on this machine was changed.",
        stock.number("cpus"),
        stock.kernel,
        stock.tool,
        stock.number("calls"),
        ours.number("calls"),
        report::mib(stock.number("wasted")),
        ours.number("calls"),
        report::mib(ours.number("wasted")),
        seconds(ours),
        seconds(stock)
    ))
}
