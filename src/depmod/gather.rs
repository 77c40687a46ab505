//! Reading module files, on as many cores as pay. Decoding xz is nearly all of depmod's work on a distribution's tree and
//! each file is its own, so it is spread; plain files are read faster by one thread than by two that share the page
//! tables.

use super::Progress;
use super::facts::{Facts, Reader, Trouble};
use super::scan::{Module, Stamp};
use crate::error::Error;
use crate::limits;
use crate::system::module_file::ModuleFile;
use crate::system::roots::as_path;
use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What a decoder needs for a byte of its input, in nanoseconds, by the end of the file's name; roughly, on a machine of
/// the 2020s. Only the decision how many threads to use rests on it.
const COSTS: [(&[u8], u64); 3] = [(b".xz", 45), (b".gz", 12), (b".zst", 5)];

/// Up to how many bytes a compressed file is read and not mapped: less work for the system, since a map that goes must be
/// made known to the other threads.
const SMALL: u64 = 1 << 20;

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
        let mut desk = Desk { reader: Reader::new(with_crcs), content: Vec::new() };
        while let Some(&index) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (facts, stamp) = desk.file(&modules[index].path);
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
    (module.stamp.size.saturating_mul(cost(&module.path)), module.stamp.size)
}

fn cost(path: &[u8]) -> u64 {
    COSTS.iter().find(|(end, _)| path.ends_with(end)).map_or(0, |&(_, cost)| cost)
}

/// What a thread uses again for each module.
struct Desk {
    reader: Reader,
    content: Vec<u8>,
}

impl Desk {
    fn file(&mut self, path: &[u8]) -> (Facts, Option<Stamp>) {
        self.try_file(path)
            .unwrap_or_else(|error| (Facts::failed(Trouble { decoder: None, errno: error.errno() }), None))
    }

    fn try_file(&mut self, path: &[u8]) -> Result<(Facts, Option<Stamp>), Error> {
        let module = ModuleFile::open(as_path(path))?;
        let before = Stamp::of(&module.meta);
        let facts = if before.size <= SMALL && cost(path) > 0 && !module.is_stream() {
            self.content.clear();
            self.content.reserve(before.size as usize + 1);
            // One byte more shows that it has grown; then the stamp differs, too.
            (&module.file).take(before.size + 1).read_to_end(&mut self.content)?;
            self.reader.read(&self.content)
        } else {
            self.reader.read(&module.contents(as_path(path), limits::INFLATED)?)
        };
        let after = Stamp::of(&module.file.metadata()?);
        Ok((facts, (before == after).then_some(after)))
    }
}
