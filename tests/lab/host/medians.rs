//! What udev's coldplug takes with Debian's libkmod and with ours, as medians of boots in turns: one boot says little, since the
//! hosts that emulate these machines are busy with other things as well.

use anyhow::{Context, Result, bail};

use super::qemu;
use super::series::SERIES;
use super::suite::Lab;
use crate::scenarios;
use crate::tool::Tool;

const KERNELS: [&str; 2] = ["6.1", "6.12"];
const SCENARIOS: [&str; 2] = ["coldplug_4", "coldplug_16"];
const BOOTS: usize = 5;

/// Boots `names`, or [`SCENARIOS`] if there are none, and prints. Fails if a claim about a boot does not hold, whatever time it
/// takes.
pub fn medians(names: &[String]) -> Result<()> {
    if let Some(reason) = qemu::missing() {
        bail!("{reason}");
    }
    let names: Vec<&str> =
        if names.is_empty() { SCENARIOS.to_vec() } else { names.iter().map(String::as_str).collect() };
    let lab = Lab::new()?;
    for series in SERIES.iter().filter(|series| KERNELS.contains(&series.name)) {
        for name in &names {
            let scenario = scenarios::find(name).with_context(|| format!("no scenario {name}"))?;
            let tools = [series.stock(scenario), Tool::Library];
            let mut times = tools.map(|_| Vec::new());
            for turn in 0..BOOTS {
                // Neither is always the first.
                for of in [turn % 2, 1 - turn % 2] {
                    lab.boot_anew();
                    let report = lab.boot(scenario, series, &[tools[of]])?;
                    if !report.failures.is_empty() {
                        bail!("{name}::{}: {}", series.name, report.failures.join("; "));
                    }
                    times[of].push(report.rows.first().context("no measurement")?.number("wall_ms"));
                }
            }
            let [stock, ours] = times.each_mut().map(|times| median(times));
            println!(
                "lab: {name}::{}: medians of {BOOTS} boots in turns: {} {:.1} s {:?}, {} {:.1} s {:?}: {:.2} x",
                series.name,
                tools[0].name(),
                stock as f64 / 1000.0,
                times[0],
                tools[1].name(),
                ours as f64 / 1000.0,
                times[1],
                ours as f64 / stock as f64
            );
        }
    }
    Ok(())
}

/// Of an odd number of times, which are sorted.
fn median(times: &mut [u64]) -> u64 {
    times.sort_unstable();
    times[times.len() / 2]
}
