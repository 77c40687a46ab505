//! What lookups cost: instructions in user space from kmod_new over kmod_load_resources and a thousand modaliases of a
//! real kernel's to kmod_unref, counted by callgrind with their library and with ours. Counts, unlike times, are the same
//! on a busy machine.

use std::fs;
use std::process::Command;

use crate::Suite;
use crate::build::run;
use crate::debian::Cache;
use crate::root::link_tree;
use crate::trees::depmod;

const LOOKUPS: usize = 1000;

/// Counts both.
///
/// # Errors
/// Ours needs more instructions, or found something else.
pub fn check(suite: &Suite) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let cache = Cache::open().map_err(said)?;
    let (kernel, name) = cache.kernel("linux-image-6.12.", "-amd64-unsigned").map_err(said)?;
    let release = name.trim_start_matches("linux-image-").trim_end_matches("-unsigned").to_owned();
    let root = suite.new_path("6.12");
    let kmod = crate::tools::Tools::kmod_34(&cache).and_then(|tools| tools.staged(&root)).map_err(said)?;
    crate::root::skeleton(&root, &kmod).map_err(said)?;
    let unpacked = ["lib/modules", "usr/lib/modules"].map(|dir| kernel.join(dir).join(&release));
    let unpacked = unpacked.iter().find(|dir| dir.exists()).ok_or(format!("{name} has no modules"))?;
    let tree = root.join("lib/modules").join(&release);
    link_tree(unpacked, &tree).map_err(said)?;
    depmod(&root, &release).map_err(said)?;
    let aliases = modaliases(&fs::read_to_string(tree.join("modules.alias")).map_err(said)?);
    let file = suite.new_path("modaliases");
    fs::write(&file, aliases.join("\n") + "\n").map_err(said)?;
    let (theirs, found) = count(suite, &suite.build.releases[0].theirs, &tree, &file)?;
    let (ours, same) = count(suite, &suite.build.releases[0].ours, &tree, &file)?;
    println!(
        "{found}: {theirs} instructions with 34.2, {ours} with ours, {:.2}",
        ours as f64 / theirs as f64
    );
    if found != same {
        return Err(format!("theirs: {found}, ours: {same}"));
    }
    if ours > theirs {
        return Err(format!("{ours} instructions, theirs takes {theirs}"));
    }
    Ok(())
}

/// As devices would ask: patterns of the whole file with each wildcard filled in.
fn modaliases(text: &str) -> Vec<String> {
    let patterns: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("alias ")?.rsplit_once(' ').map(|(pattern, _)| pattern))
        .filter(|pattern| !pattern.contains('['))
        .collect();
    let step = (patterns.len() / LOOKUPS).max(1);
    patterns.iter().step_by(step).take(LOOKUPS).map(|pattern| pattern.replace(['*', '?'], "0")).collect()
}

/// Instructions, and what the program printed.
fn count(
    suite: &Suite,
    tools: &crate::tools::Tools,
    tree: &std::path::Path,
    aliases: &std::path::Path,
) -> Result<(u64, String), String> {
    // Both with the loader and the C library of the release, which are beside them.
    let dir = suite.new_path(tools.name);
    tools.install(&dir).map_err(|error| error.to_string())?;
    let counted = suite.new_path("callgrind");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--tool=callgrind"]);
    valgrind.arg(format!("--callgrind-out-file={}", counted.display()));
    valgrind.arg(dir.join("lib64/ld-linux-x86-64.so.2"));
    valgrind.arg("--library-path").arg(dir.join("lib/x86_64-linux-gnu"));
    valgrind.arg(dir.join("bin/kmod")).arg("modaliases").arg(tree).arg(aliases);
    let printed = run(&mut valgrind)?;
    let text = fs::read_to_string(&counted).map_err(|error| error.to_string())?;
    let total =
        text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
    let total = total.and_then(|total| total.trim().parse().ok()).ok_or("callgrind counted nothing")?;
    Ok((total, printed.trim_end().to_owned()))
}
