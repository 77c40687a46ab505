//! The contents of files, mapped into memory if that is safe.
//!
//! After a mapped file is truncated, the next access raises SIGBUS, which would kill the process. The tools call
//! [`install_sigbus_handler`] once. Its handler maps a page of zeros in place of the missing page, so that the parser sees bad
//! data. The C library must not change its host's signals, so it reads files instead.

use super::descriptors::park;
use super::file::{self, read_to_end, too_large};
use crate::error::{Errno, Error, Result};
use memmap2::{Mmap, MmapOptions};
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{SysconfVar, sysconf};
use std::fs::{File, Metadata};
use std::io::Seek;
use std::ops::Deref;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub enum Contents {
    /// A private read-only map.
    Mapped(Mmap),
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

/// The contents of the open file `file`, at most `limit` bytes. `path` is for messages. For modules: [`super::module_file`].
///
/// # Errors
/// `EISDIR` for a directory, `EFBIG` above the limit, else the errno of fstat or read; with the path.
pub(crate) fn contents(file: &File, path: &Path, limit: u64) -> Result<Contents> {
    let meta = file.metadata().map_err(|e| Error::from(e).at(path))?;
    contents_of(file, &meta, path, limit)
}

fn contents_of(file: &File, meta: &Metadata, path: &Path, limit: u64) -> Result<Contents> {
    if meta.is_dir() {
        return Err(Error::os(Errno::EISDIR).at(path));
    }
    if meta.len() > limit {
        return Err(too_large(limit).at(path));
    }
    let length = usize::try_from(meta.len()).unwrap_or(0);
    if meta.is_file() && length > 0 && HANDLER_INSTALLED.load(Ordering::Relaxed) {
        // SAFETY: the map is private and read-only. If the file changes, so may the bytes; the parsers check every value
        // where they use it. If the file shrinks, the SIGBUS handler, which HANDLER_INSTALLED says is installed, maps zeros.
        if let Ok(map) = unsafe { MmapOptions::new().len(length).map_copy_read_only(file) } {
            let start = map.as_ptr() as usize;
            LOWEST.fetch_min(start, Ordering::Relaxed);
            HIGHEST.fetch_max(start + map.len(), Ordering::Relaxed);
            return Ok(Contents::Mapped(map));
        }
    }
    if meta.is_file() {
        // Standard input may have been read before. If the file cannot seek, the read starts at its present offset.
        let _ = Seek::rewind(&mut &*file);
    }
    read_to_end(file, path, limit, length).map(Contents::Read)
}

/// Opens and maps (or reads) the file at `path`. Never waits.
///
/// # Errors
/// As [`contents`], the errno of open, and `EINVAL` for a FIFO.
pub fn open(path: &Path, limit: u64) -> Result<Contents> {
    let file = file::open(path)?;
    let meta = file.metadata().map_err(|e| Error::from(e).at(path))?;
    if meta.file_type().is_fifo() {
        return Err(Error::new(Errno::EINVAL, "not a regular file").at(path));
    }
    let contents = contents_of(&file, &meta, path, limit);
    park(file);
    contents
}

/// The same for a file that the user named, which may be a pipe: waits for its data.
///
/// # Errors
/// As [`contents`], and the errno of open.
pub(crate) fn open_operand(path: &Path, limit: u64) -> Result<Contents> {
    let file = file::open_operand(path).map_err(|errno| Error::os(errno).at(path))?;
    contents(&File::from(file), path, limit)
}

/// Whether the SIGBUS handler is installed.
static HANDLER_INSTALLED: AtomicBool = AtomicBool::new(false);
/// The address range of all maps so far. The handler ignores faults outside.
static LOWEST: AtomicUsize = AtomicUsize::new(usize::MAX);
static HIGHEST: AtomicUsize = AtomicUsize::new(0);
/// The size of a page, up to 64 KiB; set before the handler is installed.
static PAGE_SIZE: AtomicUsize = AtomicUsize::new(4096);

/// Installs the SIGBUS handler, which maps a page of zeros where a mapped file was truncated. For the tools only.
pub fn install_sigbus_handler() {
    extern "C" fn on_bus_error(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        let page_size = PAGE_SIZE.load(Ordering::Relaxed);
        // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler, and for SIGBUS si_addr is set.
        let address = unsafe { (*info).si_addr() } as usize;
        let ours = address >= LOWEST.load(Ordering::Relaxed) && address < HIGHEST.load(Ordering::Relaxed);
        // SAFETY: a signal handler may make system calls. The page that is replaced belongs to a map of this module: the
        // address is in the range of its maps, and other maps within that range do not raise SIGBUS.
        let mended = ours
            && unsafe {
                let page = (address & !(page_size - 1)) as *mut libc::c_void;
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
                libc::mmap(page, page_size, libc::PROT_READ, flags, -1, 0) != libc::MAP_FAILED
            };
        if !mended {
            // SAFETY: sets the default action. The instruction runs again, and the signal then kills the process.
            unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
        }
    }
    if let Some(size) = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| size.try_into().ok()) {
        PAGE_SIZE.store(size, Ordering::Relaxed);
    }
    let action = SigAction::new(SigHandler::SigAction(on_bus_error), SaFlags::SA_SIGINFO, SigSet::empty());
    // SAFETY: the handler makes only async-signal-safe calls and touches only atomics.
    if unsafe { sigaction(Signal::SIGBUS, &action) }.is_ok() {
        HANDLER_INSTALLED.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;

    #[test]
    fn a_fifo_is_waited_for_only_if_the_user_named_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("modules.dep");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        // Without a writer each of these would wait for ever.
        let Err(error) = open(&path, 100) else { panic!("a FIFO was read") };
        assert_eq!((error.errno(), error.what()), (Errno::EINVAL, "not a regular file"));
        assert_eq!(file::read_whole(&path, 100).unwrap(), b"");
        assert_eq!(file::read_attribute(&path, &mut [0; 8]).unwrap(), b"");
        for end in [file::Eof::Short, file::Eof::Empty] {
            let mut buffer = Vec::new();
            file::read_into(&path, &mut buffer, 100, end).unwrap();
            assert_eq!(buffer, b"");
        }
        let to = path.clone();
        let writer = std::thread::spawn(move || std::fs::write(to, "symbols").unwrap());
        assert_eq!(&*open_operand(&path, 100).unwrap(), b"symbols");
        writer.join().unwrap();
    }
}
