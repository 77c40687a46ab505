//! Writes the lab's figures as tables into RESULTS.md, between two marks, so that the page never says what was not
//! measured.

use std::fmt::Write;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::report::{self, Row};
use crate::scenarios;
use crate::tool::Tool;

const BEGIN: &str = "<!-- figures -->\n";
const END: &str = "<!-- /figures -->";

/// What the page shows, in words, and the scenario it comes from.
const STORMS: [(&str, &str); 7] = [
    ("16 × `modprobe xfs` at once", "storm_16"),
    ("64 × `modprobe xfs` at once", "storm_64"),
    ("256 × `modprobe xfs` at once", "storm_256"),
    ("64 × `modprobe xfs` that the kernel cannot decompress", "storm_64_unpacked"),
    ("40 modules × 16 requests, shuffled", "storm_mixed"),
    ("64 × a module whose init fails after 1 s", "failing_init"),
    ("32 × one module in two files", "two_copies"),
];
const CPUS: [u32; 6] = [1, 2, 4, 8, 16, 32];
/// What is measured on every kernel, in words, and the scenario it comes from.
const ON_EACH: [(&str, &str); 3] = [
    ("64 × `modprobe xfs` at once", "storm_64"),
    ("coldplug, 4 CPUs", "coldplug_4"),
    ("coldplug, 16 CPUs", "coldplug_16"),
];
/// Those that the other tables compare.
const KERNELS: [&str; 2] = ["6.1", "6.12"];
/// Those that our rule was measured with.
const RULE: std::ops::RangeInclusive<u32> = 2..=16;

/// `table RESULTS.CSV RESULTS.md`
pub fn main(args: &[String]) -> ExitCode {
    let done = match args {
        [csv, page] => write(csv, page),
        _ => Err(anyhow::anyhow!("table RESULTS.CSV RESULTS.md")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("lab: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn write(csv: &str, page: &str) -> Result<()> {
    let rows = report::load(csv.as_ref())?;
    let text = fs::read_to_string(page).with_context(|| page.to_owned())?;
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("{page}: no {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{page}: no {END}"))?;
    let tables = tables(&rows)?;
    fs::write(page, format!("{before}{BEGIN}{tables}{END}{after}")).with_context(|| page.to_owned())
}

fn tables(rows: &[Row]) -> Result<String> {
    let mut out = matrix(rows)?;
    let head = "| kernel | tool | kernel calls | EEXIST + EBUSY | wasted | time | CPU time |";
    writeln!(out, "| what happens at once {head}\n|---|---|---|---:|---:|---:|---:|---:|")?;
    for (words, scenario) in STORMS {
        for kernel in KERNELS {
            let too = scenarios::find(scenario).with_context(|| format!("no scenario {scenario}"))?;
            let too = too.measured_too(kernel).map(Tool::name);
            let mut others: Vec<&str> =
                too.filter(|tool| find(rows, kernel, scenario, tool).is_ok()).collect();
            others.push("kmod-once");
            lines(&mut out, rows, (words, scenario, kernel), &others)?;
        }
    }
    writeln!(
        out,
        "\nudev's coldplug (`udevadm trigger`, `udevadm settle`) with Debian's own udevd: with Debian's libkmod, with our rule \
         (kmod-once), and with our library in the place of Debian's (libkmod-once):\n"
    )?;
    writeln!(out, "| CPUs {head}\n|---|---|---|---:|---:|---:|---:|---:|")?;
    for cpus in CPUS {
        for kernel in KERNELS {
            let name = format!("coldplug_{cpus}");
            let scenario = scenarios::find(&name).with_context(|| format!("no scenario {name}"))?;
            let mut others: Vec<&str> = scenario.measured_too(kernel).map(Tool::name).collect();
            others.extend(RULE.contains(&cpus).then_some("kmod-once"));
            others.push("libkmod-once");
            lines(&mut out, rows, (&cpus.to_string(), &name, kernel), &others)?;
        }
    }
    writeln!(
        out,
        "\nTwelve modules whose inits sleep 500 ms each, one after the other and with `--jobs 8`:\n"
    )?;
    writeln!(out, "| request | kernel | in a row | eight at once |\n|---|---|---:|---:|")?;
    let requests = ["`modprobe -a` of the twelve", "one module that needs the twelve"];
    for (words, rows_of_it) in requests.into_iter().zip([["jobs", "jobs.2"], ["jobs.3", "jobs.4"]]) {
        for kernel in KERNELS {
            let [serial, parallel] = rows_of_it.map(|name| find(rows, kernel, name, Tool::Ours.name()));
            let seconds = |row: &Row| row.number("wall_ms") as f64 / 1000.0;
            writeln!(
                out,
                "| {words} | {kernel} | {:.1} s | {:.1} s |",
                seconds(serial?),
                seconds(parallel?)
            )?;
        }
    }
    Ok(out)
}

/// Kernel calls, and what was handed over for nothing, on each kernel.
fn matrix(rows: &[Row]) -> Result<String> {
    let mut out = String::from("| kernel | tool |");
    ON_EACH.iter().try_for_each(|(words, _)| write!(out, " {words} |"))?;
    writeln!(out, "\n|---|---|{}", "---:|".repeat(ON_EACH.len()))?;
    for kernel in report::kernels(rows) {
        let stock = Tool::stock(kernel).name();
        // A storm is modprobe's, and a coldplug libkmod's.
        for (name, storm, coldplug) in [(stock, stock, stock), ("kmod-once", "kmod-once", "libkmod-once")] {
            write!(out, "| {kernel} | {name} |")?;
            for (_, scenario) in ON_EACH {
                let tool = if scenario.starts_with("storm") { storm } else { coldplug };
                match find(rows, kernel, scenario, tool) {
                    Ok(row) => {
                        let wasted = report::mib(row.number("wasted"));
                        let calls = row.number("calls");
                        write!(out, " {calls} call{}, {wasted} |", if calls == 1 { "" } else { "s" })?;
                    }
                    Err(_) => write!(out, " not measured |")?,
                }
            }
            writeln!(out)?;
        }
    }
    writeln!(out, "\nThe same on two kernels, and more of it:\n")?;
    Ok(out)
}

fn find<'r>(rows: &'r [Row], kernel: &str, scenario: &str, tool: &str) -> Result<&'r Row> {
    let found = rows.iter().find(|r| r.kernel == kernel && r.scenario == scenario && r.tool == tool);
    found.with_context(|| format!("no figure of {tool} for {scenario} on {kernel}"))
}

/// The stock tool's line and those of `others`, for the words and the scenario on a kernel. A figure that is missing is an
/// error.
fn lines(
    out: &mut String,
    rows: &[Row],
    (words, scenario, kernel): (&str, &str, &str),
    others: &[&str],
) -> Result<()> {
    let stock = scenarios::find(scenario).with_context(|| format!("no scenario {scenario}"))?.stock(kernel);
    for tool in [&[stock.name()], others].concat() {
        let row = find(rows, kernel, scenario, tool)?;
        let n = |name| row.number(name);
        let seconds = |name| n(name) as f64 / 1000.0;
        writeln!(
            out,
            "| {words} | {kernel} | {tool} | {} | {} | {} | {:.1} s | {:.1} s |",
            n("calls"),
            n("eexist") + n("ebusy"),
            report::mib(n("wasted")),
            seconds("wall_ms"),
            seconds("cpu_ms")
        )?;
    }
    Ok(())
}
