//! A module's state in the kernel, read at each call.

use super::abi::{Handle, c_string, exports};
use super::list::{List, Node};
use super::module::{self, Module};
use crate::error::{Errno, Error};
use crate::name::{self, ModuleName};
use crate::system::proc_modules;
use crate::system::roots::Roots;
use crate::system::sysfs::{self, State};
use crate::tree;
use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uint, c_ulong};
use std::ptr::null;
use std::rc::Rc;

/// `KMOD_MODULE_*`, with their names.
const STATES: [&CStr; 4] = [c"builtin", c"live", c"coming", c"going"];
const BUILTIN: c_int = 0;
const LIVE: c_int = 1;
const COMING: c_int = 2;
const GOING: c_int = 3;

impl Module {
    /// The roots, and the name if it can be that of a loaded module: only such a name becomes part of a path.
    fn in_kernel(&self) -> Result<(&Roots, &[u8]), Errno> {
        let name = self.name.as_bytes();
        ModuleName::new(name).ok_or(Errno::ENOENT)?;
        Ok((self.ctx.system().roots, name))
    }

    /// Logs an error with its file, and returns the errno.
    pub(super) fn complain(&self, error: &Error) -> Errno {
        self.ctx.log.error(error.to_string().as_bytes());
        error.errno()
    }
}

exports! {
    /// The state of a module (`KMOD_MODULE_*`).
    fn kmod_module_get_initstate(module: Handle<Module>) -> c_int {
        let module = module.get()?;
        if module.is_builtin() {
            return Ok(BUILTIN);
        }
        let (roots, name) = module.in_kernel()?;
        match sysfs::state(roots, name) {
            Ok(State::Live) => Ok(LIVE),
            // The directory appears before the attribute.
            Ok(State::Coming | State::Nascent) => Ok(COMING),
            Ok(State::Going) => Ok(GOING),
            Ok(State::Absent) => Err(Errno::ENOENT),
            Err(error) if error.errno() == Errno::EINVAL => Err(module.complain(&error)),
            Err(_) if roots.sys_module(name, "").is_dir() => Ok(COMING),
            Err(error) => Err(error.errno()),
        }
    }

    /// The name of a state; NULL for a number that is none.
    fn kmod_module_initstate_str(state: c_uint) -> *const c_char {
        Ok(STATES.get(state as usize).map_or(null(), |text| text.as_ptr()))
    }

    /// How many users a module has.
    fn kmod_module_get_refcnt(module: Handle<Module>) -> c_int {
        let module = module.get()?;
        let (roots, name) = module.in_kernel()?;
        let count = sysfs::refcount(roots, name).map_err(|error| match error.errno() {
            Errno::EINVAL => module.complain(&error),
            errno => errno,
        })?;
        c_int::try_from(count).map_err(|_| Errno::EINVAL)
    }

    /// The size of a module in memory, in bytes.
    fn kmod_module_get_size(module: Handle<Module>) -> c_long, else(|errno| -c_long::from(errno.number())) {
        let module = module.get()?;
        let (roots, name) = module.in_kernel()?;
        std::fs::metadata(roots.sys_module(name, "")).map_err(|error| Errno::of(&error))?;
        match sysfs::core_size(roots, name) {
            Ok(size) => return Ok(size),
            Err(error) if error.errno() == Errno::EINVAL => {
                module.complain(&error);
                return Ok(0);
            }
            Err(_) => {}
        }
        let text = proc_modules::read(roots).map_err(|error| error.errno())?;
        let line = proc_modules::lines(&text).find(|line| line.name == name).ok_or(Errno::ENOENT)?;
        Ok(std::str::from_utf8(line.size).ok().and_then(|size| size.parse().ok()).unwrap_or(0))
    }

    /// The modules that hold a module.
    fn kmod_module_get_holders(module: Handle<Module>) -> *mut Node {
        let module = module.get()?;
        let (roots, name) = module.in_kernel()?;
        let holders = sysfs::holders(roots, name).map_err(|error| module.complain(&error))?;
        let named = holders.iter().map(|holder| tree::Module::named(&name::canonical(holder)));
        Ok(module::list(&module.ctx, named))
    }
}

/// A section of a loaded module.
struct Section {
    name: CString,
    address: c_ulong,
}

exports! {
    /// The sections of a loaded module.
    fn kmod_module_get_sections(module: Handle<Module>) -> *mut Node {
        let module = module.get()?;
        let (roots, name) = module.in_kernel()?;
        let sections = sysfs::sections(roots, name).map_err(|error| module.complain(&error))?;
        let section = |(name, address): (Vec<u8>, _)| Rc::new(Section { name: c_string(&name), address });
        Ok(List::of(sections.into_iter().map(section)))
    }

    /// The name of a section.
    fn kmod_module_section_get_name(entry: List<Section>) -> *const c_char {
        Ok(entry.element()?.get()?.name.as_ptr())
    }

    /// The address of a section; the highest number for NULL.
    fn kmod_module_section_get_address(entry: List<Section>) -> c_ulong, else(|_| c_ulong::MAX) {
        Ok(entry.element()?.get()?.address)
    }

    /// Frees a list of sections.
    fn kmod_module_section_free_list(sections: List<Section>) {
        sections.free();
        Ok(())
    }
}
