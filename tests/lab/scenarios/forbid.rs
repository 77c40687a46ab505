//! `forbid` on a machine that starts: what is kept out stays out, whoever asks, and nothing else is missing.

use std::fs;

use anyhow::Result;

use super::LIMIT;
use super::coldplug::{Udevd, measured, tell_modules};
use crate::guest::crowd::Crowd;
use crate::guest::{Guest, client, live, modules, trace};

/// A driver of a device that is there; what a driver of another device needs; a server that nobody asks for at boot, whose
/// softdeps would make kmod 34.2 pass over an install line.
const LINES: &str = "forbid e1000 # the network card\nforbid cdro*\nforbid ksmbd\n";

/// The forbidden modules that devices lead to, and what needs one of them.
const KEPT_OUT: [&str; 3] = ["e1000", "cdrom", "sr_mod"];

/// What udevd loads for all devices is what it loads without these lines, less what they keep out and what needs that; the
/// kernel never hears of those. The server does not come in by any way but the administrator's.
pub fn forbidden(guest: &mut Guest) -> Result<()> {
    let udevd = Udevd::prepare(guest)?;
    if guest.ours() {
        fs::create_dir_all("/etc/modprobe.d")?;
        fs::write("/etc/modprobe.d/zz-lab.conf", LINES)?;
    }
    let (_, calls) = measured(guest, udevd, &[], None)?;
    let mut names = modules()?;
    if !guest.ours() {
        for name in KEPT_OUT {
            guest.check(
                names.iter().any(|other| other == name),
                format!("{name} is loaded where nothing forbids it"),
            );
        }
        names.retain(|name| !KEPT_OUT.contains(&name.as_str()));
    }
    tell_modules(guest, names);
    if !guest.ours() {
        return Ok(());
    }
    let of_these = |name: &Option<String>| name.as_deref().is_some_and(|name| KEPT_OUT.contains(&name));
    let asked = calls.iter().filter(|call| of_these(&call.name)).count();
    guest.check(asked == 0, format!("{asked} calls for what is forbidden"));
    for name in KEPT_OUT {
        let known = fs::exists(format!("/run/kmod/gate/{name}"))?;
        guest.check(!live(name) && !known, format!("{name} is kept out, and the gate knows nothing of it"));
    }
    server(guest)
}

/// Sixteen requests at once, by tool and library.
fn server(guest: &mut Guest) -> Result<()> {
    let before = modules()?;
    trace::start()?;
    let mut crowd = Crowd::new()?;
    for _ in 0..8 {
        crowd.add(&guest.argv("modprobe", &["ksmbd"]))?;
        crowd.add(&["/lab/client", "probe", "ksmbd"])?;
    }
    let ends = crowd.run(LIMIT)?;
    let calls = trace::stop()?;
    guest.check(ends.all(1), format!("every request fails: {}", ends.summary()));
    guest.check(calls.is_empty() && modules()? == before, format!("and loads nothing: {calls:?}"));
    let told = guest.call("modprobe", &["ksmbd"], LIMIT)?.said;
    guest.check(told.contains("zz-lab.conf line 3 forbids it"), format!("modprobe says why: {told}"));
    let answer = client(&["probe", "ksmbd"])?.said;
    guest.check(answer == "ksmbd: -1\n", format!("the library answers EPERM: {answer}"));
    let end = guest.call("modprobe", &["--ignore-forbid", "ksmbd"], LIMIT)?;
    guest.check(end.code == 0 && live("ksmbd"), format!("the administrator loads it: {end:?}"));
    Ok(())
}
