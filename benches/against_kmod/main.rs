//! Our tools against Debian 13's kmod 34.2 and Debian 12's kmod 30, in one run on one tree: what counts is the ratio, since
//! the machine is never quiet. `make bench`; takes root (each tool runs in a root directory of its own) and some minutes.
//! Runs alternate A B A B; the tables give medians. A word that ends in `.md` names a file whose tables, between the lines
//! `<!-- bench -->` and `<!-- /bench -->`, are replaced by these; the word `processes` leaves the whole trees out. Ours is the
//! program that `KMOD_ONCE_BIN` names; a word NAME=PATH names another build, which gets a column in the table of requests.

#[path = "../../tests/cost/count.rs"]
mod count;
#[path = "../../tests/common/debian.rs"]
mod debian;
#[path = "../../tests/common/elf.rs"]
mod elf;
#[path = "../../tests/common/needs.rs"]
mod needs;
mod processes;
#[path = "../../tests/common/program.rs"]
mod program;
#[allow(dead_code)]
#[path = "../../tests/depmod/stage.rs"]
mod stage;
#[allow(dead_code)]
#[path = "../../tests/compliance/tools.rs"]
mod tools;
#[allow(dead_code)]
#[path = "../../tests/depmod/tree.rs"]
mod tree;

use stage::{Stage, Stages, Who};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// What one run cost.
#[derive(Clone, Copy)]
struct Cost {
    /// Seconds from start to end.
    wall: f64,
    /// Seconds of CPU time, user and system.
    cpu: f64,
    /// Peak resident memory in MiB.
    memory: f64,
}

/// The kernels whose trees are worked on: what they are called here, and how the package begins.
const TREES: [(&str, &str); 2] = [("6.12, .ko.xz", "linux-image-6.12."), ("6.1, .ko", "linux-image-6.1.")];

fn main() -> ExitCode {
    // `cargo test --benches` and `cargo clippy` build this too; only `cargo bench` runs it.
    if !std::env::args().any(|word| word == "--bench") {
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let stages = Stages::prepare(program::static_program()).map_err(|error| error.to_string())?;
    let mut lines = processes::table(&stages)?;
    if !std::env::args().any(|word| word == "processes") {
        lines.extend(whole_trees(&stages)?);
    }
    let block = lines.join("\n") + "\n";
    print!("{block}");
    match std::env::args().find(|word| word.ends_with(".md")) {
        Some(file) => replace(Path::new(&file), &block),
        None => Ok(()),
    }
}

/// The table of what goes over all modules of a kernel.
fn whole_trees(stages: &Stages) -> Result<Vec<String>, String> {
    let titles = [
        "work",
        "kmod 30",
        "kmod 34.2",
        "kmod-once",
        "34.2 / once",
        "CPU, 34.2 and once",
        "memory, 34.2 and once",
    ];
    let mut lines = vec![
        String::new(),
        format!("| {} |", titles.join(" | ")),
        "|---|---:|---:|---:|---:|---:|---:|".into(),
    ];
    for (name, prefix) in TREES {
        lines.extend(whole_tree(stages, name, prefix)?);
    }
    Ok(lines)
}

/// Puts the tables into `file`.
fn replace(file: &Path, block: &str) -> Result<(), String> {
    let (begin, end) = ("<!-- bench -->\n", "<!-- /bench -->");
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let parts = text.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, after) = parts.ok_or_else(|| format!("{}: no place for the tables", file.display()))?;
    fs::write(file, [before, begin, block, end, after].concat()).map_err(|error| error.to_string())
}

/// A root with both tools in it, and one with kmod 30.
struct Pair {
    both: Stage,
    old: Stage,
}

