//! The three system calls that load and remove modules, behind a trait.
//!
//! They are made through syscall(2): nix has no value for some errnos that a module's init returns (`crate::errno`).

use crate::error::Errno;
use nix::libc;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `MODULE_INIT_IGNORE_MODVERSIONS` of finit_module(2).
pub(crate) const IGNORE_MODVERSIONS: u32 = 1;
/// `MODULE_INIT_IGNORE_VERMAGIC` of finit_module(2).
pub(crate) const IGNORE_VERMAGIC: u32 = 2;
/// `MODULE_INIT_COMPRESSED_FILE` of finit_module(2), Linux 5.17 and later.
pub(crate) const COMPRESSED_FILE: u32 = 4;

/// Loads and removes modules. Implementations must not retry.
pub trait Kernel: Sync {
    /// finit_module(2): load the module in an open file. `flags` are the constants above.
    fn finit_module(&self, file: BorrowedFd<'_>, parameters: &CStr, flags: u32) -> Result<(), Errno>;
    /// init_module(2): load the module image in memory.
    fn init_module(&self, image: &[u8], parameters: &CStr) -> Result<(), Errno>;
    /// delete_module(2), always with `O_NONBLOCK`; with `O_TRUNC` where `force` is set.
    fn delete_module(&self, name: &CStr, force: bool) -> Result<(), Errno>;
}

/// The running Linux kernel.
pub struct Linux;

impl Kernel for Linux {
    fn finit_module(&self, file: BorrowedFd<'_>, parameters: &CStr, flags: u32) -> Result<(), Errno> {
        // SAFETY: the descriptor is open and the string is valid during the call, which only reads it.
        let result =
            unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), parameters.as_ptr(), flags) };
        Errno::result(result).map(drop)
    }

    fn init_module(&self, image: &[u8], parameters: &CStr) -> Result<(), Errno> {
        let (start, length) = (image.as_ptr(), image.len() as libc::c_ulong);
        // SAFETY: image and string are valid during the call, which only reads them.
        let result = unsafe { libc::syscall(libc::SYS_init_module, start, length, parameters.as_ptr()) };
        Errno::result(result).map(drop)
    }

    fn delete_module(&self, name: &CStr, force: bool) -> Result<(), Errno> {
        let flags = libc::O_NONBLOCK | if force { libc::O_TRUNC } else { 0 };
        // SAFETY: the string is valid during the call, which only reads it.
        let result = unsafe { libc::syscall(libc::SYS_delete_module, name.as_ptr(), flags) };
        Errno::result(result).map(drop)
    }
}

/// The running kernel's release, as `uname -r` prints it.
pub(crate) fn release() -> Result<Vec<u8>, Errno> {
    use std::os::unix::ffi::OsStrExt;
    Ok(nix::sys::utsname::uname()?.release().as_bytes().to_vec())
}
