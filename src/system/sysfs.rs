//! The kernel's data about its modules in /sys/module: state, use count, holders, sections. A module can vanish between two
//! reads; that is an `ENOENT` or [`State::Absent`].

use super::file::{names, read_attribute};
use super::roots::{Roots, as_path};
use crate::error::{Errno, Error, Result};
use std::ffi::{c_long, c_ulong};
use std::num::IntErrorKind;
use std::str::FromStr;

/// A module's state as `/sys/module/NAME/initstate` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Loaded and usable.
    Live,
    /// Its init function is running.
    Coming,
    /// It is being removed.
    Going,
    /// `/sys/module/NAME` exists without `initstate`: the module is built in, or is just being added or removed.
    Nascent,
    /// The kernel does not know the name.
    Absent,
}

/// The state of module `name`.
///
/// # Errors
/// `EINVAL` for an unknown content, else the errno of open or read: an unreadable state is not taken for "absent".
pub(crate) fn state(roots: &Roots, name: &[u8]) -> Result<State> {
    let path = roots.sys_module(name, "initstate");
    let mut buffer = [0u8; 16];
    match read_attribute(&path, &mut buffer) {
        Ok(b"live\n") => Ok(State::Live),
        Ok(b"coming\n") => Ok(State::Coming),
        Ok(b"going\n") => Ok(State::Going),
        // The attribute of a module that vanished between open and read.
        Ok(b"") | Err(Errno::ENODEV) => Ok(State::Absent),
        Ok(_) => Err(Error::new(Errno::EINVAL, "unknown module state").at(path)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => {
            let dir = path.parent().unwrap_or(&path);
            Ok(if dir.is_dir() { State::Nascent } else { State::Absent })
        }
        Err(errno) => Err(Error::os(errno).at(path)),
    }
}

/// The use count of module `name`; -1 while the kernel removes it (`module_refcount`, kernel/module/main.c).
///
/// # Errors
/// `ENOENT`: not loaded, built in, or the kernel cannot unload modules. `EINVAL`: not a number.
pub(crate) fn refcount(roots: &Roots, name: &[u8]) -> Result<i64> {
    number(roots, name, "refcnt")
}

/// The size of module `name` in memory, in bytes.
pub(crate) fn core_size(roots: &Roots, name: &[u8]) -> Result<c_long> {
    number(roots, name, "coresize")
}

fn number<N: FromStr>(roots: &Roots, name: &[u8], attribute: &str) -> Result<N> {
    let path = roots.sys_module(name, attribute);
    let mut buffer = [0u8; 32];
    let text = read_attribute(&path, &mut buffer).map_err(|errno| Error::os(errno).at(&path))?;
    let number = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| Error::new(Errno::EINVAL, "not a number").at(path))
}

/// The holders of module `name`, in directory order, as the kernel spells them.
pub(crate) fn holders(roots: &Roots, name: &[u8]) -> Result<Vec<Vec<u8>>> {
    let path = roots.sys_module(name, "holders");
    names(&path).map_err(|errno| Error::os(errno).at(&path))
}

/// Whether `/sys/module` exists. Read once.
pub(crate) fn available(roots: &Roots) -> bool {
    *roots.has_sysfs.get_or_init(|| roots.sys_module_dir().is_dir())
}

/// The sections of module `name` with their addresses, in directory order.
///
/// # Errors
/// The errno of reading the directory or one of its files; `EINVAL` if a content is not an address.
pub(crate) fn sections(roots: &Roots, name: &[u8]) -> Result<Vec<(Vec<u8>, c_ulong)>> {
    let dir = roots.sys_module(name, "sections");
    let mut found = Vec::new();
    for name in names(&dir).map_err(|errno| Error::os(errno).at(&dir))? {
        let mut buffer = [0u8; 32];
        let path = dir.join(as_path(&name));
        let text = read_attribute(&path, &mut buffer).map_err(|errno| Error::os(errno).at(&path))?;
        let text = std::str::from_utf8(text).unwrap_or_default().trim();
        let address = match c_ulong::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16) {
            Ok(address) => address,
            // A 64-bit address in a 32-bit program: saturate, as strtoul(3) does.
            Err(error) if *error.kind() == IntErrorKind::PosOverflow => c_ulong::MAX,
            Err(_) => return Err(Error::new(Errno::EINVAL, "not an address").at(&path)),
        };
        found.push((name, address));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn addresses_of_sections() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::below(dir.path());
        assert_eq!(sections(&roots, b"m").unwrap_err().errno(), Errno::ENOENT);
        let at = roots.sys_module(b"m", "sections");
        fs::create_dir_all(&at).unwrap();
        fs::write(at.join(".text"), "0xc0200000\n").unwrap();
        fs::write(at.join(".data"), "0xffffffffc02000000\n").unwrap();
        let mut found = sections(&roots, b"m").unwrap();
        found.sort();
        assert_eq!(found, [(b".data".to_vec(), c_ulong::MAX), (b".text".to_vec(), 0xc020_0000)]);
        fs::write(at.join(".bss"), "garbage\n").unwrap();
        let error = sections(&roots, b"m").unwrap_err();
        assert!(error.errno() == Errno::EINVAL && error.to_string().contains("sections/.bss"), "{error}");
    }
}
