//! What must hold for a boot, by what the system said of itself.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Error, Result, bail};

use crate::boot::{ASKED_FOR, Report};
use crate::library::library;
use crate::system::run;

/// The program under test.
///
/// # Errors
/// It was not said which it is.
pub fn ours() -> Result<PathBuf> {
    let named =
        std::env::var_os("KMOD_ONCE_BIN").context("KMOD_ONCE_BIN names the program to test; use make")?;
    Ok(named.into())
}

/// The library under test.
///
/// # Errors
/// As [`library`].
pub fn our_library() -> Result<PathBuf> {
    library().map_err(Error::msg)
}

/// Whether a boot was as good as the one with the stock kmod.
///
/// # Errors
/// What was not, with the end of the journal.
pub fn check(what: &str, report: &Report, stock: &Report) -> Result<()> {
    let problem = |text: String| -> Result<()> {
        bail!("{what}: {text}\n{}", report.section("journal").join("\n"));
    };
    if report.section("target") != ["active"] {
        return problem(format!("multi-user.target is {:?}", report.section("target")));
    }
    for mounted in ["/dev/vda / ext4", "/dev/vdb /mnt xfs"] {
        if !report.section("mounts").iter().any(|line| line == mounted) {
            return problem(format!("not mounted: {mounted}"));
        }
    }
    let (failed, usual) = (report.set("failed"), stock.set("failed"));
    if !failed.is_subset(&usual) {
        return problem(format!("failed units: {failed:?}, with the stock kmod {usual:?}"));
    }
    let (modules, wanted) = (report.set("modules"), stock.set("modules"));
    let needed = ["xfs", "virtio_blk", ASKED_FOR];
    if modules != wanted || !needed.iter().all(|name| modules.contains(name)) {
        let missing: Vec<_> = wanted.difference(&modules).collect();
        let more: Vec<_> = modules.difference(&wanted).collect();
        return problem(format!("other modules: missing {missing:?}, more {more:?}"));
    }
    // It asks libkmod which modules could drive a device.
    let devices = report.section("lspci");
    if devices != stock.section("lspci") || !devices.iter().any(|line| line.contains("Kernel modules: ")) {
        return problem(format!("lspci -k: {devices:#?}, with the stock kmod {:#?}", stock.section("lspci")));
    }
    Ok(())
}

/// Whether the tools of a boot were ours, and their loads in the gate's books.
///
/// # Errors
/// They were not.
pub fn is_ours(report: &Report) -> Result<()> {
    let version = report.section("version").join("\n");
    if !version.contains("--explain") {
        bail!("modprobe is not ours:\n{version}");
    }
    let stats = report.section("stats").join("\n");
    let stats: serde_json::Value = serde_json::from_str(&stats).with_context(|| stats.clone())?;
    if stats["total"]["loads"].as_u64().is_none_or(|loads| loads == 0) {
        bail!("nothing went through the gate: {stats}");
    }
    println!("distro: gate: {}", stats["total"]);
    Ok(())
}

/// Whether `kmod check` finds nothing wrong with a system as it comes, but for what dkms made.
///
/// # Errors
/// What it found.
pub fn finds_nothing(report: &Report) -> Result<()> {
    let found: Vec<_> =
        report.section("check").iter().filter(|line| !line.contains("/updates/dkms/")).collect();
    if !found.is_empty() {
        bail!("kmod check: {found:#?}");
    }
    Ok(())
}

/// Whether udevd has our library loaded, and what it loads goes through the gate, once.
///
/// # Errors
/// It has not, or what the books say instead.
pub fn serves_udev(report: &Report, stock: &Report) -> Result<()> {
    let library = our_library()?;
    let sum = run(Command::new("sha256sum").arg(&library))?;
    let (wanted, found) = (sum.split(' ').next().unwrap_or_default(), report.section("udevd").join("\n"));
    if wanted.len() != 64 || !found.contains(wanted) {
        bail!("udevd has another libkmod than {sum}: {found}");
    }
    let stats: serde_json::Value = serde_json::from_str(&report.section("stats").join("\n"))?;
    let modules = stats["modules"].as_array().context("the books list no modules")?;
    let mut succeeded = 0;
    for module in modules {
        let number = |key: &str| module[key].as_u64().unwrap_or(u64::MAX);
        let loaded = number("loads").saturating_sub(number("failures"));
        if loaded > 1 || number("bounds_passed") > 0 {
            bail!("the gate counts {module}");
        }
        succeeded += usize::try_from(loaded)?;
    }
    let by_systemd = modules.iter().find(|module| module["name"] == ASKED_FOR);
    if by_systemd.is_none_or(|module| module["loads"] != 1) {
        bail!("systemd-modules-load has not gone through the gate for {}: {by_systemd:?}", ASKED_FOR);
    }
    // Not in the books is what the kernel asked for before /run was mounted, and, where the image has the distribution's
    // library, what udev loaded from there.
    let there = stock.set("modules").len();
    if succeeded == 0 {
        bail!("{there} modules are loaded, and none is in the gate's books: {}", stats["total"]);
    }
    println!("distro: {succeeded} of {there} modules in the gate's books, each loaded once");
    Ok(())
}
