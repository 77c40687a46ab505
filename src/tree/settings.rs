//! Reads the configuration of modprobe. `config` parses it.

use super::config_files::{ConfigFiles, not_read};
use crate::config::{Config, Parser};
use crate::error::Errno;
use crate::log::{Priority, Sink, bytes};
use crate::system::file::{Eof, read_into};
use crate::system::roots::{Roots, into_path};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the configuration comes from, besides `modules.softdep` and `modules.weakdep` of the module directory and the
/// kernel command line, which are always read.
#[derive(Debug, Clone)]
pub enum ConfigPaths {
    /// The five directories of modprobe.d(5).
    Default,
    /// These files and directories, highest precedence first; missing ones are skipped.
    List(Vec<PathBuf>),
}

/// Reads the configuration. Without `dir` only the files that people and packages write: neither those that depmod wrote
/// into this module directory nor the kernel command line.
///
/// Problems go to `sink` as errors, none of which is fatal: first those of directory entries, in the order in which these
/// were found, then those of files and lines.
pub(super) fn read(roots: &Roots, dir: Option<&Path>, paths: &ConfigPaths, sink: &dyn Sink) -> Config {
    let mut files = ConfigFiles::default();
    if let Some(dir) = dir {
        // First, so that no other file masks these two.
        for name in ["/modules.softdep", "/modules.weakdep"] {
            files.add_file(into_path(bytes![dir.as_os_str().as_bytes(), name]), Eof::Short);
        }
    }
    match paths {
        ConfigPaths::Default => files.add_system(roots.config_dirs("modprobe.d"), roots),
        ConfigPaths::List(paths) => paths.iter().for_each(|path| files.add(path)),
    }
    let mut parser = Parser::default();
    files.read(&mut |path, contents| match contents {
        Ok(contents) => parser.file(path, contents),
        Err(Errno::EFBIG) => parser.warn(not_read(path, Errno::EFBIG)),
        // A file that vanished or may not be read masks others without a message.
        Err(_) => {}
    });
    if dir.is_some() {
        let path = roots.cmdline();
        // The kernel returns it in one piece.
        match read_into(&path, &mut files.buffer, usize::MAX, Eof::Short) {
            Ok(()) => parser.cmdline(&path, &files.buffer),
            Err(Errno::ENOENT) => {}
            Err(errno) => {
                let path = path.as_os_str().as_bytes();
                parser.warn(bytes!["could not read from '", path, "': ", errno.to_string()]);
            }
        }
    }
    files.problems().chain(parser.warnings).for_each(|text| sink.log(Priority::Err, &text));
    parser.config
}
