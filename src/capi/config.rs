//! Iterators over the configuration. A new iterator is before its first entry; it is there again after the last one.

use super::abi::{Handle, exports};
use super::context::Context;
use crate::config::{Entry, Kind};
use crate::error::Errno;
use std::cell::Cell;
use std::ffi::c_char;

/// What `struct kmod_config_iter` is. It lives no longer than its context.
pub(crate) struct Iter {
    ctx: *const Context,
    kind: Kind,
    at: Cell<Option<usize>>,
}

impl Iter {
    fn over(ctx: &Handle<Context>, kind: Kind) -> Result<*mut Iter, Errno> {
        ctx.get()?;
        Ok(Box::into_raw(Box::new(Iter { ctx: ctx.raw(), kind, at: Cell::new(None) })))
    }

    fn ctx(&self) -> &Context {
        // SAFETY: the host keeps the context as long as it uses the iterator.
        unsafe { &*self.ctx }
    }

    /// A string of the entry that it stands at.
    fn text(&self, of: impl FnOnce(Entry<'_>) -> Option<Vec<u8>>) -> Result<*const c_char, Errno> {
        let at = self.at.get().ok_or(Errno::ENOENT)?;
        let tree = self.ctx().tree();
        let entry = tree.config().entries(self.kind).nth(at).ok_or(Errno::ENOENT)?;
        Ok(of(entry).map_or(std::ptr::null(), |text| self.ctx().intern(&text)))
    }
}

macro_rules! iterators {
    ($($name:ident: $kind:ident, $what:literal;)*) => {exports! {$(
        #[doc = concat!("An iterator over the ", $what, ".")]
        fn $name(ctx: Handle<Context>) -> *mut Iter {
            Iter::over(&ctx, Kind::$kind)
        }
    )*}};
}

iterators! {
    kmod_config_get_blacklists: Blacklist, "blacklisted modules";
    kmod_config_get_install_commands: Install, "install commands";
    kmod_config_get_remove_commands: Remove, "remove commands";
    kmod_config_get_aliases: Alias, "aliases";
    kmod_config_get_options: Options, "options of modules";
    kmod_config_get_softdeps: Softdep, "soft dependencies";
    kmod_config_get_weakdeps: Weakdep, "weak dependencies";
}

exports! {
    /// The module or pattern of the entry.
    fn kmod_config_iter_get_key(iter: Handle<Iter>) -> *const c_char {
        iter.get()?.text(|entry| Some(entry.key.to_vec()))
    }

    /// The value of the entry; NULL for a blacklisted module.
    fn kmod_config_iter_get_value(iter: Handle<Iter>) -> *const c_char {
        let iter = iter.get()?;
        iter.text(|entry| (iter.kind != Kind::Blacklist).then(|| entry.shown(iter.kind)))
    }

    /// Goes to the next entry; false after the last one.
    fn kmod_config_iter_next(iter: Handle<Iter>) -> bool, else(|_| false) {
        let iter = iter.get()?;
        let next = iter.at.get().map_or(0, |at| at + 1);
        let there = next < iter.ctx().tree().config().entries(iter.kind).len();
        iter.at.set(there.then_some(next));
        Ok(there)
    }

    /// Frees the iterator.
    fn kmod_config_iter_free_iter(iter: Handle<Iter>) {
        iter.get()?;
        // SAFETY: it came from a Box, and the host gives it back once.
        drop(unsafe { Box::from_raw(iter.raw()) });
        Ok(())
    }
}
