//! A process that tells the host that the guest lives, and, if it is still there when time is almost up, who is at what.
//!
//! Where even this one falls silent, the machine as a whole has stopped, and no program in it is to blame.

use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::reboot::{RebootMode, reboot};
use serde_json::{Value, json};

use super::crowd::threads;

/// How often it says so.
const BEAT: Duration = Duration::from_secs(5);

/// The mode `watch`: `watch SECONDS`, counted from now. Ends only with the machine.
pub fn main(args: &[String]) -> Result<()> {
    let begin = Instant::now();
    let limit = Duration::from_secs(args.first().context("watch SECONDS")?.parse()?);
    let scenario = std::env::var("LAB_SCENARIO").unwrap_or_default();
    let mut results = File::options().write(true).open("/dev/ttyS1").context("/dev/ttyS1")?;
    // One write for each line: this one must not come to lie within one of another process.
    let mut say = |line: Value| results.write_all(format!("{line}\n").as_bytes());
    while begin.elapsed() < limit {
        std::thread::sleep(BEAT);
        say(json!({"t": "alive", "after": begin.elapsed().as_secs()}))?;
    }
    let what = format!("still running after {} s:\n{}", limit.as_secs(), at_what());
    say(json!({"t": "error", "scenario": scenario, "what": what}))?;
    // What the kernel itself thinks of it: the tasks that nothing can interrupt, and what each processor does.
    fs::write("/proc/sys/kernel/printk", "8")?;
    for key in ["w", "l"] {
        fs::write("/proc/sysrq-trigger", key)?;
    }
    reboot(RebootMode::RB_POWER_OFF)?;
    Ok(())
}

/// Every process that is not the kernel's own.
fn at_what() -> String {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = pids.filter_map(|item| item.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    let mut lines = Vec::new();
    for pid in pids {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if words.is_empty() || pid == std::process::id() {
            continue;
        }
        let words = String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ");
        lines.push(format!("{words}: {}", threads(pid).join("; ")));
    }
    lines.join("\n")
}
