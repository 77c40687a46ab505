//! `modules.symbols` and `modules.symbols.bin`: the module that provides each symbol, as aliases `symbol:NAME`, in the
//! order of kmod's hash table.

use super::{File, Index, Sources, append};
use crate::depmod::{Failure, hash};
use crate::log::{Sink, bytes};

pub(super) fn text(sources: &Sources<'_>) -> File {
    let mut contents = b"# Aliases for symbols, used by symbol_request().\n".to_vec();
    for (symbol, owner) in sorted(sources) {
        let module = &sources.modules[owner as usize].name;
        append(&mut contents, &[b"alias symbol:", symbol, b" ", module, b"\n"]);
    }
    File { name: "modules.symbols", contents }
}

pub(super) fn index(sources: &Sources<'_>, sink: &dyn Sink) -> Result<File, Failure> {
    let mut index = Index::new(sources, sources.warn_duplicates, sink);
    for (symbol, owner) in sorted(sources) {
        let module = &sources.modules[owner as usize];
        index.insert(&module.path, &bytes!["symbol:", symbol], &module.name, owner);
    }
    index.file("modules.symbols.bin")
}

fn sorted<'a>(sources: &Sources<'a>) -> Vec<(&'a [u8], u32)> {
    let named = sources.provided.iter().map(|&(name, owner)| (sources.interner.name(name), owner));
    let mut symbols: Vec<_> = named.collect();
    symbols.sort_by_cached_key(|(name, _)| hash::place(name, hash::SYMBOLS));
    symbols
}
