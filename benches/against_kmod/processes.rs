//! What it costs to ask modprobe: wall time against an empty static process, instructions, system calls.
//!
//! Every program is started by a runner of its own (`runner.c`: posix_spawn, waitpid, and nothing else), in a root directory
//! with the tool, the same indexes and the same /sys; the runners take turns. The roots' /sys is a directory with the one
//! module in it that is to be live: no kernel here has modules.
//!
//! Two things would favour one or the other, and are made the same for all. A program's pages are in the page cache in
//! pieces of a size that depends on how its file came to be there, which makes up to a quarter of its time: every file is
//! written anew. And whoever runs after a large program finds the processor's caches full of that one: each run comes right
//! after an empty process, which is not measured.

use crate::count::Counters;
use crate::stage::{Stage, Stages, Who};
use crate::{TREES, median, place};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const RUNS: usize = 500;
const ALIAS: &str = "cpu:type:x86,ven0000fam0006mod009E:feature:,0000,0001,0002";

/// What is measured: its name in the table, its root directory, and where it is in there.
struct Program<'a> {
    name: String,
    root: &'a Stage,
    path: String,
}

/// Other builds of ours, to be measured beside the one that is installed: the words NAME=PATH.
fn other_builds() -> impl Iterator<Item = (String, String)> {
    std::env::args().filter_map(|word| word.split_once('=').map(|(name, path)| (name.into(), path.into())))
}

/// Measures and counts; the lines of the table.
pub fn table(stages: &Stages) -> Result<Vec<String>, String> {
    let counters = Counters::find()?;
    let (name, prefix) = TREES[0];
    let make = |stage: std::io::Result<Stage>| -> Result<(Stage, String), String> {
        let stage = stage.map_err(|error| error.to_string())?;
        let version = place(stages, &stage, prefix)?;
        stage.depmod(Who::Theirs, &[&version])?;
        furnish(&stage, &version).map_err(|error| error.to_string())?;
        Ok((stage, version))
    };
    let (both, version) = make(stages.stage("bench-processes"))?;
    let (old, _) = make(stages.stage_30("bench-processes-30"))?;
    let runner = both.at("tmp/runner");
    compile("cc", include_str!("runner.c"), &runner)?;

    let mut programs = Vec::new();
    // glibc's first: it is what the others are compared with.
    for (library, compiler) in [("glibc", "cc"), ("musl", "musl-gcc")] {
        let path = format!("/sbin/empty-{library}");
        compile(compiler, "int main(void) { return 0; }\n", &both.at(&path))?;
        anew(&both.at(&path)).map_err(|error| error.to_string())?;
        programs.push(Program { name: format!("empty static process, {library}"), root: &both, path });
    }
    for (name, root, path) in [
        ("kmod 30", &old, "/sbin/modprobe"),
        ("kmod 34.2", &both, "/sbin/modprobe"),
        ("kmod-once", &both, "/ours/modprobe"),
    ] {
        programs.push(Program { name: name.into(), root, path: path.into() });
    }
    for (number, (name, file)) in other_builds().enumerate() {
        let path = format!("/ours/{number}/modprobe");
        fs::create_dir_all(both.at(&format!("ours/{number}"))).map_err(|error| error.to_string())?;
        fs::copy(&file, both.at(&path)).map_err(|error| format!("{file}: {error}"))?;
        anew(&both.at(&path)).map_err(|error| error.to_string())?;
        programs.push(Program { name, root: &both, path });
    }
    let mut lines = vec![
        format!(
            "One request, tree {name}; times are medians of {RUNS} runs in turns, × is against the empty process with glibc."
        ),
        String::new(),
        format!(
            "| work | {} |",
            programs.iter().map(|program| &*program.name).collect::<Vec<_>>().join(" | ")
        ),
        format!("|---|{}", "---:|".repeat(programs.len())),
    ];
    let live = "sys/module/xfs";
    for (what, words, is_live) in [
        ("modprobe -n -q xfs", &["-n", "-q", "xfs"][..], false),
        ("modprobe -n -q cpu:type:...", &["-n", "-q", ALIAS], false),
        ("modprobe xfs, which is live", &["xfs"], true),
    ] {
        for root in [&both, &old] {
            if is_live {
                let made = fs::create_dir_all(root.at(live));
                let made = made.and_then(|()| fs::write(root.at(live).join("initstate"), "live\n"));
                made.map_err(|error| error.to_string())?;
            }
        }
        // As the tools are asked on a machine that runs this kernel, but for its release, which must be named here.
        let words = [&["-S", &version], words].concat();
        let mut runners = Vec::new();
        for program in &programs {
            runners.push(Runner::new(&runner, &program.root.path, &program.path, &words)?);
        }
        let mut times = vec![Vec::new(); runners.len()];
        for _ in 0..RUNS {
            for (at, times) in times.iter_mut().enumerate() {
                runners[0].run()?;
                times.push(runners[at].run()?);
            }
        }
        let times: Vec<f64> = times.into_iter().map(|times| median(times.into_iter())).collect();
        let cells = times.iter().map(|time| format!("{:.2} ms, {:.2} ×", time * 1e3, time / times[0]));
        lines.push(format!("| {what} | {} |", cells.collect::<Vec<_>>().join(" | ")));
        let (mut instructions, mut calls) = (Vec::new(), Vec::new());
        for Program { root, path, .. } in &programs {
            let words = [&[&path[..]], &words[..]].concat();
            let count = counters.instructions(&root.path, &words)?;
            instructions.push(format!("{} thousand", (count + 500) / 1000));
            calls.push(counters.calls(&root.path, &words, || Ok(()))?.len().to_string());
        }
        lines.push(format!("| – instructions | {} |", instructions.join(" | ")));
        lines.push(format!("| – system calls | {} |", calls.join(" | ")));
    }
    Ok(lines)
}

