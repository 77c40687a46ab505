//! Loads that fail: what the caller is told, and whom a failure answers.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::LIMIT;
use super::faults::quick_removals;
use crate::guest::crowd::Crowd;
use crate::guest::trace::{EEXIST, loads, overlaps};
use crate::guest::{Guest, client, live, trace, until};

/// The init returns -EEXIST, which says nothing about a module that is there: one call for each request.
pub fn init_says_eexist(guest: &mut Guest) -> Result<()> {
    trace::start()?;
    let mut ends = Vec::new();
    for _ in 0..5 {
        ends.push(guest.call("modprobe", &["lab_slow", "err=17"], LIMIT)?);
    }
    for _ in 0..3 {
        ends.push(client(&["probe", "lab_slow", "err=17"])?);
    }
    let calls = trace::stop()?;
    guest.check(!live("lab_slow"), "it is not there");
    guest.check(calls.len() == ends.len(), format!("{} calls for {} in a row", calls.len(), ends.len()));
    guest.check(calls.iter().all(|call| call.ret == Some(-EEXIST)), format!("{calls:?}"));
    // A race for a module that is there looks the same, and is no failure of the tools.
    let codes: Vec<_> = ends.iter().map(|end| end.code).collect();
    guest.note(format!("how they end: {codes:?}"));
    trace::start()?;
    let mut crowd = Crowd::new()?;
    for _ in 0..12 {
        crowd.add(&guest.argv("modprobe", &["lab_slow", "ms=100", "err=17"]))?;
    }
    for _ in 0..4 {
        crowd.add(&["/lab/client", "probe", "lab_slow", "ms=100 err=17"])?;
    }
    let ends = crowd.run(LIMIT)?;
    let calls = trace::stop()?;
    guest.row(16, ends.wall, ends.cpu_ms, &calls);
    let most = calls.iter().map(|call| calls.iter().filter(|other| other.pid == call.pid).count()).max();
    guest.check(most == Some(1), format!("sixteen at once: {most:?} calls of one process at most"));
    guest.check(overlaps(&calls).is_empty(), format!("one at a time: {:?}", overlaps(&calls)));
    Ok(())
}

/// The kernel's own errors, for which the C library has no name: never a success.
pub fn errno_without_a_name(guest: &mut Guest) -> Result<()> {
    let file = file_of(guest, "lab_slow")?;
    // ERESTARTSYS, EPROBE_DEFER, ENOTSUPP
    for errno in [512, 517, 524] {
        let option = format!("err={errno}");
        let words = format!("Unknown error {errno}");
        for (applet, what) in [("modprobe", "lab_slow"), ("insmod", file.as_str())] {
            let end = guest.call(applet, &[what, &option], LIMIT)?;
            let told = end.code == 1 && end.said.contains(&words);
            guest.check(told, format!("{applet}, {errno}: {} {}", end.code, end.said));
        }
        for (how, what) in [("probe", "lab_slow"), ("path", file.as_str())] {
            let end = client(&[how, what, &option])?;
            guest.check(
                end.code == 1 && end.said == format!("{what}: -{errno}\n"),
                format!("library, {errno}: {} {}", end.code, end.said),
            );
        }
    }
    // Who shares the failure is told the same. It takes long enough that everybody comes in time.
    let mut crowd = Crowd::new()?;
    for _ in 0..4 {
        crowd.add(&guest.argv("modprobe", &["lab_slow", "ms=4000", "err=517"]))?;
        crowd.add(&["/lab/client", "probe", "lab_slow", "ms=4000 err=517"])?;
    }
    trace::start()?;
    let ends = crowd.run(LIMIT)?;
    let calls = trace::stop()?;
    let words = ["Unknown error 517", "lab_slow: -517"];
    let told = ends.members.iter().all(|end| words.iter().any(|word| end.said.contains(word)));
    guest.check(ends.all(1) && told, format!("eight at once: {}", ends.summary()));
    guest.check(calls.len() == 1, format!("eight at once: {} calls", calls.len()));
    guest.check(!live("lab_slow"), "it is not there");
    Ok(())
}

/// A request that is still loading what a module needs, while somebody else tries the module and lacks that.
pub fn dependency_on_its_way(guest: &mut Guest) -> Result<()> {
    let file = file_of(guest, "lab_needs_slow")?;
    fs::write("/tmp/none.conf", "")?;
    fs::create_dir_all("/run/modprobe.d")?;
    // The command waits until it is told to go on. (Redirecting is dash's own: there are no other programs here.)
    let modprobe = guest.path("modprobe");
    fs::write(
        "/run/modprobe.d/lab.conf",
        format!(
            "install lab_slow : > /tmp/asked; read x < /tmp/go; exec {modprobe} -i -C /tmp/none.conf lab_slow\n"
        ),
    )?;
    mkfifo("/tmp/go", Mode::from_bits_truncate(0o600))?;
    let by_tool = guest.argv("modprobe", &["lab_needs_slow"]);
    let by_library = ["/lab/client", "probe", "lab_needs_slow"].map(str::to_owned).to_vec();
    for argv in [by_tool, by_library] {
        let mut crowd = Crowd::new()?;
        crowd.add(&argv)?;
        let running = crowd.release()?;
        until("it loads what the module needs", LIMIT, || Path::new("/tmp/asked").exists())?;
        let other = guest.call("insmod", &[&file], LIMIT)?;
        guest.check(
            other.code == 1 && other.said.contains("Unknown symbol"),
            format!("the other lacks a symbol: {} {}", other.code, other.said),
        );
        fs::File::options().write(true).open("/tmp/go")?.write_all(b"\n")?;
        let ends = running.wait(LIMIT)?;
        guest.check(ends.all(0) && live("lab_needs_slow"), format!("{}: loads: {}", argv[0], ends.summary()));
        for name in ["lab_needs_slow", "lab_slow"] {
            guest.call("rmmod", &[name], LIMIT)?;
        }
        fs::remove_file("/tmp/asked")?;
    }
    fs::remove_file("/run/modprobe.d/lab.conf")?;
    among_a_dozen(guest)
}

