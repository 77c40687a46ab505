//! Module files.

use super::{KIB, bounded, inside};
use kmod_once::internals::depmod::facts::{Reader, Wanted};
use kmod_once::internals::error::Result;
use kmod_once::internals::formats::elf::{
    Elf, Search, SearchStatus, exports, needed, strip_modversions, strip_vermagic, versions,
};
use kmod_once::internals::formats::modinfo;

/// Everything that is read from an uncompressed module. What is found lies inside the file, is no more than the file can
/// hold, is the same by both ways to it, and the edits change what they are meant to change and nothing else.
pub fn check(image: &[u8]) -> bool {
    read_all(image) > 0
}

/// The same; how many readers found something.
pub fn read_all(image: &[u8]) -> usize {
    let mut found = 0;
    let facts = bounded(image, KIB, 64, || Reader::new(Wanted::Crcs).read(image));
    search(image);
    let Ok(elf) = Elf::parse(image) else {
        assert!(
            facts.trouble.is_some() || !facts.symbols.exports.0.is_empty(),
            "unread, and nobody was told"
        );
        return found;
    };
    found += 1;
    if let Ok(entries) = bounded(image, KIB, 32, || modinfo::info(&elf)) {
        found += 1;
        assert!(entries.iter().all(|(key, value)| inside(key, image) && inside(value, image)));
        assert!(entries.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() <= image.len());
        let (parameters, bad) = modinfo::parameters(entries.iter().copied());
        assert!(parameters.len() + bad.len() <= entries.len());
        let aliases = entries.iter().filter(|(key, _)| *key == b"alias").map(|(_, value)| *value);
        assert!(facts.info.aliases.iter().eq(aliases), "depmod and modinfo read the same aliases");
    }
    found += usize::from(modinfo::build_id(&elf).is_some_and(|id| inside(id, image)));
    found +=
        usize::from(modinfo::module_name(&elf).is_some_and(|name| !name.is_empty() && inside(name, image)));
    if let Ok(exports) = bounded(image, KIB, 16, || exports(&elf)) {
        found += 1;
        assert!(exports.len() <= image.len());
        assert!(exports.iter().all(|export| inside(export.name, image)));
        assert!(facts.symbols.exports.iter().eq(exports.iter().map(|export| export.name)));
    }
    // An extended version takes four bytes at the least, where damage lays the names over the CRCs.
    if let Ok(needed) = bounded(image, KIB, 48, || needed(&elf)) {
        found += 1;
        assert!(needed.len() <= image.len() / 16 + image.len() / 4);
        assert!(needed.iter().all(|needed| inside(needed.name, image)));
        assert!(facts.symbols.needs.iter().eq(needed.iter().map(|needed| needed.name)));
    }
    if let Ok(versions) = bounded(image, KIB, 16, || versions(&elf)) {
        found += 1;
        assert!(versions.len() <= image.len() / 4);
        assert!(versions.iter().all(|version| inside(version.name, image) && version.name.len() < 4096));
    }
    // One string.
    edited(image, strip_vermagic, |copy| {
        let changed = |at: &usize| copy[*at] != image[*at];
        let first = (0..image.len()).find(changed).unwrap_or(0);
        let last = (0..image.len()).rev().find(changed).unwrap_or(0);
        let string = image[first..].iter().position(|&b| b == 0).unwrap_or(image.len() - first);
        last < first + string.max(1)
    });
    // The same bit of some headers.
    edited(image, strip_modversions, |copy| {
        image.iter().zip(copy).all(|(old, new)| matches!(old ^ new, 0 | 2))
    });
    found
}

/// An edit that fails changes nothing; one that does not changes what it is for, as `kept` says of the copy.
fn edited(image: &[u8], edit: fn(&mut [u8]) -> Result<()>, kept: impl Fn(&[u8]) -> bool) {
    let mut copy = image.to_vec();
    let result = edit(&mut copy);
    assert_eq!(copy.len(), image.len());
    match result {
        Err(_) => assert_eq!(copy, image),
        Ok(()) => assert!(kept(&copy), "an edit reached beyond what it was for"),
    }
}

/// What is found from the beginning of the file, piece by piece, is what is found in one go, and lies inside it.
fn search(image: &[u8]) {
    let (mut piecemeal, mut length) = (Search::new(image.len() as u64, false), 0);
    let ended = loop {
        match piecemeal.look(&image[..length]) {
            SearchStatus::More(_) if length == image.len() => break SearchStatus::Never,
            SearchStatus::More(wanted) => {
                assert!(wanted > 0, "a search that asks for nothing never ends");
                length = image.len().min(length + wanted);
            }
            ended => break ended,
        }
    };
    let mut at_once = Search::new(image.len() as u64, false);
    let found = at_once.look(image) == SearchStatus::Found;
    assert_eq!(found, ended == SearchStatus::Found, "piece by piece and in one go");
    if found {
        let (early, same) = (piecemeal.found(&image[..length]).unwrap(), at_once.found(image).unwrap());
        assert!(inside(early.modinfo, image) && early.modinfo == same.modinfo);
        assert_eq!(early.export_names(), same.export_names());
        let (needs, again) = (early.needed().unwrap(), same.needed().unwrap());
        assert_eq!(needs, again);
        assert!(needs.iter().all(|need| inside(need.name, image)));
    }
}
