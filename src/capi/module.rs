//! Module objects. A context has one object for each name, and one for each alias by which a module was found, as long as a
//! reference exists: a second lookup returns the same pointer. dracut relies on it.

use super::abi::{Handle, Out, Text, absolute, c_string, exports, hand_over};
use super::context::Context;
use super::list::{List, Node};
use crate::error::Errno;
use crate::log::bytes;
use crate::name;
use crate::system::proc_modules;
use crate::system::roots::into_path;
use crate::tree::image::Image;
use crate::tree::{self, Tree};
use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::ffi::{CString, c_int};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::rc::{Rc, Weak};

/// What `struct kmod_module` is.
pub(crate) struct Module {
    pub ctx: Rc<Context>,
    /// Its name and alias never change: they are the key in [`Context::modules`].
    found: RefCell<tree::Module>,
    /// Strings returned to C; they live as long as the object.
    pub name: CString,
    pub path: OnceCell<CString>,
    pub options: OnceCell<Option<CString>>,
    builtin: Cell<Option<bool>>,
    /// The decompressed file, read when it is first needed.
    pub image: OnceCell<Image>,
}

impl Module {
    /// The object of a module. What another lookup found about it is merged.
    pub(crate) fn of(ctx: &Rc<Context>, found: tree::Module) -> Rc<Module> {
        let (key, mut modules) = (found.key(), ctx.modules.borrow_mut());
        if let Some(known) = modules.get(&key).and_then(Weak::upgrade) {
            if let Ok(mut merged) = known.found.try_borrow_mut() {
                merged.builtin |= found.builtin;
                merged.command = merged.command.take().or(found.command);
            }
            return known;
        }
        let module = Rc::new(Module {
            ctx: Rc::clone(ctx),
            name: c_string(&found.name),
            found: RefCell::new(found),
            path: OnceCell::new(),
            options: OnceCell::new(),
            builtin: Cell::new(None),
            image: OnceCell::new(),
        });
        modules.insert(key, Rc::downgrade(&module));
        module
    }

    /// The tree of the context.
    pub(crate) fn tree(&self) -> Ref<'_, Tree<'static>> {
        self.ctx.tree()
    }

    /// The module as the tree found it.
    pub(crate) fn found(&self) -> Ref<'_, tree::Module> {
        self.found.borrow()
    }

    /// The path of its file, if one is known.
    pub(crate) fn path(&self) -> Option<&CString> {
        self.path.get().or_else(|| {
            let path = self.tree().path(&self.found())?;
            Some(self.path.get_or_init(|| c_string(path.as_os_str().as_bytes())))
        })
    }

    /// Whether it is built in; looked up once.
    pub(crate) fn is_builtin(&self) -> bool {
        let builtin = self.builtin.get().unwrap_or_else(|| self.tree().is_builtin(&self.found()));
        self.builtin.set(Some(builtin));
        builtin
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        self.ctx.modules.borrow_mut().remove(&self.found.get_mut().key());
    }
}

/// A list of the objects of modules.
pub(crate) fn list(ctx: &Rc<Context>, found: impl IntoIterator<Item = tree::Module>) -> *mut Node {
    List::of(found.into_iter().map(|found| Module::of(ctx, found)))
}

