//! The process that holds the lock is killed.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use super::LIMIT;
use crate::guest::crowd::Crowd;
use crate::guest::kmsg::{Log, waits_given_up};
use crate::guest::trace::EBUSY;
use crate::guest::traced::{Stop, Traced};
use crate::guest::{Guest, coming, live, modules, trace, unload, until};

/// SIGKILL at every system call between the lock and the call; each time the next request goes on at once.
pub fn killed_before_the_call(guest: &mut Guest) -> Result<()> {
    let argv = guest.argv("modprobe", &["dummy"]);
    let mut points = 0;
    for point in 0.. {
        let mut leader = Traced::start(&argv)?;
        leader.run_to(Stop::locked).context("before it had the lock")?;
        let mut at_call = false;
        for _ in 0..point {
            if leader.step()?.loads() {
                at_call = true;
                break;
            }
        }
        next_goes_on(guest, leader, "dummy", &["dummy"])?;
        points += 1;
        if at_call {
            break;
        }
        if point > 400 {
            bail!("no call that loads a module within 400 stops after the lock");
        }
    }
    guest.check(points > 1, format!("killed at {points} places between the lock and the call"));
    Ok(())
}

/// SIGKILL in the middle of the longest stretch without a system call: the decompression in user space.
pub fn killed_while_decompressing(guest: &mut Guest) -> Result<()> {
    let args = ["-d", "/alt", "xfs"];
    let argv = guest.argv("modprobe", &args);
    // Its dependency has to be there, so that the lock and the call are those of xfs itself.
    super::storm::before_xfs(guest)?;
    // A first run, to find the longest stretch.
    let mut probe = Traced::start(&argv)?;
    probe.run_to(Stop::locked)?;
    let mut longest = (Duration::ZERO, 0);
    let mut stops = 0;
    loop {
        let begin = Instant::now();
        let stop = probe.step()?;
        if matches!(stop, Stop::Enter(..)) && begin.elapsed() > longest.0 {
            longest = (begin.elapsed(), stops);
        }
        stops += 1;
        if stop.loads() {
            break;
        }
        if let Stop::Gone(code) = stop {
            bail!("it ended with {code} before the call");
        }
    }
    probe.kill()?;
    guest.check(
        longest.0 > Duration::from_millis(20),
        format!("decompressing takes {:?}, after stop {} of {stops}", longest.0, longest.1),
    );
    trace::start()?;
    // It was measured while the emulator translated that code for the first time: now it is faster.
    let mut wait = longest.0 / 4;
    let (leader, pid) = loop {
        let mut leader = Traced::start(&argv)?;
        leader.run_to(Stop::locked)?;
        for _ in 0..longest.1 {
            leader.step()?;
        }
        // It stops by itself before the next call, so it can be late, but never inside the kernel.
        leader.go()?;
        std::thread::sleep(wait);
        let pid = leader.pid();
        if fs::read_to_string(format!("/proc/{pid}/stat"))?.contains(") R ") {
            break (leader, pid);
        }
        leader.kill()?;
        wait /= 2;
        if wait < Duration::from_micros(200) {
            bail!("it is never found computing after stop {}", longest.1);
        }
    };
    next_goes_on(guest, leader, "xfs", &args)?;
    let calls = trace::stop()?;
    guest.check(
        calls.iter().all(|c| c.pid != pid),
        format!("killed after {wait:?} of computing, it had made no call"),
    );
    Ok(())
}

/// Kills the leader where it stands, then loads the module as if nothing had happened, and removes it.
fn next_goes_on(guest: &mut Guest, leader: Traced, module: &str, args: &[&str]) -> Result<()> {
    let mut crowd = Crowd::new()?;
    for _ in 0..4 {
        crowd.add(&guest.argv("modprobe", args))?;
    }
    // They wait for the leader, who dies; nobody has to pass a bound.
    let running = crowd.release()?;
    leader.kill()?;
    let ends = running.wait(LIMIT)?;
    let good = ends.all(0) && live(module) && ends.wall < Duration::from_secs(10);
    if !good {
        guest.check(false, format!("the next requests go on: {:?}, {}", ends.wall, ends.summary()));
    }
    unload(&keep()?)
}

