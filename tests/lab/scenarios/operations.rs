//! Thousands of randomised operations at once: modules are inserted and removed, books are read, and participants are
//! killed wherever they stand. What the kernel thinks of it is compared with what it thinks of the stock tool.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::churn::{LACKS, MODULES, agree, own_failures};
use crate::guest::crowd::Crowd;
use crate::guest::kmsg::{Log, gave_up, waits_given_up};
use crate::guest::trace::{Call, Counts, EBUSY, Kind};
use crate::guest::{Guest, everything, live, modules, trace, unload};
use crate::tool::Tool;

/// The same run every time, as far as scheduling allows.
const SEED: u64 = 0x6b6d_6f64_0001;
const PARTICIPANTS: u64 = 8;
/// How often the stock tool may go on where the kernel has complained of ours only.
const MORE_ROUNDS: u64 = 4;

/// Operations of one run: all of them where everything is asked for, since emulation is slow.
fn operations() -> u64 {
    if everything() { 10_000 } else { 1_500 }
}

/// Numbers that look random (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }
}

/// What a participant did, in the order in which it prints the numbers. Behind them stand the process ids of its own that
/// were killed; and, negative, of those that lacked a symbol.
const DEEDS: [&str; 5] = ["inserted", "failed", "removed", "looked", "kills"];

