//! Places where the gate cannot work, or must not: loads succeed in each, with the fallback that is left.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, umount, umount2};

use crate::guest::crowd::Crowd;
use crate::guest::{Guest, live, modules, mount_at, trace};

const REQUESTS: usize = 16;
/// Needs two others. Small: the fallback lock waits 2 s for somebody who has nothing in sysfs yet, and on an emulated
/// processor the kernel takes longer than that to link a large module.
const MODULE: &str = "vxlan";
const LOCK: &str = "/run/kmod/gate/vxlan";

/// How many calls are right.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    /// One per module: a lock is left.
    Once,
    /// The kernel arbitrates.
    Any,
}

/// 16 requests for a module with dependencies.
fn load(guest: &mut Guest, calls_wanted: Calls) -> Result<String> {
    let before = modules()?;
    let mut crowd = Crowd::new()?;
    for _ in 0..REQUESTS {
        crowd.add(&guest.argv("modprobe", &[MODULE]))?;
    }
    trace::start()?;
    let ends = crowd.run(Duration::from_secs(40))?;
    let calls = trace::stop()?;
    let counts = guest.row(REQUESTS, ends.wall, ends.cpu_ms, &calls);
    guest.check(ends.all(0), format!("every request exits 0: {}", ends.summary()));
    let appeared = modules()?.into_iter().filter(|m| !before.contains(m)).count();
    if calls_wanted == Calls::Once {
        guest.check(
            counts.calls == appeared && counts.duplicates == 0,
            format!("{} calls for {appeared} modules", counts.calls),
        );
    } else {
        guest.check(
            counts.distinct == appeared,
            format!("{} modules of {appeared}, {} calls", counts.distinct, counts.calls),
        );
    }
    Ok(ends.members.into_iter().map(|m| m.said).collect())
}

fn loaded(guest: &mut Guest) {
    guest.check(live(MODULE), format!("{MODULE} is live"));
}

/// There is no /run.
pub fn no_run(guest: &mut Guest) -> Result<()> {
    umount("/run")?;
    fs::remove_dir("/run")?;
    load(guest, Calls::Once)?;
    guest.check(!Path::new("/run").exists(), "/run was not made");
    loaded(guest);
    Ok(())
}

/// /run is mounted read-only.
pub fn read_only_run(guest: &mut Guest) -> Result<()> {
    umount("/run")?;
    mount_at("tmpfs", "/run", MsFlags::MS_RDONLY, None)?;
    load(guest, Calls::Once)?;
    loaded(guest);
    Ok(())
}

/// /run has no inode left.
pub fn full_run(guest: &mut Guest) -> Result<()> {
    umount("/run")?;
    // Two inodes: the root and this file.
    mount_at("tmpfs", "/run", MsFlags::empty(), Some("nr_inodes=2"))?;
    fs::write("/run/one", "")?;
    guest.check(fs::write("/run/two", "").is_err(), "/run takes no more files");
    load(guest, Calls::Once)?;
    loaded(guest);
    Ok(())
}

/// /run/kmod/gate is a link to a directory.
pub fn gate_is_a_link(guest: &mut Guest) -> Result<()> {
    fs::create_dir("/tmp/victim")?;
    fs::set_permissions("/tmp/victim", Permissions::from_mode(0o700))?;
    fs::create_dir("/run/kmod")?;
    symlink("/tmp/victim", "/run/kmod/gate")?;
    let said = load(guest, Calls::Once)?;
    guest.check(fs::read_dir("/tmp/victim")?.count() == 0, "nothing was written through the link");
    guest.check(said.contains("/run/kmod/gate"), format!("a warning names it: {said:?}"));
    loaded(guest);
    Ok(())
}

/// The lock file of the module is a link to a file.
pub fn lock_is_a_link(guest: &mut Guest) -> Result<()> {
    fs::write("/tmp/victim", "untouched")?;
    gate_dir(0o700, 0)?;
    symlink("/tmp/victim", LOCK)?;
    load(guest, Calls::Once)?;
    guest.check(fs::read("/tmp/victim")? == b"untouched", "nothing was written through the link");
    guest.check(fs::symlink_metadata(LOCK)?.is_symlink(), "the link was left alone");
    loaded(guest);
    Ok(())
}

