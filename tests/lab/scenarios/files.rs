//! The same module in two files, and modules compressed in ways the kernel does or does not know.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::LIMIT;
use crate::guest::crowd::Crowd;
use crate::guest::trace::{self, Call, Kind};
use crate::guest::{Guest, live};

/// `MODULE_INIT_COMPRESSED_FILE`
const COMPRESSED: u64 = 4;

/// Two files with the same module, 16 requests for each at once.
pub fn two_copies(guest: &mut Guest) -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let original =
        crate::host::alt::find(format!("/lib/modules/{}/kernel", release.trim()).as_ref(), "dummy")?;
    let name = original.file_name().context("a module without a name")?.to_string_lossy().into_owned();
    let mut crowd = Crowd::new()?;
    let copies: Vec<_> = ["/tmp/a", "/tmp/b"].iter().map(|dir| format!("{dir}/{name}")).collect();
    for copy in &copies {
        fs::create_dir_all(std::path::Path::new(copy).parent().context("no parent")?)?;
        fs::copy(&original, copy)?;
    }
    for _ in 0..16 {
        for copy in &copies {
            // Of kmod's modprobes only the newer ones take a path.
            crowd.add(&guest.argv(if guest.ours() { "modprobe" } else { "insmod" }, &[copy]))?;
        }
    }
    trace::start()?;
    let ends = crowd.run(LIMIT)?;
    let calls = trace::stop()?;
    let counts = guest.row(32, ends.wall, ends.cpu_ms, &calls);
    guest.check(ends.all(0) && live("dummy"), format!("every request exits 0: {}", ends.summary()));
    guest.check(counts.calls == 1, format!("one call: {}", counts.calls));
    Ok(())
}

/// One module per compression: the right call, made once.
pub fn compression(guest: &mut Guest) -> Result<()> {
    let native = fs::read_to_string("/sys/module/compression").unwrap_or_default();
    let native = native.trim().to_owned();
    guest.note(format!("/sys/module/compression: {native:?}"));
    let mut requests = 0;
    let mut all: Vec<Call> = Vec::new();
    let mut wall = Duration::ZERO;
    let mut cpu = 0;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let gz = format!("/alt/lib/modules/{}/kernel/ifb.ko.gz", release.trim());
    // The last ones are xz too: with a check and with a filter that the kernel's decoder refuses, and in two streams, of which
    // it takes the first for all.
    for (name, extension, kernel_name) in [
        ("dummy", "zst", "zstd"),
        ("ifb", "gz", "gzip"),
        ("nlmon", "xz", "xz"),
        ("minix", "xz", "none"),
        ("qnx4", "xz", "none"),
        ("bfs", "xz", "none"),
    ] {
        // Debian's kmod is built without gzip: its index does not list the file, and it cannot load it either. The last two it
        // gives to a kernel that refuses them.
        if !guest.ours() && (extension == "gz" || name == "qnx4" || name == "bfs") {
            continue;
        }
        let args = if extension == "gz" { vec![gz.as_str()] } else { vec!["-d", "/alt", name] };
        let mut crowd = Crowd::new()?;
        for _ in 0..8 {
            crowd.add(&guest.argv("modprobe", &args))?;
        }
        requests += 8;
        trace::start()?;
        let ends = crowd.run(LIMIT)?;
        let mut calls = trace::stop()?;
        if name == "bfs" && native == "xz" {
            // That the file is in two parts is looked for once the kernel has refused it.
            let refused = calls.first().map(|call| (call.kind == Kind::Finit, call.flags, call.ret));
            guest.check(
                matches!(refused, Some((true, COMPRESSED, Some(..0)))),
                format!("{name}.{extension}: the kernel refuses it first: {calls:?}"),
            );
            calls.drain(..calls.len().min(1));
        }
        wall += ends.wall;
        cpu += ends.cpu_ms;
        guest.check(
            ends.all(0) && live(name),
            format!("{name}.{extension}: every request exits 0: {}", ends.summary()),
        );
        let right = |c: &Call| {
            if native == kernel_name {
                c.kind == Kind::Finit && c.flags == COMPRESSED
            } else {
                c.kind == Kind::Init && c.flags == 0
            }
        };
        let wanted = if native == kernel_name { "finit_module with the flag" } else { "init_module" };
        guest.check(
            calls.len() == 1 && calls.iter().all(right),
            format!("{name}.{extension}: one call, {wanted}: {calls:?}"),
        );
        all.extend(calls);
    }
    guest.row(requests, wall, cpu, &all);
    Ok(())
}
