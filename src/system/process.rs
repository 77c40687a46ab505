//! Other processes, as /proc shows them.

use super::file::{names, read_attribute};
use super::roots::Roots;

/// The ids of all processes, ascending. Empty if /proc cannot be read.
pub(crate) fn ids(roots: &Roots) -> Vec<i32> {
    let names = names(&roots.proc_fs).unwrap_or_default();
    let numbers = names.iter().filter_map(|name| std::str::from_utf8(name).ok()?.parse().ok());
    let mut ids: Vec<i32> = numbers.collect();
    ids.sort_unstable();
    ids
}

/// The name of a process, cut to 15 bytes (proc_pid_comm(5)).
pub(crate) fn name(roots: &Roots, id: i32) -> Option<Vec<u8>> {
    let mut buffer = [0; 64];
    let name = read_attribute(&roots.process(id, "comm"), &mut buffer).ok()?;
    Some(name.strip_suffix(b"\n").unwrap_or(name).to_vec())
}
