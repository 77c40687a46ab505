//! Our library in programs that load modules for a living: systemd-modules-load, udevd.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::coldplug::{MODULES_LOAD, Udevd};
use super::{LIMIT, storm};
use crate::guest::crowd::{Crowd, cpu_ms};
use crate::guest::trace::{Call, EBUSY, EEXIST, loads};
use crate::guest::{Guest, live, modules, trace};

/// Small, and with much in common that they need.
const THREADED: [&str; 10] = [
    "vxlan",
    "geneve",
    "bonding",
    "macvlan",
    "ipvlan",
    "nft_ct",
    "nft_nat",
    "dm_mirror",
    "minix",
    "lab_needs_slow",
];

/// Sixteen threads with a context each, as systemd-modules-load works since its version 259; here each asks for all.
pub fn library_threads(guest: &mut Guest) -> Result<()> {
    let before = modules()?;
    let mut crowd = Crowd::new()?;
    crowd.add(&[&["/lab/client", "threads", "16"], &THREADED[..]].concat())?;
    trace::start()?;
    let ends = crowd.run(LIMIT)?;
    let calls = trace::stop()?;
    let requests = 16 * THREADED.len();
    let counts = guest.row(requests, ends.wall, ends.cpu_ms, &calls);
    let appeared = modules()?.into_iter().filter(|name| !before.contains(name)).count();
    let said = &ends.members[0].said;
    guest.check(
        ends.all(0) && *said == format!("{requests} x 0\n"),
        format!("every request succeeds: {}", ends.summary()),
    );
    guest.check(THREADED.iter().all(|name| live(name)), "every module is live");
    guest.check(counts.calls == appeared, format!("{} calls for {appeared} modules", counts.calls));
    Ok(())
}

/// Eight systemd-modules-load, 24 modprobes and udevd's coldplug, all at once, with one library under them.
pub fn mixed(guest: &mut Guest) -> Result<()> {
    let mut udevd = Udevd::prepare(guest)?;
    let names = &storm::MIXED[..24];
    fs::create_dir_all("/etc/modules-load.d")?;
    // What udevd finds devices for, too, and what the modprobes ask for.
    let listed: Vec<&str> =
        ["virtio_net", "psmouse", "evdev", "dm_mirror"].iter().chain(&names[8..]).copied().collect();
    fs::write("/etc/modules-load.d/lab.conf", listed.join("\n") + "\n")?;
    let mut crowd = Crowd::new()?;
    // Debian 12's userland here does not have it.
    let systemd = fs::exists(MODULES_LOAD)?;
    for _ in 0..8 {
        if systemd {
            crowd.add(&[MODULES_LOAD])?;
        } else {
            crowd.add(&[&["/lab/client", "list"], &listed[..]].concat())?;
        }
    }
    for name in names {
        crowd.add(&guest.argv("modprobe", &[name]))?;
    }
    trace::start()?;
    let (begin, cpu) = (Instant::now(), cpu_ms()?);
    udevd.start()?;
    let running = crowd.release()?;
    udevd.coldplug()?;
    let ends = running.wait(Duration::from_secs(400))?;
    let (wall, cpu) = (begin.elapsed(), cpu_ms()? - cpu);
    let calls = trace::stop()?;
    udevd.stop(guest)?;
    guest.row(32, wall, cpu, &calls);
    guest
        .note(format!("modules are listed for {}", if systemd { MODULES_LOAD } else { "the lab's program" }));
    guest.check(ends.all(0), format!("every request exits 0: {}", ends.summary()));
    let missing: Vec<_> = names.iter().chain(&listed).filter(|name| !live(name)).collect();
    guest.check(missing.is_empty(), format!("not live: {missing:?}"));
    one_for_each(guest, &calls);
    Ok(())
}

/// As many calls as modules, but for those whose init refuses: their later requests get an attempt of their own.
fn one_for_each(guest: &mut Guest, calls: &[Call]) {
    let mut accepted: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut refused, mut odd) = (BTreeSet::new(), Vec::new());
    for call in loads(calls) {
        match (call.name.as_deref(), call.ret) {
            (Some(name), Some(0)) => *accepted.entry(name).or_default() += 1,
            (Some(name), Some(ret)) if ret != -EEXIST && ret != -EBUSY => _ = refused.insert(name),
            _ => odd.push(call),
        }
    }
    let again: Vec<_> =
        accepted.iter().filter(|(name, count)| **count > 1 || refused.contains(*name)).collect();
    guest.note(format!("{} modules loaded, the inits of {refused:?} refused", accepted.len()));
    guest.check(again.is_empty(), format!("called again for what loads: {again:?}"));
    guest.check(odd.is_empty(), format!("refused before the init: {odd:?}"));
    guest.check(accepted.len() > 60, format!("{} modules loaded", accepted.len()));
}
