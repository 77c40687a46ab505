//! `libkmod.so.2`: the C library that udev, systemd, dracut and lspci load modules and look into them with. Handles,
//! lists and error numbers around the rooms below; what is looked up, planned and loaded, and how, is decided there.
//!
//! | file | functions |
//! |---|---|
//! | `abi` | what C's arguments look like here, and how results go back: every function is made by `exports!`, which no panic passes |
//! | `context` | `kmod_new` to `kmod_unref`, resources, the log |
//! | `log` | where messages go |
//! | `list` | `kmod_list_*` |
//! | `config` | `kmod_config_*` |
//! | `module` | the objects: identity, references, how they are found |
//! | `attributes` | paths, options, commands, dependencies, filters |
//! | `state` | what the kernel says of a module |
//! | `insert` | inserting and removing, through the gate |
//! | `contents` | what is inside a module file |
//!
//! `make library` builds this as a static library (feature `library`, profile `library`) and links it with the version
//! script, `dist/library/libkmod.map`; a few lines of C, `shim.c`, make the `va_list` of the log function.
//!
//! Contract with the host: a context and what is made from it is used by one thread at a time; contexts are independent
//! of each other. No signal handler, timer, thread or environment variable of the process is touched, and no descriptor
//! is kept open between calls. A map of a file that somebody truncates would raise SIGBUS in the host: files are read.
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
