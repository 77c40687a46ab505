//! The files from the `.modinfo` of the modules: `modules.alias` and `modules.alias.bin` with the aliases, mostly from device
//! tables; `modules.softdep` and `modules.weakdep` with the soft and weak dependencies, as lines of modprobe.d for modprobe.
//! The texts have the values as they are, the index folds `-` to `_`.

use super::{File, Index, Sources, append};
use crate::depmod::Failure;
use crate::depmod::facts::{Info, Strings};
use crate::log::Sink;

pub(super) fn aliases(sources: &Sources<'_>) -> File {
    let mut contents = b"# Aliases extracted from modules themselves.\n".to_vec();
    for (module, known) in sources.modules.iter().zip(sources.known) {
        for alias in known.info.aliases.iter() {
            append(&mut contents, &[b"alias ", alias, b" ", &module.name, b"\n"]);
        }
    }
    File { name: "modules.alias", contents }
}

pub(super) fn alias_index(sources: &Sources<'_>, sink: &dyn Sink) -> Result<File, Failure> {
    let mut index = Index::new(sources, sources.warn_duplicates, sink);
    for (place, (module, known)) in (0..).zip(sources.modules.iter().zip(sources.known)) {
        for alias in known.info.aliases.iter() {
            index.insert_alias(&module.path, alias, &module.name, place);
        }
    }
    index.file("modules.alias.bin")
}

pub(super) fn softdeps(sources: &Sources<'_>) -> File {
    let header = b"# Soft dependencies extracted from modules themselves.\n";
    File { name: "modules.softdep", contents: lines(sources, header, b"softdep ", |info| &info.softdeps) }
}

pub(super) fn weakdeps(sources: &Sources<'_>) -> File {
    let header = b"# Weak dependencies extracted from modules themselves.\n";
    File { name: "modules.weakdep", contents: lines(sources, header, b"weakdep ", |info| &info.weakdeps) }
}

fn lines(
    sources: &Sources<'_>,
    header: &[u8],
    keyword: &[u8],
    list: for<'i> fn(&'i Info<'i>) -> &'i Strings<'i>,
) -> Vec<u8> {
    let mut contents = header.to_vec();
    for (module, known) in sources.modules.iter().zip(sources.known) {
        for value in list(&known.info).iter() {
            append(&mut contents, &[keyword, &module.name, b" ", value, b"\n"]);
        }
    }
    contents
}
