//! `modprobe --jobs`: a dozen modules whose inits sleep half a second, in a row and eight at a time.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::guest::crowd::{Crowd, End};
use crate::guest::{Guest, live, modules, trace, unload};

/// What the parallel run may take of the serial one's time.
const THIRD: f64 = 1.0 / 3.0;

/// What one modprobe may take before it counts as hung: it takes seven seconds of sleep in a row. Several of these fit into
/// the boot's own limit, so that a hang is reported by the guest, with what it hangs in.
const LIMIT: Duration = Duration::from_secs(150);

/// lab_nap_01 to lab_nap_12.
pub fn naps() -> Vec<String> {
    (1..=12).map(|number| format!("lab_nap_{number:02}")).collect()
}

/// One modprobe: how it ended, what is loaded then, and what was counted, kept as a row if `keep`. Everything is unloaded
/// afterwards.
fn run(guest: &mut Guest, words: &[&str], keep: bool) -> Result<(End, Duration, Vec<String>, trace::Counts)> {
    let before = modules()?;
    let mut crowd = Crowd::new()?;
    crowd.add(&guest.argv("modprobe", words))?;
    trace::start()?;
    let mut ends = crowd.run(LIMIT)?;
    let calls = trace::stop()?;
    let counts = if keep { guest.row(1, ends.wall, ends.cpu_ms, &calls) } else { trace::Counts::of(&calls) };
    let mut loaded = modules()?;
    loaded.retain(|name| !before.contains(name));
    loaded.sort();
    guest.check(loaded.iter().all(|name| live(name)), "whatever is loaded is live");
    unload(&before)?;
    Ok((ends.members.pop().context("nobody ended")?, ends.wall, loaded, counts))
}

/// The same request with one job and with eight. Returns the modules it loaded, if both did the same.
fn both(guest: &mut Guest, what: &str, words: &[&str], keep: bool) -> Result<(Vec<String>, f64)> {
    let (serial, long, in_a_row, counts) = run(guest, words, keep)?;
    let (parallel, short, at_once, counts_at_once) = run(guest, &[&["--jobs", "8"], words].concat(), keep)?;
    let ratio = short.as_secs_f64() / long.as_secs_f64();
    guest.note(format!("{what}: {long:?} in a row, {short:?} with eight jobs, {ratio:.3} of it"));
    guest.check(
        (parallel.code, &parallel.said) == (serial.code, &serial.said),
        format!(
            "{what}: the same exit and messages: {} {:?}, {} {:?}",
            serial.code, serial.said, parallel.code, parallel.said
        ),
    );
    guest.check(in_a_row == at_once, format!("{what}: the same modules: {in_a_row:?}, {at_once:?}"));
    guest.check(
        counts.calls == counts_at_once.calls && counts_at_once.duplicates == 0,
        format!("{what}: {} calls, and {} with eight jobs", counts.calls, counts_at_once.calls),
    );
    Ok((in_a_row, ratio))
}

/// [`both`], again if the ratio is not below `bound`: on a host with ten times the work it can do, a run may be unlucky;
/// five are not. The rows are those of the first, whatever the others were.
fn luckiest(guest: &mut Guest, what: &str, words: &[&str], bound: f64) -> Result<(Vec<String>, f64)> {
    let (loaded, mut ratio) = both(guest, what, words, true)?;
    for _ in 0..4 {
        if ratio >= bound {
            let (again, other) = both(guest, &format!("{what}, once more"), words, false)?;
            guest.check(again == loaded, format!("{what}: the same modules again: {again:?}"));
            ratio = ratio.min(other);
        }
    }
    Ok((loaded, ratio))
}

/// Twelve operands; one module that needs the twelve; one of the twelve failing.
pub fn jobs(guest: &mut Guest) -> Result<()> {
    let naps = naps();
    let names: Vec<&str> = naps.iter().map(String::as_str).collect();

    // Everything once without sleeping. Where the processor is emulated, the first run of any code takes many times as long,
    // and that is not what is compared here.
    let config = "/tmp/awake.conf";
    fs::write(config, naps.iter().map(|name| format!("options {name} ms=0\n")).collect::<String>())?;
    for jobs in ["1", "8"] {
        let before = modules()?;
        let end = guest.call("modprobe", &["-C", config, "--jobs", jobs, "lab_needs_naps"], LIMIT)?;
        guest.check(end.code == 0, format!("all of them with {jobs} jobs: {}", end.said));
        unload(&before)?;
    }

    let words = [&["-v", "-a"], &names[..]].concat();
    let (loaded, ratio) = luckiest(guest, "twelve operands", &words, THIRD)?;
    guest.check(loaded == naps, "all twelve are there");
    // Two rounds of half a second instead of twelve.
    guest.check(ratio < THIRD, format!("twelve operands take under a third of the time: {ratio:.3}"));

    let (loaded, ratio) = luckiest(guest, "one that needs twelve", &["-v", "lab_needs_naps"], 0.5)?;
    guest.check(loaded.len() == 13, format!("it and the twelve are there: {}", loaded.len()));
    // Two rounds and then itself; linking it takes a while where all is emulated.
    guest.check(ratio < 0.5, format!("one that needs twelve takes under half of the time: {ratio:.3}"));

    let config = "/tmp/fails.conf";
    fs::write(config, "options lab_nap_06 err=19\n").context(config)?;
    let mut words = vec!["-C", config, "-a"];
    words.extend(&names[..9]);
    words.push("nosuchmodule");
    words.extend(&names[9..]);
    let (loaded, _) = both(guest, "one that fails", &words, true)?;
    guest.check(loaded.len() == 11, format!("the others are there: {}", loaded.len()));
    guest.check(!loaded.contains(&naps[5]), "the one that failed is not");
    Ok(())
}