/// What the tools look for besides modules, and our own program under modprobe's name.
fn furnish(stage: &Stage, version: &str) -> std::io::Result<()> {
    for dir in ["run", "dev", "sys/module", "etc/modprobe.d", "usr/lib/modprobe.d"] {
        fs::create_dir_all(stage.at(dir))?;
    }
    fs::write(
        stage.at("proc/cmdline"),
        format!("BOOT_IMAGE=/boot/vmlinuz-{version} root=/dev/sda1 ro quiet\n"),
    )?;
    fs::hard_link(stage.at("ours/depmod"), stage.at("ours/modprobe"))?;
    for dir in ["bin", "ours", "lib64", "lib/x86_64-linux-gnu"] {
        for entry in fs::read_dir(stage.at(dir))? {
            anew(&entry?.path())?;
        }
    }
    Ok(())
}

/// The same file, written in one go.
fn anew(path: &Path) -> std::io::Result<()> {
    let contents = fs::read(path)?;
    fs::remove_file(path)?;
    fs::write(path, contents)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn compile(compiler: &str, source: &str, program: &Path) -> Result<(), String> {
    let file = program.with_extension("c");
    fs::write(&file, source).map_err(|error| error.to_string())?;
    let built = Command::new(compiler).args(["-O2", "-static", "-o"]).arg(program).arg(&file).status();
    if built.is_ok_and(|status| status.success()) {
        Ok(())
    } else {
        Err(format!("{compiler} cannot build {}", file.display()))
    }
}

struct Runner {
    child: Child,
    what: String,
}

impl Runner {
    fn new(runner: &Path, root: &Path, program: &str, words: &[&str]) -> Result<Runner, String> {
        let mut command = Command::new(runner);
        command.arg(root).args([program, program]).args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        Ok(Runner { child, what: format!("{command:?}") })
    }

    /// One run, which must succeed; its seconds.
    fn run(&mut self) -> Result<f64, String> {
        let (asks, answers) = (self.child.stdin.as_mut(), self.child.stdout.as_mut());
        let mut answer = [0; 16];
        let asked = asks.map(|pipe| pipe.write_all(b"x")).transpose();
        let answered = answers.map(|pipe| pipe.read_exact(&mut answer)).transpose();
        asked.and(answered).map_err(|error| format!("{}: {error}", self.what))?;
        let number = |at: usize| u64::from_ne_bytes(answer[at..at + 8].try_into().expect("8 bytes"));
        if number(8) != 0 {
            Err(format!("{}: status {}", self.what, number(8)))
        } else {
            Ok(number(0) as f64 / 1e9)
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // It ends when nobody asks any more.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