fn gate_dir(mode: u32, owner: u32) -> Result<()> {
    fs::create_dir("/run/kmod")?;
    fs::create_dir("/run/kmod/gate")?;
    fs::set_permissions("/run/kmod/gate", Permissions::from_mode(mode))?;
    chown("/run/kmod/gate", Some(owner), Some(owner))?;
    Ok(())
}

/// A gate directory that must not be used: nothing is written there, and a warning says so.
fn refused(guest: &mut Guest, mode: u32, owner: u32) -> Result<()> {
    gate_dir(mode, owner)?;
    let said = load(guest, Calls::Once)?;
    guest.check(fs::read_dir("/run/kmod/gate")?.count() == 0, "nothing was written into it");
    let meta = fs::metadata("/run/kmod/gate")?;
    guest.check(
        meta.uid() == owner && meta.mode() & 0o7777 == mode,
        format!("it was left alone: {:o} {}", meta.mode(), meta.uid()),
    );
    guest.check(said.contains("/run/kmod/gate"), format!("a warning names it: {said:?}"));
    loaded(guest);
    Ok(())
}

/// /run/kmod/gate belongs to uid 1000.
pub fn gate_of_someone_else(guest: &mut Guest) -> Result<()> {
    refused(guest, 0o700, 1000)
}

/// /run/kmod/gate can be written by everybody.
pub fn gate_writable_by_others(guest: &mut Guest) -> Result<()> {
    refused(guest, 0o777, 0)
}

/// The fallback's lock, on the module's own file, is held by somebody for good: its bound of 2 s passes.
pub fn module_file_locked_by_a_user(guest: &mut Guest) -> Result<()> {
    umount("/run")?;
    fs::remove_dir("/run")?;
    let found = guest.call("modprobe", &["-D", MODULE], Duration::from_secs(20))?;
    let line = found.said.lines().last().unwrap_or_default().to_owned();
    let path =
        line.split_whitespace().nth(1).with_context(|| format!("modprobe -D {MODULE}: {line:?}"))?.to_owned();
    let held = Flock::lock(File::open(&path)?, FlockArg::LockExclusive).map_err(|(_, e)| e)?;
    let begin = std::time::Instant::now();
    load(guest, Calls::Any)?;
    let took = begin.elapsed();
    guest.check(took < Duration::from_secs(15), format!("done after {took:?}"));
    guest.check(took >= Duration::from_millis(1800), format!("not before the bound of 2 s: {took:?}"));
    drop(held);
    loaded(guest);
    Ok(())
}

/// There is no /sys: /proc/modules has to do.
pub fn no_sys(guest: &mut Guest) -> Result<()> {
    umount2("/sys", MntFlags::MNT_DETACH)?;
    load(guest, Calls::Once)?;
    guest.check(modules()?.iter().any(|m| m == MODULE), format!("{MODULE} is in /proc/modules"));
    mount_at("sysfs", "/sys", MsFlags::empty(), None)
}

/// Neither /sys nor /proc: the kernel arbitrates.
pub fn no_sys_no_proc(guest: &mut Guest) -> Result<()> {
    let before = modules()?;
    umount2("/sys", MntFlags::MNT_DETACH)?;
    umount2("/proc", MntFlags::MNT_DETACH)?;
    let mut crowd = Crowd::new()?;
    for _ in 0..REQUESTS {
        crowd.add(&guest.argv("modprobe", &[MODULE]))?;
    }
    trace::start()?;
    let ends = crowd.run(Duration::from_secs(40));
    mount_at("proc", "/proc", MsFlags::empty(), None)?;
    mount_at("sysfs", "/sys", MsFlags::empty(), None)?;
    let ends = ends?;
    let calls = trace::stop()?;
    let counts = guest.row(REQUESTS, ends.wall, ends.cpu_ms, &calls);
    let appeared = modules()?.into_iter().filter(|m| !before.contains(m)).count();
    guest.check(ends.all(0), format!("every request exits 0: {}", ends.summary()));
    guest.check(
        counts.distinct == appeared,
        format!("{} modules of {appeared}, {} calls", counts.distinct, counts.calls),
    );
    loaded(guest);
    Ok(())
}

/// `kmod.gate=off` on the kernel command line.
pub fn gate_off(guest: &mut Guest) -> Result<()> {
    load(guest, Calls::Any)?;
    guest.check(!Path::new("/run/kmod").exists(), "nothing was made in /run");
    loaded(guest);
    Ok(())
}
