//! Reads module files by several threads. On a distribution's tree decompressing xz is nearly all of depmod's work, and
//! each file is independent. One thread reads uncompressed files faster than two that share the page tables.

use super::Progress;
use super::digest::Digest;
use super::facts::{Facts, Reader, Wanted};
use super::interner::InternedFacts;
use super::scan::Module;
use crate::error::Result;
use crate::limits;
use crate::system::module_file::ModuleFile;
use crate::system::roots::as_path;
use std::collections::HashMap;
use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The rough decoding time of each input byte in nanoseconds, by file extension, on a machine of the 2020s. Only the number
/// of threads depends on it.
const COSTS: [(&[u8], u64); 3] = [(b".xz", 45), (b".gz", 12), (b".zst", 5)];

/// The work that is worth starting another thread for, in nanoseconds.
const SHARE: u64 = 5_000_000;

/// A module file that was read.
pub(crate) struct ReadModule {
    /// What was read; `None` if its content is in the cache.
    pub facts: Option<Facts>,
    /// The digest of its content; `None` for a file that is not cached.
    pub digest: Option<Digest>,
}

/// Reads the modules; the result has an element for each, in the same order. `memory`: the cached facts, by the digest of the
/// content; `None` to use no cache.
pub(crate) fn read(
    modules: &[Module],
    wanted: Wanted,
    memory: Option<&HashMap<Digest, InternedFacts<'_>>>,
    cores: usize,
    progress: &dyn Progress,
) -> Vec<ReadModule> {
    let work = |module: &Module| module.size.saturating_mul(cost(&module.path));
    let mut queue: Vec<usize> = (0..modules.len()).collect();
    // The longest first, so that no thread starts a long one at the end.
    queue.sort_by_key(|&index| std::cmp::Reverse((work(&modules[index]), modules[index].size)));
    let threads = (modules.iter().map(work).sum::<u64>() / SHARE).clamp(1, cores.max(1) as u64);

    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let worker = || {
        let (mut found, mut reader, mut content) = (Vec::new(), Reader::new(wanted), Vec::new());
        while let Some(&index) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
            let read = read_file(&modules[index].path, memory, &mut reader, &mut content);
            let failed = |error| ReadModule { facts: Some(Facts::failed(&error, None)), digest: None };
            found.push((index, read.unwrap_or_else(failed)));
            progress.step(done.fetch_add(1, Ordering::Relaxed) + 1, queue.len());
        }
        found
    };
    let mut found = std::thread::scope(|scope| {
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, worker).ok();
        // If a thread cannot be started, the others do its work.
        let helpers: Vec<_> = (1..threads).filter_map(spawn).collect();
        let mut found = worker();
        for helper in helpers {
            found.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        found
    });
    found.sort_unstable_by_key(|&(index, _)| index);
    found.into_iter().map(|(_, read)| read).collect()
}

/// The decoding time of each byte of the file, in nanoseconds; 0 for an uncompressed file.
fn cost(path: &[u8]) -> u64 {
    COSTS.iter().find(|(end, _)| path.ends_with(end)).map_or(0, |&(_, cost)| cost)
}

/// Reads the file at `path`. `content` is a buffer that is reused for each file.
fn read_file(
    path: &[u8],
    memory: Option<&HashMap<Digest, InternedFacts<'_>>>,
    reader: &mut Reader,
    content: &mut Vec<u8>,
) -> Result<ReadModule> {
    let module = ModuleFile::open(as_path(path))?;
    let size = module.meta.len();
    if cost(path) == 0 || module.is_stream() || size == 0 || size > limits::INFLATED {
        let facts = reader.read(&module.contents(as_path(path), limits::INFLATED)?);
        return Ok(ReadModule { facts: Some(facts), digest: None });
    }
    // Read, not mapped: the parsed bytes must be those of the digest even if the file changes.
    content.clear();
    content.reserve(usize::try_from(size).unwrap_or(0) + 1);
    (&module.file).take(limits::INFLATED).read_to_end(content)?;
    let digest = memory.map(|_| Digest::of(content));
    let known = memory.zip(digest).and_then(|(memory, digest)| memory.get(&digest));
    let is_enough = known.is_some_and(|known| reader.wanted == Wanted::Names || !known.without_crcs);
    Ok(ReadModule { facts: (!is_enough).then(|| reader.read(content)), digest })
}
