//! depmod's cache.

use super::{KIB, bounded};
use kmod_once::internals::depmod::cache::{CacheFile, Remembered, render};
use kmod_once::internals::depmod::digest::Digest;
use std::path::Path;
use std::sync::OnceLock;

/// What one module is remembered by, with names in the place of numbers.
type Module = (Digest, String, Vec<(Vec<u8>, u64)>, Vec<(Vec<u8>, u64, bool)>);

/// Any bytes behind a good header: what is understood, written anew, is understood the same, and writing it once more gives
/// the same bytes.
pub fn check(input: &[u8]) -> bool {
    static PLACE: OnceLock<CacheFile> = OnceLock::new();
    let place = PLACE.get_or_init(|| CacheFile::of(Path::new("/nonexistent"), Path::new("/")).unwrap());
    let _ = Remembered::parse(input);
    // A directory, so that all that follows it is reached.
    let file = [&[0; 24][..], &[1, b'/'], input].concat();
    let remembered = bounded(&file, KIB, 64, || Remembered::parse(&file));
    let Some(remembered) = remembered else { return false };
    assert!(remembered.modules.len() <= input.len());
    let written = write(place, &remembered);
    assert!(written.len() <= file.len() + 64 + input.len() * 9, "{} from {}", written.len(), file.len());
    let again = Remembered::parse(&written).expect("what is written is read back");
    assert_eq!(shown(&remembered), shown(&again));
    assert_eq!(write(place, &again), written);
    !remembered.modules.is_empty()
}

fn write(place: &CacheFile, remembered: &Remembered<'_>) -> Vec<u8> {
    let mut modules: Vec<_> = remembered.modules.iter().map(|(&digest, known)| (digest, known)).collect();
    modules.sort_by_key(|&(digest, _)| digest);
    render(place, &remembered.interner, &modules)
}

fn shown(remembered: &Remembered<'_>) -> Vec<Module> {
    let interner = &remembered.interner;
    let mut modules: Vec<Module> = remembered
        .modules
        .iter()
        .map(|(digest, known)| {
            let exports = known.exports.iter().map(|&(name, crc)| (interner.name(name).to_vec(), crc));
            let needs = known.needs.iter().map(|&need| interner.need(need));
            let needs = needs.map(|need| (interner.name(need.name).to_vec(), need.crc, need.weak));
            (*digest, format!("{:?}", known.info), exports.collect(), needs.collect())
        })
        .collect();
    modules.sort();
    modules
}
