//! Our tools against Debian 13's kmod 34.2, in one run on one tree: what counts is the ratio, since the machine is never
//! quiet. `cargo bench --bench against_kmod`; takes root (each tool runs in a root directory of its own) and a few
//! minutes. Runs alternate A B A B; the table gives medians.

#[path = "../tests/common/debian.rs"]
mod debian;
#[path = "../tests/common/elf.rs"]
mod elf;
#[allow(dead_code)]
#[path = "../tests/depmod/stage.rs"]
mod stage;
#[allow(dead_code)]
#[path = "../tests/compliance/tools.rs"]
mod tools;
#[allow(dead_code)]
#[path = "../tests/depmod/tree.rs"]
mod tree;

use stage::{Stage, Stages, Who};
use std::fs;
use std::os::unix::process::CommandExt;
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
    let stages = Stages::prepare().map_err(|error| error.to_string())?;
    println!("| work | kmod 34.2 | kmod-once | faster by | CPU, theirs and ours | memory, theirs and ours |");
    println!("|---|---:|---:|---:|---:|---:|");
    for (name, prefix) in [("6.12, .ko.xz", "linux-image-6.12."), ("6.1, .ko", "linux-image-6.1.")] {
        whole_tree(&stages, name, prefix)?;
    }
    Ok(())
}

fn whole_tree(stages: &Stages, name: &str, prefix: &str) -> Result<(), String> {
    let stage = stages.stage(&format!("bench-{prefix}")).map_err(|error| error.to_string())?;
    let version = place(stages, &stage, prefix)?;
    stage.depmod(Who::Theirs, &[&version])?;
    let modules = stage.at("lib/modules").join(&version);

    let out = |who| match who {
        Who::Theirs => vec!["-o", "/theirs", &version],
        Who::Ours => vec!["-o", "/scratch", &version, "--no-cache"],
    };
    compare(&stage, &format!("depmod, {name}"), 5, "depmod", out, 0)?;
    compare(&stage, &format!("depmod, {name}, one core"), 3, "depmod", out, 1)?;

    // The cache knows all modules but one, which changes before each run.
    let cached = ["-o", "/cached", &version, "--cache-dir", "/var/cache/depmod"];
    stage.depmod(Who::Ours, &cached)?;
    let changing = tree::modules(&modules).map_err(|e| e.to_string())?.pop().ok_or("no modules")?;
    let rounds = 5;
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let contents = fs::read(&changing).map_err(|e| e.to_string())?;
        fs::write(&changing, contents).map_err(|e| e.to_string())?;
        theirs.push(cost(stage.command(Who::Theirs, "depmod", &["-o", "/theirs", &version]))?);
        ours.push(cost(stage.command(Who::Ours, "depmod", &cached))?);
    }
    row(&format!("depmod, {name}, one module changed"), theirs, ours);

    let text = fs::read_to_string(modules.join("modules.dep")).map_err(|e| e.to_string())?;
    let files: Vec<String> = text
        .lines()
        .filter_map(|line| line.split(':').next())
        .map(|file| format!("/lib/modules/{version}/{file}"))
        .collect();
    let words: Vec<&str> = files.iter().map(String::as_str).collect();
    compare(&stage, &format!("modinfo of all, {name}"), 3, "modinfo", |_| words.clone(), 0)?;

    for (what, query) in [
        ("modprobe -n -q xfs", "xfs"),
        ("modprobe -n -q cpu:type:...", "cpu:type:x86,ven0000fam0006mod009E:feature:,0000,0001,0002"),
    ] {
        spawned(&stage, &format!("{what}, {name}"), &["-S", &version, "-n", "-q", query])?;
    }
    Ok(())
}

fn place(stages: &Stages, stage: &Stage, prefix: &str) -> Result<String, String> {
    let (package, _) = stages.cache.kernel(prefix, "-amd64-unsigned").map_err(|error| error.to_string())?;
    let modules = package.join("lib/modules");
    let entry = fs::read_dir(&modules).and_then(|mut entries| entries.next().transpose());
    let entry = entry.map_err(|e| e.to_string())?.ok_or("no modules in the package")?;
    let version = entry.file_name().to_string_lossy().into_owned();
    tree::copy(&entry.path(), &stage.at("lib/modules").join(&version)).map_err(|error| error.to_string())?;
    Ok(version)
}

/// A B A B, on all CPUs or (`cpus` = 1) on one.
fn compare<'a>(
    stage: &Stage,
    what: &str,
    rounds: usize,
    tool: &str,
    args: impl Fn(Who) -> Vec<&'a str>,
    cpus: usize,
) -> Result<(), String> {
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (who, costs) in [(Who::Theirs, &mut theirs), (Who::Ours, &mut ours)] {
            let mut command = stage.command(who, tool, &args(who));
            if cpus == 1 {
                pin(&mut command);
            }
            costs.push(cost(command)?);
        }
    }
    row(what, theirs, ours);
    Ok(())
}

/// A short command, started many times: the empty static program (the floor), theirs, ours.
fn spawned(stage: &Stage, what: &str, args: &[&str]) -> Result<(), String> {
    const RUNS: usize = 300;
    let source = stage.at("tmp/empty.c");
    fs::write(&source, "int main(void) { return 0; }\n").map_err(|e| e.to_string())?;
    let built =
        Command::new("cc").args(["-O2", "-static", "-o"]).arg(stage.at("tmp/empty")).arg(&source).status();
    if !built.is_ok_and(|status| status.success()) {
        return Err("cc cannot build an empty static program".into());
    }
    let (mut floor, mut theirs, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let mut empty = Command::new(stage.at("tmp/empty"));
        empty.env_clear().stdin(Stdio::null());
        floor.push(cost(empty)?);
        theirs.push(cost(stage.command(Who::Theirs, "modprobe", args))?);
        ours.push(cost(stage.command(Who::Ours, "modprobe", args))?);
    }
    let floor = median(floor.iter().map(|cost| cost.wall));
    let (a, b) = (median(theirs.iter().map(|cost| cost.wall)), median(ours.iter().map(|cost| cost.wall)));
    println!(
        "| {what} | {:.2} ms, {:.2} × the floor | {:.2} ms, {:.2} × the floor | {:.1} × | | |",
        a * 1e3,
        a / floor,
        b * 1e3,
        b / floor,
        a / b
    );
    Ok(())
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

fn row(what: &str, theirs: Vec<Cost>, ours: Vec<Cost>) {
    let of = |costs: &[Cost], pick: fn(&Cost) -> f64| median(costs.iter().map(pick));
    let (a, b) = (of(&theirs, |c| c.wall), of(&ours, |c| c.wall));
    println!(
        "| {what} | {a:.2} s | {b:.2} s | {:.1} × | {:.2} s, {:.2} s | {:.0} MiB, {:.0} MiB |",
        a / b,
        of(&theirs, |c| c.cpu),
        of(&ours, |c| c.cpu),
        of(&theirs, |c| c.memory),
        of(&ours, |c| c.memory)
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
