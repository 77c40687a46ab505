//! What modinfo prints of module files. Several threads read compressed files, since decompressing takes a hundred times as
//! long as printing. The output and its order do not depend on the threads.

use crate::error::{Error, Result};
use crate::formats::elf::Elf;
use crate::formats::modinfo::{build_id, hex};
use crate::formats::reading::{self, Depth, Reading};
use crate::formats::{modinfo, signature};
use crate::limits;
use crate::tree::image;
use std::borrow::Cow;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

/// The keys of a signature, in the order in which they are printed.
const SIGNATURE: [&[u8]; 5] = [b"sig_id", b"signer", b"sig_key", b"sig_hashalgo", b"signature"];
/// How many modules the threads may have ready; more only if the next one to print takes long to read.
const AHEAD: usize = 64;

/// What is printed of a module file.
#[derive(Default)]
pub(crate) struct Content {
    /// The content of `.modinfo`.
    modinfo: Vec<u8>,
    /// The parts of the signature with their keys; empty if there is none or it was not asked for.
    pub signature: Vec<(&'static [u8], Vec<u8>)>,
    /// The build id; `None` if there is none or it was not asked for.
    pub build_id: Option<Vec<u8>>,
}

impl Content {
    /// The strings of `.modinfo`.
    pub(crate) fn entries(&self) -> Vec<modinfo::Entry<'_>> {
        modinfo::entries(&self.modinfo).collect()
    }
}

/// Why there is no content.
pub(crate) enum Failure {
    /// The file could not be read or decompressed.
    File(Error),
    /// It is no module, or it has no `.modinfo`.
    Module(Error),
}

/// What to read of each module: everything, or only the values of this key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a>(pub Option<&'a [u8]>);

impl Wanted<'_> {
    fn signature(self) -> bool {
        self.0.is_none_or(|field| SIGNATURE.contains(&field))
    }

    fn build_id(self) -> bool {
        self.0.is_none_or(|field| field == b"build-id")
    }

    fn depth(self) -> Depth {
        match (self.build_id(), self.signature()) {
            (true, _) => Depth::Whole,
            (false, true) => Depth::Signature,
            (false, false) => Depth::Symbols,
        }
    }

    /// Reads a file. `buffer` is reused for the decompressed image.
    fn read(self, path: &Path, buffer: &mut Vec<u8>) -> Result<Content, Failure> {
        let contents = image::contents(path).map_err(Failure::File)?;
        let reading = reading::read(&contents, limits::INFLATED, self.depth(), buffer);
        let image = match reading.map_err(|error| Failure::File(error.at(path)))? {
            Reading::Early(module) => {
                return Ok(Content { modinfo: module.modinfo.to_vec(), ..Content::default() });
            }
            Reading::Whole(image) => image,
        };
        let elf = Elf::parse(image).map_err(Failure::Module)?;
        let modinfo = modinfo::section(&elf).map_err(Failure::Module)?.to_vec();
        let signature = if self.signature() { signature_entries(image) } else { Vec::new() };
        let build_id = if self.build_id() { build_id(&elf).map(hex) } else { None };
        Ok(Content { modinfo, signature, build_id })
    }
}

/// The signature at the end of the image, as keys and values.
fn signature_entries(image: &[u8]) -> Vec<(&'static [u8], Vec<u8>)> {
    let Some(found) = signature::parse(image) else { return Vec::new() };
    let values = [
        found.id.to_vec(),
        found.signer.to_vec(),
        hex(&found.key),
        Cow::into_owned(found.hash).into_bytes(),
        hex(found.signature),
    ];
    SIGNATURE.into_iter().zip(values).collect()
}

/// The contents of several files, one after the other.
pub(crate) struct ReadAhead<'a> {
    wanted: Wanted<'a>,
    paths: &'a [PathBuf],
    next: usize,
    /// What the threads have read, in the order in which they finish. Disconnected at once if there is no thread.
    done: Receiver<(usize, Result<Content, Failure>)>,
    early: HashMap<usize, Result<Content, Failure>>,
    buffer: Vec<u8>,
}

impl ReadAhead<'_> {
    /// The contents of the next file. Must not be called more often than there are files.
    pub(crate) fn next(&mut self) -> Result<Content, Failure> {
        let index = self.next;
        self.next += 1;
        loop {
            if let Some(content) = self.early.remove(&index) {
                return content;
            }
            match self.done.recv() {
                Ok((index, content)) => self.early.insert(index, content),
                Err(_) => return self.wanted.read(&self.paths[index], &mut self.buffer),
            };
        }
    }
}

/// Calls `show` with the contents of the files at `paths`. Up to `cores` threads read ahead of it.
pub(crate) fn read<T>(
    wanted: Wanted<'_>,
    paths: &[PathBuf],
    cores: impl FnOnce() -> usize,
    show: impl FnOnce(&mut ReadAhead<'_>) -> T,
) -> T {
    let compressed = |path: &&PathBuf| !path.as_os_str().as_bytes().ends_with(b".ko");
    // One thread reads uncompressed files faster. Two compressed ones are worth a second thread.
    let threads = match paths.iter().filter(compressed).count() {
        0 | 1 => 0,
        count => count.min(cores()),
    };
    let (sender, done) = sync_channel(AHEAD);
    let claimed = AtomicUsize::new(0);
    let worker = |sender: std::sync::mpsc::SyncSender<_>| {
        let mut buffer = Vec::new();
        loop {
            let index = claimed.fetch_add(1, Ordering::Relaxed);
            let Some(path) = paths.get(index) else { return };
            if sender.send((index, wanted.read(path, &mut buffer))).is_err() {
                return;
            }
        }
    };
    let worker = &worker;
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
        show(&mut ReadAhead { wanted, paths, next: 0, done, early, buffer: Vec::new() })
    })
}
