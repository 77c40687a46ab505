//! The contents of files, mapped into memory where that is safe.
//!
//! A mapped file that somebody truncates answers the next access with SIGBUS, which would kill the process. The
//! tools install [`survive_truncation`] once: its handler puts a page of zeros where the file's page was, and the
//! parser then sees bad data instead of a signal. The C library must not touch its host's signals: it reads.

use super::descriptors::{done_with, opening};
use crate::error::{Errno, Error, Result};
use memmap2::{Mmap, MmapOptions};
use nix::libc;
use std::fs::File;
use std::io::{Read, Seek};
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The contents of a file: mapped where that is safe, else read.
pub enum Contents {
    /// A private read-only map.
    Mapped(Mmap),
    /// A copy in memory.
    Read(Vec<u8>),
}

impl Deref for Contents {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Contents::Mapped(map) => map,
            Contents::Read(bytes) => bytes,
        }
    }
}

/// The contents of the open file `file` of at most `limit` bytes. `path` is for messages only. For a module file see
/// [`super::module_file`].
///
/// # Errors
/// `EISDIR` for a directory, `EFBIG` past the limit, else what the system said; with the path.
pub(crate) fn contents(file: &File, path: &Path, limit: u64) -> Result<Contents> {
    let meta = file.metadata().map_err(|e| Error::from(e).at(path))?;
    if meta.is_dir() {
        return Err(Error::os(Errno::EISDIR).at(path));
    }
    if meta.len() > limit {
        return Err(Error::new(Errno::EFBIG, format!("larger than {limit} bytes, refused")).at(path));
    }
    let length = usize::try_from(meta.len()).unwrap_or(0);
    if meta.is_file() && length > 0 && SURVIVES.load(Ordering::Relaxed) {
        // SAFETY: the map is private and read-only. A file that changes under it changes bytes that the parsers check
        // one by one and never trust twice; one that shrinks is caught by the handler, which SURVIVES says is there.
        if let Ok(map) = unsafe { MmapOptions::new().len(length).map_copy_read_only(file) } {
            register(map.as_ptr() as usize, map.len());
            return Ok(Contents::Mapped(map));
        }
    }
    let mut bytes = Vec::with_capacity(length);
    if meta.is_file() {
        // It may have been read before, as standard input. What cannot seek begins where it is.
        let _ = Seek::rewind(&mut &*file);
    }
    Read::take(file, limit + 1).read_to_end(&mut bytes).map_err(|e| Error::from(e).at(path))?;
    if bytes.len() as u64 > limit {
        return Err(Error::new(Errno::EFBIG, format!("larger than {limit} bytes, refused")).at(path));
    }
    Ok(Contents::Read(bytes))
}

/// Opens and maps (or reads) the file at `path`.
///
/// # Errors
/// As [`contents`], and what open said.
pub fn open(path: &Path, limit: u64) -> Result<Contents> {
    let file = opening(|| File::open(path).map_err(|e| Errno::of(&e))).map_err(|e| Error::os(e).at(path))?;
    let contents = contents(&file, path, limit);
    done_with(file);
    contents
}

/// Whether the SIGBUS handler is in place.
static SURVIVES: AtomicBool = AtomicBool::new(false);
/// The lowest and the highest address that a map of ours ever had. The handler leaves faults elsewhere alone.
static LOWEST: AtomicUsize = AtomicUsize::new(usize::MAX);
static HIGHEST: AtomicUsize = AtomicUsize::new(0);
/// The size of a page, 64 KiB on some machines; set before the handler is there that needs it.
static PAGE_SIZE: AtomicUsize = AtomicUsize::new(4096);

fn register(start: usize, length: usize) {
    LOWEST.fetch_min(start, Ordering::Relaxed);
    HIGHEST.fetch_max(start + length, Ordering::Relaxed);
}

/// Installs the handler that turns the access to a page which its file lost into an access to zeros. For the tools
/// only: it owns SIGBUS from then on.
pub fn survive_truncation() {
    extern "C" fn on_bus_error(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        let page_size = PAGE_SIZE.load(Ordering::Relaxed);
        // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler, and for SIGBUS si_addr is set.
        let address = unsafe { (*info).si_addr() } as usize;
        let ours = address >= LOWEST.load(Ordering::Relaxed) && address < HIGHEST.load(Ordering::Relaxed);
        // SAFETY: only system calls, which a handler may make. The page that is replaced belongs to a map of ours (the
        // bounds say so up to pages that other maps of this process hold in between; those do not raise SIGBUS).
        let mended = ours
            && unsafe {
                let page = (address & !(page_size - 1)) as *mut libc::c_void;
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
                libc::mmap(page, page_size, libc::PROT_READ, flags, -1, 0) != libc::MAP_FAILED
            };
        if !mended {
            // SAFETY: back to the default action; the instruction runs again and the signal then ends the process.
            unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
        }
    }
    // SAFETY: the call has no conditions.
    if let Ok(size) = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }) {
        PAGE_SIZE.store(size, Ordering::Relaxed);
    }
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    let action = SigAction::new(SigHandler::SigAction(on_bus_error), SaFlags::SA_SIGINFO, SigSet::empty());
    // SAFETY: the handler makes only async-signal-safe calls and touches only atomics.
    if unsafe { sigaction(Signal::SIGBUS, &action) }.is_ok() {
        SURVIVES.store(true, Ordering::Relaxed);
    }
}
