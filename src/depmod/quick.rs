//! `depmod -A`: whether there is anything to do, by times alone. Spec formats.md 4.11.

use crate::bytes;
use crate::error::{errno_of, strerror};
use crate::log::{Priority, Sink};
use crate::name;
use crate::system::roots::as_path;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

/// Whether a module below `dir` is newer than its `modules.dep`, or that cannot be told. Compared to the nanosecond: kmod
/// 34.2, which compares whole seconds, misses a module that arrives in the second in which depmod ran.
pub fn is_outdated(dir: &[u8], sink: &dyn Sink) -> bool {
    let made = fs::metadata(as_path(&bytes![dir, "/modules.dep"])).and_then(|meta| meta.modified());
    let top = fs::read_dir(as_path(dir));
    if let Err(error) = &top {
        let reason = strerror(errno_of(error));
        sink.log(Priority::Err, &bytes!["could not open directory ", dir, ": ", reason]);
    }
    match (made, top) {
        (Ok(made), Ok(_)) => holds_newer(dir, made, &mut Vec::new()),
        (Err(error), Ok(_)) => {
            let reason = strerror(errno_of(&error));
            sink.log(Priority::Err, &bytes!["could not fstatat(", dir, ", modules.dep): ", reason]);
            true
        }
        _ => true,
    }
}

/// `above` holds the device and inode of the directories on the way here: links may lead back up.
fn holds_newer(dir: &[u8], made: SystemTime, above: &mut Vec<(u64, u64)>) -> bool {
    let (Ok(meta), Ok(entries)) = (fs::metadata(as_path(dir)), fs::read_dir(as_path(dir))) else {
        return false;
    };
    let id = (meta.dev(), meta.ino());
    if above.contains(&id) {
        return false;
    }
    above.push(id);
    let found = entries.flatten().any(|entry| {
        let name = entry.file_name();
        if name == "build" || name == "source" {
            return false;
        }
        let path = bytes![dir, "/", name.as_bytes()];
        let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let meta = if link { fs::metadata(as_path(&path)) } else { entry.metadata() };
        let Ok(meta) = meta else { return false };
        if meta.is_dir() {
            holds_newer(&path, made, above)
        } else {
            meta.is_file()
                && name::is_module_file(name.as_bytes())
                && meta.modified().is_ok_and(|time| time > made)
        }
    });
    above.pop();
    found
}
