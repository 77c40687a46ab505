//! The text files of a module directory that are searched or shown where they lie.

use super::{KIB, bounded, inside};
use kmod_once::internals::formats::{modinfo, number, text};
use kmod_once::internals::name;

/// Any bytes as each of the text files: answers are whole lines or words of the file, the search finds what the listing lists,
/// and what is printed again reads the same.
pub fn check(input: &[u8]) -> bool {
    let lines = || input.split(|&b| b == b'\n');
    for line in lines().take(20) {
        let path = line.iter().position(|&b| b == b':').map(|colon| &line[..colon]);
        let Some(name) = path.and_then(name::from_path) else { continue };
        let found = text::dep_line(input, &name);
        // A name that is cut to what is ever looked up is found by no one.
        assert!(
            found.is_some() || name.len() == kmod_once::internals::limits::QUERY,
            "{}",
            line.escape_ascii()
        );
        assert!(found.is_none_or(|found| inside(found, input) && lines().any(|line| line == found)));
    }
    let mut aliases = 0;
    for (pattern, module) in text::aliases(input) {
        aliases += 1;
        assert!(
            inside(pattern, input) && inside(module, input) && !module.is_empty() && !module.contains(&b' ')
        );
        let line = [b"alias ", pattern, b" ", module].concat();
        assert!(text::aliases(&line).eq([(pattern, module)]));
        let literal = !pattern.iter().any(|b| b"*?[]".contains(b))
            && pattern.len() <= kmod_once::internals::limits::QUERY;
        if literal && aliases < 20 {
            let query = name::alias(pattern).unwrap();
            assert!(text::alias_search(input, &query).contains(&module));
        }
    }
    let found = bounded(input, 4 * KIB, 8, || text::alias_search(input, b"pci:v00008086d"));
    assert!(found.len() <= aliases);
    for name in text::builtins(input).take(20) {
        assert!(text::builtin_contains(input, &name) || name.len() == kmod_once::internals::limits::QUERY);
    }
    let mut printed = Vec::new();
    let mut records = 0;
    for record in modinfo::builtin(input) {
        records += 1;
        printed.extend_from_slice(&[record.name, b".", record.key, b"=", record.value, b"\0"].concat());
        if records < 20 {
            if let Ok(entries) = modinfo::builtin_info(input, record.name) {
                // The first run of its records holds at least one, which may be another one.
                assert!(!entries.is_empty());
                assert!(entries.iter().all(|(key, value)| inside(key, input) && inside(value, input)));
            }
        }
    }
    assert!(modinfo::builtin(&printed).eq(modinfo::builtin(input)));
    if let Some((value, rest)) = number::unsigned(input) {
        assert!(inside(rest, input));
        assert_eq!(number::unsigned(value.to_string().as_bytes()), Some((value, &b""[..])));
    }
    aliases + records > 0
}
