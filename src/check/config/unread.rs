//! Files in the directories of the configuration that are not read.

use crate::check::{Context, Finding};
use crate::config::files::is_config_name;
use crate::error::Errno;
use crate::limits;
use crate::system::file::{EntryType, read_whole, visit_names};
use crate::system::roots::as_path;
use crate::tree::ConfigPaths;
use std::collections::BTreeSet;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Extensions of files that package managers, editors and people put aside.
const PUT_ASIDE: &str = "~ .bak .dist .dpkg-bak .dpkg-dist .dpkg-new .dpkg-old .disabled .off .old .orig .rpmnew .rpmorig \
    .rpmsave .save .swp";

/// Files without `.conf`, directories, dangling links, and unreadable files.
pub(super) fn files(context: &Context<'_>) -> Vec<Finding> {
    let roots = context.system.roots;
    let dirs = match &context.request.paths {
        ConfigPaths::Default => [roots.config_dirs("modprobe.d"), roots.config_dirs("depmod.d")].concat(),
        ConfigPaths::List(paths) => paths.clone(),
    };
    // By the real path: on most systems /lib is a link.
    let mut seen = BTreeSet::new();
    let dirs = dirs.into_iter().filter(|dir| dir.canonicalize().map_or(true, |real| seen.insert(real)));
    dirs.flat_map(|dir| match &context.request.paths {
        // modprobe passes over a path of -C that is not there.
        ConfigPaths::List(_) => match std::fs::metadata(&dir) {
            Err(error) => vec![not_read(&dir, Errno::of(&error))],
            Ok(_) => in_directory(&dir),
        },
        ConfigPaths::Default => in_directory(&dir),
    })
    .collect()
}

fn in_directory(dir: &Path) -> Vec<Finding> {
    let mut found = Vec::new();
    match visit_names(dir, &mut Vec::new(), &mut |name, kind| found.push((name.to_vec(), kind))) {
        // A file in its place is read.
        Ok(()) | Err(Errno::ENOTDIR) => {}
        Err(Errno::ENOENT) if !dir.is_symlink() => {}
        Err(errno) => return vec![not_read(dir, errno)],
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found.into_iter().filter_map(|(name, kind)| about(&dir.join(as_path(&name)), &name, kind)).collect()
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
        Ok(meta) if meta.is_dir() => Some(Finding::warning(path, "not read: a directory")),
        Ok(meta) if meta.is_file() => {
            let error = read_whole(path, limits::CONFIG_FILE).err()?;
            Some(Finding::error(path, format!("not read: {}", error.reason())))
        }
        Ok(meta) if meta.file_type().is_fifo() || meta.file_type().is_socket() => {
            Some(Finding::error(path, "not read: not a file"))
        }
        // Devices are read: a link to /dev/null masks.
        Ok(_) => None,
        Err(error) => Some(not_read(path, Errno::of(&error))),
    }
}

fn not_read(path: &Path, errno: Errno) -> Finding {
    Finding::error(path, format!("not read: {errno}"))
}
