//! The host's half of the lab: downloads, images, virtual machines, reports.

use std::process::Command;

use anyhow::{Context, Result, bail};

pub mod alt;
pub mod cache;
pub mod cpio;
pub mod demo;
pub mod image;
pub mod medians;
pub mod plot;
pub mod qemu;
pub mod report;
pub mod series;
pub mod suite;
pub mod table;
pub mod vmlinux;

/// The first two numbers of a kernel's release: `6.12`.
pub fn version(release: &str) -> &str {
    let end = release.match_indices('.').nth(1).map_or(release.len(), |(at, _)| at);
    &release[..end]
}

/// Runs a command to its end and returns what it wrote; a failure carries its error output.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| name.clone())?;
    if !output.status.success() {
        bail!("{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