/// Modules that stay between two rounds.
fn keep() -> Result<Vec<String>> {
    Ok(modules()?
        .into_iter()
        .filter(|m| !["dummy", "xfs", "lab_slow", "lab_needs_slow"].contains(&m.as_str()))
        .collect())
}

/// From the end of the init of a killed leader to the end of all who waited; their turns alone would take 5 s.
const ALL_ARE_WOKEN: Duration = Duration::from_secs(3);

/// SIGKILL while the kernel runs the module's init, which then succeeds, and which then fails.
pub fn killed_in_init(guest: &mut Guest) -> Result<()> {
    for err in ["0", "19"] {
        trace::start()?;
        let mut leader = Crowd::new()?;
        leader.add(&guest.argv("modprobe", &["lab_slow", "hold=1"]))?;
        let pid = leader.pids()[0];
        let leader = leader.release()?;
        until("lab_slow is coming", LIMIT, || coming("lab_slow"))?;
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
        let mut crowd = Crowd::new()?;
        for _ in 0..16 {
            crowd.add(&guest.argv("modprobe", &["lab_slow"]))?;
        }
        let mut running = crowd.release()?;
        // The killed one cannot go before the init ends; the others must wait for the module, not load it.
        std::thread::sleep(Duration::from_millis(500));
        running.poll()?;
        let nobody = running.ended() == 0 && coming("lab_slow");
        guest.check(nobody, format!("nobody returns while init runs: {} did", running.ended()));
        fs::write("/sys/module/lab_slow/parameters/err", err)?;
        fs::write("/sys/module/lab_slow/parameters/go", "1")?;
        let begin = Instant::now();
        let ends = running.wait(LIMIT)?;
        let took = begin.elapsed();
        // Collected by the wait before, unless it was still on its way out.
        let _ = leader.wait(Duration::from_secs(5));
        let calls = trace::stop()?;
        guest.row(17, ends.wall, ends.cpu_ms, &calls);
        guest.check(
            ends.all(0) && live("lab_slow"),
            format!("err={err}: the next requests succeed: {}", ends.summary()),
        );
        // The killed one wakes nobody. The first waiter whose turn it is, after half a second at most, wakes the others.
        guest.check(took < ALL_ARE_WOKEN, format!("err={err}: all have ended {took:?} after the init"));
        let wanted = if err == "0" { 1 } else { 2 };
        guest.check(calls.len() == wanted, format!("err={err}: {} calls, {wanted} expected", calls.len()));
        unload(&keep()?)?;
    }
    Ok(())
}

