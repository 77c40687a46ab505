//! Why the kernel refuses a module for everybody, as far as it can be read: the kernel answers only EPERM.

use crate::formats::{kernel_args, modinfo};
use crate::limits;
use crate::system::Roots;
use crate::system::file::read_whole;
use crate::tree::image;
use std::path::Path;

/// Why the kernel refuses a module.
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    /// The name of the setting: a word of the JSON output.
    pub word: &'static str,
    /// A clause of a message.
    pub text: &'static str,
}

const BLACKLIST: Refusal =
    Refusal { word: "module_blacklist", text: "module_blacklist= on the kernel command line names it" };
const DISABLED: Refusal = Refusal {
    word: "modules_disabled",
    text: "kernel.modules_disabled is set, and no module can be loaded before the next boot",
};

/// Why the kernel refuses the module `name`, if it does. `own` is its `.modinfo` if that could be read: the kernel compares
/// the name in there, not that of the file.
pub(crate) fn look(roots: &Roots, name: &[u8], own: Option<&[u8]>) -> Option<Refusal> {
    let read = |path: &Path| read_whole(path, limits::CMDLINE_FILE).unwrap_or_default();
    if read(&roots.modules_disabled()).starts_with(b"1") {
        return Some(DISABLED);
    }
    let mut entries = own.into_iter().flat_map(modinfo::entries);
    let name = entries.find(|(key, _)| *key == b"name").map_or(name, |(_, value)| value);
    kernel_args::blacklists(&read(&roots.cmdline()), name).then_some(BLACKLIST)
}

/// The same for the module in a file.
pub(crate) fn of_file(roots: &Roots, name: &[u8], path: &Path) -> Option<Refusal> {
    look(roots, name, image::own_modinfo(path).ok().as_deref())
}
