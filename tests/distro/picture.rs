//! What `kmod blame` and `kmod plot` say of a boot: they know the modules that went through the gate, from the initramfs on.
//! `make boot-picture` takes those of one boot from `target/distro/` for README.md.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::boot::Report;
use crate::library::target;

/// The driver of the root's disk, which only the initramfs can have loaded.
const FIRST: &str = "virtio_blk";

/// Checks both, and keeps them under the name of who built the initramfs.
///
/// # Errors
/// What lacks.
pub fn check(report: &Report, builder: &str) -> Result<()> {
    let (blame, picture) = (report.section("blame"), report.section("plot"));
    let table = blame.join("\n");
    let (head, rows) = blame.split_first().context("kmod blame said nothing")?;
    let column = head.split_whitespace().position(|word| word == "Module").with_context(|| table.clone())?;
    let names: Vec<&str> = rows.iter().filter_map(|row| row.split_whitespace().nth(column)).collect();
    let stats: serde_json::Value = serde_json::from_str(&report.section("stats").join("\n"))?;
    let counted = stats["modules"].as_array().context("the books list no modules")?;
    let counted = counted.iter().filter(|module| module["loads"].as_u64() > Some(0));
    for name in counted.filter_map(|module| module["name"].as_str()).chain([FIRST]) {
        if !names.contains(&name) {
            bail!("kmod blame does not know {name}:\n{table}");
        }
    }
    let drawn = picture.iter().filter(|line| line.starts_with("<g>")).count();
    if drawn != names.len() || picture.last().is_none_or(|line| line != "</svg>") {
        bail!("kmod plot drew {drawn} of {} modules:\n{}", names.len(), picture.join("\n"));
    }
    let dir = target().join("distro");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join(format!("{builder}.blame")), table + "\n")?;
    fs::write(dir.join(format!("{builder}.svg")), picture.join("\n") + "\n")?;
    println!("distro: kmod blame and kmod plot show {drawn} modules");
    Ok(())
}
