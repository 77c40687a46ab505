//! What lookups cost: instructions in user space from kmod_new over kmod_load_resources and a thousand modaliases of a
//! real kernel's to kmod_unref, counted by callgrind with their library and with ours. Counts, unlike times, are the same
//! on a busy machine.

use std::fs;
use std::process::Command;

use crate::build::run;
use crate::{Suite, tree};

const LOOKUPS: usize = 1000;

/// Counts both.
///
/// # Errors
/// Ours needs more instructions, or found something else.
pub fn check(suite: &Suite) -> Result<(), String> {
    let whole = tree::tree(suite)?;
    let file = suite.new_path("modaliases");
    fs::write(&file, whole.modaliases(LOOKUPS)?.join("\n") + "\n").map_err(|error| error.to_string())?;
    let tree = whole.theirs.join(&whole.dir[1..]);
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
