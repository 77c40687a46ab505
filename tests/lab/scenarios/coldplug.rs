//! A boot's worth of requests: real udevd, real rules, every device announced again.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::MsFlags;
use serde_json::json;

use crate::guest::crowd::cpu_ms;
use crate::guest::{Guest, insert_helper, modules, mount_at, system, trace, until};
use crate::tool::Tool;

/// The userland's library, and ours in the image.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libkmod.so.2";
const OUR_LIBRARY: &str = "/lab/libkmod.so.2";

/// The scenarios of many CPUs have this name with their number behind.
pub const MANY_CPUS: &str = "coldplug_of_";

/// systemd's own loader, which uses libkmod.
pub const MODULES_LOAD: &str = "/usr/lib/systemd/systemd-modules-load";
const UDEVADM: &str = "/usr/bin/udevadm";

/// The userland's own udevd.
pub struct Udevd(Option<Child>);

impl Udevd {
    /// Puts what is tested in its place: nothing, or our rule and our modprobe, or our library, of which neither udevd nor
    /// the rules know.
    pub fn prepare(guest: &Guest) -> Result<Self> {
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
        Ok(Self(None))
    }

    /// Starts it with as many workers as it takes by itself, and waits until it listens.
    pub fn start(&mut self) -> Result<()> {
        self.start_with(&[])
    }

    /// Starts it, and waits until it listens.
    fn start_with(&mut self, args: &[&str]) -> Result<()> {
        let program = "/usr/lib/systemd/systemd-udevd";
        let log = fs::File::create("/tmp/udevd.log")?;
        let mut command = Command::new(program);
        command.args(args);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.0 = Some(command.spawn().context(program)?);
        until("udevd's control socket", Duration::from_secs(30), || {
            fs::exists("/run/udev/control").unwrap_or(false)
        })
    }

    /// Announces every device, and waits until all is done.
    pub fn coldplug(&self) -> Result<()> {
        system(UDEVADM, &["trigger", "--type=subsystems", "--action=add"])?;
        system(UDEVADM, &["trigger", "--type=devices", "--action=add"])?;
        system(UDEVADM, &["settle", "--timeout=600"])
    }

    /// Ends it, and says whether it used our library.
    pub fn stop(self, guest: &mut Guest) -> Result<()> {
        let mut daemon = self.0.context("udevd was not started")?;
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
        Ok(())
    }
}

/// The stock rules and udev's built-in libkmod, or our rule and our modprobe, or the stock rules and our library.
pub fn coldplug(guest: &mut Guest) -> Result<()> {
    storm(guest, &[], None)?;
    if guest.tool == Tool::Library {
        modules_load(guest)?;
    }
    Ok(())
}

/// The same on a machine that has more CPUs than are emulated: the scenario's name says how many. The missing ones are devices
/// that ask as CPUs do (lab_cpus.c), and udevd takes as many workers as it does for so many CPUs.
pub fn cpus(guest: &mut Guest) -> Result<()> {
    let number =
        guest.scenario.strip_prefix(MANY_CPUS).context("the scenario's name says no number of CPUs")?;
    let cpus: usize = number.parse()?;
    let emulated = std::thread::available_parallelism()?.get();
    if cpus > emulated {
        insert_helper("lab_cpus", &format!("n={}", cpus - emulated))?;
    }
    storm(guest, &[&format!("--children-max={}", 2 * cpus + 16)], Some(cpus))
}

/// One coldplug, of which all modules are told. `cpus`: of how many the figures are, where it is not those that are emulated.
fn storm(guest: &mut Guest, args: &[&str], cpus: Option<usize>) -> Result<()> {
    let udevd = Udevd::prepare(guest)?;
    let (counts, _) = measured(guest, udevd, args, cpus)?;
    tell_modules(guest, modules()?);
    guest.check(counts.wasted == 0, format!("{} bytes wasted", counts.wasted));
    Ok(())
}

/// Runs what was prepared, and tells and checks what reached the kernel.
pub fn measured(
    guest: &mut Guest,
    mut udevd: Udevd,
    args: &[&str],
    cpus: Option<usize>,
) -> Result<(trace::Counts, Vec<trace::Call>)> {
    trace::start()?;
    let (begin, cpu) = (Instant::now(), cpu_ms()?);
    udevd.start_with(args)?;
    udevd.coldplug()?;
    let (wall, cpu) = (begin.elapsed(), cpu_ms()? - cpu);
    let calls = trace::stop()?;
    udevd.stop(guest)?;
    let counts = guest.row_of(cpus, 0, wall, cpu, &calls);
    guest.check(
        counts.eexist + counts.ebusy == 0,
        format!("{} EEXIST, {} EBUSY", counts.eexist, counts.ebusy),
    );
    // What fails in its init (no such hardware) is asked for again with every device; the same attempt is shared, a later
    // one is made again.
    let again = counts.duplicates - counts.eexist - counts.ebusy;
    let failed = calls.iter().filter(|c| c.name.is_some() && c.ret.is_some_and(|r| r < 0)).count();
    guest.check(again <= failed, format!("{again} further attempts, {failed} failed inits"));
    Ok((counts, calls))
}

/// Tells the host which modules are to be compared with those that are loaded where another tool serves.
pub fn tell_modules(guest: &mut Guest, mut names: Vec<String>) {
    names.sort();
    guest.say(&json!({"t": "modules", "tool": guest.tool.name(), "names": names}));
}

/// systemd's own loader, unchanged, on our library; Debian 12's userland here does not have it.
fn modules_load(guest: &mut Guest) -> Result<()> {
    if !fs::exists(MODULES_LOAD)? {
        return Ok(());
    }
    fs::create_dir_all("/etc/modules-load.d")?;
    fs::create_dir_all("/etc/modprobe.d")?;
    fs::write("/etc/modules-load.d/lab.conf", "dummy\nnlmon\nifb\n")?;
    // After systemd's own file, which asks for no dummies.
    fs::write("/etc/modprobe.d/zz-lab.conf", "blacklist ifb\noptions dummy numdummies=3\n")?;
    let before = modules()?;
    system(MODULES_LOAD, &[])?;
    let mut added: Vec<String> = modules()?.into_iter().filter(|name| !before.contains(name)).collect();
    added.sort();
    guest.check(added == ["dummy", "nlmon"], format!("systemd-modules-load loaded {added:?}"));
    let dummies = (0..4).filter(|n| fs::exists(format!("/sys/class/net/dummy{n}")).unwrap_or(false)).count();
    guest.check(dummies == 3, format!("with its options: {dummies} dummies"));
    Ok(())
}
