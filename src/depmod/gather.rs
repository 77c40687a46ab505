//! Reads module files by several threads. On a distribution's tree decompressing xz is nearly all of depmod's work, and
//! each file is independent. One thread reads uncompressed files faster than two that share the page tables.

use super::Progress;
use super::digest::Digest;
use super::facts::{Facts, Reader, Trouble, Wanted};
use super::interner::InternedFacts;
use super::scan::Module;
use crate::error::Error;
use crate::limits;
use crate::system::module_file::ModuleFile;
use crate::system::roots::as_path;
use std::collections::HashMap;
use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The rough decoding time of each input byte in nanoseconds, by file extension, on a machine of the 2020s. Only the number
/// of threads depends on it.
const COSTS: [(&[u8], u64); 3] = [(b".xz", 45), (b".gz", 12), (b".zst", 5)];

/// The work that is worth starting another thread for.
const SHARE: Duration = Duration::from_millis(5);

/// A module file that was read.
pub(crate) struct ReadModule {
    /// Its index in the list of modules.
    pub module: usize,
    /// What was read; `None` if its content is in the cache.
    pub facts: Option<Facts>,
    /// The digest of its content; `None` for a file that is not cached.
    pub digest: Option<Digest>,
}

/// The cached facts, by digest of the content.
pub(crate) type CachedFacts<'m, 'c> = &'m HashMap<Digest, InternedFacts<'c>>;

/// Reads the modules, in no particular order. Without `memory` no cache is used.
pub(crate) fn read(
    modules: &[Module],
    wanted: Wanted,
    memory: Option<CachedFacts<'_, '_>>,
    cores: usize,
    progress: &dyn Progress,
) -> Vec<ReadModule> {
    let mut queue: Vec<usize> = (0..modules.len()).collect();
    // The longest first, so that no thread starts a long one at the end.
    queue.sort_by_key(|&index| std::cmp::Reverse(work(&modules[index])));
    let total: u64 = modules.iter().map(|module| work(module).0).sum();
    let threads =
        usize::try_from(total / SHARE.as_nanos() as u64).unwrap_or(usize::MAX).clamp(1, cores.max(1));

    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let worker = || {
        let mut found = Vec::new();
        let mut worker = Worker { wanted, memory, reader: Reader::new(wanted), content: Vec::new() };
        while let Some(&index) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (facts, digest) = worker.file(&modules[index].path);
            found.push(ReadModule { module: index, facts, digest });
            progress.step(done.fetch_add(1, Ordering::Relaxed) + 1, queue.len());
        }
        found
    };
    if threads == 1 {
        return worker();
    }
    std::thread::scope(|scope| {
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, worker).ok();
        // If a thread cannot be started, the others do its work.
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

/// The nanoseconds that decoding takes, and the size of the file.
fn work(module: &Module) -> (u64, u64) {
    (module.size.saturating_mul(cost(&module.path)), module.size)
}

fn cost(path: &[u8]) -> u64 {
    COSTS.iter().find(|(end, _)| path.ends_with(end)).map_or(0, |&(_, cost)| cost)
}

/// What a thread reuses for each module.
struct Worker<'m, 'c> {
    wanted: Wanted,
    memory: Option<CachedFacts<'m, 'c>>,
    reader: Reader,
    content: Vec<u8>,
}

impl Worker<'_, '_> {
    fn file(&mut self, path: &[u8]) -> (Option<Facts>, Option<Digest>) {
        self.try_file(path).unwrap_or_else(|error| {
            (Some(Facts::failed(Trouble { decoder: None, errno: error.errno() })), None)
        })
    }

    fn try_file(&mut self, path: &[u8]) -> Result<(Option<Facts>, Option<Digest>), Error> {
        let module = ModuleFile::open(as_path(path))?;
        let size = module.meta.len();
        if cost(path) == 0 || module.is_stream() || size == 0 || size > limits::INFLATED {
            return Ok((Some(self.reader.read(&module.contents(as_path(path), limits::INFLATED)?)), None));
        }
        // Read, not mapped: the parsed bytes must be those of the digest even if the file changes.
        self.content.clear();
        self.content.reserve(usize::try_from(size).unwrap_or(0) + 1);
        (&module.file).take(limits::INFLATED).read_to_end(&mut self.content)?;
        let digest = self.memory.map(|_| Digest::of(&self.content));
        let known = self.memory.zip(digest).and_then(|(memory, digest)| memory.get(&digest));
        let enough = known.is_some_and(|known| !(self.wanted != Wanted::Names && known.without_crcs));
        Ok((if enough { None } else { Some(self.reader.read(&self.content)) }, digest))
    }
}
