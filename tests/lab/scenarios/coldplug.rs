//! A boot's worth of requests: real udevd, real rules, every device announced again.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::MsFlags;
use serde_json::json;

use crate::guest::{Guest, modules, mount_at, system, trace, until};
use crate::tool::Tool;

/// The userland's library, and ours in the image.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libkmod.so.2";
const OUR_LIBRARY: &str = "/lab/libkmod.so.2";

/// udevd, `udevadm trigger`, `settle`; the stock rules and udev's built-in libkmod, or our rule and our modprobe, or the
/// stock rules and our library, of which neither udevd nor the rules know.
pub fn coldplug(guest: &mut Guest) -> Result<()> {
    if guest.tool == Tool::Library {
        crate::guest::relink(OUR_LIBRARY, LIBRARY)?;
    }
    if guest.tool == Tool::Ours {
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
    system(udevd[1], &["settle", "--timeout=600"])?;
    let (wall, cpu) = (begin.elapsed(), cpu_ms()? - cpu);
    let calls = trace::stop()?;
    let Ok(None) = daemon.try_wait() else {
        bail!("udevd ended by itself: {}", fs::read_to_string("/tmp/udevd.log")?)
    };
    if guest.tool == Tool::Library {
        let maps = fs::read_to_string(format!("/proc/{}/maps", daemon.id()))?;
        guest.check(maps.contains(OUR_LIBRARY), "udevd uses our library");
    }
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
    if guest.tool == Tool::Library {
        modules_load(guest)?;
    }
    Ok(())
}

/// systemd's own loader, unchanged, on our library; Debian 12's userland here does not have it.
fn modules_load(guest: &mut Guest) -> Result<()> {
    let program = "/usr/lib/systemd/systemd-modules-load";
    if !fs::exists(program)? {
        return Ok(());
    }
    fs::create_dir_all("/etc/modules-load.d")?;
    fs::create_dir_all("/etc/modprobe.d")?;
    fs::write("/etc/modules-load.d/lab.conf", "dummy\nnlmon\nifb\n")?;
    // After systemd's own file, which asks for no dummies.
    fs::write("/etc/modprobe.d/zz-lab.conf", "blacklist ifb\noptions dummy numdummies=3\n")?;
    let before = modules()?;
    system(program, &[])?;
    let mut added: Vec<String> = modules()?.into_iter().filter(|name| !before.contains(name)).collect();
    added.sort();
    guest.check(added == ["dummy", "nlmon"], format!("systemd-modules-load loaded {added:?}"));
    let dummies = (0..4).filter(|n| fs::exists(format!("/sys/class/net/dummy{n}")).unwrap_or(false)).count();
    guest.check(dummies == 3, format!("with its options: {dummies} dummies"));
    Ok(())
}

fn cpu_ms() -> Result<u64> {
    crate::guest::crowd::cpu_ms()
}
