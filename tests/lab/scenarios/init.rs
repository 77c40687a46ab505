//! Modules whose init is slow, fails, or asks for more modules.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::mount::umount;

use super::LIMIT;
use crate::guest::crowd::{Crowd, Ends};
use crate::guest::{Guest, coming, everything, live, modules, trace, unload, until};

/// Init sleeps 1 s and returns ENODEV, 64 requests at once; then one more.
pub fn failing(guest: &mut Guest) -> Result<()> {
    let args = ["lab_slow", "ms=1000", "err=19"];
    let mut crowd = Crowd::new()?;
    for _ in 0..64 {
        crowd.add(&guest.argv("modprobe", &args))?;
    }
    trace::start()?;
    let ends = crowd.run(LIMIT)?;
    let calls = trace::stop()?;
    let counts = guest.row(64, ends.wall, ends.cpu_ms, &calls);
    guest.check(counts.calls == 1, format!("one call for 64 requests: {}", counts.calls));
    guest.check(ends.all(1), "every request exits 1");
    guest.check(
        alike(&ends) && ends.members[0].said.contains("No such device"),
        format!("equal errors: {}", ends.summary()),
    );

    trace::start()?;
    let later = guest.call("modprobe", &args, LIMIT)?;
    let calls = trace::stop()?;
    let fresh = calls.len() == 1 && calls[0].name.as_deref() == Some("lab_slow") && calls[0].ret == Some(-19);
    guest.check(
        fresh && later.code == 1,
        format!("a later request gets a fresh attempt: exit {}, {calls:?}", later.code),
    );
    guest.check(!live("lab_slow"), "the module is not there");
    // Other inputs, no failure shared with the attempt before.
    let other = guest.call("modprobe", &["lab_slow"], LIMIT)?;
    guest.check(
        other.code == 0 && live("lab_slow"),
        format!("without the failing option it loads: exit {} {}", other.code, other.said),
    );
    Ok(())
}

fn alike(ends: &Ends) -> bool {
    ends.members.windows(2).all(|w| w[0].code == w[1].code && w[0].said == w[1].said)
}

