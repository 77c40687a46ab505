//! The context: one module directory with its configuration, and the module objects made from it.

use super::abi::{Handle, Text, Texts, absolute, c_string, exports, hand_over};
use super::log::{Function, Log};
use super::module::Module;
use crate::error::Errno;
use crate::formats::index::Reader;
use crate::gate::Known;
use crate::log::bytes;
use crate::system::roots::as_path;
use crate::system::{Roots, System, clock, kernel};
use crate::tree::{ConfigPaths, Key, Tree, Which};
use std::cell::{Cell, Ref, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, c_char, c_int, c_void};
use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::ptr::null;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// `KMOD_RESOURCES_*`
const OK: c_int = 0;
const MUST_RELOAD: c_int = 1;
const MUST_RECREATE: c_int = 2;

/// The indexes by the number that C knows them by (`KMOD_INDEX_*`).
const BY_NUMBER: [Which; 5] = [Which::Dep, Which::Alias, Which::Symbols, Which::BuiltinAlias, Which::Builtin];

/// What `struct kmod_ctx` is.
pub(crate) struct Context {
    userdata: Cell<*const c_void>,
    dirname: CString,
    /// The configuration paths that existed at the start, with the times of their last change.
    watched: Vec<(PathBuf, Changed)>,
    /// Whether the indexes are kept open as they were when the host loaded them.
    loaded: Cell<bool>,
    /// Every live module object.
    pub modules: RefCell<BTreeMap<Key, Weak<Module>>>,
    /// What the gates of this context know.
    pub known: Arc<Known>,
    strings: RefCell<BTreeSet<CString>>,
    /// Borrows the next two fields, whose contents do not move while the context lives.
    tree: RefCell<Tree<'static>>,
    roots: Rc<Roots>,
    pub log: Rc<Log>,
}

/// The time of a file's last change.
type Changed = (i64, i64);

fn changed(path: &Path) -> Option<Changed> {
    std::fs::metadata(path).ok().map(|meta| (meta.mtime(), meta.mtime_nsec()))
}

impl Context {
    fn new(dirname: Option<&[u8]>, config: Option<Vec<&[u8]>>) -> Result<Context, Errno> {
        let (roots, log) = (Rc::new(Roots::default()), Rc::new(Log::new()));
        let dir = match dirname {
            None => roots.module_dir(&kernel::release()?),
            Some(dir) => absolute(dir)?,
        };
        let (config, paths) = match config {
            None => (ConfigPaths::Default, roots.config_dirs("modprobe.d")),
            Some(paths) => {
                let paths: Vec<PathBuf> = paths.into_iter().map(|path| as_path(path).to_path_buf()).collect();
                (ConfigPaths::List(paths.clone()), paths)
            }
        };
        // Taken before anything is read, so that a later change is noticed.
        let watched = paths.into_iter().filter_map(|path| Some((changed(&path)?, path)));
        let watched = watched.map(|(time, path)| (path, time)).collect();
        // SAFETY: what an Rc points to does not move, and the fields of the context that keep it alive are never
        // replaced and are dropped after the tree.
        let (lasting_roots, lasting_log): (&'static Roots, &'static Log) =
            unsafe { (&*Rc::as_ptr(&roots), &*Rc::as_ptr(&log)) };
        let dirname = c_string(dir.as_os_str().as_bytes());
        let mut tree = Tree::open(lasting_roots, dir, config, lasting_log);
        tree.watch();
        tree.config();
        Ok(Context {
            userdata: Cell::new(null()),
            dirname,
            watched,
            loaded: Cell::new(false),
            modules: RefCell::default(),
            known: Arc::default(),
            strings: RefCell::default(),
            tree: RefCell::new(tree),
            roots,
            log,
        })
    }