/// The mode `operate`: `operate DIRECTORY SEED COUNT`, with the directory of a tool. An insertion must succeed unless
/// somebody removes a dependency between its steps, or kills it. The stock tool's may fail for nothing but the others' work
/// (`EBUSY`).
pub fn main(args: &[String]) -> Result<()> {
    let [tools, seed, count] = args else { bail!("operate DIRECTORY SEED COUNT") };
    let ours = Path::new(tools).ends_with("kmod-once");
    let mut random = Random(seed.parse()?);
    let mut deeds = BTreeMap::from(DEEDS.map(|deed| (deed, 0)));
    let mut pids = Vec::new();
    for _ in 0..count.parse()? {
        let name = MODULES[random.below(MODULES.len())];
        let words = match random.below(100) {
            0..40 => vec!["modprobe", name],
            // Its init takes a moment, so that others meet it.
            40..45 => vec!["modprobe", "lab_slow", "ms=5"],
            45..65 => vec!["rmmod", name],
            65..75 => vec!["modprobe", "-r", name],
            75..80 if ours => vec!["kmod", "stats"],
            75..85 => vec!["lsmod"],
            _ => {
                if let Some(victim) = victim(&mut random) {
                    // Who has ended meanwhile cannot be killed.
                    let killed = kill(victim, Signal::SIGKILL).is_ok();
                    *deeds.entry("kills").or_default() += u32::from(killed);
                }
                continue;
            }
        };
        let mut command = Command::new(Path::new(tools).join(words[0]));
        let child = command.args(&words[1..]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let pid = child.id();
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let inserts = words[0] == "modprobe" && words[1] != "-r";
        let removes = words[0] == "rmmod" || words.contains(&"-r");
        let deed = match output.status.code() {
            Some(0) if inserts => "inserted",
            Some(0) if removes => "removed",
            Some(0) => "looked",
            // In use, or not loaded.
            Some(1) if removes => "failed",
            Some(1) if inserts && said.contains(LACKS) => {
                pids.push(format!("-{pid}"));
                "failed"
            }
            Some(1) if inserts && !ours => "failed",
            None if output.status.signal() == Some(Signal::SIGKILL as i32) => {
                pids.push(pid.to_string());
                continue;
            }
            _ => bail!("{}: {}: {said}", words.join(" "), output.status),
        };
        *deeds.entry(deed).or_default() += 1;
    }
    println!("{} {}", DEEDS.map(|deed| deeds[deed].to_string()).join(" "), pids.join(" "));
    Ok(())
}

/// Some process that inserts, removes or looks at this moment.
fn victim(random: &mut Random) -> Option<Pid> {
    let comm = |pid: i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let pids = fs::read_dir("/proc").ok()?.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    let at_work: Vec<i32> =
        pids.filter(|pid| matches!(comm(*pid).trim(), "modprobe" | "rmmod" | "kmod" | "lsmod")).collect();
    (!at_work.is_empty()).then(|| Pid::from_raw(at_work[random.below(at_work.len())]))
}

/// One run of a tool: who was killed, who lacked a symbol, what reached the kernel, and which warnings it gave.
struct Run {
    killed: BTreeSet<i32>,
    lacked: BTreeSet<i32>,
    calls: Vec<Call>,
    warnings: BTreeMap<String, usize>,
}

/// The stock tool and ours do the same; nothing hangs, the books agree with the kernel's, and the kernel finds nothing to
/// complain of with ours that it does not with the stock tool.
pub fn randomised(guest: &mut Guest) -> Result<()> {
    // What the kernel says but once in a boot is not to be held against whoever comes first.
    let before = modules()?;
    let wait = Duration::from_secs(60);
    for name in MODULES {
        let end = guest.call("modprobe", &[name], wait)?;
        guest.check(end.code == 0, format!("modprobe {name}: {} {}", end.code, end.said));
    }
    unload(&before)?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let stock = format!("/tools/{}", Tool::stock(crate::host::version(&release)).name());
    let mut theirs = run(guest, &stock, SEED)?.warnings;
    unload(&before)?;
    let _ = fs::remove_dir_all("/run/kmod");
    let ours = run(guest, "/tools/kmod-once", SEED)?;
    agree(guest)?;
    locks_are_free(guest)?;
    books(guest, &ours)?;
    one_at_a_time(guest, &ours);
    own_failures(guest, &ours.calls, &ours.lacked)?;
    // A rare one (a dependency removed between two steps) may not have come up with the stock tool yet: it goes on, with
    // other seeds. What it never brings about, ours must not.
    for round in 1..=MORE_ROUNDS {
        if only_ours(&ours.warnings, &theirs).is_empty() {
            break;
        }
        unload(&before)?;
        for (kind, count) in run(guest, &stock, SEED + round)?.warnings {
            *theirs.entry(kind).or_default() += count;
        }
    }
    let only = only_ours(&ours.warnings, &theirs);
    guest.check(only.is_empty(), format!("the kernel complains of ours only: {only:?}"));
    guest.note(format!("the kernel's warnings: {theirs:?} with {stock}, {:?} with ours", ours.warnings));
    for name in MODULES {
        let end = guest.call("modprobe", &[name], wait)?;
        guest.check(
            end.code == 0 && live(name),
            format!("modprobe {name} afterwards: {} {}", end.code, end.said),
        );
    }
    agree(guest)
}

/// What the kernel says once a boot of a machine whose processors stand still at times, as emulated ones do.
const OF_THE_MACHINE: &str = "hrtimer: interrupt took ";

fn only_ours<'w>(
    ours: &'w BTreeMap<String, usize>,
    theirs: &BTreeMap<String, usize>,
) -> BTreeSet<&'w String> {
    // Each wait that was given up is accounted for in `one_at_a_time`.
    let excused = |kind: &str| kind.starts_with(OF_THE_MACHINE) || gave_up(kind);
    ours.keys().filter(|kind| !theirs.contains_key(*kind) && !excused(kind)).collect()
}

fn run(guest: &mut Guest, tools: &str, seed: u64) -> Result<Run> {
    fs::write("/proc/sys/kernel/modprobe", format!("{tools}/modprobe"))?;
    let mut log = Log::from_now()?;
    let mut crowd = Crowd::new()?;
    for number in 0..PARTICIPANTS {
        let (seed, count) = (seed + 7919 * number, operations() / PARTICIPANTS + 1);
        crowd.add(&["/init", "operate", tools, &seed.to_string(), &count.to_string()])?;
    }
    trace::start()?;
    let begin = Instant::now();
    let ends = crowd.run(Duration::from_secs(1500))?;
    let calls = trace::stop()?;
    let mut deeds = [0; DEEDS.len()];
    let (mut killed, mut lacked) = (BTreeSet::new(), BTreeSet::new());
    for end in &ends.members {
        let numbers: Vec<i32> = end.said.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let whole = numbers.len() == end.said.split_whitespace().count() && numbers.len() >= deeds.len();
        guest.check(end.code == 0 && whole, format!("{tools}: {} {}", end.code, end.said));
        for (sum, number) in deeds.iter_mut().zip(&numbers) {
            *sum += number;
        }
        for pid in numbers.into_iter().skip(deeds.len()) {
            if pid < 0 {
                lacked.insert(-pid)
            } else {
                killed.insert(pid)
            };
        }
    }
    let counts = Counts::of(&calls);
    let done: Vec<_> = DEEDS.iter().zip(deeds).map(|(deed, count)| format!("{count} {deed}")).collect();
    guest.note(format!(
        "{tools}: {} operations, seed {seed:#x}, {:.0} s: {}, {} killed; {} load calls, {} EEXIST, {} EBUSY, {} other errors",
        (operations() / PARTICIPANTS + 1) * PARTICIPANTS,
        begin.elapsed().as_secs_f64(),
        done.join(", "),
        killed.len(),
        counts.calls,
        counts.eexist,
        counts.ebusy,
        counts.errors,
    ));
    Ok(Run { killed, lacked, calls, warnings: log.rest()? })
}

