//! Reads the configuration of modprobe. `config` parses it.

use super::config_files::{ConfigFiles, not_read};
use crate::config::{Config, Parser};
use crate::error::Errno;
use crate::log::{Priority, Sink, bytes};
use crate::system::file::{Eof, read_into};
use crate::system::roots::Roots;
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

/// The files that depmod writes into a module directory for modprobe.
const WRITTEN: [&str; 2] = ["modules.softdep", "modules.weakdep"];

/// Reads everything. Problems go to `sink` as errors, none of which is fatal: first those of directory entries, in the order
/// in which these were found, then those of files and lines.
pub(super) fn read(roots: &Roots, dir: &Path, paths: &ConfigPaths, sink: &dyn Sink) -> Config {
    let mut files = ConfigFiles::default();
    // First, so that no other file masks these two.
    files.add_certain(dir, &WRITTEN);
    parse(files, roots, paths, Some(&roots.cmdline()), sink)
}

/// Reads the files that people and packages write: neither depmod's nor the kernel command line.
pub(super) fn read_given(roots: &Roots, paths: &ConfigPaths, sink: &dyn Sink) -> Config {
    parse(ConfigFiles::default(), roots, paths, None, sink)
}

/// Adds `paths` to `files`, and parses all of them and then the kernel command line.
fn parse(
    mut files: ConfigFiles,
    roots: &Roots,
    paths: &ConfigPaths,
    cmdline: Option<&Path>,
    sink: &dyn Sink,
) -> Config {
    match paths {
        ConfigPaths::Default => files.add_system(roots.config_dirs("modprobe.d"), roots),
        ConfigPaths::List(paths) => paths.iter().for_each(|path| files.add(path)),
    }
    let mut parser = Parser::new();
    files.read(&mut |path, contents| match contents {
        Ok(contents) => parser.file(path, contents),
        Err(Errno::EFBIG) => parser.warn(not_read(path, Errno::EFBIG)),
        // A file that vanished or may not be read masks others without a message.
        Err(_) => {}
    });
    if let Some(path) = cmdline {
        // The kernel returns it in one piece.
        match read_into(path, &mut files.buffer, usize::MAX, Eof::Short) {
            Ok(()) => parser.cmdline(path, &files.buffer),
            Err(Errno::ENOENT) => {}
            Err(errno) => {
                let path = path.as_os_str().as_bytes();
                parser.warn(bytes!["could not read from '", path, "': ", errno.to_string()]);
            }
        }
    }
    let (config, warnings) = parser.finish();
    let messages = files.problems().chain(warnings.into_iter().map(|warning| warning.text));
    messages.for_each(|text| sink.log(Priority::Err, &text));
    config
}
