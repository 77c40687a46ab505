//! `modules.softdep` and `modules.weakdep`: the soft and weak dependencies in the modules, as lines of modprobe.d for
//! modprobe.

use super::{File, Sources};
use crate::depmod::facts::{Info, Strings};

pub(super) fn softdep(sources: &Sources<'_>) -> File {
    let header = "# Soft dependencies extracted from modules themselves.\n";
    File { name: "modules.softdep", contents: lines(sources, header, "softdep ", |info| &info.softdeps) }
}

pub(super) fn weakdep(sources: &Sources<'_>) -> File {
    let header = "# Weak dependencies extracted from modules themselves.\n";
    File { name: "modules.weakdep", contents: lines(sources, header, "weakdep ", |info| &info.weakdeps) }
}

fn lines(
    sources: &Sources<'_>,
    header: &str,
    keyword: &str,
    list: for<'i> fn(&'i Info<'i>) -> &'i Strings<'i>,
) -> Vec<u8> {
    let mut contents = header.as_bytes().to_vec();
    for (module, known) in sources.modules.iter().zip(sources.known) {
        for value in list(&known.info).iter() {
            for part in [keyword.as_bytes(), &module.name, b" ", value, b"\n"] {
                contents.extend_from_slice(part);
            }
        }
    }
    contents
}
