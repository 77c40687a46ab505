//! What a daemon like udevd pays: kmod_new, kmod_load_resources, a thousand lookups of a real kernel's modaliases and
//! kmod_unref, in one process, with Debian 13's libkmod and with ours. `make bench`, or `cargo bench --bench library`;
//! takes root (depmod makes the indexes in a root directory). Processes alternate A B A B; the row gives medians of all
//! rounds. tests/library/cost.rs counts the instructions of the same.

#[path = "../tests/common/debian.rs"]
mod debian;
#[path = "../tests/common/elf.rs"]
mod elf;
#[path = "../tests/common/needs.rs"]
mod needs;
#[path = "../tests/common/library.rs"]
mod shared;
#[allow(dead_code)]
#[path = "../tests/depmod/stage.rs"]
mod stage;
#[allow(dead_code)]
#[path = "../tests/compliance/tools.rs"]
mod tools;
#[allow(dead_code)]
#[path = "../tests/depmod/tree.rs"]
mod tree;

use shared::run;
use stage::{Stages, Who};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const LOOKUPS: usize = 1000;
const PROCESSES: usize = 10;
const ROUNDS: usize = 20;
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

fn main() -> ExitCode {
    // `cargo test --benches` and `cargo clippy` build this too; only `cargo bench` runs it.
    if !std::env::args().any(|word| word == "--bench") {
        return ExitCode::SUCCESS;
    }
    match compare() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn said(error: io::Error) -> String {
    error.to_string()
}

fn compare() -> Result<(), String> {
    let stages = Stages::prepare(env!("CARGO_BIN_EXE_kmod").into()).map_err(said)?;
    let stage = stages.stage("bench-library").map_err(said)?;
    let (package, _) = stages.cache.kernel("linux-image-6.12.", "-amd64-unsigned").map_err(said)?;
    let entry = fs::read_dir(package.join("lib/modules")).and_then(|mut all| all.next().transpose());
    let source = entry.map_err(said)?.ok_or("no modules in the package")?;
    let version = source.file_name().to_string_lossy().into_owned();
    let modules = stage.at("lib/modules").join(&version);
    tree::copy(&source.path(), &modules).map_err(said)?;
    stage.depmod(Who::Theirs, &[&version])?;
    let aliases = stage.at("tmp/modaliases");
    fs::write(&aliases, modaliases(&modules)?.join("\n")).map_err(said)?;

    let packages =
        ["libkmod2", "libkmod-dev", "libc6", "liblzma5", "libzstd1", "zlib1g", "libssl3t64", "dash"];
    let theirs = stages.cache.userland("libkmod-trixie", "trixie", &packages).map_err(said)?;
    let program = stage.at("tmp/library");
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-I"]).arg(theirs.join("usr/include"));
    cc.arg("-o").arg(&program).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/library.c"));
    run(cc.arg(theirs.join(LIBRARIES).join("libkmod.so.2")).arg("-Wl,--allow-shlib-undefined"))?;
    // Both with the C library of the release that theirs belongs to.
    let ours = stage.at("tmp/ours");
    fs::create_dir(&ours).map_err(said)?;
    symlink(shared::library()?, ours.join("libkmod.so.2")).map_err(said)?;
    let paths = [theirs.join(LIBRARIES), ours].map(|dir| dir.display().to_string());
    let paths = [paths[0].clone(), format!("{}:{}", paths[1], paths[0])];

    let (mut times, mut found) = ([Vec::new(), Vec::new()], [String::new(), String::new()]);
    for _ in 0..PROCESSES {
        for who in 0..2 {
            let mut command = Command::new(loader(&theirs)?);
            command.arg("--library-path").arg(&paths[who]).arg(&program);
            let printed = run(command.arg(&modules).arg(&aliases).arg(ROUNDS.to_string()))?;
            let mut lines: Vec<&str> = printed.lines().collect();
            found[who] = lines.pop().unwrap_or_default().to_owned();
            times[who].extend(lines.iter().filter_map(|line| line.parse::<f64>().ok()));
        }
    }
    if found[0] != found[1] || times.iter().any(|times| times.len() != PROCESSES * ROUNDS) {
        return Err(format!("not the same work: {found:?}"));
    }
    let [theirs, ours] = times.map(median);
    println!(
        "| libkmod: kmod_new, {LOOKUPS} lookups, kmod_unref, 6.12 | {:.2} ms | {:.2} ms | {:.1} × | | |",
        theirs / 1e6,
        ours / 1e6,
        theirs / ours
    );
    Ok(())
}

/// As devices would ask: patterns from all over modules.alias with each wildcard filled in.
fn modaliases(modules: &Path) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(modules.join("modules.alias")).map_err(said)?;
    let patterns = text.lines().filter_map(|line| line.strip_prefix("alias ")?.rsplit_once(' '));
    let patterns: Vec<&str> = patterns.map(|(pattern, _)| pattern).filter(|p| !p.contains('[')).collect();
    let step = (patterns.len() / LOOKUPS).max(1);
    Ok(patterns.iter().step_by(step).take(LOOKUPS).map(|p| p.replace(['*', '?'], "0")).collect())
}

fn loader(dir: &Path) -> Result<PathBuf, String> {
    let places = ["lib64", "usr/lib64", LIBRARIES].map(|place| dir.join(place).join("ld-linux-x86-64.so.2"));
    places.into_iter().find_map(|path| path.canonicalize().ok()).ok_or_else(|| "no loader".to_owned())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
