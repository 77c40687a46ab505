//! The directories and links through which modules are found. Their times show that other files are found now, although
//! these are old: a directory was renamed, or a link leads elsewhere.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How many links are followed at most, as in path_resolution(7).
const MOST_LINKS: u32 = 40;

/// The modification time and the change time of a file, in seconds and nanoseconds since the epoch. The change time also
/// covers a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    pub(super) modified: (i64, i64),
    changed: (i64, i64),
}

impl Times {
    pub(super) fn of(meta: &Metadata) -> Times {
        let (modified, changed) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
        Times { modified, changed }
    }

    /// Whether one of the times is later than in `than`.
    pub(super) fn is_newer(self, than: Times) -> bool {
        self.modified > than.modified || self.changed > than.changed
    }
}

/// A directory or a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Device and inode.
    pub id: (u64, u64),
    pub times: Times,
}

impl Place {
    pub(super) fn of(meta: &Metadata) -> Place {
        Place { id: (meta.dev(), meta.ino()), times: Times::of(meta) }
    }
}

/// Everything that the kernel passes when it resolves the last component of `path`: links and the components of their
/// targets.
pub(super) fn passed(path: &Path) -> Vec<Place> {
    let mut found = Vec::new();
    let last = Path::new(path.file_name().unwrap_or_default());
    walk(path.parent().unwrap_or(Path::new("/")), last, &mut MOST_LINKS.clone(), &mut found);
    found
}

fn walk(dir: &Path, path: &Path, links: &mut u32, found: &mut Vec<Place>) {
    let mut at = dir.to_path_buf();
    for component in path.components() {
        // The component `/` replaces what is there.
        at.push(component);
        let Ok(meta) = fs::symlink_metadata(&at) else { return };
        found.push(Place::of(&meta));
        if let (Some(left), Ok(target)) = (links.checked_sub(1), fs::read_link(&at)) {
            *links = left;
            walk(at.parent().unwrap_or(dir), &target, links, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn each_link_and_each_directory_on_the_way_is_seen() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for dir in ["tree", "other/deep"] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        fs::write(at("other/deep/a.ko"), "").unwrap();
        symlink("other", at("current")).unwrap();
        symlink(at("current/deep/a.ko"), at("middle")).unwrap();
        symlink("../middle", at("tree/a.ko")).unwrap();
        let found = passed(&at("tree/a.ko"));
        for name in ["tree/a.ko", "middle", "current", "other", "other/deep", "other/deep/a.ko"] {
            // The directory behind a link is passed by the link's target.
            let place = Place::of(&fs::symlink_metadata(at(name)).unwrap());
            assert!(found.contains(&place), "{name}");
        }
        symlink("loop", at("loop")).unwrap();
        assert_eq!(passed(&at("loop")).len(), MOST_LINKS as usize + 1);
        assert!(passed(&at("nothing")).is_empty());
    }
}