/// The same with twelve dependencies, again and again while they come.
fn among_a_dozen(guest: &mut Guest) -> Result<()> {
    let file = file_of(guest, "lab_needs_naps")?;
    let naps = super::jobs::naps();
    let options: String = naps.iter().map(|name| format!("options {name} ms=60\n")).collect();
    fs::write("/run/modprobe.d/lab.conf", options)?;
    let mut crowd = Crowd::new()?;
    crowd.add(&guest.argv("modprobe", &["lab_needs_naps"]))?;
    let mut running = crowd.release()?;
    let mut failed = 0;
    while !running.poll()? {
        failed += usize::from(guest.call("insmod", &[&file], LIMIT)?.code == 1);
    }
    let ends = running.wait(LIMIT)?;
    guest.check(failed > 1, format!("{failed} others failed meanwhile"));
    guest.check(ends.all(0) && live("lab_needs_naps"), format!("it loads: {}", ends.summary()));
    Ok(())
}

/// A record that another boot left is not believed, and no torn one. (`kmod.failure_ttl` lets a failure answer for long.)
pub fn another_boot(guest: &mut Guest) -> Result<()> {
    fs::create_dir_all("/run/modprobe.d")?;
    fs::write("/run/modprobe.d/lab.conf", "options lab_slow err=19\n")?;
    let boot_id = "/proc/sys/kernel/random/boot_id";
    fs::write("/tmp/boot_id", "11111111-2222-4333-8444-555555555555\n")?;
    asks(guest, "for the first time", 1)?;
    asks(guest, "again", 0)?;
    mount(Some("/tmp/boot_id"), boot_id, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| boot_id.to_owned())?;
    asks(guest, "in another boot", 1)?;
    asks(guest, "again in that boot", 0)?;
    umount(boot_id)?;
    asks(guest, "back in the first", 1)?;
    asks(guest, "again in the first", 0)?;
    let record = "/run/kmod/gate/lab_slow";
    fs::File::options().write(true).open(record)?.set_len(20)?;
    asks(guest, "with a short record", 1)?;
    asks(guest, "with a whole one", 0)
}

/// One request for what failed before, which makes so many calls.
fn asks(guest: &mut Guest, when: &str, wanted: usize) -> Result<()> {
    trace::start()?;
    let end = guest.call("modprobe", &["-q", "lab_slow"], LIMIT)?;
    let calls = trace::stop()?;
    guest.check(
        end.code == 1 && calls.len() == wanted,
        format!("{when}: exit {}, {} calls, {wanted} wanted", end.code, calls.len()),
    );
    Ok(())
}

/// As many CPUs as a large machine has, each asking by its modalias for a driver whose init refuses.
pub fn cpu_alias(guest: &mut Guest) -> Result<()> {
    const ALIAS: &str = "cpu:type:x86,ven00FFfam00FFmod00FF:feature:,F00D";
    const HALF: usize = 128;
    quick_removals()?;
    let leads = guest.call("modprobe", &["-R", ALIAS], LIMIT)?;
    guest.check(leads.said == "lab_cpu\n", format!("what the alias leads to: {}", leads.said));
    for (what, wanted) in [(ALIAS, 1), ("lab_cpu", 2 * HALF)] {
        let begin = Instant::now();
        trace::start()?;
        let mut codes = BTreeMap::new();
        for _ in 0..HALF {
            let output = Command::new(guest.path("modprobe")).args(["-b", what]).output()?;
            *codes.entry(output.status.code()).or_insert(0) += 1;
        }
        let library = client(&["times", &HALF.to_string(), what])?;
        let took = begin.elapsed();
        let calls = trace::stop()?;
        let number = loads(&calls).count();
        guest.note(format!("{what}: {number} calls for {} requests in {took:?}", 2 * HALF));
        guest.check(codes == [(Some(1), HALF)].into(), format!("{what}: how modprobe ends: {codes:?}"));
        guest.check(library.said == format!("{HALF} x -19\n"), format!("{what}: library: {}", library.said));
        // A refusal answers for 30 s.
        let more = if wanted == 1 { took.as_secs() as usize / 30 } else { 0 };
        guest.check((wanted..=wanted + more).contains(&number), format!("{what}: {number} calls"));
    }
    Ok(())
}

fn file_of(guest: &Guest, name: &str) -> Result<String> {
    Ok(guest.call("modinfo", &["-n", name], LIMIT)?.said.trim().to_owned())
}
