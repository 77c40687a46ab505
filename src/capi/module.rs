//! Module objects. A context has one object for each name, and one for each alias by which a module was found, as long as a
//! reference exists: a second lookup returns the same pointer. dracut relies on it.

use super::abi::{Handle, Out, Text, absolute, c_string, exports};
use super::context::Context;
use super::list::{self, Builder, Node};
use crate::error::{Errno, Result};
use crate::limits;
use crate::log::bytes;
use crate::name;
use crate::system::proc_modules;
use crate::system::roots::into_path;
use crate::tree::image::Image;
use crate::tree::{self, Tree};
use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::ffi::{CString, c_int};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr::null_mut;

/// What `struct kmod_module` is.
pub(crate) struct Module {
    references: Cell<c_int>,
    /// Holds a reference.
    ctx: *mut Context,
    key: Box<[u8]>,
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
    /// The object of a module, with a reference for the caller.
    pub(crate) fn of(ctx: &Handle<Context>, found: tree::Module) -> Result<*mut Module, Errno> {
        ctx.get()?;
        Ok(Self::within(ctx.raw(), found))
    }

    fn within(raw: *mut Context, found: tree::Module) -> *mut Module {
        // SAFETY: it comes from a handle that was looked at, or from a module, which keeps it alive.
        let ctx = unsafe { &*raw };
        let key: Box<[u8]> = match &found.alias {
            // No name has a NUL.
            Some(alias) => bytes![found.name, "\0", alias].into(),
            None => found.name[..].into(),
        };
        let mut modules = ctx.modules.borrow_mut();
        if let Some(known) = modules.get(&key) {
            let known = known.cast::<Module>();
            // SAFETY: this file alone puts modules into the map; what is there is alive, and its last reference takes it out.
            let module = unsafe { &*known };
            module.retain();
            module.merge(found);
            return known;
        }
        ctx.retain();
        let module = Box::into_raw(Box::new(Module {
            references: Cell::new(1),
            ctx: raw,
            name: c_string(&found.name),
            key: key.clone(),
            found: RefCell::new(found),
            path: OnceCell::new(),
            options: OnceCell::new(),
            builtin: Cell::new(None),
            image: OnceCell::new(),
        }));
        modules.insert(key, module.cast());
        module
    }

    /// Merges what another lookup found about the module.
    fn merge(&self, found: tree::Module) {
        if let Ok(mut known) = self.found.try_borrow_mut() {
            known.builtin |= found.builtin;
            if known.command.is_none() {
                known.command = found.command;
            }
        }
    }

    pub(crate) fn ctx(&self) -> &Context {
        // SAFETY: the module has a reference on it.
        unsafe { &*self.ctx }
    }

    /// The tree of the context.
    pub(crate) fn tree(&self) -> Ref<'_, Tree<'static>> {
        self.ctx().tree()
    }

    /// The module as the tree found it.
    pub(crate) fn found(&self) -> Ref<'_, tree::Module> {
        self.found.borrow()
    }

    /// The object of another module of the same context.
    pub(crate) fn sibling(&self, found: tree::Module) -> *mut Module {
        Self::within(self.ctx, found)
    }

    /// A list of objects of other modules of the same context.
    pub(crate) fn siblings(&self, found: impl IntoIterator<Item = tree::Module>) -> Builder {
        let mut list = Builder::new();
        found.into_iter().for_each(|found| list.push(self.sibling(found)));
        list
    }

    /// The path of its file, if one is known.
    pub(crate) fn path(&self) -> Option<&CString> {
        if self.path.get().is_none() {
            let path = self.tree().path(&self.found())?;
            return Some(self.path.get_or_init(|| c_string(path.as_os_str().as_bytes())));
        }
        self.path.get()
    }

    /// Whether it is built in; looked up once.
    pub(crate) fn is_builtin(&self) -> bool {
        let builtin = self.builtin.get().unwrap_or_else(|| self.tree().is_builtin(&self.found()));
        self.builtin.set(Some(builtin));
        builtin
    }

    /// Takes a reference.
    pub(crate) fn retain(&self) {
        self.references.set(self.references.get() + 1);
    }

    /// Releases a reference; whether the object was freed.
    ///
    /// # Safety
    /// The pointer is a module's, and the caller had a reference.
    pub(crate) unsafe fn release(module: *mut Module) -> bool {
        // SAFETY: the caller's reference keeps it alive up to here, and it came from a Box; its own reference keeps the
        // context.
        unsafe {
            let left = (*module).references.get() - 1;
            (*module).references.set(left);
            if left <= 0 {
                let module = Box::from_raw(module);
                module.ctx().modules.borrow_mut().remove(&module.key);
                let ctx = module.ctx;
                drop(module);
                Context::release(ctx);
            }
            left <= 0
        }
    }
}

/// A list of the objects of modules.
pub(crate) fn list(ctx: &Handle<Context>, found: Vec<tree::Module>) -> Result<Builder, Errno> {
    let mut list = Builder::new();
    for found in found {
        list.push(Module::of(ctx, found)?);
    }
    Ok(list)
}

