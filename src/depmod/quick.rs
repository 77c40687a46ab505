//! `depmod -A`: whether the indexes are out of date, judged by paths and times, without reading modules.

use super::output;
use super::places::{self, Place};
use super::scan::{Scan, Times};
use super::settings::Settings;
use crate::error::Errno;
use crate::limits;
use crate::log::{Priority, Silent, Sink, bytes};
use crate::system::map;
use crate::system::roots::as_path;
use memchr::memmem;
use std::collections::HashSet;
use std::fs;

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
    if let Err(error) = fs::read_dir(as_path(dir)) {
        let reason = Errno::of(&error).to_string();
        sink.log(Priority::Err, &bytes!["could not open directory ", dir, ": ", reason]);
        return true;
    }
    let made = match times(dir, "modules.dep") {
        Ok(made) => made,
        Err(error) => {
            let reason = Errno::of(&error).to_string();
            sink.log(Priority::Err, &bytes!["could not fstatat(", dir, ", modules.dep): ", reason]);
            return true;
        }
    };
    let lists = ["modules.order", "modules.builtin", "modules.builtin.modinfo"];
    !are_of_one_run(dir, out)
        || lists.iter().any(|list| times(dir, list).is_ok_and(|times| times.is_newer(made)))
        || is_other_tree(dir, out, settings, made)
}

/// Whether all indexes are there, with the one modification time that a run gives to all of them
/// ([`crate::system::replace`]), and none is empty that cannot be. An index that was edited, truncated, or replaced by an
/// older copy has another time; one that lost its content in a crash is empty.
fn are_of_one_run(dir: &[u8], out: &[u8]) -> bool {
    let metadata = |name: &str| fs::metadata(as_path(&bytes![out, "/", name])).ok();
    let Some(time) = metadata("modules.dep").map(|meta| Times::of(&meta).modified) else { return false };
    output::NAMES.iter().all(|name| {
        let may_be_empty = match *name {
            // Its modules are compared with the tree's.
            "modules.dep" | "modules.devname" => true,
            "modules.builtin.bin" => times(dir, "modules.builtin").is_err(),
            "modules.builtin.alias.bin" => times(dir, "modules.builtin.modinfo").is_err(),
            _ => false,
        };
        metadata(name)
            .is_some_and(|meta| Times::of(&meta).modified == time && (meta.len() > 0 || may_be_empty))
    })
}

fn times(dir: &[u8], name: &str) -> std::io::Result<Times> {
    fs::metadata(as_path(&bytes![dir, "/", name])).map(|meta| Times::of(&meta))
}

/// Whether the modules are not those that `modules.dep` names, or one of them or what leads to them is newer. Errors are
/// reported by the run that follows.
fn is_other_tree(dir: &[u8], out: &[u8], settings: &Settings, made: Times) -> bool {
    let Ok(found) = Scan::new(dir, settings, &Silent).everything() else { return true };
    // Writing the indexes changes the times of the directory that holds them.
    let own: Vec<_> =
        [dir, out].iter().filter_map(|dir| Some(Place::of(&fs::metadata(as_path(dir)).ok()?).id)).collect();
    let passed = found.links.iter().flat_map(|link| places::passed(as_path(link)));
    if found
        .directories
        .iter()
        .copied()
        .chain(passed)
        .any(|place| !own.contains(&place.id) && place.times.is_newer(made))
    {
        return true;
    }
    let Ok(dep) = map::open(as_path(&bytes![dir, "/modules.dep"]), limits::TEXT_FILE) else { return true };
    let lines = dep.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let path =
        |line| memmem::find(line, b": ").map_or_else(|| line.strip_suffix(b":"), |end| line.get(..end));
    let Some(named) = lines.map(path).collect::<Option<HashSet<&[u8]>>>() else { return true };
    let same =
        |module: &super::scan::Module| named.contains(module.relative(dir)) && !module.times.is_newer(made);
    named.len() != found.modules.len() || !found.modules.iter().all(same)
}
