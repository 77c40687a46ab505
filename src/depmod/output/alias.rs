//! `modules.alias` and `modules.alias.bin`: the aliases in the modules, mostly from device tables. The text has them as
//! they are, the index folds `-` to `_`.

use super::{File, Index, Sources};
use crate::depmod::Failure;
use crate::log::Sink;

pub(super) fn text(sources: &Sources<'_>) -> File {
    let mut contents = b"# Aliases extracted from modules themselves.\n".to_vec();
    for (module, known) in sources.modules.iter().zip(sources.known) {
        for alias in known.info.aliases.iter() {
            for part in [b"alias ", alias, b" ", &module.name, b"\n"] {
                contents.extend_from_slice(part);
            }
        }
    }
    File { name: "modules.alias", contents }
}

pub(super) fn index(sources: &Sources<'_>, sink: &dyn Sink) -> Result<File, Failure> {
    let mut index = Index::new(sources, sources.warn_duplicates, sink);
    for (place, (module, known)) in (0..).zip(sources.modules.iter().zip(sources.known)) {
        for alias in known.info.aliases.iter() {
            index.insert_alias(&module.path, alias, &module.name, place);
        }
    }
    index.file("modules.alias.bin")
}
