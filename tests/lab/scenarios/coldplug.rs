//! A boot's worth of requests: real udevd, real rules, every device announced again.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::MsFlags;
use serde_json::json;

use crate::guest::{Guest, modules, mount_at, system, trace, until};
use crate::tool::Tool;

/// udevd, `udevadm trigger`, `settle`; the stock rules and udev's built-in libkmod, or our rule and our modprobe.
pub fn coldplug(guest: &mut Guest) -> Result<()> {
    if guest.ours() {
        fs::create_dir_all("/etc/udev/rules.d")?;
        fs::copy("/lab/80-drivers.rules", "/etc/udev/rules.d/80-drivers.rules")
            .context("/lab/80-drivers.rules")?;
        crate::guest::relink("/tools/kmod-once/kmod", "/usr/sbin/modprobe")?;
    }
    mount_at("cgroup2", "/sys/fs/cgroup", MsFlags::empty(), None)?;
    trace::start()?;
    let begin = Instant::now();
    let cpu = cpu_ms()?;
    let udevd = ["/usr/lib/systemd/systemd-udevd", "/usr/bin/udevadm"];
    let log = fs::File::create("/tmp/udevd.log")?;
    let mut daemon = Command::new(udevd[0])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context(udevd[0])?;
    until("udevd's control socket", Duration::from_secs(30), || {
        fs::exists("/run/udev/control").unwrap_or(false)
    })?;
    system(udevd[1], &["trigger", "--type=subsystems", "--action=add"])?;
    system(udevd[1], &["trigger", "--type=devices", "--action=add"])?;
    system(udevd[1], &["settle", "--timeout=200"])?;
    let (wall, cpu) = (begin.elapsed(), cpu_ms()? - cpu);
    let calls = trace::stop()?;
    let Ok(None) = daemon.try_wait() else {
        bail!("udevd ended by itself: {}", fs::read_to_string("/tmp/udevd.log")?)
    };
    daemon.kill()?;
    daemon.wait()?;
    for line in fs::read_to_string("/tmp/udevd.log")?.lines() {
        println!("udevd: {line}");
    }
    let counts = guest.row(0, wall, cpu, &calls);
    let mut names = modules()?;
    names.sort();
    guest.say(&json!({"t": "modules", "tool": guest.tool.name(), "names": names}));
    guest.check(
        counts.eexist + counts.ebusy == 0,
        format!("{} EEXIST, {} EBUSY", counts.eexist, counts.ebusy),
    );
    guest.check(counts.wasted == 0, format!("{} bytes wasted", counts.wasted));
    // What fails in its init (no such hardware) is asked for again with every device; the same attempt is shared, a later
    // one is made again.
    let again = counts.duplicates - counts.eexist - counts.ebusy;
    let failed = calls.iter().filter(|c| c.name.is_some() && c.ret.is_some_and(|r| r < 0)).count();
    guest.check(again <= failed, format!("{again} further attempts, {failed} failed inits"));
    debug_assert!(Tool::ALL.contains(&guest.tool));
    Ok(())
}

fn cpu_ms() -> Result<u64> {
    crate::guest::crowd::cpu_ms()
}
