//! Looks at a module's state, with an answer where the system cannot give one.

use crate::error::Errno;
use crate::name::ModuleName;
use crate::system::sysfs::{self, State};
use crate::system::{System, file, proc_modules};
use std::time::Duration;

/// Whether a module is live: the cheapest look that can say yes. Where it says no and the module is on its way, the gate
/// looks again, properly, and waits.
pub(crate) fn is_live(system: &System<'_>, name: &[u8]) -> bool {
    // What cannot be a module's name is none that is loaded, and no path is built of it.
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

/// The state of a module from sysfs, else from `/proc/modules`; where neither can tell, it counts as absent and the kernel
/// arbitrates. Never [`State::Nascent`].
pub(crate) fn look(system: &System<'_>, name: &[u8]) -> State {
    let mut state = glance(system, name);
    // The directory appears a moment before the attribute, and vanishes a moment after it.
    for _ in 0..3 {
        if state != State::Nascent {
            return state;
        }
        system.clock.sleep(Duration::from_micros(500));
        state = glance(system, name);
    }
    if state == State::Nascent { State::Absent } else { state }
}

/// [`look`] without a second look at what is [`State::Nascent`].
pub(crate) fn glance(system: &System<'_>, name: &[u8]) -> State {
    state(system, name).unwrap_or(State::Absent)
}

/// Whether a module is certainly not there. Where that cannot be told (no descriptors are left, a read fails), the answer is
/// no, and the kernel has to be asked.
pub(crate) fn is_absent(system: &System<'_>, name: &[u8]) -> bool {
    match state(system, name) {
        Ok(State::Absent) | Err(Errno::ENOENT) => true,
        Ok(State::Nascent) => look(system, name) == State::Absent,
        Ok(_) | Err(_) => false,
    }
}

/// The state of a module from sysfs, else from `/proc/modules`.
///
/// # Errors
/// Why neither can tell.
pub(crate) fn state(system: &System<'_>, name: &[u8]) -> Result<State, Errno> {
    match sysfs::state(system.roots, name) {
        Ok(State::Absent) | Err(_) if !sysfs::available(system.roots) => {
            proc_modules::state(system.roots, name).map_err(|error| error.errno())
        }
        Ok(state) => Ok(state),
        Err(error) => Err(error.errno()),
    }
}