/// SIGKILL while the kernel waits, on behalf of a module, for the init of one that it needs: that wait can be
/// interrupted. The kernel says that it gave up and answers `EBUSY`, which nobody gets, and the next request goes on.
pub fn killed_while_a_dependency_is_coming(guest: &mut Guest) -> Result<()> {
    let file = guest.call("modinfo", &["-n", "lab_needs_slow"], LIMIT)?;
    let file = file.said.trim();
    trace::start()?;
    let mut first = Crowd::new()?;
    first.add(&guest.argv("modprobe", &["lab_slow", "hold=1"]))?;
    let first = first.release()?;
    until("lab_slow is coming", LIMIT, || coming("lab_slow"))?;
    let mut log = Log::from_now()?;
    // It does not ask what the module needs: the kernel finds out.
    let mut second = Crowd::new()?;
    second.add(&guest.argv("insmod", &[file]))?;
    let pid = second.pids()[0];
    let second = second.release()?;
    let wchan = || fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    until("the kernel waits for lab_slow", LIMIT, || {
        ["load_module", "resolve_symbol", "simplify_symbols"].iter().any(|at| wchan().starts_with(at))
    })?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    let ends = second.wait(LIMIT)?;
    let killed = ends.members[0].code == 128 + Signal::SIGKILL as i32 && coming("lab_slow");
    guest.check(killed, format!("it is killed while lab_slow is coming: {}", ends.summary()));
    let warnings = log.rest()?;
    guest.check(waits_given_up(&warnings) == 1, format!("the kernel says that it gave up: {warnings:?}"));
    fs::write("/sys/module/lab_slow/parameters/go", "1")?;
    first.wait(LIMIT)?;
    let next = guest.call("modprobe", &["lab_needs_slow"], LIMIT)?;
    guest.check(
        next.code == 0 && live("lab_needs_slow"),
        format!("the next request goes on: {} {}", next.code, next.said),
    );
    let calls = trace::stop()?;
    let of_killed: Vec<_> = calls.iter().filter(|call| call.pid == pid).map(|call| call.ret).collect();
    guest.check(of_killed == [Some(-EBUSY)], format!("what the killed one did not get: {of_killed:?}"));
    guest.check(calls.len() == 3, format!("{} calls, 3 expected", calls.len()));
    unload(&keep()?)
}

/// How long waiters have sat there when the leader dies: each has taken several turns.
const SETTLED: Duration = Duration::from_millis(2500);
/// The same for many, of which each takes a turn every few seconds.
const MANY_SETTLED: Duration = Duration::from_secs(7);
/// From the leader's death to the next call: at most half a second until it is a waiter's turn to look.
const GOES_ON: Duration = Duration::from_millis(600);

/// A leader, of the tools or of the library, killed while waiters sit in a tool, or in the library: the next call comes within
/// 0.6 s, as the median of several.
pub fn killed_leader_of_the_library(guest: &mut Guest) -> Result<()> {
    let tool = guest.argv("modprobe", &["dummy"]);
    let library = ["/lab/client", "probe", "dummy"].map(str::to_owned).to_vec();
    for (who, waiters, rounds, settled) in [
        ("a tool", vec![&tool], 3, SETTLED),
        ("the library", vec![&library], 5, SETTLED),
        ("tools", vec![&tool; 12], 3, MANY_SETTLED),
    ] {
        let mut took = Vec::new();
        for round in 0..rounds {
            took.push(goes_on(guest, if round % 2 == 0 { &library } else { &tool }, &waiters, settled)?);
        }
        took.sort_unstable();
        let (median, count) = (took[took.len() / 2], waiters.len());
        let found = format!("of {count} waiting in {who} one calls {median:?} after the death: {took:?}");
        guest.check(median < GOES_ON, found);
    }
    Ok(())
}

/// From the death of the leader to the only call of all waiters.
fn goes_on(
    guest: &mut Guest,
    leader: &[String],
    waiters: &[&Vec<String>],
    settled: Duration,
) -> Result<Duration> {
    let baseline = modules()?;
    let mut leader = Traced::start(leader)?;
    leader.run_to(Stop::locked).context("before it had the lock")?;
    let mut crowd = Crowd::new()?;
    for waiter in waiters {
        crowd.add(waiter)?;
    }
    trace::start()?;
    let mut running = crowd.release()?;
    std::thread::sleep(settled);
    running.poll()?;
    let waits = running.ended() == 0;
    let death = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?);
    leader.kill()?;
    let ends = running.wait(LIMIT)?;
    let calls = trace::stop()?;
    let once = waits && calls.len() == 1 && ends.all(0);
    if !once {
        guest.check(false, format!("they wait, {waits}, and call once: {calls:?} {}", ends.summary()));
    }
    unload(&baseline)?;
    let call = calls.first().context("no call")?;
    Ok(Duration::from_secs_f64(call.begin).saturating_sub(death))
}
