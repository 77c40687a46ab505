//! `modules.builtin.bin` and `modules.builtin.alias.bin`: the built-in modules and their aliases, from the two lists that
//! the kernel's build makes. If a list cannot be read, its index is a file of 0 bytes.

use super::{File, Index, Sources};
use crate::depmod::Failure;
use crate::error::Error;
use crate::formats::modinfo;
use crate::log::{Priority, Sink, bytes};
use crate::name;

pub(super) fn names(sources: &Sources<'_>, sink: &dyn Sink) -> Result<File, Failure> {
    const NAME: &str = "modules.builtin.bin";
    let Some(list) = opened(sources.builtin, "modules.builtin", sources, sink) else {
        return Ok(File { name: NAME, contents: Vec::new() });
    };
    let mut index = Index::new(sources, false, sink);
    let path = bytes![sources.dir, "/modules.builtin"];
    for line in list.split_inclusive(|&b| b == b'\n') {
        if !line[0].is_ascii_alphabetic() {
            sink.log(Priority::Err, &bytes!["Invalid modules.builtin line: ", line]);
            continue;
        }
        let until_nul = line.split(|&b| b == 0).next().unwrap_or_default();
        if let Some(name) = name::from_path(until_nul) {
            index.insert(&path, &name, b"", 0);
        }
    }
    index.file(NAME)
}

pub(super) fn aliases(sources: &Sources<'_>, sink: &dyn Sink) -> Result<File, Failure> {
    const NAME: &str = "modules.builtin.alias.bin";
    let Some(records) = opened(sources.builtin_info, "modules.builtin.modinfo", sources, sink) else {
        return Ok(File { name: NAME, contents: Vec::new() });
    };
    let mut index = Index::new(sources, false, sink);
    let path = bytes![sources.dir, "/modules.builtin.modinfo"];
    for record in
        modinfo::builtin(records).filter(|record| record.key == b"alias" && !record.value.is_empty())
    {
        index.insert_alias(&path, record.value, record.name, 0);
    }
    index.file(NAME)
}

fn opened<'a>(
    input: Result<&'a [u8], &Error>,
    name: &str,
    sources: &Sources<'_>,
    sink: &dyn Sink,
) -> Option<&'a [u8]> {
    input.map_err(|error| crate::depmod::unread(name, sources.dir, error, sink)).ok()
}
