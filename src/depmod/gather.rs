//! Reading module files, on as many cores as pay. Decoding xz is nearly all of depmod's work on a distribution's tree and
//! each file is its own, so it is spread; plain files are read faster by one thread than by two that share the page
//! tables.

use super::Progress;
use super::facts::{Facts, Reader, Trouble};
use super::scan::{Module, Stamp};
use crate::error::Error;
use crate::limits;
use crate::system::map;
use crate::system::roots::as_path;
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What a decoder needs for a byte of its input, in nanoseconds, by the end of the file's name; roughly, on a machine of
/// the 2020s. Only the decision how many threads to use rests on it.
const COSTS: [(&[u8], u64); 3] = [(b".xz", 45), (b".gz", 12), (b".zst", 5)];

/// As much work as makes another thread worth its start.
const SHARE: Duration = Duration::from_millis(5);

/// A module file that was read.
pub struct Read {
    /// Which, as an index into the modules.
    pub module: usize,
    /// What it said.
    pub facts: Facts,
    /// The file that was read; `None` where it was not there, or changed meanwhile.
    pub stamp: Option<Stamp>,
}

/// Reads the modules whose numbers are in `which`, in no particular order. `with_crcs`: the CRCs of exports are wanted.
pub fn read(
    modules: &[Module],
    which: &[usize],
    with_crcs: bool,
    cores: usize,
    progress: &dyn Progress,
) -> Vec<Read> {
    let mut queue = which.to_vec();
    // The longest first, so that no thread begins a long one while the others are done.
    queue.sort_by_key(|&index| std::cmp::Reverse(work(&modules[index])));
    let total: u64 = which.iter().map(|&index| work(&modules[index]).0).sum();
    let threads =
        usize::try_from(total / SHARE.as_nanos() as u64).unwrap_or(usize::MAX).clamp(1, cores.max(1));

    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let worker = || {
        let mut found = Vec::new();
        let mut reader = Reader::new(with_crcs);
        while let Some(&index) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (facts, stamp) = file(&mut reader, &modules[index].path);
            found.push(Read { module: index, facts, stamp });
            progress.step(done.fetch_add(1, Ordering::Relaxed) + 1, queue.len());
        }
        found
    };
    if threads == 1 {
        return worker();
    }
    std::thread::scope(|scope| {
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, worker).ok();
        // Where a thread cannot be had, those that can do its work.
        let helpers: Vec<_> = (1..threads).filter_map(spawn).collect();
        let mut found = worker();
        for helper in helpers {
            match helper.join() {
                Ok(more) => found.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        found
    })
}

/// The nanoseconds that decoding will take, and the size of the file.
fn work(module: &Module) -> (u64, u64) {
    let cost = COSTS.iter().find(|(end, _)| module.path.ends_with(end)).map_or(0, |&(_, cost)| cost);
    (module.stamp.size.saturating_mul(cost), module.stamp.size)
}

fn file(reader: &mut Reader, path: &[u8]) -> (Facts, Option<Stamp>) {
    let path = as_path(path);
    let attempt = |reader: &mut Reader| -> Result<(Facts, Option<Stamp>), Error> {
        let file = File::open(path)?;
        let before = Stamp::of(&file.metadata()?);
        let facts = reader.read(&map::contents(&file, path, limits::INFLATED)?);
        let after = Stamp::of(&file.metadata()?);
        Ok((facts, (before == after).then_some(after)))
    };
    attempt(reader)
        .unwrap_or_else(|error| (Facts::failed(Trouble { decoder: None, errno: error.errno() }), None))
}
