//! `depmod -A`: whether the indexes are out of date, judged by paths and times, without reading modules.

use super::input;
use super::output;
use super::places::{self, Place, Times};
use super::scan::{Module, Scan};
use super::settings::Settings;
use crate::error::Errno;
use crate::log::{Priority, Silent, Sink, bytes};
use crate::system::roots::as_path;
use memchr::memmem;
use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;

/// Whether the indexes in `out` are out of date for the modules in `dir`:
///
/// * they are not those that one run wrote ([`are_of_one_run`]);
/// * `modules.dep` names other files than a search finds;
/// * one of these files, a directory or link that leads to them, or a list that comes with the kernel is newer than
///   `modules.dep`.
///
/// Newer means that the modification time or the change time is: a package can install a file with an old modification
/// time, and a rename changes only the change time.
///
/// As in kmod, `modules.dep` is that of `dir`, even if the indexes are written elsewhere.
pub(crate) fn is_outdated(dir: &[u8], out: &[u8], settings: &Settings, sink: &dyn Sink) -> bool {
    let log = |what: Vec<u8>, error: io::Error| {
        sink.log(Priority::Err, &bytes![what, ": ", Errno::of(&error).to_string()]);
    };
    if let Err(error) = fs::read_dir(as_path(dir)) {
        log(bytes!["could not open directory ", dir], error);
        return true;
    }
    let made = match metadata(dir, "modules.dep") {
        Ok(meta) => Times::of(&meta),
        Err(error) => {
            log(bytes!["could not fstatat(", dir, ", modules.dep)"], error);
            return true;
        }
    };
    let lists = ["modules.order", "modules.builtin", "modules.builtin.modinfo"];
    !are_of_one_run(dir, out)
        || lists.iter().any(|list| metadata(dir, list).is_ok_and(|meta| Times::of(&meta).is_newer(made)))
        || is_other_tree(dir, out, settings, made)
}

fn metadata(dir: &[u8], name: &str) -> io::Result<Metadata> {
    fs::metadata(as_path(&bytes![dir, "/", name]))
}

/// Whether all indexes are there, with the one modification time that a run gives to all of them
/// ([`crate::system::replace`]), and none is empty that cannot be. An index that was edited, truncated, or replaced by an
/// older copy has another time; one that lost its content in a crash is empty.
fn are_of_one_run(dir: &[u8], out: &[u8]) -> bool {
    let Ok(dep) = metadata(out, "modules.dep") else { return false };
    output::NAMES.iter().all(|&name| {
        let may_be_empty = match name {
            // Its modules are compared with the tree's.
            "modules.dep" | "modules.devname" => true,
            "modules.builtin.bin" => metadata(dir, "modules.builtin").is_err(),
            "modules.builtin.alias.bin" => metadata(dir, "modules.builtin.modinfo").is_err(),
            _ => false,
        };
        metadata(out, name).is_ok_and(|meta| {
            Times::of(&meta).modified == Times::of(&dep).modified && (meta.len() > 0 || may_be_empty)
        })
    })
}

/// Whether the modules are not those that `modules.dep` names, or one of them or what leads to them is newer. Errors are
/// reported by the run that follows.
fn is_other_tree(dir: &[u8], out: &[u8], settings: &Settings, made: Times) -> bool {
    let Ok(found) = Scan::new(dir, settings, &Silent).everything() else { return true };
    // Writing the indexes changes the times of the directory that holds them.
    let own = [dir, out].map(|dir| fs::metadata(as_path(dir)).ok().map(|meta| Place::of(&meta).id));
    let passed = found.links.iter().flat_map(|link| places::passed(as_path(link)));
    let mut places = found.directories.into_iter().chain(passed);
    if places.any(|place| !own.contains(&Some(place.id)) && place.times.is_newer(made)) {
        return true;
    }
    let Ok(dep) = input(dir, "modules.dep") else { return true };
    let lines = dep.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let path =
        |line| memmem::find(line, b": ").map_or_else(|| line.strip_suffix(b":"), |end| line.get(..end));
    let Some(named) = lines.map(path).collect::<Option<HashSet<&[u8]>>>() else { return true };
    let same = |module: &Module| named.contains(module.relative(dir)) && !module.times.is_newer(made);
    named.len() != found.modules.len() || !found.modules.iter().all(same)
}
