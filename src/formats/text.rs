//! The text files with the same content as the indexes (`modules.dep`, `modules.alias`, `modules.symbols`,
//! `modules.builtin`). They are read if an index is missing or damaged.
//!
//! ```text
//! modules.dep      PATH:[ PATH]...
//! modules.alias    alias PATTERN NAME        (also modules.symbols; lines beginning with # are comments)
//! modules.builtin  PATH
//! ```
//!
//! kmod never reads the first three. A last line without its newline counts.

use super::pattern::{WILDCARDS, fnmatch};
use super::split_once;
use crate::limits;
use crate::name;

/// The line of the module `name` (canonical) in a `modules.dep`, without newline, which is its value in `modules.dep.bin`.
pub fn dep_line<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    lines(text).find(|line| split_once(line, b':').is_some_and(|(path, _)| is_module(path, name)))
}

/// The modules whose alias or symbol pattern matches `query` (normalised by [`name::alias`]), in file order with
/// duplicates, as a search of the index finds them. At most [`limits::LOOKUP_RESULTS`].
pub fn alias_search<'a>(text: &'a [u8], query: &[u8]) -> Vec<&'a [u8]> {
    aliases(text)
        .filter(|(pattern, _)| name::alias(pattern).is_some_and(|pattern| matches(&pattern, query)))
        .map(|(_, module)| module)
        .take(limits::LOOKUP_RESULTS)
        .collect()
}

/// All `(pattern, module)` lines of a `modules.alias` or `modules.symbols`, the pattern as written.
pub fn aliases(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines(text).filter_map(|line| {
        let rest = line.strip_prefix(b"alias ")?;
        // A pattern may contain blanks, a module name does not.
        let blank = rest.iter().rposition(|&b| b == b' ')?;
        let module = &rest[blank + 1..];
        (!module.is_empty()).then_some((&rest[..blank], module))
    })
}

/// Whether `modules.builtin` lists the module `name` (canonical).
pub fn builtin_contains(text: &[u8], name: &[u8]) -> bool {
    lines(text).any(|line| is_module(line, name))
}

/// The names of `modules.builtin` in file order, each canonical.
pub fn builtins(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    lines(text).filter_map(name::from_path)
}

/// Matches as a search of the index does.
fn matches(pattern: &[u8], query: &[u8]) -> bool {
    let literal = pattern.iter().position(|b| WILDCARDS.contains(b)).unwrap_or(pattern.len());
    query.strip_prefix(&pattern[..literal]).is_some_and(|rest| fnmatch(&pattern[literal..], rest))
}

/// Whether the path is that of the module `name`. Does not allocate, since it is called for every line of the file.
fn is_module(path: &[u8], name: &[u8]) -> bool {
    let base = path.iter().rposition(|&b| b == b'/').map_or(path, |slash| &path[slash + 1..]);
    let end = base.iter().position(|&b| b == b'.' || b == 0).unwrap_or(base.len());
    let folded = base[..end].iter().map(|&b| if b == b'-' { b'_' } else { b });
    !base.is_empty() && end == name.len() && folded.eq(name.iter().copied())
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&b| b == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &[u8] = b"kernel/a/mod-a.ko.xz:\nkernel/a/mod_b.ko: kernel/a/mod-a.ko.xz\n/abs/c.ko: x";
    const ALIAS: &[u8] = b"# Aliases extracted from modules themselves.\nalias pci:v0000-8086d* mod_a\n\
        alias x-y[0-9a-f]-z mod_a\nalias bad]x mod_a\nalias a b*c mod_b\nalias pci:v* mod_b\nalias  empty\nalias x\n";

    #[test]
    fn a_line_of_modules_dep_is_found_by_module_name() {
        assert_eq!(dep_line(DEP, b"mod_a").unwrap(), b"kernel/a/mod-a.ko.xz:");
        assert_eq!(dep_line(DEP, b"mod_b").unwrap(), b"kernel/a/mod_b.ko: kernel/a/mod-a.ko.xz");
        assert_eq!(dep_line(DEP, b"c").unwrap(), b"/abs/c.ko: x");
        for missing in [&b"mod"[..], b"mod_a.ko", b"kernel", b""] {
            assert_eq!(dep_line(DEP, missing), None, "{missing:?}");
        }
        assert_eq!(dep_line(b"", b""), None);
    }

    #[test]
    fn aliases_match_as_in_the_index() {
        assert_eq!(alias_search(ALIAS, b"pci:v0000_8086d1"), [b"mod_a", b"mod_b"]);
        assert_eq!(alias_search(ALIAS, b"x_y1_z"), [b"mod_a"]);
        assert_eq!(alias_search(ALIAS, b"a bxc"), [b"mod_b"]);
        assert_eq!(alias_search(ALIAS, b""), [b"empty"]);
        assert!(alias_search(ALIAS, b"bad]x").is_empty());
        assert_eq!(alias_search(b"alias bs\\*t m", b"bs\\1t"), [b"m"]);
        assert!(alias_search(b"alias bs\\*t m", b"bs*t").is_empty());
    }

    #[test]
    fn builtin_modules() {
        let text = b"kernel/fs/ext2/ext2.ko\nkernel/a-b.ko\n\n";
        assert!(builtin_contains(text, b"ext2") && builtin_contains(text, b"a_b"));
        assert!(!builtin_contains(text, b"ext") && !builtin_contains(text, b""));
        assert_eq!(builtins(text).collect::<Vec<_>>(), [b"ext2".to_vec(), b"a_b".to_vec()]);
    }
}
