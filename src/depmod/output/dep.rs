//! `modules.dep` and `modules.dep.bin`: each module's file with the files that it depends on, in reverse load order.

use super::{File, Index, Sources, append};
use crate::depmod::Failure;
use crate::depmod::resolve::Closures;
use crate::log::Sink;

/// The text; calls `visit` with each module's place and line.
pub(super) fn text(sources: &Sources<'_>, mut visit: impl FnMut(u32, &[u8])) -> File {
    let mut closures = Closures::new(sources.dependencies, sources.numbers);
    let mut contents = Vec::new();
    for (place, module) in (0..).zip(sources.modules) {
        let start = contents.len();
        append(&mut contents, &[module.relative(sources.dir), b":"]);
        for &dependency in closures.of(place) {
            append(&mut contents, &[b" ", sources.modules[dependency as usize].relative(sources.dir)]);
        }
        visit(place, &contents[start..]);
        contents.push(b'\n');
    }
    File { name: "modules.dep", contents }
}

pub(super) fn both(sources: &Sources<'_>, sink: &dyn Sink) -> Result<(File, File), Failure> {
    let mut index = Index::new(sources, false, sink);
    let text = text(sources, |place, line| {
        let module = &sources.modules[place as usize];
        index.insert(&module.path, &module.name, line, place);
    });
    Ok((text, index.file("modules.dep.bin")?))
}