impl Pair {
    fn command(&self, who: Tool, tool: &str, args: &[&str]) -> Command {
        match who {
            Tool::Old => self.old.command(Who::Theirs, tool, args),
            Tool::Theirs => self.both.command(Who::Theirs, tool, args),
            Tool::Ours => self.both.command(Who::Ours, tool, args),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Tool {
    Old,
    Theirs,
    Ours,
}

const TOOLS: [Tool; 3] = [Tool::Old, Tool::Theirs, Tool::Ours];

fn whole_tree(stages: &Stages, name: &str, prefix: &str) -> Result<Vec<String>, String> {
    let both = stages.stage(&format!("bench-{prefix}")).map_err(|error| error.to_string())?;
    let old = stages.stage_30(&format!("bench-30-{prefix}")).map_err(|error| error.to_string())?;
    let version = place(stages, &both, prefix)?;
    place(stages, &old, prefix)?;
    both.depmod(Who::Theirs, &[&version])?;
    old.depmod(Who::Theirs, &[&version])?;
    let modules = both.at("lib/modules").join(&version);
    let changing = tree::modules(&modules).map_err(|e| e.to_string())?.pop().ok_or("no modules")?;
    let text = fs::read_to_string(modules.join("modules.dep")).map_err(|e| e.to_string())?;
    let files: Vec<String> = text
        .lines()
        .filter_map(|line| line.split(':').next())
        .map(|file| format!("/lib/modules/{version}/{file}"))
        .collect();
    let pair = Pair { both, old };

    let out = |who| match who {
        // Has a root of its own to write to, and makes no directories below another.
        Tool::Old => vec![&version[..]],
        Tool::Theirs => vec!["-o", "/theirs", &version],
        Tool::Ours => vec!["-o", "/scratch", &version, "--no-cache"],
    };
    let cached = ["-o", "/cached", &version, "--cache-dir", "/var/cache/depmod"];
    pair.both.depmod(Who::Ours, &cached)?;
    // The cache knows all modules but one, which changes before each run.
    let one = |who| if who == Tool::Ours { cached.to_vec() } else { out(who) };
    let change = || fs::read(&changing).and_then(|contents| fs::write(&changing, contents));
    let nothing = || Ok(());
    let words = |_| files.iter().map(String::as_str).collect();
    Ok(vec![
        compare(&pair, &format!("depmod, {name}"), 5, "depmod", &out, 0, &nothing)?,
        compare(&pair, &format!("depmod, {name}, one core"), 3, "depmod", &out, 1, &nothing)?,
        compare(&pair, &format!("depmod, {name}, one module changed"), 5, "depmod", &one, 0, &change)?,
        compare(&pair, &format!("modinfo of all, {name}"), 3, "modinfo", &words, 0, &nothing)?,
    ])
}

/// Puts the modules of a kernel into a root; the kernel's version.
fn place(stages: &Stages, stage: &Stage, prefix: &str) -> Result<String, String> {
    let (package, _) = stages.cache.kernel(prefix, "-amd64-unsigned").map_err(|error| error.to_string())?;
    let modules = package.join("lib/modules");
    let entry = fs::read_dir(&modules).and_then(|mut entries| entries.next().transpose());
    let entry = entry.map_err(|e| e.to_string())?.ok_or("no modules in the package")?;
    let version = entry.file_name().to_string_lossy().into_owned();
    tree::copy(&entry.path(), &stage.at("lib/modules").join(&version)).map_err(|error| error.to_string())?;
    Ok(version)
}

/// A B C A B C, on all CPUs or (`cpus` = 1) on one; `before` each round.
fn compare<'a>(
    pair: &Pair,
    what: &str,
    rounds: usize,
    tool: &str,
    args: &dyn Fn(Tool) -> Vec<&'a str>,
    cpus: usize,
    before: &dyn Fn() -> std::io::Result<()>,
) -> Result<String, String> {
    let mut costs = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..rounds {
        before().map_err(|error| error.to_string())?;
        for (who, costs) in TOOLS.into_iter().zip(&mut costs) {
            let mut command = pair.command(who, tool, &args(who));
            if cpus == 1 {
                pin(&mut command);
            }
            costs.push(cost(command)?);
        }
    }
    Ok(row(what, &costs))
}

fn pin(command: &mut Command) {
    let one = || {
        let mut set = nix::sched::CpuSet::new();
        set.set(0)?;
        nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)?;
        Ok(())
    };
    // SAFETY: between fork and exec, one system call is made.
    unsafe { command.pre_exec(one) };
}

/// Runs a command, which must succeed (modprobe -q may also find nothing to do), and measures it.
fn cost(mut command: Command) -> Result<Cost, String> {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let begin = Instant::now();
    #[allow(clippy::zombie_processes)] // waited for below, with its resource usage
    let child = command.spawn().map_err(|error| error.to_string())?;
    let mut status = 0;
    // SAFETY: rusage is plain data, for which zeros are valid; wait4 fills it and writes to nothing else.
    let (pid, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(child.id() as i32, &mut status, 0, &mut usage), usage)
    };
    let wall = begin.elapsed().as_secs_f64();
    if pid < 0 || status != 0 {
        return Err(format!("{command:?}: status {status}"));
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let cpu = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    Ok(Cost { wall, cpu, memory: usage.ru_maxrss as f64 / 1024.0 })
}

fn row(what: &str, [old, theirs, ours]: &[Vec<Cost>; 3]) -> String {
    let of = |costs: &[Cost], pick: fn(&Cost) -> f64| median(costs.iter().map(pick));
    let (a, b) = (of(theirs, |c| c.wall), of(ours, |c| c.wall));
    format!(
        "| {what} | {:.2} s | {a:.2} s | {b:.2} s | {:.1} × | {:.2} s, {:.2} s | {:.0} MiB, {:.0} MiB |",
        of(old, |c| c.wall),
        a / b,
        of(theirs, |c| c.cpu),
        of(ours, |c| c.cpu),
        of(theirs, |c| c.memory),
        of(ours, |c| c.memory)
    )
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
