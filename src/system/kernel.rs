//! The three system calls that change which modules are loaded, behind a trait; and the real thing through nix.

use crate::error::Errno;
use nix::kmod::{DeleteModuleFlags, ModuleInitFlags};
use std::ffi::CStr;
use std::os::fd::BorrowedFd;

/// `MODULE_INIT_IGNORE_MODVERSIONS` of finit_module(2).
pub const IGNORE_MODVERSIONS: u32 = 1;
/// `MODULE_INIT_IGNORE_VERMAGIC` of finit_module(2).
pub const IGNORE_VERMAGIC: u32 = 2;
/// `MODULE_INIT_COMPRESSED_FILE` of finit_module(2), Linux 5.17 and later.
pub const COMPRESSED_FILE: u32 = 4;

/// What the tools ask of the kernel. Each call is made at most once for each decision to make it.
pub trait Kernel: Sync {
    /// finit_module(2): load the module in an open file. `flags` are the constants of this module.
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
        nix::kmod::finit_module(file, parameters, ModuleInitFlags::from_bits_retain(flags))
    }

    fn init_module(&self, image: &[u8], parameters: &CStr) -> Result<(), Errno> {
        nix::kmod::init_module(image, parameters)
    }

    fn delete_module(&self, name: &CStr, force: bool) -> Result<(), Errno> {
        let truncate = if force { DeleteModuleFlags::O_TRUNC } else { DeleteModuleFlags::empty() };
        nix::kmod::delete_module(name, DeleteModuleFlags::O_NONBLOCK | truncate)
    }
}

/// The running kernel's release, as `uname -r` prints it.
pub fn release() -> Result<Vec<u8>, Errno> {
    use std::os::unix::ffi::OsStrExt;
    Ok(nix::sys::utsname::uname()?.release().as_bytes().to_vec())
}
