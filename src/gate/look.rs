//! The state of a module, from sysfs or from `/proc/modules`.

use crate::error::Errno;
use crate::name::ModuleName;
use crate::system::sysfs::{self, State};
use crate::system::{System, file, proc_modules};
use std::time::Duration;

/// Whether a module is live, with as few system calls as possible. For any other answer the gate examines the state again.
pub(crate) fn is_live(system: &System<'_>, name: &[u8]) -> bool {
    // Check the name first: no path may be built of `/` or `..`.
    ModuleName::new(name).is_some() && {
        let mut buffer = [0; 16];
        match file::read_attribute(&system.roots.sys_module(name, "initstate"), &mut buffer) {
            Ok(state) => state == b"live\n",
            Err(_) => {
                !sysfs::available(system.roots) && proc_modules::state(system.roots, name) == Ok(State::Live)
            }
        }
    }
}

/// The state of a module; [`State::Absent`] if it cannot be read, so that the kernel arbitrates. Never [`State::Nascent`].
pub(crate) fn look(system: &System<'_>, name: &[u8]) -> State {
    let mut state = look_once(system, name);
    // The kernel creates the directory shortly before the attribute, and removes it shortly after.
    for _ in 0..3 {
        if state != State::Nascent {
            return state;
        }
        system.clock.sleep(Duration::from_micros(500));
        state = look_once(system, name);
    }
    if state == State::Nascent { State::Absent } else { state }
}

/// As [`look`], but reads once and may return [`State::Nascent`].
pub(crate) fn look_once(system: &System<'_>, name: &[u8]) -> State {
    state(system, name).unwrap_or(State::Absent)
}

/// Whether a module is certainly not loaded. If the state cannot be read (no descriptor is left, a read fails), the answer
/// is no, and the caller asks the kernel.
pub(crate) fn is_absent(system: &System<'_>, name: &[u8]) -> bool {
    match state(system, name) {
        // No module has a name that is too long for a path.
        Ok(State::Absent) | Err(Errno::ENOENT | Errno::ENAMETOOLONG) => true,
        Ok(State::Nascent) => look(system, name) == State::Absent,
        Ok(_) | Err(_) => false,
    }
}

/// The state of a module from sysfs, or from `/proc/modules` if there is no `/sys/module`.
///
/// # Errors
/// The errno of reading it.
pub(crate) fn state(system: &System<'_>, name: &[u8]) -> Result<State, Errno> {
    match sysfs::state(system.roots, name) {
        Ok(State::Absent) | Err(_) if !sysfs::available(system.roots) => {
            proc_modules::state(system.roots, name).map_err(|error| error.errno())
        }
        Ok(state) => Ok(state),
        Err(error) => Err(error.errno()),
    }
}
