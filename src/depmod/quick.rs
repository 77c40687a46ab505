//! `depmod -A`: whether the indexes are out of date, judged by paths and times, without reading modules.

use super::output;
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

/// Whether the indexes in `out` are out of date for the modules in `dir`: one is missing, `modules.dep` names other files
/// than a search finds, or one of these files, or a list that comes with the kernel, is newer than `modules.dep`. A file is
/// newer if its modification time or its change time is: a package can install a file with an old modification time.
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
    output::NAMES.iter().any(|name| times(out, name).is_err())
        || lists.iter().any(|list| times(dir, list).is_ok_and(|times| times.is_newer(made)))
        || is_other_tree(dir, settings, made)
}

fn times(dir: &[u8], name: &str) -> std::io::Result<Times> {
    fs::metadata(as_path(&bytes![dir, "/", name])).map(|meta| Times::of(&meta))
}

/// Whether the modules are not those that `modules.dep` names, or one is newer. Errors are reported by the run that
/// follows.
fn is_other_tree(dir: &[u8], settings: &Settings, made: Times) -> bool {
    let Ok(found) = Scan::new(dir, settings, &Silent).everything() else { return true };
    let Ok(dep) = map::open(as_path(&bytes![dir, "/modules.dep"]), limits::TEXT_FILE) else { return true };
    let lines = dep.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let path =
        |line| memmem::find(line, b": ").map_or_else(|| line.strip_suffix(b":"), |end| line.get(..end));
    let Some(named) = lines.map(path).collect::<Option<HashSet<&[u8]>>>() else { return true };
    let same =
        |module: &super::scan::Module| named.contains(module.relative(dir)) && !module.times.is_newer(made);
    named.len() != found.modules.len() || !found.modules.iter().all(same)
}
