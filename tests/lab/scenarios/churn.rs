//! Loading and removing the same modules from many processes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use serde_json::Value;

use crate::guest::crowd::Crowd;
use crate::guest::trace::{Call, loads};
use crate::guest::{Guest, live, modules, trace};

const ENOENT: i64 = libc::ENOENT as i64;
const EINVAL: i64 = libc::EINVAL as i64;
const SECONDS: u64 = 60;
/// A chain and its neighbours: vxlan needs udp_tunnel and ip6_udp_tunnel, geneve as well, bonding and dummy stand alone.
pub const MODULES: [&str; 6] = ["vxlan", "geneve", "dummy", "lab_slow", "lab_needs_slow", "ifb"];

/// The mode `churn`: `churn MODPROBE RMMOD NUMBER`. Loads and removes for [`SECONDS`], in an order that depends on the
/// number, and says how often, and which processes found that a dependency was gone. No other load may fail.
pub fn main(args: &[String]) -> Result<()> {
    let [modprobe, rmmod, number] = args else { anyhow::bail!("churn MODPROBE RMMOD NUMBER") };
    let number: usize = number.parse()?;
    let begin = Instant::now();
    let (mut loads, mut failed, mut removes) = (0, Vec::new(), 0);
    for round in 0.. {
        if begin.elapsed() > Duration::from_secs(SECONDS) {
            break;
        }
        let name = MODULES[(round * (number + 1) + number) % MODULES.len()];
        let mut command = Command::new(modprobe);
        let child = command.arg(name).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let pid = child.id();
        let output = child.wait_with_output()?;
        loads += 1;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => {}
            // Only a dependency that went away between two steps excuses a failure: see `own_failures`.
            Some(1) if said.contains(LACKS) => failed.push(pid.to_string()),
            _ => anyhow::bail!("modprobe {name}: {}: {said}", output.status),
        }
        let status = Command::new(rmmod).arg(name).output()?.status;
        if status.success() {
            removes += 1;
        }
    }
    println!("{loads} loads, {removes} removals, failed: {}", failed.join(" "));
    Ok(())
}

/// What a tool says where a dependency is gone.
pub const LACKS: &str = "Unknown symbol";

/// Whoever said that a dependency is gone had it from the kernel: the last call of that process was refused for it. The kernel
/// refuses before it tells the module's name, so that a call without a name must be the last one. Or it was given the failure
/// of an attempt that began after its own dependencies were there; the gate's books count these, and there are no others.
pub fn own_failures(guest: &mut Guest, calls: &[Call], failed: &BTreeSet<i32>) -> Result<()> {
    let of = |pid: i32| loads(calls).filter(|call| call.pid == pid).collect::<Vec<_>>();
    let own = |pid: i32| {
        let calls = of(pid);
        let Some((last, before)) = calls.split_last() else { return false };
        let lacks = last.name.is_none() && [Some(-ENOENT), Some(-EINVAL)].contains(&last.ret);
        lacks && before.iter().all(|call| call.ret == Some(0))
    };
    let shared: Vec<_> = failed.iter().filter(|pid| !own(**pid)).map(|pid| (pid, of(*pid))).collect();
    let booked = shared_failures()?;
    guest.check(
        shared.len() as u64 <= booked,
        format!(
            "of {} that lacked a symbol, these had it not from the kernel (pid, calls): {shared:?}; {booked} shared by the books",
            failed.len()
        ),
    );
    Ok(())
}

/// How many failures the gate has given to others than those who made the call.
fn shared_failures() -> Result<u64> {
    let output = Command::new("/tools/kmod-once/kmod").args(["stats", "--json"]).output()?;
    let books: Value = serde_json::from_slice(&output.stdout).context("kmod stats --json")?;
    books["total"]["shared_failures"].as_u64().context("shared_failures")
}

/// 60 s of modprobe and rmmod on the same modules from 8 processes.
pub fn insert_and_remove(guest: &mut Guest) -> Result<()> {
    let rmmod = rmmod(guest)?;
    let mut crowd = Crowd::new()?;
    for number in 0..8 {
        crowd.add(&[
            "/init".into(),
            "churn".into(),
            guest.path("modprobe"),
            rmmod.clone(),
            number.to_string(),
        ])?;
    }
    trace::start()?;
    // A call that hangs keeps its process beyond the limit.
    let ends = crowd.run(Duration::from_secs(SECONDS + 40))?;
    let calls = trace::stop()?;
    guest.check(ends.all(0), format!("nobody failed: {}", ends.summary()));
    let failed = ends.members.iter().filter_map(|end| end.said.split_once("failed:"));
    let failed =
        failed.flat_map(|(_, pids)| pids.split_whitespace()).map(str::parse).collect::<Result<_, _>>()?;
    own_failures(guest, &calls, &failed)?;
    let mut locks = 0;
    for item in fs::read_dir("/run/kmod/gate").context("/run/kmod/gate")? {
        let path = item?.path();
        if path.is_file() {
            locks += 1;
            let free = Flock::lock(File::open(&path)?, FlockArg::LockExclusiveNonblock).is_ok();
            guest.check(free, format!("{}: not locked any more", path.display()));
        }
    }
    guest.check(locks >= MODULES.len(), format!("{locks} lock files"));
    agree(guest)?;
    // Everything still works.
    for name in MODULES {
        let end = guest.call("modprobe", &[name], Duration::from_secs(30))?;
        guest.check(
            end.code == 0 && live(name),
            format!("modprobe {name} afterwards: {} {}", end.code, end.said),
        );
    }
    agree(guest)
}

/// Our rmmod once it removes modules, the stock one until then.
fn rmmod(guest: &mut Guest) -> Result<String> {
    let wait = Duration::from_secs(30);
    let loaded = guest.call("modprobe", &["dummy"], wait)?;
    let removed = guest.call("rmmod", &["dummy"], wait)?;
    let works = loaded.code == 0 && removed.code == 0 && !Path::new("/sys/module/dummy").exists();
    let path = if works { guest.path("rmmod") } else { "/tools/kmod-34/rmmod".to_owned() };
    guest.say(&serde_json::json!({"t": "note", "what": format!("rmmod is {path}")}));
    Ok(path)
}

/// /proc/modules and /sys/module name the same live modules.
pub fn agree(guest: &mut Guest) -> Result<()> {
    let mut proc = modules()?;
    proc.sort();
    let mut sys = Vec::new();
    for item in fs::read_dir("/sys/module")? {
        let name = item?.file_name().to_string_lossy().into_owned();
        if Path::new("/sys/module").join(&name).join("initstate").exists() {
            sys.push(name);
        }
    }
    sys.sort();
    guest.check(proc == sys, format!("/proc/modules {proc:?} and /sys/module {sys:?} agree"));
    Ok(())
}
