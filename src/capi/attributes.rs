//! What the module directory and the configuration have about a module.

use super::abi::{Handle, Out, c_string, exports};
use super::context::Context;
use super::list::{self, Builder, Node};
use super::module::Module;
use crate::error::Errno;
use std::ffi::{c_char, c_int, c_uint};
use std::ptr::{null, null_mut};

/// `KMOD_FILTER_*`
const BLACKLIST: c_uint = 1;
const BUILTIN: c_uint = 2;

/// Copies a list of modules without those that are blacklisted, built in, or either.
fn filter(
    ctx: &Handle<Context>,
    which: c_uint,
    input: &Handle<Node>,
    output: &Out<Node>,
) -> Result<c_int, Errno> {
    let ctx = ctx.get()?;
    if !output.is_there() {
        return Err(Errno::ENOENT);
    }
    output.set(null_mut());
    let mut left = Builder::new();
    // SAFETY: the header says that it is a list of modules.
    for raw in unsafe { list::elements::<Module>(input) } {
        // SAFETY: each entry of the list has a reference.
        let module = unsafe { &*raw };
        let blacklisted = which & BLACKLIST != 0 && ctx.tree().blacklisted(&module.found());
        let dropped = blacklisted || (which & BUILTIN != 0 && module.is_builtin());
        if !dropped {
            module.retain();
            left.push(raw);
        }
    }
    output.set(left.finish());
    Ok(0)
}

exports! {
    /// Its name, never an alias.
    fn kmod_module_get_name(module: Handle<Module>) -> *const c_char {
        Ok(module.get()?.name.as_ptr())
    }

    /// The path of its file; NULL for a built-in or an unknown module.
    fn kmod_module_get_path(module: Handle<Module>) -> *const c_char {
        Ok(module.get()?.path().map_or(null(), |path| path.as_ptr()))
    }

    /// The configured options; NULL if there are none.
    fn kmod_module_get_options(module: Handle<Module>) -> *const c_char {
        let module = module.get()?;
        let find = || module.tree().options(&module.found()).map(|options| c_string(&options));
        Ok(module.options.get_or_init(find).as_ref().map_or(null(), |options| options.as_ptr()))
    }

    /// The command that is run instead of inserting it.
    fn kmod_module_get_install_commands(module: Handle<Module>) -> *const c_char {
        let module = module.get()?;
        let (tree, found) = (module.tree(), module.found());
        Ok(tree.install_command(&found).map_or(null(), |command| module.ctx().intern(command)))
    }

    /// The command that is run instead of removing it.
    fn kmod_module_get_remove_commands(module: Handle<Module>) -> *const c_char {
        let module = module.get()?;
        let (tree, found) = (module.tree(), module.found());
        Ok(tree.remove_command(&found).map_or(null(), |command| module.ctx().intern(command)))
    }

    /// Its dependencies, in load order.
    fn kmod_module_get_dependencies(module: Handle<Module>) -> *mut Node {
        let module = module.get()?;
        let needed = module.tree().dependencies(&module.found());
        Ok(module.siblings(needed).finish())
    }

    /// Its soft dependencies, to be loaded before and after it.
    fn kmod_module_get_softdeps(
        module: Handle<Module>,
        before: Out<Node>,
        after: Out<Node>,
    ) -> c_int {
        let module = module.get()?;
        if !before.is_there() || !after.is_there() {
            return Err(Errno::ENOENT);
        }
        if !before.is_empty() || !after.is_empty() {
            return Err(Errno::EINVAL);
        }
        let (first, then) = module.tree().softdeps(&module.found());
        before.set(module.siblings(first).finish());
        after.set(module.siblings(then).finish());
        Ok(0)
    }

    /// Its weak dependencies.
    fn kmod_module_get_weakdeps(module: Handle<Module>, into: Out<Node>) -> c_int {
        let module = module.get()?;
        into.check_empty()?;
        let found = module.tree().weakdeps(&module.found());
        into.set(module.siblings(found).finish());
        Ok(0)
    }

    /// The modules of a list that are not blacklisted (1), not built in (2), or neither (3).
    fn kmod_module_apply_filter(
        ctx: Handle<Context>,
        which: c_uint,
        input: Handle<Node>,
        output: Out<Node>,
    ) -> c_int {
        filter(&ctx, which, &input, &output)
    }

    /// The modules of a list that are not blacklisted.
    fn kmod_module_get_filtered_blacklist(
        ctx: Handle<Context>,
        input: Handle<Node>,
        output: Out<Node>,
    ) -> c_int {
        filter(&ctx, BLACKLIST, &input, &output)
    }
}
