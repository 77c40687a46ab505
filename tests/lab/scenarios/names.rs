//! A module whose file has another name than itself: `lab-file-name.ko` is the module `lab_realname`.

use std::fs;
use std::time::Duration;

use anyhow::{Result, bail};

use super::LIMIT;
use crate::guest::crowd::Crowd;
use crate::guest::trace::{Call, loads, overlaps};
use crate::guest::{Guest, client, coming, live, state, trace, until};

/// For what takes some milliseconds.
const SOON: Duration = Duration::from_secs(20);
const OWN: &str = "lab_realname";
const SPELLINGS: [&str; 2] = ["lab-file-name", "lab_file_name"];

/// Requests by the file's name, in both spellings and by its path, cost one call; removals by the module's own name never
/// meet a load by that of the file.
pub fn own_name(guest: &mut Guest) -> Result<()> {
    let file = guest.call("modinfo", &["-n", SPELLINGS[0]], LIMIT)?.said.trim().to_owned();
    guest.check(file.ends_with("/lab-file-name.ko"), format!("its file: {file}"));
    at_once_and_later(guest, &file)?;
    removal_before_loads(guest)?;
    removal_after_loads(guest)?;
    removals_among_loads(guest)?;
    loaded_by_path(guest, &file)
}

fn at_once_and_later(guest: &mut Guest, file: &str) -> Result<()> {
    trace::start()?;
    let mut crowd = Crowd::new()?;
    for number in 0..8 {
        crowd.add(&guest.argv("modprobe", &[SPELLINGS[number % 2], "ms=300"]))?;
    }
    let ends = crowd.run(LIMIT)?;
    let calls = trace::stop()?;
    guest.row(8, ends.wall, ends.cpu_ms, &calls);
    guest.check(ends.all(0) && live(OWN), format!("eight at once: {}", ends.summary()));
    guest.check(calls.len() == 1, format!("eight at once: {} calls", calls.len()));
    trace::start()?;
    let mut later = vec![];
    for name in [SPELLINGS[0], SPELLINGS[1], file] {
        later.push(guest.call("modprobe", &[name], LIMIT)?);
    }
    for (how, what) in [("probe", SPELLINGS[0]), ("probe", SPELLINGS[1]), ("path", file)] {
        later.push(client(&[how, what])?);
    }
    let calls = trace::stop()?;
    guest.check(later.iter().all(|end| end.code == 0), format!("later ones: {later:?}"));
    guest.check(calls.is_empty(), format!("later ones: {} calls: {calls:?}", calls.len()));
    Ok(())
}

/// Four loads by the file's name.
fn four(guest: &Guest) -> Result<Crowd> {
    let mut crowd = Crowd::new()?;
    for name in SPELLINGS {
        crowd.add(&guest.argv("modprobe", &[name]))?;
        crowd.add(&["/lab/client", "probe", name])?;
    }
    Ok(crowd)
}

fn alone(guest: &mut Guest, what: &str, calls: &[Call]) {
    let both = overlaps(calls);
    guest.check(both.is_empty(), format!("{what}: never two in the kernel: {both:?}"));
}

/// The module is going when the loads come: its exit takes a moment.
fn removal_before_loads(guest: &mut Guest) -> Result<()> {
    fs::write(format!("/sys/module/{OWN}/parameters/exit_ms"), "2000")?;
    trace::start()?;
    let mut removal = Crowd::new()?;
    removal.add(&guest.argv("rmmod", &[OWN]))?;
    let mut removal = removal.release()?;
    let going = until("it is going", SOON, || state(OWN) == "going");
    removal.poll()?;
    if going.is_err() {
        bail!("rmmod {OWN}: never seen as going: {:?} {}", state(OWN), removal.wait(SOON)?.summary());
    }
    let running = four(guest)?.release()?;
    guest.check(state(OWN) == "going", "the loads come while it is going");
    let (loads_end, removal_end) = (running.wait(LIMIT)?, removal.wait(LIMIT)?);
    let calls = trace::stop()?;
    guest.check(
        removal_end.all(0) && loads_end.all(0) && live(OWN),
        format!("loads while it goes: {}; {}", removal_end.summary(), loads_end.summary()),
    );
    guest.check(calls.len() == 2, format!("one removal, one load: {calls:?}"));
    alone(guest, "loads while it goes", &calls);
    Ok(())
}

/// The module is coming when the removal comes.
fn removal_after_loads(guest: &mut Guest) -> Result<()> {
    let removed = guest.call("rmmod", &[OWN], LIMIT)?;
    guest.check(removed.code == 0 && state(OWN).is_empty(), format!("rmmod {OWN}: {removed:?}"));
    trace::start()?;
    let mut crowd = Crowd::new()?;
    for name in SPELLINGS {
        crowd.add(&guest.argv("modprobe", &[name, "ms=1000"]))?;
    }
    let running = crowd.release()?;
    until("it is coming", SOON, || coming(OWN))?;
    let removal_end = guest.call("rmmod", &[OWN], LIMIT)?;
    let loads_end = running.wait(LIMIT)?;
    let calls = trace::stop()?;
    guest.check(loads_end.all(0), format!("a removal while it comes: {}", loads_end.summary()));
    // One of the two loads may find it gone again.
    let number = loads(&calls).count();
    guest.check((1..=2).contains(&number), format!("a removal while it comes: {calls:?}"));
    guest.note(format!("rmmod while it comes: {removal_end:?}"));
    alone(guest, "a removal while it comes", &calls);
    Ok(())
}

/// Who comes first is left to chance.
fn removals_among_loads(guest: &mut Guest) -> Result<()> {
    for round in 1..=6 {
        let what = format!("a removal among loads, round {round}");
        let there = guest.call("modprobe", &[SPELLINGS[round % 2], "exit_ms=50"], LIMIT)?;
        guest.check(there.code == 0 && live(OWN), format!("{what}: {there:?}"));
        let mut crowd = four(guest)?;
        crowd.add(&guest.argv("rmmod", &[OWN]))?;
        trace::start()?;
        let mut ends = crowd.run(LIMIT)?;
        let calls = trace::stop()?;
        ends.members.pop();
        guest.check(ends.all(0), format!("{what}: {}", ends.summary()));
        let number = loads(&calls).count();
        guest.check(number <= 1, format!("{what}: {number} calls: {calls:?}"));
        alone(guest, &what, &calls);
    }
    Ok(())
}

/// Loaded by its path, under its own name; the first request by the file's name may have to find that out.
fn loaded_by_path(guest: &mut Guest, file: &str) -> Result<()> {
    if live(OWN) {
        guest.call("rmmod", &[OWN], LIMIT)?;
    }
    fs::remove_dir_all("/run/kmod")?;
    trace::start()?;
    let first = guest.call("insmod", &[file], LIMIT)?;
    let calls = trace::stop()?;
    guest.check(first.code == 0 && live(OWN) && calls.len() == 1, format!("insmod: {first:?} {calls:?}"));
    for (number, most) in [1, 0, 0, 0].into_iter().enumerate() {
        trace::start()?;
        let next = guest.call("modprobe", &[SPELLINGS[number % 2]], SOON)?;
        let calls = trace::stop()?;
        guest.check(
            next.code == 0 && calls.len() <= most,
            format!("request {number} by the file's name: {next:?}, {most} calls at most: {calls:?}"),
        );
    }
    Ok(())
}
