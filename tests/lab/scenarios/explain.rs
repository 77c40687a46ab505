//! What `modprobe --explain` and `-v` say on a real kernel: whose words about a failure they pass on, and which they put
//! into plain ones.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::LIMIT;
use crate::guest::crowd::Crowd;
use crate::guest::{Guest, coming, until};

/// A blacklisted alias, a missing symbol, a wrong parameter, and a module that another process is loading.
pub fn explain(guest: &mut Guest) -> Result<()> {
    blacklisted(guest)?;
    missing_symbol(guest)?;
    wrong_parameter(guest)?;
    being_loaded(guest)
}

/// What a command prints, which must hold each of the words. Goes to the console as well: README shows these.
fn said(guest: &mut Guest, args: &[&str], status: i32, words: &[&str]) -> Result<String> {
    let end = guest.call("modprobe", args, LIMIT)?;
    guest.say(&json!({"t": "note", "what": format!("$ modprobe {}", args.join(" ")), "seen": end.said}));
    eprintln!("$ modprobe {}\n{}", args.join(" "), end.said);
    guest.check(end.code == status, format!("modprobe {args:?}: exit {}", end.code));
    for word in words {
        guest.check(end.said.contains(word), format!("modprobe {args:?} says {word:?}: {}", end.said));
    }
    Ok(end.said)
}

fn blacklisted(guest: &mut Guest) -> Result<()> {
    fs::create_dir_all("/run/modprobe.d")?;
    fs::write("/run/modprobe.d/lab.conf", "# no dummies here\nblacklist dummy\n")?;
    let lines =
        ["by its alias rtnl-link-dummy (/lib/modules/", "It is blacklisted in /run/modprobe.d/lab.conf:2"];
    said(guest, &["--explain", "rtnl-link-dummy"], 0, &lines)?;
    let real = guest.call("modprobe", &["rtnl-link-dummy"], LIMIT)?;
    guest.check(real.code == 0 && !crate::guest::live("dummy"), "and so it is: nothing is loaded");
    fs::remove_file("/run/modprobe.d/lab.conf")?;
    Ok(())
}

fn missing_symbol(guest: &mut Guest) -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let dir = format!("/lib/modules/{}", release.trim());
    let file = crate::host::alt::find(dir.as_ref(), "lab_needs_slow")?;
    let end = guest.call("insmod", &[&file.to_string_lossy()], LIMIT)?;
    guest.check(end.code == 1, format!("insmod without what it needs: {}", end.said));
    let lines = [
        "The last attempt failed",
        "lab_needs_slow: Unknown symbol lab_slow_answer (err -2)",
        "It needs the symbol lab_slow_answer, which neither the kernel nor a loaded module has",
        "the module lab_slow has it",
    ];
    said(guest, &["--explain", "lab_needs_slow"], 0, &lines)?;
    Ok(())
}

fn wrong_parameter(guest: &mut Guest) -> Result<()> {
    let lines =
        ["`many' invalid for parameter `ms'", "does not take the value \"many\" for its parameter ms"];
    said(guest, &["-v", "lab_slow", "ms=many"], 1, &lines)?;
    Ok(())
}

fn being_loaded(guest: &mut Guest) -> Result<()> {
    let mut leader = Crowd::new()?;
    leader.add(&guest.argv("modprobe", &["lab_slow", "hold=1"]))?;
    let pid = leader.pids()[0];
    let leader = leader.release()?;
    until("lab_slow is coming", LIMIT, || coming("lab_slow"))?;
    let mut followers = Crowd::new()?;
    for _ in 0..3 {
        followers.add(&guest.argv("modprobe", &["lab_slow"]))?;
    }
    let followers = followers.release()?;
    // On a busy host it takes a while until all three wait, and now and then one looks around instead. The holder is the same
    // in every answer, and there are never more than three.
    let lines =
        ["It is being loaded: its init runs.", &format!("Process {pid} ("), "has been loading it for"];
    asked_until_three_wait(guest, "in words", |guest| {
        let text = said(guest, &["--explain", "lab_slow"], 0, &lines)?;
        let number =
            text.split("; ").find_map(|rest| rest.split_once(" more wait for the result")?.0.parse().ok());
        Ok(number.unwrap_or(0))
    })?;
    asked_until_three_wait(guest, "in JSON", |guest| {
        let text = guest.call("modprobe", &["--explain", "--json", "lab_slow"], LIMIT)?.said;
        let value: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let gate = &value["modules"][0]["gate"];
        guest.check(gate["pid"] == pid && gate["since_ms"].is_u64(), format!("in JSON: {gate}"));
        gate["waiting"].as_u64().with_context(|| format!("in JSON: {gate}"))
    })?;
    fs::write("/sys/module/lab_slow/parameters/go", "1")?;
    let ends = [leader.wait(LIMIT)?, followers.wait(LIMIT)?];
    guest.check(ends.iter().all(|ends| ends.all(0)), "the explanation was in nobody's way");
    guest.check(ends.iter().all(|ends| ends.wall < Duration::from_secs(120)), "and all have ended");
    Ok(())
}

/// Asks how many wait until the answer is three, some times at most.
fn asked_until_three_wait(
    guest: &mut Guest,
    how: &str,
    mut ask: impl FnMut(&mut Guest) -> Result<u64>,
) -> Result<()> {
    let mut answers = Vec::new();
    while answers.len() < 30 && answers.last() != Some(&3) {
        answers.push(ask(guest)?);
    }
    guest.check(
        answers.last() == Some(&3) && answers.iter().all(|waiting| *waiting <= 3),
        format!("three wait, {how}: {answers:?}"),
    );
    Ok(())
}
