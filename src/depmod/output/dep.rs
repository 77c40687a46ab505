//! `modules.dep` and `modules.dep.bin`: each module's file with the files that it depends on, the ones to load first
//! last.

use super::{File, Index, Sources};
use crate::depmod::Failure;
use crate::depmod::resolve::Closures;
use crate::log::Silent;

const TEXT: &str = "modules.dep";

pub(super) fn text(sources: &Sources<'_>) -> File {
    let mut contents = Vec::new();
    each(sources, |_, line| {
        contents.extend_from_slice(line);
        contents.push(b'\n');
        Ok(())
    })
    .unwrap_or_default();
    File { name: TEXT, contents }
}

pub(super) fn both(sources: &Sources<'_>) -> Result<(File, File), Failure> {
    let mut contents = Vec::new();
    let mut index = Index::new(false, &Silent);
    each(sources, |priority, line| {
        contents.extend_from_slice(line);
        contents.push(b'\n');
        index.insert(&sources.modules[priority as usize].name, line, priority)
    })?;
    Ok((File { name: TEXT, contents }, index.file("modules.dep.bin")?))
}

/// Shows each module's place and line.
fn each(
    sources: &Sources<'_>,
    mut visit: impl FnMut(u32, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
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
        visit(place, &line)?;
    }
    Ok(())
}