/// Init takes 5 s; 32 requests for it, and 8 for a module that depends on it.
pub fn slow(guest: &mut Guest) -> Result<()> {
    let mut crowd = Crowd::new()?;
    for _ in 0..32 {
        crowd.add(&guest.argv("modprobe", &["lab_slow", "ms=5000"]))?;
    }
    trace::start()?;
    let begin = Instant::now();
    let running = crowd.release()?;
    until("lab_slow is coming", LIMIT, || coming("lab_slow"))?;
    let early = begin.elapsed();
    // These arrive while the init runs.
    let mut second = Crowd::new()?;
    for _ in 0..8 {
        second.add(&guest.argv("modprobe", &["lab_needs_slow"]))?;
    }
    let mut second = second.release()?;
    let (arrived, in_time) = (begin.elapsed(), coming("lab_slow"));
    let mut running = running;
    let mut became_live = None;
    let mut first_end = None;
    while !(running.poll()? & second.poll()?) {
        if became_live.is_none() && live("lab_slow") {
            became_live = Some(begin.elapsed());
        }
        if first_end.is_none() && running.ended() + second.ended() > 0 {
            first_end = Some((begin.elapsed(), live("lab_slow")));
        }
        if begin.elapsed() > LIMIT {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let after_live = became_live.map(|l| begin.elapsed().saturating_sub(l));
    let ends = running.wait(LIMIT)?;
    let seconds = second.wait(LIMIT)?;
    let calls = trace::stop()?;
    let counts = guest.row(40, ends.wall, ends.cpu_ms, &calls);
    guest.check(
        in_time,
        format!("the dependants arrived while init ran, after {arrived:?} (coming at {early:?})"),
    );
    guest.check(ends.all(0), format!("every request for it exits 0: {}", ends.summary()));
    guest.check(seconds.all(0), format!("every request for its dependant exits 0: {}", seconds.summary()));
    guest.check(live("lab_needs_slow"), "the dependant is live");
    guest
        .check(first_end.is_some_and(|(_, l)| l), format!("nobody returns before it is live: {first_end:?}"));
    // On software emulation 40 processes need a while to wake up and end; a wait that is missed would last for seconds.
    guest.check(
        after_live.is_some_and(|d| d < Duration::from_millis(1500)),
        format!("all have returned {after_live:?} after it became live"),
    );
    guest.check(
        counts.calls == 2 && counts.duplicates == 0,
        format!("two calls for two modules: {}", counts.calls),
    );
    Ok(())
}

/// The kernel waits 30 s for the symbols of a module that is coming.
const ENDS: Duration = Duration::from_secs(35);

/// A module whose init calls request_module() for one that depends on it.
pub fn recursion(guest: &mut Guest) -> Result<()> {
    trace::start()?;
    let mut crowd = Crowd::new()?;
    crowd.add(&guest.argv("modprobe", &["lab_recurse"]))?;
    let ends = crowd.run(Duration::from_secs(80))?;
    let calls = trace::stop()?;
    guest.row(1, ends.wall, ends.cpu_ms, &calls);
    guest.check(ends.wall < ENDS, format!("ended after {:?}", ends.wall));
    guest.check(ends.all(0), format!("the outer load succeeds: {}", ends.summary()));
    guest.check(live("lab_recurse"), "the outer module is live");
    // The inner call ends in EBUSY: that is what the kernel says after 30 s without the symbols it needs.
    let outer: Vec<_> = calls.iter().filter(|c| c.name.as_deref() == Some("lab_recurse")).collect();
    let inner: Vec<_> = calls.iter().filter(|c| c.name.is_none()).collect();
    guest.check(outer.len() == 1 && inner.len() == 1, format!("one call for each of the two: {calls:?}"));
    guest.check(
        inner.iter().all(|c| c.end - c.begin > 25.0),
        "the inner call waited for symbols in the kernel",
    );
    let inner = guest.call("modprobe", &["lab_recurse_dep"], LIMIT)?;
    guest.check(
        inner.code == 0 && live("lab_recurse_dep"),
        format!("its dependant loads afterwards: {} {}", inner.code, inner.said),
    );
    unload(&[])?;
    // With eight at once, the helper must not wait for any of them.
    trace::start()?;
    let mut crowd = Crowd::new()?;
    for _ in 0..8 {
        crowd.add(&guest.argv("modprobe", &["lab_recurse"]))?;
    }
    let ends = crowd.run(Duration::from_secs(80))?;
    let calls = trace::stop()?;
    guest.row(8, ends.wall, ends.cpu_ms, &calls);
    guest.check(
        ends.wall < ENDS && ends.all(0),
        format!("eight at once: {:?}, {}", ends.wall, ends.summary()),
    );
    let outer = calls.iter().filter(|c| c.name.as_deref() == Some("lab_recurse")).count();
    unload(&[])?;
    // The leader is one of several threads, and the record names the thread.
    trace::start()?;
    let mut crowd = Crowd::new()?;
    crowd.add(&guest.argv("modprobe", &["--jobs", "2", "-a", "lab_recurse", "dummy"]))?;
    let ends = crowd.run(Duration::from_secs(80))?;
    let calls = trace::stop()?;
    guest.row(1, ends.wall, ends.cpu_ms, &calls);
    guest.check(
        ends.wall < ENDS && ends.all(0) && live("lab_recurse") && live("dummy"),
        format!("in a thread: {:?}, {}", ends.wall, ends.summary()),
    );
    let log = fs::read_to_string("/proc/uptime")?;
    guest.check(outer == 1, format!("one call for the outer module: {outer} (uptime {})", log.trim()));
    Ok(())
}

/// The same without /run: the lock is that of the module file.
pub fn recursion_without_run(guest: &mut Guest) -> Result<()> {
    umount("/run")?;
    fs::remove_dir("/run")?;
    recursion_ends(guest, "without /run")?;
    guest.check(!Path::new("/run").exists(), "/run was not made");
    Ok(())
}

/// The same where the helper that the kernel starts may not look at what the leader waits for, as under a security module;
/// and then without /run as well.
pub fn recursion_unreadable(guest: &mut Guest) -> Result<()> {
    // All capabilities but CAP_SYS_PTRACE (19) and CAP_SYS_ADMIN (21). What is taken away here never comes back.
    let less = !(1_u32 << 19 | 1 << 21);
    fs::write("/proc/sys/kernel/usermodehelper/bset", format!("{less} 511"))?;
    // What a helper can read of process 1.
    let script = "#!/bin/sh\nread x < /proc/1/wchan; echo \"$x\" > /tmp/wchan\n\
                  read x < /proc/1/stack || echo no > /tmp/stack\n";
    for (path, text) in [("/tmp/helper", script.as_bytes()), ("/tmp/of-no-format", &[1, 2, 3, 4])] {
        fs::write(path, text)?;
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
    }
    let modprobe = fs::read_to_string("/proc/sys/kernel/modprobe")?;
    fs::write("/proc/sys/kernel/modprobe", "/tmp/helper")?;
    // The kernel asks for a module that knows the format, and finds none.
    let ran = Command::new("/tmp/of-no-format").status();
    fs::write("/proc/sys/kernel/modprobe", modprobe.trim())?;
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let seen = (read("/tmp/wchan"), read("/tmp/stack"));
    let unreadable = ran.is_err() && seen == ("0".to_owned(), "no".to_owned());
    guest.check(unreadable, format!("a helper reads neither wchan nor stack: {ran:?} {seen:?}"));
    recursion_ends(guest, "with wchan and stack unreadable")?;
    if everything() {
        umount("/run")?;
        fs::remove_dir("/run")?;
        recursion_ends(guest, "with neither, and without /run")?;
    }
    Ok(())
}

fn recursion_ends(guest: &mut Guest, what: &str) -> Result<()> {
    let before = modules()?;
    trace::start()?;
    let mut crowd = Crowd::new()?;
    crowd.add(&guest.argv("modprobe", &["lab_recurse"]))?;
    let ends = crowd.run(Duration::from_secs(120));
    let calls = trace::stop()?;
    let ends = ends?;
    guest.row(1, ends.wall, ends.cpu_ms, &calls);
    guest.check(
        ends.wall < ENDS && ends.all(0) && live("lab_recurse"),
        format!("{what}: {:?}, {}", ends.wall, ends.summary()),
    );
    guest.check(calls.len() == 2, format!("{what}: one call for each of the two: {calls:?}"));
    unload(&before)
}
