//! Many requests at the same moment.

use std::fs;

use anyhow::{Context, Result};

use super::LIMIT;
use crate::guest::crowd::Crowd;
use crate::guest::trace;
use crate::guest::{Guest, live, modules};

/// 40 modules that load without hardware and can be removed; many share what they depend on.
pub const MIXED: [&str; 40] = [
    "xfs",
    "btrfs",
    "ext4",
    "f2fs",
    "gfs2",
    "ocfs2",
    "jfs",
    "udf",
    "isofs",
    "squashfs",
    "nfs",
    "nfsd",
    "nfsv4",
    "cifs",
    "ceph",
    "rbd",
    "minix",
    "overlay",
    "dm_crypt",
    "dm_mirror",
    "dm_thin_pool",
    "dm_cache",
    "raid456",
    "raid1",
    "raid10",
    "nbd",
    "bonding",
    "bridge",
    "8021q",
    "vxlan",
    "geneve",
    "wireguard",
    "openvswitch",
    "nf_conntrack",
    "nft_ct",
    "nft_nat",
    "ip_vs",
    "ipvlan",
    "tipc",
    "macvlan",
];

pub fn storm_16(guest: &mut Guest) -> Result<()> {
    storm(guest, 16)
}

pub fn storm_64(guest: &mut Guest) -> Result<()> {
    storm(guest, 64)
}

pub fn storm_256(guest: &mut Guest) -> Result<()> {
    storm(guest, 256)
}

/// `count` requests for xfs.
fn storm(guest: &mut Guest, count: usize) -> Result<()> {
    let requests: Vec<_> = (0..count).map(|_| "xfs").collect();
    run(guest, &requests)
}

/// 40 modules, 16 requests each, shuffled.
pub fn mixed(guest: &mut Guest) -> Result<()> {
    let mut requests: Vec<_> = MIXED.iter().flat_map(|name| [*name; 16]).collect();
    shuffle(&mut requests);
    run(guest, &requests)
}

/// 24 modules, 8 requests each, shuffled.
pub fn mixed_24x8(guest: &mut Guest) -> Result<()> {
    let mut requests: Vec<_> = MIXED[..24].iter().flat_map(|name| [*name; 8]).collect();
    shuffle(&mut requests);
    run(guest, &requests)
}

/// 64 requests for a module that the kernel cannot decompress: .ko.zst where it knows xz, .ko.xz where it knows nothing.
/// What it depends on is there, so that it is one module: one call, and one process that decompresses.
pub fn unpacked(guest: &mut Guest) -> Result<()> {
    before_xfs(guest)?;
    let mut crowd = Crowd::new()?;
    for _ in 0..64 {
        crowd.add(&guest.argv("modprobe", &["-d", "/alt", "xfs"]))?;
    }
    trace::start()?;
    let ends = crowd.run(LIMIT)?;
    let calls = trace::stop()?;
    let counts = guest.row(64, ends.wall, ends.cpu_ms, &calls);
    guest.check(ends.all(0) && live("xfs"), format!("every request exits 0: {}", ends.summary()));
    let mut crowd = Crowd::new()?;
    for _ in 0..64 {
        crowd.add(&guest.argv("modprobe", &["-d", "/alt", "xfs"]))?;
    }
    let again = crowd.run(LIMIT)?;
    guest.note(format!("the same 64 requests once it is live: {} ms of processor time", again.cpu_ms));
    let by_init = calls.iter().all(|call| call.kind == trace::Kind::Init && call.flags == 0);
    guest.check(counts.calls == 1 && by_init, format!("one call, init_module: {calls:?}"));
    Ok(())
}

/// Loads what the xfs of the second tree needs; of newer kernels it needs nothing.
pub fn before_xfs(guest: &mut Guest) -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let path = format!("/alt/lib/modules/{}/modules.dep", release.trim());
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line =
        text.lines().find_map(|line| line.split_once(':').filter(|(file, _)| file.contains("/xfs.ko")));
    let (_, needs) = line.with_context(|| format!("{path}: no xfs"))?;
    for file in needs.split_whitespace() {
        let name =
            file.rsplit('/').next().and_then(|file| file.split_once(".ko")).map_or(file, |(name, _)| name);
        let end = guest.call("modprobe", &["-d", "/alt", name], LIMIT)?;
        guest.check(end.code == 0, format!("{name}: {}", end.said));
    }
    Ok(())
}

/// The same order every time: Fisher-Yates with a fixed linear congruential generator.
fn shuffle<T>(items: &mut [T]) {
    let mut state: u64 = 20230414;
    for last in (1..items.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(last, (state >> 33) as usize % (last + 1));
    }
}

fn run(guest: &mut Guest, requests: &[&str]) -> Result<()> {
    let before = modules()?;
    let mut crowd = Crowd::new()?;
    for name in requests {
        crowd.add(&guest.argv("modprobe", &[name]))?;
    }
    trace::start()?;
    let ends = crowd.run(LIMIT)?;
    let calls = trace::stop()?;
    let counts = guest.row(requests.len(), ends.wall, ends.cpu_ms, &calls);
    let appeared = modules()?.into_iter().filter(|m| !before.contains(m)).count();
    guest.check(ends.all(0), format!("every request exits 0: {}", ends.summary()));
    guest.check(requests.iter().all(|name| live(name)), "every module that was asked for is live");
    guest.check(
        counts.calls == appeared,
        format!("{} calls for {appeared} modules that appeared", counts.calls),
    );
    guest.check(counts.duplicates == 0, format!("{} duplicates", counts.duplicates));
    guest.check(
        counts.eexist + counts.ebusy == 0,
        format!("{} EEXIST, {} EBUSY", counts.eexist, counts.ebusy),
    );
    guest.check(counts.wasted == 0, format!("{} bytes wasted", counts.wasted));
    if guest.ours() {
        books(guest, counts.calls)?;
    }
    Ok(())
}

/// `kmod stats` says what the kernel says: as many loads as calls, and nobody had to do without the gate.
fn books(guest: &mut Guest, calls: usize) -> Result<()> {
    let end = guest.call("kmod", &["stats", "--json"], LIMIT)?;
    let stats: serde_json::Value =
        serde_json::from_str(&end.said).with_context(|| format!("kmod stats --json: {}", end.said))?;
    let total = |name: &str| stats["total"][name].as_u64();
    guest.check(
        total("loads") == Some(calls as u64),
        format!("kmod stats counts {:?} loads for {calls} calls", total("loads")),
    );
    let troubles: Vec<_> =
        ["failures", "bounds_passed", "fallbacks"].iter().filter(|n| total(n) != Some(0)).collect();
    guest
        .check(troubles.is_empty(), format!("kmod stats counts nothing of {troubles:?}: {}", stats["total"]));
    guest.check(
        total("joined").is_some_and(|n| n > 0),
        format!("kmod stats counts {:?} joined requests", total("joined")),
    );
    Ok(())
}
