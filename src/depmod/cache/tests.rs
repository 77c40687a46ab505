use super::*;
use crate::depmod::digest::Digest;
use crate::depmod::facts::Facts;
use crate::depmod::interner::Interner;

const SECOND: i64 = 1_000_000_000;

const DIGEST: Digest = Digest { length: 1 << 40, mixed: [7, u64::MAX] };

fn facts() -> Facts {
    let mut facts = Facts::default();
    facts.info.aliases.push(b"pci:v*");
    facts.info.aliases.push(b"");
    facts.info.softdeps.push(b"pre: x");
    for (name, crc) in [(&b"a"[..], u64::MAX), (b"b", 0)] {
        facts.symbols.exports.push(name);
        facts.symbols.export_crcs.push(crc);
    }
    for (name, need) in [(&b"c"[..], (5, true)), (b"a", (6, false)), (b"c", (5, true))] {
        facts.symbols.needs.push(name);
        facts.symbols.need_crcs.push(need);
    }
    facts
}

fn place() -> (tempfile::TempDir, CacheFile) {
    let dir = tempfile::tempdir().unwrap();
    let modules = dir.path().join("6.1.0");
    fs::create_dir(&modules).unwrap();
    let place = CacheFile::of(&dir.path().join("caches"), &modules).unwrap();
    (dir, place)
}

fn contents(place: &CacheFile) -> Vec<u8> {
    let facts = facts();
    // An unused name is dropped, and the others get other numbers.
    let mut interner = Interner::of(vec![b"gone"], Vec::new());
    let known = interner.add(&facts);
    render(place, &interner, &[(DIGEST, &known)])
}

#[test]
fn what_was_kept_comes_back() {
    let (_dir, place) = place();
    let bytes = contents(&place);
    place.store(&bytes, 0).unwrap();
    assert_eq!(place.load().unwrap(), bytes);
    let remembered = Remembered::parse(&bytes).unwrap();
    assert_eq!(remembered.interner.names.len(), 3);
    let known = &remembered.modules[&DIGEST];
    let facts = facts();
    assert_eq!(known.info.aliases.0, facts.info.aliases.0);
    assert_eq!(known.info.softdeps.iter().collect::<Vec<_>>(), [b"pre: x"]);
    let exports: Vec<_> =
        known.exports.iter().map(|&(id, crc)| (remembered.interner.name(id).to_vec(), crc)).collect();
    assert_eq!(exports, [(b"a".to_vec(), u64::MAX), (b"b".to_vec(), 0)]);
    let need = |id| remembered.interner.need(id);
    let needs: Vec<_> = known.needs.iter().map(|&id| need(id)).collect();
    let shown: Vec<_> =
        needs.iter().map(|n| (remembered.interner.name(n.name).to_vec(), n.crc, n.weak)).collect();
    assert!(!known.without_crcs);
    let c = (b"c".to_vec(), 5, true);
    assert_eq!(shown, [c.clone(), (b"a".to_vec(), 6, false), c]);
}

#[test]
fn that_crcs_were_not_read_is_kept() {
    let (_dir, place) = place();
    let mut facts = facts();
    facts.symbols.export_crcs.clear();
    let mut interner = Interner::default();
    let known = interner.add(&facts);
    assert!(known.without_crcs);
    let bytes = render(&place, &interner, &[(DIGEST, &known)]);
    let remembered = Remembered::parse(&bytes).unwrap();
    assert_eq!(remembered.modules[&DIGEST], known);
}

#[test]
fn a_cache_that_is_damaged_or_not_ours_is_as_if_it_were_not_there() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, place) = place();
    let bytes = contents(&place);
    for index in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[index] ^= 1;
        place.store(&damaged, 0).unwrap();
        assert_eq!(place.load(), None, "byte {index}");
        // Even without the checksum nothing panics.
        let _ = Remembered::parse(&damaged);
        let _ = Remembered::parse(&bytes[..index]);
    }
    place.store(&bytes, 0).unwrap();
    fs::set_permissions(&place.file, fs::Permissions::from_mode(0o622)).unwrap();
    assert_eq!(place.load(), None, "others may write it");
    fs::set_permissions(&place.file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(place.load().is_some());
    fs::remove_file(&place.file).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &place.file).unwrap();
    assert_eq!(place.load(), None, "a link");
}

#[test]
fn caches_of_directories_that_are_gone_are_dropped_and_other_files_are_not() {
    let (dir, place) = place();
    place.store(&contents(&place), 0).unwrap();
    let caches = dir.path().join("caches");
    for (name, content) in [("notes.txt", &b"mine"[..]), ("x.tmp", b"mine"), (".kmod-once-depmod.1", b"half")]
    {
        fs::write(caches.join(name), content).unwrap();
    }
    // So many that they would fill the limit.
    for number in 0..40 {
        let file = caches.join(format!("gone{number}"));
        let gone = CacheFile { directory: b"/nowhere/at/all".to_vec(), file };
        fs::write(&gone.file, contents(&gone)).unwrap();
    }
    let other = dir.path().join("6.2.0");
    fs::create_dir(&other).unwrap();
    let other = CacheFile::of(&caches, &other).unwrap();
    let late = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    other.store(&contents(&other), (late + 7200) * SECOND).unwrap();
    let mut left: Vec<_> = fs::read_dir(&caches).unwrap().map(|e| e.unwrap().path()).collect();
    let mut expected = vec![place.file, other.file, caches.join("notes.txt"), caches.join("x.tmp")];
    left.sort();
    expected.sort();
    assert_eq!(left, expected);
}
