//! `modules.builtin.bin` and `modules.builtin.alias.bin`: the built-in modules and their aliases, from the two lists that
//! the kernel's build makes. If a list cannot be read, its index is a file of 0 bytes.

use super::{File, Index, Sources};
use crate::depmod::{Failure, unread};
use crate::formats::modinfo;
use crate::log::{Priority, Sink, bytes};
use crate::name;

pub(super) fn names(sources: &Sources<'_>, sink: &dyn Sink) -> Result<File, Failure> {
    const NAME: &str = "modules.builtin.bin";
    let list = sources.builtin.inspect_err(|error| unread("modules.builtin", sources.dir, error, sink));
    let Ok(list) = list else { return Ok(File { name: NAME, contents: Vec::new() }) };
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
    const LIST: &str = "modules.builtin.modinfo";
    let list = sources.builtin_info.inspect_err(|error| unread(LIST, sources.dir, error, sink));
    let Ok(list) = list else { return Ok(File { name: NAME, contents: Vec::new() }) };
    let mut index = Index::new(sources, false, sink);
    let path = bytes![sources.dir, "/", LIST];
    let is_alias = |record: &modinfo::Builtin<'_>| record.key == b"alias" && !record.value.is_empty();
    for record in modinfo::builtin(list).filter(is_alias) {
        index.insert_alias(&path, record.value, record.name, 0);
    }
    index.file(NAME)
}