exports! {
    /// The module of this name, whether it exists or not.
    fn kmod_module_new_from_name(ctx: Handle<Context>, name: Text, module: Out<Module>) -> c_int {
        let name = name.bytes().ok_or(Errno::ENOENT)?;
        if !module.is_there() {
            return Err(Errno::ENOENT);
        }
        module.set(Module::of(&ctx, tree::Module::named(&name::canonical(name)))?);
        Ok(0)
    }

    /// The module in this file.
    fn kmod_module_new_from_path(ctx: Handle<Context>, path: Text, module: Out<Module>) -> c_int {
        let (context, path) = (ctx.get()?, path.bytes().ok_or(Errno::ENOENT)?);
        if !module.is_there() {
            return Err(Errno::ENOENT);
        }
        let absolute = absolute(path)?.into_os_string().into_vec();
        let found = context.tree().module_from_path(&absolute)?;
        let raw = Module::of(&ctx, found)?;
        // SAFETY: it is alive, with the reference that was just made.
        let object = unsafe { &*raw };
        let known = object.path.get_or_init(|| c_string(&absolute));
        if known.as_bytes() != absolute {
            let (name, known) = (object.name.as_bytes(), known.as_bytes());
            let paths = bytes!["new-path='", absolute, "' old-path='", known, "'"];
            let text = bytes!["kmod_module '", name, "' already exists with different path: ", paths];
            context.log().error(&text);
            // SAFETY: the reference that was just made goes back.
            unsafe { Module::release(raw) };
            return Err(Errno::EEXIST);
        }
        if let Ok(mut found) = object.found.try_borrow_mut() {
            found.file = Some(into_path(absolute));
            found.builtin = false;
        }
        object.builtin.set(Some(false));
        module.set(raw);
        Ok(0)
    }

    /// The modules of an alias or a name.
    fn kmod_module_new_from_lookup(ctx: Handle<Context>, alias: Text, into: Out<Node>) -> c_int {
        let (context, alias) = (ctx.get()?, alias.bytes().ok_or(Errno::ENOENT)?);
        if !into.is_empty() {
            context.log().error(b"An empty list is needed to create lookup");
            return Err(Errno::ENOSYS);
        }
        if alias.len() > limits::QUERY {
            return Err(Errno::ENAMETOOLONG);
        }
        let found = context.tree().lookup(alias)?;
        into.set(list(&ctx, found)?.finish());
        Ok(0)
    }

    /// `kmod_module_new_from_name_lookup`: the module of this name, if the indexes have it; aliases of modules do not
    /// count. `shim.c` exports it under that name, in two versions.
    fn kmod_once_name_lookup(ctx: Handle<Context>, name: Text, module: Out<Module>) -> c_int {
        let (context, name) = (ctx.get()?, name.bytes().ok_or(Errno::ENOENT)?);
        if !module.is_there() {
            return Err(Errno::ENOENT);
        }
        let found = context.tree().lookup_name(name);
        if let Some(found) = found {
            module.set(Module::of(&ctx, found)?);
        }
        Ok(0)
    }

    /// The modules that are loaded, in the order of /proc/modules.
    fn kmod_module_new_from_loaded(ctx: Handle<Context>, into: Out<Node>) -> c_int {
        let context = ctx.get()?;
        if !into.is_there() {
            return Err(Errno::ENOENT);
        }
        let text = proc_modules::read(context.system().roots).map_err(|error| {
            let reason = error.errno().to_string();
            context.log().error(&bytes!["could not open /proc/modules: ", reason]);
            error.errno()
        })?;
        let found = proc_modules::lines(&text).map(|line| tree::Module::named(&name::canonical(line.name)));
        into.set(list(&ctx, found.collect())?.finish());
        Ok(0)
    }

    /// Takes a reference.
    fn kmod_module_ref(module: Handle<Module>) -> *mut Module {
        module.get()?.retain();
        Ok(module.raw())
    }

    /// Releases a reference; NULL if it was the last one.
    fn kmod_module_unref(module: Handle<Module>) -> *mut Module {
        module.get()?;
        // SAFETY: the host gives its own reference back.
        let gone = unsafe { Module::release(module.raw()) };
        Ok(if gone { null_mut() } else { module.raw() })
    }

    /// Frees a list of modules with the reference that each entry has.
    fn kmod_module_unref_list(modules: Handle<Node>) -> c_int {
        // SAFETY: the header says that it is a list of modules, which the host gives back; each entry has a reference.
        unsafe {
            list::free(&modules, |module| {
                Module::release(module);
            });
        }
        Ok(0)
    }

    /// The module of a list's entry, with a reference for the caller.
    fn kmod_module_get_module(entry: Handle<Node>) -> *mut Module {
        // SAFETY: the header says that it is an entry of a list of modules.
        let module = unsafe { list::element::<Module>(&entry) }?;
        module.retain();
        Ok(std::ptr::from_ref(module).cast_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::{c_char, c_void};
    use std::os::unix::ffi::OsStrExt;
    use std::ptr::null;

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