fn locks_are_free(guest: &mut Guest) -> Result<()> {
    let mut locks = 0;
    for item in fs::read_dir("/run/kmod/gate").context("/run/kmod/gate")? {
        let path = item?.path();
        locks += 1;
        let free = Flock::lock(File::open(&path)?, FlockArg::LockExclusiveNonblock).is_ok();
        guest.check(free, format!("{}: not locked any more", path.display()));
    }
    guest.check(locks >= MODULES.len(), format!("{locks} lock files"));
    Ok(())
}

/// Every call that the kernel counted is in the books, but for those whose caller was killed before it could write.
fn books(guest: &mut Guest, run: &Run) -> Result<()> {
    let output = Command::new("/tools/kmod-once/kmod").args(["stats", "--json"]).output()?;
    let books: Value = serde_json::from_slice(&output.stdout).context("kmod stats --json")?;
    let total = |name: &str| books["total"][name].as_u64().unwrap_or(u64::MAX);
    let calls = run.calls.iter().filter(|call| call.kind != Kind::Delete).count() as u64;
    let accepted =
        run.calls.iter().filter(|call| call.kind != Kind::Delete && call.ret == Some(0)).count() as u64;
    let killed = run.killed.len() as u64;
    let (loads, well) = (total("loads"), total("loads") - total("failures"));
    guest.check(
        loads <= calls && calls - loads <= killed,
        format!("{calls} calls, {loads} in the books, {killed} killed"),
    );
    guest.check(
        well <= accepted && accepted - well <= killed,
        format!("{accepted} loads, {well} in the books, {killed} killed"),
    );
    let odd = (total("bounds_passed"), total("fallbacks"));
    guest.check(odd == (0, 0), format!("no wait was given up, no request went past the gate: {odd:?}"));
    guest.check(killed > 10, format!("{killed} participants were killed"));
    Ok(())
}

/// No two calls for one module overlap, and none was made for a module that was there.
fn one_at_a_time(guest: &mut Guest, run: &Run) {
    let calls = &run.calls;
    let mut last: BTreeMap<&str, &Call> = BTreeMap::new();
    let mut overlaps = Vec::new();
    for call in calls.iter().filter(|call| call.kind != Kind::Delete) {
        let Some(name) = call.name.as_deref() else { continue };
        if let Some(before) = last.insert(name, call) {
            if call.begin < before.end {
                overlaps.push(format!("{name}: {before:?} and {call:?}"));
            }
        }
    }
    guest.check(overlaps.is_empty(), format!("calls for one module overlap: {overlaps:?}"));
    let counts = Counts::of(calls);
    // A dependency that somebody removed and another one inserts again between two steps is waited for in the kernel. Who
    // is killed there leaves an EBUSY that nobody gets, and each of them a line in the kernel's log. (The scenario
    // `killed_while_a_dependency_is_coming` is that alone.)
    let of_killed = calls
        .iter()
        .filter(|call| {
            call.kind != Kind::Delete && call.ret == Some(-EBUSY) && run.killed.contains(&call.pid)
        })
        .count();
    let given_up = waits_given_up(&run.warnings);
    let refused = (counts.eexist, counts.ebusy - of_killed);
    guest.check(
        refused == (0, 0),
        format!("EEXIST and EBUSY: {refused:?}, and {of_killed} of callers killed"),
    );
    guest.check(
        given_up == of_killed,
        format!("the kernel gave up waiting for {given_up} dependencies, with {of_killed} callers killed"),
    );
}
