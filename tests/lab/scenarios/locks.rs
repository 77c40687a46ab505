//! A lock that is never given back: its holder is stopped, or a stranger. Every request ends by the one deadline.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;

use super::LIMIT;
use crate::guest::crowd::{Crowd, Running};
use crate::guest::traced::{Stop, Traced};
use crate::guest::{Guest, coming, everything, live, modules, trace, unload, until};

/// What a request waits in all, unless `kmod.gate_timeout` says otherwise.
const DEADLINE: Duration = Duration::from_secs(50);
/// `kmod.gate_timeout` of the boots with a short one.
const SHORT: Duration = Duration::from_millis(1500);
/// After the deadline, for the call and all else.
const MORE: Duration = Duration::from_secs(2);

/// SIGSTOP between the lock and the call, and strangers on the locks of two other modules, with the usual deadline.
pub fn stopped(guest: &mut Guest) -> Result<()> {
    let strangers = [("ifb", FlockArg::LockShared), ("nlmon", FlockArg::LockExclusive)];
    let strangers = strangers.map(|(module, how)| -> Result<_> {
        let held = stranger(guest, module, how)?;
        Ok((module, held, requests(guest, module)?))
    });
    stopped_for(guest, DEADLINE)?;
    for stranger in strangers {
        let (module, held, running) = stranger?;
        end_in_time(guest, &format!("{:?}", held.1), module, running, DEADLINE)?;
    }
    Ok(())
}

/// A stopped leader with a deadline of 1.5 s (`kmod.gate_timeout=1500`).
pub fn stopped_short(guest: &mut Guest) -> Result<()> {
    stopped_for(guest, SHORT)
}

fn stopped_for(guest: &mut Guest, deadline: Duration) -> Result<()> {
    let mut leader = Traced::start(&guest.argv("modprobe", &["dummy"]))?;
    leader.run_to(Stop::locked).context("before it had the lock")?;
    let leader = leader.leave_stopped()?;
    trace::start()?;
    let mut crowd = Crowd::new()?;
    for _ in 0..8 {
        crowd.add(&guest.argv("modprobe", &["dummy"]))?;
    }
    let ends = crowd.run(LIMIT)?;
    let first = ends.members.iter().map(|m| m.after).min().unwrap_or_default();
    guest.check(ends.all(0) && live("dummy"), format!("the followers load it: {}", ends.summary()));
    guest.check(
        first >= deadline.mul_f64(0.9) && ends.wall < deadline + MORE,
        format!("after the deadline of {deadline:?}: first after {first:?}, last after {:?}", ends.wall),
    );
    let warned = ends.members.iter().any(|m| m.said.contains("dummy"));
    guest.check(warned, "at least one warning names the module");
    // The stopped one goes on, finds the module, and is content.
    kill(leader, Signal::SIGCONT)?;
    let status = waitpid(leader, None)?;
    let calls = trace::stop()?;
    guest.row(9, ends.wall, ends.cpu_ms, &calls);
    let code = matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0));
    guest.check(code, format!("the stopped leader ends well when it is continued: {status:?}"));
    Ok(())
}

/// Somebody who has nothing to do with modules locks a module's lock file, and never lets go.
type Held = (Flock<File>, FlockArg);

fn stranger(guest: &mut Guest, module: &str, how: FlockArg) -> Result<Held> {
    let first = guest.call("modprobe", &[module], LIMIT)?;
    let gone = guest.call("rmmod", &[module], LIMIT)?;
    guest.check((first.code, gone.code) == (0, 0), format!("{module}: {first:?} {gone:?}"));
    let path = format!("/run/kmod/gate/{module}");
    let file = File::open(&path).with_context(|| path)?;
    Ok((Flock::lock(file, how).map_err(|(_, e)| e)?, how))
}

/// Six requests, of tools and library.
fn requests(guest: &Guest, module: &str) -> Result<Running> {
    let mut crowd = Crowd::new()?;
    for _ in 0..3 {
        crowd.add(&guest.argv("modprobe", &[module]))?;
        crowd.add(&["/lab/client", "probe", module])?;
    }
    crowd.release()
}

