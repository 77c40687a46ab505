//! `modules.devname`: the device nodes that are made at boot so that opening one loads its module, from aliases such as
//! `devname:snd/seq` and `char-major-116-1`.

use super::{File, Sources};
use crate::depmod::facts::Strings;
use crate::formats::number::unsigned;
use crate::log::{Priority, Sink, bytes};

pub(super) fn text(sources: &Sources<'_>, sink: &dyn Sink) -> File {
    let mut contents = Vec::new();
    for (module, known) in sources.modules.iter().zip(sources.known) {
        let (Some(devname), node) = find(&known.info.aliases) else { continue };
        let Some((kind, major, minor)) = node else {
            let why = ") but lacks major and minor information. Ignoring.";
            sink.log(Priority::Err, &bytes!["Module '", module.name, "' has devname (", devname, why]);
            continue;
        };
        if contents.is_empty() {
            contents.extend_from_slice(b"# Device nodes to trigger on-demand module loading.\n");
        }
        let node = format!(" {kind}{major}:{minor}\n");
        contents.extend_from_slice(&bytes![module.name, " ", devname, node]);
    }
    File { name: "modules.devname", contents }
}

/// The kind of a device node (`c` or `b`), its major and its minor number.
type Node = (char, u32, u32);

/// The last name and the last numbers up to the alias at which both are known.
fn find<'a>(aliases: &'a Strings<'_>) -> (Option<&'a [u8]>, Option<Node>) {
    let (mut devname, mut node) = (None, None);
    for alias in aliases.iter() {
        devname = alias.strip_prefix(b"devname:").or(devname);
        node = alias.strip_prefix(b"char-major-").and_then(|rest| numbers('c', rest)).or(node);
        node = alias.strip_prefix(b"block-major-").and_then(|rest| numbers('b', rest)).or(node);
        if devname.is_some() && node.is_some() {
            break;
        }
    }
    (devname, node)
}

/// `A-B`, followed by anything.
fn numbers(kind: char, text: &[u8]) -> Option<Node> {
    let (major, rest) = unsigned(text)?;
    let (minor, _) = unsigned(rest.strip_prefix(b"-")?)?;
    Some((kind, major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(aliases: &[&str]) -> (Option<String>, Option<Node>) {
        let mut strings = Strings::default();
        aliases.iter().for_each(|alias| strings.push(alias.as_bytes()));
        let (name, node) = find(&strings);
        (name.map(|name| String::from_utf8(name.to_vec()).unwrap()), node)
    }

    #[test]
    fn numbers_as_scanf_reads_them() {
        let node = |kind, major, minor| Some((kind, major, minor));
        assert_eq!(numbers('c', b"1-2-3"), node('c', 1, 2));
        assert_eq!(numbers('b', b"7-0x1"), node('b', 7, 0));
        assert_eq!(numbers('c', b" +10- 200"), node('c', 10, 200));
        assert_eq!(numbers('c', b"-1-4294967296"), node('c', u32::MAX, 0));
        for bad in [&b"7-*"[..], b"7", b"7 -1", b"*-1", b"", b"--1-1"] {
            assert_eq!(numbers('c', bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_latest_of_each_kind_before_both_are_known() {
        let node = |kind, major, minor| Some((kind, major, minor));
        assert_eq!(found(&["devname:a", "char-major-1-2"]), (Some("a".into()), node('c', 1, 2)));
        assert_eq!(
            found(&["devname:a", "devname:b", "block-major-1-*", "block-major-3-4", "devname:c"]),
            (Some("b".into()), node('b', 3, 4))
        );
        assert_eq!(found(&["char-major-1-2", "char-major-3-4", "devname:x"]).1, node('c', 3, 4));
        assert_eq!(found(&["char-major-1-2"]).0, None);
        assert_eq!(found(&["devname:snd/seq"]), (Some("snd/seq".into()), None));
    }
}
