//! What the module directory and the configuration have about a module.

use super::abi::{Handle, Out, c_string, exports};
use super::context::Context;
use super::list::{List, Node};
use super::module::{Module, list};
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
    input: &List<Module>,
    output: &Out<Node>,
) -> Result<c_int, Errno> {
    let ctx = ctx.get()?;
    output.check()?;
    output.set(null_mut());
    let modules = input.elements().filter_map(|module| module.share().ok());
    output.set(List::of(modules.filter(|module| {
        let blacklisted = which & BLACKLIST != 0 && ctx.tree().blacklisted(&module.found());
        !blacklisted && (which & BUILTIN == 0 || !module.is_builtin())
    })));
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
        Ok(tree.install_command(&found).map_or(null(), |command| module.ctx.intern(command)))
    }

    /// The command that is run instead of removing it.
    fn kmod_module_get_remove_commands(module: Handle<Module>) -> *const c_char {
        let module = module.get()?;
        let (tree, found) = (module.tree(), module.found());
        Ok(tree.remove_command(&found).map_or(null(), |command| module.ctx.intern(command)))
    }

    /// Its dependencies, in load order.
    fn kmod_module_get_dependencies(module: Handle<Module>) -> *mut Node {
        let module = module.get()?;
        let needed = module.tree().dependencies(&module.found());
        Ok(list(&module.ctx, needed))
    }

    /// Its soft dependencies, to be loaded before and after it.
    fn kmod_module_get_softdeps(module: Handle<Module>, before: Out<Node>, after: Out<Node>) -> c_int {
        let module = module.get()?;
        before.check().and(after.check())?;
        before.check_empty().and(after.check_empty())?;
        let (first, then) = module.tree().softdeps(&module.found());
        before.set(list(&module.ctx, first));
        after.set(list(&module.ctx, then));
        Ok(0)
    }

    /// Its weak dependencies.
    fn kmod_module_get_weakdeps(module: Handle<Module>, into: Out<Node>) -> c_int {
        let module = module.get()?;
        into.check_empty()?;
        // `list` adds to objects what was found, so nothing of this one is borrowed any more.
        let found = module.tree().weakdeps(&module.found());
        into.set(list(&module.ctx, found));
        Ok(0)
    }

    /// The modules of a list that are not blacklisted (1), not built in (2), or neither (3).
    fn kmod_module_apply_filter(
        ctx: Handle<Context>,
        which: c_uint,
        input: List<Module>,
        output: Out<Node>,
    ) -> c_int {
        filter(&ctx, which, &input, &output)
    }

    /// The modules of a list that are not blacklisted.
    fn kmod_module_get_filtered_blacklist(
        ctx: Handle<Context>,
        input: List<Module>,
        output: Out<Node>,
    ) -> c_int {
        filter(&ctx, BLACKLIST, &input, &output)
    }
}