fn end_in_time(
    guest: &mut Guest,
    what: &str,
    module: &str,
    running: Running,
    deadline: Duration,
) -> Result<()> {
    match running.wait(deadline + Duration::from_secs(20)) {
        Ok(ends) => guest.check(
            ends.all(0) && live(module) && ends.wall < deadline + MORE,
            format!("{what} of {module}: {:?} after {deadline:?}: {}", ends.wall, ends.summary()),
        ),
        Err(e) => guest.check(false, format!("{what} of {module}: {e:#}")),
    }
    Ok(())
}

/// Loads and a removal, each within the deadline and two seconds, whatever a stranger or a stopped follower does.
pub fn lock_held_for_good(guest: &mut Guest) -> Result<()> {
    for how in [FlockArg::LockShared, FlockArg::LockExclusive] {
        let held = stranger(guest, "dummy", how)?;
        let running = requests(guest, "dummy")?;
        end_in_time(guest, &format!("{how:?}"), "dummy", running, SHORT)?;
        let begin = Instant::now();
        let mut crowd = Crowd::new()?;
        crowd.add(&guest.argv("rmmod", &["dummy"]))?;
        let removal = crowd.run(SHORT + Duration::from_secs(20)).map(|ends| ends.summary());
        guest.check(
            removal.is_ok() && !live("dummy") && begin.elapsed() < SHORT + MORE,
            format!("{how:?}: rmmod ends after {:?}: {removal:?}", begin.elapsed()),
        );
        drop(held);
        let baseline: Vec<_> = modules()?.into_iter().filter(|name| name != "dummy").collect();
        unload(&baseline)?;
    }
    for argv in [guest.argv("modprobe", &["lab_slow"]), follower_of_the_library()] {
        // From where it found the lock taken to where it would lead: everywhere, if everything is asked for.
        let places =
            if everything() { (0..100).collect() } else { vec![0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89] };
        let mut stopped = 0;
        for place in places {
            if !stopped_follower(guest, &argv, place)? {
                break;
            }
            stopped += 1;
        }
        guest.check(stopped > 3, format!("{}: stopped at {stopped} places", argv[0]));
    }
    Ok(())
}

fn follower_of_the_library() -> Vec<String> {
    ["/lab/client", "probe", "lab_slow"].map(str::to_owned).to_vec()
}

/// Stops a follower so many system calls after the lock was given back; the leader's attempt had failed, with other options.
/// No if it ends before.
fn stopped_follower(guest: &mut Guest, argv: &[String], place: usize) -> Result<bool> {
    let mut leader = Crowd::new()?;
    leader.add(&guest.argv("modprobe", &["lab_slow", "hold=1", "err=19"]))?;
    let leader = leader.release()?;
    until("lab_slow is coming", LIMIT, || coming("lab_slow"))?;
    let mut follower = Traced::start(argv)?;
    follower.run_to(refused).context("before it found the lock taken")?;
    fs::write("/sys/module/lab_slow/parameters/go", "1")?;
    leader.wait(LIMIT)?;
    let mut left = place;
    while left > 0 {
        match follower.step()? {
            Stop::Exit(..) => left -= 1,
            Stop::Enter(..) => {}
            Stop::Gone(_) => return Ok(false),
        }
        // Its own call succeeds: nothing is held then.
        if live("lab_slow") {
            follower.kill()?;
            unload_slow()?;
            return Ok(false);
        }
    }
    let stopped = follower.leave_stopped()?;
    let running = {
        let mut crowd = Crowd::new()?;
        for _ in 0..2 {
            crowd.add(&guest.argv("modprobe", &["lab_slow"]))?;
            crowd.add(&follower_of_the_library())?;
        }
        crowd.release()?
    };
    end_in_time(guest, &format!("{}, stopped at place {place}", argv[0]), "lab_slow", running, SHORT)?;
    kill(stopped, Signal::SIGKILL)?;
    let _ = waitpid(stopped, None);
    unload_slow()?;
    Ok(true)
}

fn unload_slow() -> Result<()> {
    let others: Vec<_> = modules()?.into_iter().filter(|name| name != "lab_slow").collect();
    unload(&others)
}

/// After `flock` said that somebody has the lock.
fn refused(stop: Stop) -> bool {
    const WOULD_BLOCK: i64 = -(libc::EWOULDBLOCK as i64);
    matches!(stop, Stop::Exit(nr, _, WOULD_BLOCK) if nr == libc::SYS_flock)
}
