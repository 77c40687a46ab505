//! Which files of depmod.d count: of several with one base name the one in the first directory; all in the order of
//! their base names.

use super::settings::Settings;
use crate::config::files::is_config_name;
use crate::limits;
use crate::log::{Priority, Sink, bytes};
use crate::system::file::read_whole;
use crate::system::regex;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Reads the configuration for the kernel `version` from files and directories, highest precedence first. What does not
/// exist is passed over; what is wrong is told and passed over.
pub(crate) fn read(places: &[PathBuf], version: &[u8], sink: &dyn Sink) -> Settings {
    let mut files: BTreeMap<Vec<u8>, PathBuf> = BTreeMap::new();
    for place in places {
        match fs::read_dir(place) {
            Ok(entries) => {
                for entry in entries.flatten() {
                    let name = entry.file_name();
                    if is_config_name(name.as_bytes()) && is_file(&entry.path(), sink) {
                        files.entry(name.as_bytes().to_vec()).or_insert_with(|| entry.path());
                    }
                }
            }
            // Not a directory: taken as a file, whatever it is called.
            Err(_) if place.exists() => {
                let name = place.file_name().unwrap_or_default().as_bytes().to_vec();
                files.entry(name).or_insert_with(|| place.clone());
            }
            Err(_) => {}
        }
    }
    let mut settings = Settings::default();
    for path in files.values() {
        match read_whole(path, limits::CONFIG_FILE) {
            Ok(contents) => {
                settings.read(path.as_os_str().as_bytes(), &contents, version, regex::matches, sink);
            }
            Err(error) => sink.log(Priority::Err, error.to_string().as_bytes()),
        }
    }
    settings.finish()
}

/// Whether a directory entry is a file that may mask others.
fn is_file(path: &Path, sink: &dyn Sink) -> bool {
    let what = match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => "Directories inside directories are not supported: ",
        Ok(_) => return true,
        Err(_) => "Cannot stat directory entry: ",
    };
    sink.log(Priority::Err, &bytes![what, path.as_os_str().as_bytes()]);
    false
}
