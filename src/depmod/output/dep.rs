//! `modules.dep` and `modules.dep.bin`: each module's file with the files that it depends on, in reverse load order.

use super::{File, Index, Sources};
use crate::depmod::Failure;
use crate::depmod::resolve::Closures;
use crate::log::Sink;

const TEXT: &str = "modules.dep";

pub(super) fn text(sources: &Sources<'_>) -> File {
    let mut contents = Vec::new();
    each(sources, |_, line| {
        contents.extend_from_slice(line);
        contents.push(b'\n');
    });
    File { name: TEXT, contents }
}

pub(super) fn both(sources: &Sources<'_>, sink: &dyn Sink) -> Result<(File, File), Failure> {
    let mut contents = Vec::new();
    let mut index = Index::new(sources, false, sink);
    each(sources, |priority, line| {
        contents.extend_from_slice(line);
        contents.push(b'\n');
        let module = &sources.modules[priority as usize];
        index.insert(&module.path, &module.name, line, priority);
    });
    Ok((File { name: TEXT, contents }, index.file("modules.dep.bin")?))
}

/// Calls `visit` with each module's place and line.
fn each(sources: &Sources<'_>, mut visit: impl FnMut(u32, &[u8])) {
    let mut closures = Closures::new(sources.dependencies, sources.numbers);
    let mut line = Vec::new();
    for (place, module) in (0..).zip(sources.modules) {
        line.clear();
        line.extend_from_slice(module.relative(sources.dir));
        line.push(b':');
        for &dependency in closures.of(place) {
            line.push(b' ');
            line.extend_from_slice(sources.modules[dependency as usize].relative(sources.dir));
        }
        visit(place, &line);
    }
}
