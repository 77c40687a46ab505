//! Files in the directories of the configuration that are not read.

use crate::check::{Context, Finding};
use crate::error::Errno;
use crate::limits;
use crate::system::file::{EntryType, read_whole, visit_names};
use crate::system::roots::as_path;
use crate::tree::ConfigPaths;
use crate::tree::config_files::is_config_name;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Extensions of files that package managers, editors and people put aside.
const PUT_ASIDE: &str = "~ .bak .dist .dpkg-bak .dpkg-dist .dpkg-new .dpkg-old .disabled .off .old .orig .rpmnew .rpmorig \
    .rpmsave .save .swp";

/// Files without `.conf`, directories, dangling links, and unreadable files.
pub(super) fn files(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let (dirs, are_given) = match &context.request.paths {
        ConfigPaths::Default => {
            (["modprobe.d", "depmod.d"].map(|name| context.roots.config_dirs(name)).concat(), false)
        }
        ConfigPaths::List(paths) => (paths.clone(), true),
    };
    // By the real path: on most systems /lib is a link.
    let mut seen = BTreeSet::new();
    for dir in dirs.iter().filter(|dir| dir.canonicalize().map_or(true, |real| seen.insert(real))) {
        match std::fs::metadata(dir) {
            // modprobe passes over a path of -C that is not there.
            Err(error) if are_given => findings.push(not_read(dir, Errno::of(&error))),
            _ => in_directory(dir, findings),
        }
    }
}

fn in_directory(dir: &Path, findings: &mut Vec<Finding>) {
    let visit = &mut |name: &[u8], kind| findings.extend(about(&dir.join(as_path(name)), name, kind));
    match visit_names(dir, &mut Vec::new(), visit) {
        // A file in its place is read.
        Ok(()) | Err(Errno::ENOTDIR) => {}
        Err(Errno::ENOENT) if !dir.is_symlink() => {}
        Err(errno) => findings.push(not_read(dir, errno)),
    }
}

fn about(path: &Path, name: &[u8], kind: EntryType) -> Option<Finding> {
    if !is_config_name(name) {
        let put_aside = name[0] == b'.'
            || name.starts_with(b"README")
            || PUT_ASIDE.split(' ').any(|end| name.ends_with(end.as_bytes()));
        if put_aside || kind == EntryType::Directory {
            return None;
        }
        let what = "not read: its name does not end in .conf";
        return Some(Finding::warning(path, what).hint("rename it, or put it elsewhere"));
    }
    match std::fs::metadata(path) {
        // An empty file is the usual way to mask a file of the distribution.
        Ok(meta) if meta.is_file() && meta.len() == 0 => None,
        Ok(meta) if meta.is_file() => {
            let error = read_whole(path, limits::CONFIG_FILE).err()?;
            Some(not_read(path, error.reason()))
        }
        Ok(meta) if meta.is_dir() => Some(Finding::warning(path, "not read: a directory")),
        Ok(meta) if meta.file_type().is_fifo() || meta.file_type().is_socket() => {
            Some(not_read(path, "not a file"))
        }
        // Devices are read: a link to /dev/null masks.
        Ok(_) => None,
        Err(error) => Some(not_read(path, Errno::of(&error))),
    }
}

fn not_read(path: &Path, why: impl Display) -> Finding {
    Finding::error(path, format!("not read: {why}"))
}
