//! What the guest said, and the table of measured figures.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::tool::Tool;

/// One measurement: a tool in a scenario on a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The first two numbers of its release: `6.12`.
    pub kernel: String,
    /// `kmod-once`, `kmod-30`, `kmod-34`.
    pub tool: String,
    /// The scenario; a number is added when it measures more than once.
    pub scenario: String,
    /// The numbers, in the order of [`NUMBERS`].
    pub numbers: [u64; NUMBERS.len()],
}

/// The numeric columns. `wasted` is in bytes.
pub const NUMBERS: [&str; 10] =
    ["cpus", "requests", "calls", "duplicates", "eexist", "ebusy", "errors", "wasted", "wall_ms", "cpu_ms"];

impl Row {
    /// One of the numbers.
    pub fn number(&self, name: &str) -> u64 {
        NUMBERS.iter().position(|n| *n == name).map_or(0, |at| self.numbers[at])
    }
}

/// The lines of one boot.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Measurements.
    pub rows: Vec<Row>,
    /// Claims that did not hold, with the tool's name.
    pub failures: Vec<String>,
    /// Claims that held.
    pub held: usize,
    /// What is worth knowing.
    pub notes: Vec<String>,
    /// Loaded modules at the end of a coldplug.
    pub modules: Vec<String>,
}

/// Reads the lines of one boot: a report for each of the `scenarios` it ran. The machine may have ended before they were
/// through (a kernel that panics ends it); then the end of its `console` says why.
pub fn read(
    text: &str,
    kernel: &str,
    scenarios: &[&str],
    console: &Path,
) -> Result<BTreeMap<String, Report>> {
    let mut reports: BTreeMap<String, Report> =
        scenarios.iter().map(|name| ((*name).to_owned(), Report::default())).collect();
    let mut ended = false;
    let mut measured: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).with_context(|| format!("the guest said: {line}"))?;
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let scenario = text("scenario");
        if value["t"] == "end" {
            ended = true;
            continue;
        }
        let Some(report) = reports.get_mut(&scenario) else {
            // Before the first scenario, or about the boot as a whole.
            if value["t"] == "error" {
                bail!("{}", text("what"));
            }
            continue;
        };
        match value["t"].as_str().unwrap_or_default() {
            "row" => {
                let tool = text("tool");
                let count = measured.entry((scenario.clone(), tool.clone())).or_default();
                *count += 1;
                let scenario = if *count == 1 { scenario } else { format!("{scenario}.{count}") };
                let numbers = NUMBERS.map(|n| value[n].as_u64().unwrap_or(0));
                report.rows.push(Row { kernel: kernel.to_owned(), tool, scenario, numbers });
            }
            "check" if value["ok"] == Value::Bool(true) => report.held += 1,
            "check" => report.failures.push(format!("{}: {}", text("tool"), text("what"))),
            "note" => report.notes.push(text("what")),
            "modules" => {
                let names = value["names"].as_array().into_iter().flatten();
                report.modules = names.filter_map(Value::as_str).map(str::to_owned).collect();
            }
            "error" => report.failures.push(text("what")),
            _ => {}
        }
    }
    if !ended {
        for report in reports.values_mut() {
            let said = tail(console);
            report.failures.push(format!("the guest did not come to the end of its scenarios:\n{said}"));
        }
    }
    Ok(reports)
}

/// The last lines of a console.
pub fn tail(console: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(console).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Bytes for people.
pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// One line about one measurement.
pub fn line(row: &Row) -> String {
    let n = |name| row.number(name);
    format!(
        "{:<10} {:>4} requests {:>4} calls {:>4} duplicates {:>4} EEXIST {:>3} EBUSY {:>10} wasted {:>7} ms, {:>7} ms CPU",
        row.tool,
        n("requests"),
        n("calls"),
        n("duplicates"),
        n("eexist"),
        n("ebusy"),
        mib(n("wasted")),
        n("wall_ms"),
        n("cpu_ms")
    )
}

/// Ours in parts of the stock tool's, where each has one measurement.
pub fn ratio(rows: &[Row]) -> Option<String> {
    let [one, other] = rows else { return None };
    let (ours, stock) = if one.tool == Tool::Ours.name() { (one, other) } else { (other, one) };
    if ours.tool != Tool::Ours.name() || stock.tool == ours.tool {
        return None;
    }
    let part = |name| ours.number(name) as f64 / stock.number(name).max(1) as f64;
    let (cpu, wall) = (part("cpu_ms"), part("wall_ms"));
    Some(format!("of {}: {cpu:.3} of the processor time, {wall:.3} of the time", stock.tool))
}

/// The kernels that were measured, the oldest first.
pub fn kernels(rows: &[Row]) -> Vec<&str> {
    let numbers =
        |kernel: &str| kernel.split('.').map(|word| word.parse().unwrap_or(0)).collect::<Vec<u32>>();
    let mut kernels: Vec<&str> = rows.iter().map(|row| row.kernel.as_str()).collect();
    kernels.sort_by_key(|kernel| numbers(kernel));
    kernels.dedup();
    kernels
}

/// The measurements in a file; none if there is no file.
pub fn load(path: &Path) -> Result<Vec<Row>> {
    let Ok(text) = fs::read_to_string(path) else { return Ok(Vec::new()) };
    let mut rows = Vec::new();
    for line in text.lines().skip(1) {
        let cells: Vec<_> = line.split(',').collect();
        let [kernel, tool, scenario, numbers @ ..] = &cells[..] else { bail!("{}: {line}", path.display()) };
        let numbers: Vec<u64> =
            numbers.iter().map(|n| n.parse()).collect::<Result<_, _>>().with_context(|| line.to_owned())?;
        let Ok(numbers) = numbers.try_into() else { bail!("{}: {line}", path.display()) };
        rows.push(Row {
            kernel: (*kernel).into(),
            tool: (*tool).into(),
            scenario: (*scenario).into(),
            numbers,
        });
    }
    Ok(rows)
}

/// Puts new measurements into a file, in place of older ones of the same scenario, kernel and tool.
pub fn save(path: &Path, new: &[Row]) -> Result<()> {
    let key = |r: &Row| (r.scenario.clone(), r.kernel.clone(), r.tool.clone());
    let mut all: BTreeMap<_, Row> =
        load(path).unwrap_or_default().into_iter().map(|r| (key(&r), r)).collect();
    all.extend(new.iter().map(|r| (key(r), r.clone())));
    let mut text = format!("kernel,tool,scenario,{}\n", NUMBERS.join(","));
    for row in all.values() {
        let numbers: Vec<_> = row.numbers.iter().map(u64::to_string).collect();
        text.push_str(&format!("{},{},{},{}\n", row.kernel, row.tool, row.scenario, numbers.join(",")));
    }
    fs::write(path, text).with_context(|| format!("{}", path.display()))
}
