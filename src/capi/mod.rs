//! `libkmod.so.2`: the C library by which udev, systemd, dracut and lspci load and inspect modules. Handles, lists and
//! error numbers over the modules below, which look up, plan and load.
//!
//! | file | functions |
//! |---|---|
//! | `abi` | the types of C's arguments and results; `exports!`, which makes every function and catches panics |
//! | `context` | `kmod_new` to `kmod_unref`, resources, the log |
//! | `log` | stderr, or the host's log function |
//! | `list` | `kmod_list_*` |
//! | `config` | `kmod_config_*` |
//! | `module` | module objects: identity, references, lookup |
//! | `attributes` | paths, options, commands, dependencies, filters |
//! | `state` | a module's state in the kernel |
//! | `insert` | inserting and removing, through the gate |
//! | `contents` | the contents of a module file |
//!
//! `make library` builds this as a static library (feature `library`, profile `library`) and links it with the version
//! script `dist/library/libkmod.map`. `shim.c` makes the `va_list` of the log function.
//!
//! Contract with the host program: a context and its objects are used by one thread at a time; contexts are independent of
//! each other. The library changes no signal handler, timer, thread or environment variable of the process, and keeps no
//! descriptor open between calls. It reads files and does not map them: if another process truncated a mapped file, the
//! host would get SIGBUS.
#![allow(unsafe_code)]

mod abi;
mod attributes;
mod config;
mod contents;
mod context;
mod insert;
mod list;
mod log;
mod module;
mod state;