exports! {
    /// The module of this name, whether it exists or not.
    fn kmod_module_new_from_name(ctx: Handle<Context>, name: Text, module: Out<Module>) -> c_int {
        let (ctx, name) = (ctx.share()?, name.bytes().ok_or(Errno::ENOENT)?);
        module.check()?;
        module.set(hand_over(Module::of(&ctx, tree::Module::named(&name::canonical(name)))));
        Ok(0)
    }

    /// The module in this file.
    fn kmod_module_new_from_path(ctx: Handle<Context>, path: Text, module: Out<Module>) -> c_int {
        let (ctx, path) = (ctx.share()?, path.bytes().ok_or(Errno::ENOENT)?);
        module.check()?;
        let absolute = absolute(path)?.into_os_string().into_vec();
        let object = Module::of(&ctx, ctx.tree().module_from_path(&absolute)?);
        let known = object.path.get_or_init(|| c_string(&absolute)).as_bytes();
        if known != absolute {
            let paths = bytes!["new-path='", absolute, "' old-path='", known, "'"];
            let name = object.name.as_bytes();
            ctx.log.error(&bytes!["kmod_module '", name, "' already exists with different path: ", paths]);
            return Err(Errno::EEXIST);
        }
        if let Ok(mut found) = object.found.try_borrow_mut() {
            found.file = Some(into_path(absolute));
            found.builtin = false;
        }
        object.builtin.set(Some(false));
        module.set(hand_over(object));
        Ok(0)
    }

    /// The modules of an alias or a name.
    fn kmod_module_new_from_lookup(ctx: Handle<Context>, alias: Text, into: Out<Node>) -> c_int {
        let (ctx, alias) = (ctx.share()?, alias.bytes().ok_or(Errno::ENOENT)?);
        into.check_empty().map_err(|_| {
            ctx.log.error(b"An empty list is needed to create lookup");
            Errno::ENOSYS
        })?;
        let found = ctx.tree().lookup(alias)?;
        into.set(list(&ctx, found));
        Ok(0)
    }

    /// `kmod_module_new_from_name_lookup`: the module of this name, if the indexes have it; aliases of modules do not
    /// count. `shim.c` exports it under that name, in two versions.
    fn kmod_once_name_lookup(ctx: Handle<Context>, name: Text, module: Out<Module>) -> c_int {
        let (ctx, name) = (ctx.share()?, name.bytes().ok_or(Errno::ENOENT)?);
        module.check()?;
        let found = ctx.tree().lookup_name(name);
        if let Some(found) = found {
            module.set(hand_over(Module::of(&ctx, found)));
        }
        Ok(0)
    }

    /// The modules that are loaded, in the order of /proc/modules.
    fn kmod_module_new_from_loaded(ctx: Handle<Context>, into: Out<Node>) -> c_int {
        let ctx = ctx.share()?;
        into.check()?;
        let text = proc_modules::read(ctx.system().roots).map_err(|error| {
            ctx.log.error(&bytes!["could not open /proc/modules: ", error.errno().to_string()]);
            error.errno()
        })?;
        let found = proc_modules::lines(&text).map(|line| tree::Module::named(&name::canonical(line.name)));
        into.set(list(&ctx, found));
        Ok(0)
    }

    /// Takes a reference.
    fn kmod_module_ref(module: Handle<Module>) -> *mut Module {
        Ok(hand_over(module.share()?))
    }

    /// Releases a reference; NULL if it was the last one.
    fn kmod_module_unref(module: Handle<Module>) -> *mut Module {
        module.release()
    }

    /// Frees a list of modules with the reference that each entry has.
    fn kmod_module_unref_list(modules: List<Module>) -> c_int {
        modules.free();
        Ok(0)
    }

    /// The module of a list's entry, with a reference for the caller.
    fn kmod_module_get_module(entry: List<Module>) -> *mut Module {
        Ok(hand_over(entry.element()?.share()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::{c_char, c_void};
    use std::ptr::{null, null_mut};

    // The functions as C declares them.
    unsafe extern "C" {
        fn kmod_new(dirname: *const c_char, config_paths: *const *const c_char) -> *mut c_void;
        fn kmod_unref(ctx: *mut c_void) -> *mut c_void;
        fn kmod_module_new_from_name(
            ctx: *mut c_void,
            name: *const c_char,
            module: *mut *mut c_void,
        ) -> c_int;
        fn kmod_module_unref(module: *mut c_void) -> *mut c_void;
        fn kmod_module_new_from_lookup(
            ctx: *mut c_void,
            alias: *const c_char,
            list: *mut *mut c_void,
        ) -> c_int;
        fn kmod_module_get_module(entry: *const c_void) -> *mut c_void;
        fn kmod_module_get_name(module: *const c_void) -> *const c_char;
        fn kmod_module_unref_list(list: *mut c_void) -> c_int;
        fn kmod_list_next(list: *const c_void, entry: *const c_void) -> *mut c_void;
        fn kmod_list_prev(list: *const c_void, entry: *const c_void) -> *mut c_void;
        fn kmod_list_last(list: *const c_void) -> *mut c_void;
    }

    #[test]
    fn equal_lookups_share_an_object_until_its_last_reference() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("modules.alias"), "alias x* a\nalias x? b\nalias xy c\n").unwrap();
        let (dirname, none) = (c_string(dir.path().as_os_str().as_bytes()), [null()]);
        // SAFETY: what C may hand over; each reference is given back once.
        unsafe {
            let ctx = kmod_new(dirname.as_ptr(), none.as_ptr());
            let lookup = || {
                let mut list = null_mut();
                assert_eq!(kmod_module_new_from_lookup(ctx, c"xy".as_ptr(), &raw mut list), 0);
                list
            };
            let (list, other) = (lookup(), lookup());
            let (mut entry, mut same) = (list, other);
            let mut names = Vec::new();
            while !entry.is_null() {
                let module = kmod_module_get_module(entry);
                assert_eq!(module, kmod_module_get_module(same));
                names.push(std::ffi::CStr::from_ptr(kmod_module_get_name(module)).to_str().unwrap());
                assert_eq!((kmod_module_unref(module), kmod_module_unref(module)), (module, module));
                (entry, same) = (kmod_list_next(list, entry), kmod_list_next(other, same));
            }
            assert_eq!(names, ["a", "b", "c"]);
            let last = kmod_list_last(list);
            assert_eq!(kmod_list_next(list, last), null_mut());
            let middle = kmod_list_prev(list, last);
            assert_eq!((kmod_list_prev(list, middle), kmod_list_prev(list, list)), (list, null_mut()));

            let module = kmod_module_get_module(middle);
            assert_eq!((kmod_module_unref_list(list), kmod_module_unref_list(other)), (0, 0));
            assert_eq!((*ctx.cast::<Context>()).modules.borrow().len(), 1);
            // The module keeps the context.
            assert_eq!(kmod_unref(ctx), ctx);
            assert_eq!((*ctx.cast::<Context>()).modules.borrow().len(), 1);
            assert_eq!(kmod_module_unref(module), null_mut());
        }
    }

    #[test]
    fn a_panic_becomes_an_error_number() {
        let dir = tempfile::tempdir().unwrap();
        let (dirname, none) = (c_string(dir.path().as_os_str().as_bytes()), [null()]);
        let mut module = null_mut();
        // SAFETY: what C may hand over: strings, an array that ends in NULL, a context that is alive, a place for a pointer.
        unsafe {
            let ctx = kmod_new(dirname.as_ptr(), none.as_ptr());
            let mut ask = || kmod_module_new_from_name(ctx, c"loop".as_ptr(), &raw mut module);
            // A simulated bug: the map of modules is borrowed already, so changing it panics.
            let in_use = (*ctx.cast::<Context>()).modules.borrow_mut();
            assert_eq!((ask(), Errno::last()), (-Errno::ENOTRECOVERABLE.number(), Errno::ENOTRECOVERABLE));
            drop(in_use);
            assert_eq!(ask(), 0);
            assert_eq!(kmod_module_unref(module), null_mut());
            assert_eq!(kmod_unref(ctx), null_mut());
        }
    }
}