    /// The system for calls of the library.
    pub(crate) fn system(&self) -> System<'_> {
        System { roots: &self.roots, kernel: &kernel::Linux, clock: &clock::Real }
    }

    /// The module directory with its configuration. Unless the host keeps the indexes, those whose files were replaced are
    /// opened again; but not if the tree is in use further up the stack (a callback calls the library).
    pub(crate) fn tree(&self) -> Ref<'_, Tree<'static>> {
        if !self.loaded.get() {
            if let Ok(mut tree) = self.tree.try_borrow_mut() {
                tree.renew();
            }
        }
        let tree = self.tree.borrow();
        tree.reader.set(if self.loaded.get() { Reader::Mapped } else { Reader::Streamed });
        tree
    }

    /// A C string that lives as long as the context. Equal ones are one.
    pub(crate) fn intern(&self, text: &[u8]) -> *const c_char {
        let text = c_string(text);
        let mut strings = self.strings.borrow_mut();
        if let Some(known) = strings.get(&text) {
            return known.as_ptr();
        }
        let pointer = text.as_ptr();
        strings.insert(text);
        pointer
    }

    fn load(&self) -> Result<(), Errno> {
        // Earlier answers may come from files that are gone by now: open them again.
        let tree = if self.loaded.get() { self.tree.borrow() } else { self.tree() };
        for which in BY_NUMBER {
            let Err(error) = tree.load(which) else { continue };
            if which != Which::BuiltinAlias {
                drop(tree);
                self.unload();
                // An empty file is too short for an index.
                let errno = error.errno();
                return Err(if errno == Errno::ENODATA { Errno::EINVAL } else { errno });
            }
        }
        self.loaded.set(true);
        Ok(())
    }

    fn unload(&self) {
        self.loaded.set(false);
        // In a callback the tree may be in use further up the stack; then the next call closes them.
        if let Ok(mut tree) = self.tree.try_borrow_mut() {
            tree.close();
        }
    }

    fn validate(&self) -> c_int {
        if self.watched.iter().any(|(path, time)| changed(path) != Some(*time)) {
            return MUST_RECREATE;
        }
        if self.loaded.get() && self.tree.borrow().is_stale() { MUST_RELOAD } else { OK }
    }
}

exports! {
    /// A context for a module directory (NULL: the running kernel's) with a configuration (NULL: the usual one).
    fn kmod_new(dirname: Text, config_paths: Texts) -> *mut Context {
        Ok(hand_over(Rc::new(Context::new(dirname.bytes(), config_paths.bytes())?)))
    }

    /// Takes a reference.
    fn kmod_ref(ctx: Handle<Context>) -> *mut Context {
        Ok(hand_over(ctx.share()?))
    }

    /// Releases a reference; NULL if it was the last one.
    fn kmod_unref(ctx: Handle<Context>) -> *mut Context {
        ctx.release()
    }

    /// The module directory.
    fn kmod_get_dirname(ctx: Handle<Context>) -> *const c_char {
        Ok(ctx.get()?.dirname.as_ptr())
    }

    /// The host's pointer that is stored with the context.
    fn kmod_get_userdata(ctx: Handle<Context>) -> *mut c_void {
        Ok(ctx.get()?.userdata.get().cast_mut())
    }

    /// Stores a pointer of the host with the context.
    fn kmod_set_userdata(ctx: Handle<Context>, userdata: *const c_void) {
        ctx.get()?.userdata.set(userdata);
        Ok(())
    }

    /// Sends messages to `function` from now on; NULL discards them.
    fn kmod_set_log_fn(ctx: Handle<Context>, function: Function, data: *const c_void) {
        ctx.get()?.log.send_to(function, data);
        Ok(())
    }

    /// The least severe priority that is logged, a number of syslog(3); -1 for NULL.
    fn kmod_get_log_priority(ctx: Handle<Context>) -> c_int, else(|_| -1) {
        Ok(ctx.get()?.log.priority.load(Ordering::Relaxed))
    }

    /// Sets the least severe priority that is logged.
    fn kmod_set_log_priority(ctx: Handle<Context>, priority: c_int) {
        ctx.get()?.log.priority.store(priority, Ordering::Relaxed);
        Ok(())
    }

    /// Opens all indexes and keeps them.
    fn kmod_load_resources(ctx: Handle<Context>) -> c_int {
        ctx.get()?.load().map(|()| 0)
    }

    /// Closes the indexes; later calls open them again.
    fn kmod_unload_resources(ctx: Handle<Context>) {
        ctx.get()?.unload();
        Ok(())
    }

    /// Whether the indexes must be loaded again, or the context made anew.
    fn kmod_validate_resources(ctx: Handle<Context>) -> c_int, else(|_| MUST_RECREATE) {
        Ok(ctx.get()?.validate())
    }

    /// Writes an index to a descriptor, a line for each key and value.
    fn kmod_dump_index(ctx: Handle<Context>, index: c_int, fd: c_int) -> c_int {
        let ctx = ctx.get().map_err(|_| Errno::ENOSYS)?;
        let index = usize::try_from(index).map_err(|_| Errno::ENOENT)?;
        let which = *BY_NUMBER.get(index).ok_or(Errno::ENOENT)?;
        let tree = ctx.tree();
        tree.load(which).map_err(|_| Errno::ENOSYS)?;
        if fd < 0 {
            return Err(Errno::EBADF);
        }
        let prefix: &[u8] = if matches!(which, Which::Alias | Which::Symbols) { b"alias " } else { b"" };
        let mut lines = Vec::new();
        tree.dump(which, &mut |key, value| lines.extend(bytes![prefix, key, " ", value, "\n"]));
        // SAFETY: the host hands in a descriptor that is open during the call.
        let mut file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
        file.write_all(&lines).map(|()| 0).map_err(|error| Errno::of(&error))
    }
}
