//! Iterators over the configuration. A new iterator is before its first entry; it is there again after the last one.

use super::abi::{Handle, exports, hand_over};
use super::context::Context;
use crate::config::{Entry, Kind};
use crate::error::Errno;
use std::cell::Cell;
use std::ffi::c_char;
use std::rc::{Rc, Weak};

/// What `struct kmod_config_iter` is.
pub(crate) struct Iter {
    /// Weak: an iterator keeps no context alive.
    ctx: Weak<Context>,
    kind: Kind,
    at: Cell<Option<usize>>,
}

impl Iter {
    fn ctx(&self) -> Result<Rc<Context>, Errno> {
        self.ctx.upgrade().ok_or(Errno::ENOENT)
    }

    /// A string of the entry that it stands at.
    fn text(&self, of: impl FnOnce(Entry<'_>) -> Option<Vec<u8>>) -> Result<*const c_char, Errno> {
        let (at, ctx) = (self.at.get().ok_or(Errno::ENOENT)?, self.ctx()?);
        let tree = ctx.tree();
        let entry = tree.config().entries(self.kind).nth(at).ok_or(Errno::ENOENT)?;
        Ok(of(entry).map_or(std::ptr::null(), |text| ctx.intern(&text)))
    }
}

macro_rules! iterators {
    ($($name:ident: $kind:ident, $what:literal;)*) => {exports! {$(
        #[doc = concat!("An iterator over the ", $what, ".")]
        fn $name(ctx: Handle<Context>) -> *mut Iter {
            let ctx = Rc::downgrade(&ctx.share()?);
            Ok(hand_over(Rc::new(Iter { ctx, kind: Kind::$kind, at: Cell::new(None) })))
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
        let there = next < iter.ctx()?.tree().config().entries(iter.kind).len();
        iter.at.set(there.then_some(next));
        Ok(there)
    }

    /// Frees the iterator.
    fn kmod_config_iter_free_iter(iter: Handle<Iter>) {
        iter.release().map(drop)
    }
}
