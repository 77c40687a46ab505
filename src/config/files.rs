//! Which configuration files are read, and in which order.
//!
//! Of several files with one base name the one from the first directory is read and masks the others, even if it is empty.
//! All that are read are sorted by their base names (as bytes), whatever their directories. Pure: the names are passed in.

/// The kind of a file, as far as it is known before it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A regular file, according to the directory.
    Regular,
    /// A file that masks others even if it cannot be read: it was named by path, or it is one of the module directory's.
    Certain,
    /// A directory.
    Directory,
    /// A link, which may dangle; a device; or anything, on a file system that does not report kinds.
    Unknown,
}

/// A file that may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The base name.
    pub name: Vec<u8>,
    /// Where it is, as an index into the caller's list, highest precedence first.
    pub place: usize,
    /// Its kind.
    pub kind: FileKind,
    /// How many names were found before it.
    pub seen: usize,
}

/// Whether a file of this name in a configuration directory is a configuration file: no leading dot, and something before
/// `.conf`.
pub(crate) fn is_config_name(name: &[u8]) -> bool {
    name.len() > b".conf".len() && name[0] != b'.' && name.ends_with(b".conf")
}

/// Sorts `found` by base name, and equal names by precedence: the first one of each name that is a file masks the others.
pub(crate) fn order(found: &mut [Candidate]) {
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name).then(a.place.cmp(&b.place)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a.conf", "Z.conf", "a.b.conf", "\u{e9}.conf"] {
            assert!(is_config_name(good.as_bytes()), "{good}");
        }
        for bad in [".conf", "conf", ".a.conf", "a.CONF", "a.conf~", "a.alias", "a.conf.dpkg-old", ""] {
            assert!(!is_config_name(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn base_names_decide_across_directories() {
        let found =
            |name: &str, place| Candidate { name: name.into(), place, kind: FileKind::Regular, seen: 0 };
        let mut all = [
            found("zz.conf", 1),
            found("a.conf", 3),
            found("modules.softdep", 0),
            found("Z.conf", 4),
            found("a.conf", 1),
        ];
        order(&mut all);
        let want = [
            found("Z.conf", 4),
            found("a.conf", 1),
            found("a.conf", 3),
            found("modules.softdep", 0),
            found("zz.conf", 1),
        ];
        assert_eq!(all, want);
    }
}
