//! What modinfo prints of module files. Several threads read compressed files, since decompressing takes a hundred times as
//! long as printing. The output and its order do not depend on the threads.

use crate::error::Result;
use crate::formats::elf::Elf;
use crate::formats::modinfo::{build_id, hex};
use crate::formats::reading::{self, Depth, Reading};
use crate::formats::{modinfo, signature};
use crate::limits;
use crate::tree::image;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// The keys of a signature, in the order in which they are printed.
const SIGNATURE: [&[u8]; 5] = [b"sig_id", b"signer", b"sig_key", b"sig_hashalgo", b"signature"];
/// How many modules the threads may have ready; more only if the next one to print takes long to read.
const AHEAD: usize = 64;

/// What is printed of a module file.
#[derive(Default)]
pub(crate) struct Content {
    /// The content of `.modinfo`.
    pub modinfo: Vec<u8>,
    /// The parts of the signature with their keys; empty if there is none or it was not asked for.
    pub signature: Vec<(&'static [u8], Vec<u8>)>,
    /// The build id; `None` if there is none or it was not asked for.
    pub build_id: Option<Vec<u8>>,
}

impl Content {
    /// Reads everything from a file, or only what has the values of the key `field`. `buffer` is reused for the decompressed
    /// image.
    ///
    /// # Errors
    /// With the path if the file could not be read or decompressed; without it if it is no module, or has no `.modinfo`.
    fn read(field: Option<&[u8]>, path: &Path, buffer: &mut Vec<u8>) -> Result<Self> {
        let with_signature = field.is_none_or(|field| SIGNATURE.contains(&field));
        let with_build_id = field.is_none_or(|field| field == b"build-id");
        let depth = match (with_build_id, with_signature) {
            (true, _) => Depth::Whole,
            (false, true) => Depth::Signature,
            (false, false) => Depth::Symbols,
        };
        let contents = image::contents(path)?;
        let reading = reading::read(&contents, limits::INFLATED, depth, buffer);
        let image = match reading.map_err(|error| error.at(path))? {
            Reading::Early(module) => {
                return Ok(Content { modinfo: module.modinfo.to_vec(), ..Content::default() });
            }
            Reading::Whole(image) => image,
        };
        let elf = Elf::parse(image)?;
        Ok(Content {
            modinfo: modinfo::section(&elf)?.to_vec(),
            signature: if with_signature { signature_entries(image) } else { Vec::new() },
            build_id: if with_build_id { build_id(&elf).map(hex) } else { None },
        })
    }
}

/// The signature at the end of the image, as keys and values.
fn signature_entries(image: &[u8]) -> Vec<(&'static [u8], Vec<u8>)> {
    let Some(found) = signature::parse(image) else { return Vec::new() };
    let hash = found.hash.into_owned().into_bytes();
    let values = [found.id.to_vec(), found.signer.to_vec(), hex(&found.key), hash, hex(found.signature)];
    SIGNATURE.into_iter().zip(values).collect()
}

/// The contents of several files, one after the other.
pub(crate) struct ReadAhead<'a> {
    field: Option<&'a [u8]>,
    paths: &'a [PathBuf],
    next: usize,
    /// What the threads have read, in the order in which they finish. Disconnected at once if there is no thread.
    done: Receiver<(usize, Result<Content>)>,
    early: HashMap<usize, Result<Content>>,
    buffer: Vec<u8>,
}

impl ReadAhead<'_> {
    /// The contents of the next file. Must not be called more often than there are files.
    ///
    /// # Errors
    /// As [`Content::read`].
    pub(crate) fn next(&mut self) -> Result<Content> {
        let wanted = self.next;
        self.next += 1;
        loop {
            if let Some(content) = self.early.remove(&wanted) {
                return content;
            }
            let Ok((index, content)) = self.done.recv() else {
                return Content::read(self.field, &self.paths[wanted], &mut self.buffer);
            };
            self.early.insert(index, content);
        }
    }
}

/// Calls `show` with the contents of the files at `paths`: everything, or only the values of the key `field`. Threads read
/// ahead of it.
pub(crate) fn read<T>(
    field: Option<&[u8]>,
    paths: &[PathBuf],
    show: impl FnOnce(&mut ReadAhead<'_>) -> T,
) -> T {
    // One thread reads uncompressed files faster. Two compressed ones are worth a second thread.
    let compressed = paths.iter().filter(|path| !path.as_os_str().as_bytes().ends_with(b".ko")).count();
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if compressed > 1 { compressed.min(cores()) } else { 1 };
    let (sender, done) = sync_channel(AHEAD);
    let claimed = AtomicUsize::new(0);
    let worker = &|sender: SyncSender<_>| {
        let mut buffer = Vec::new();
        loop {
            let index = claimed.fetch_add(1, Ordering::Relaxed);
            let Some(path) = paths.get(index) else { return };
            if sender.send((index, Content::read(field, path, &mut buffer))).is_err() {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        if threads > 1 {
            for _ in 0..threads {
                let sender = sender.clone();
                // If a thread cannot be started, the others do its work; without any, `ReadAhead::next` reads the files.
                let _ = std::thread::Builder::new().spawn_scoped(scope, move || worker(sender));
            }
        }
        drop(sender);
        let early = HashMap::new();
        show(&mut ReadAhead { field, paths, next: 0, done, early, buffer: Vec::new() })
    })
}
