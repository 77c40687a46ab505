//! Splits parameters as the kernel does: its own command line, and the parameters of a module.
//!
//! ```text
//! NAME=VALUE NAME ... -- parameters for init
//! ```
//!
//! White space separates parameters, except between double quotes. Quotes around a value or around a whole parameter are
//! removed. In a name `-` and `_` are equal. Sources: the kernel's Documentation/admin-guide/kernel-parameters.rst and
//! lib/cmdline.c.

use super::{is_space, split_once};

/// The parameters in `text` up to `--` or a NUL, in order, each with its value if it has a `=`.
pub(crate) fn parameters(text: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let text = split_once(text, 0).map_or(text, |(text, _)| text);
    let mut quoted = false;
    let words = text.split(move |&byte| {
        quoted ^= byte == b'"';
        !quoted && is_space(byte)
    });
    let parameters = words.filter(|word| !word.is_empty()).map(|word| {
        let word = unquoted(word);
        split_once(word, b'=').map_or((word, None), |(name, value)| (name, Some(unquoted(value))))
    });
    parameters.take_while(|parameter| *parameter != (b"--", None))
}

/// If a text begins with a quote: the text without that and without one at its end.
fn unquoted(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\"").map_or(text, |inner| inner.strip_suffix(b"\"").unwrap_or(inner))
}

/// Whether two names are of the same parameter.
pub(crate) fn same_name(one: &[u8], other: &[u8]) -> bool {
    let folded = |byte: &u8| if *byte == b'-' { b'_' } else { *byte };
    one.iter().map(folded).eq(other.iter().map(folded))
}

/// Whether `module_blacklist=` on the kernel command line `cmdline` lists the module whose own name is `name`. The names are
/// separated by commas and compared exactly. The last such parameter counts.
pub(crate) fn blacklists(cmdline: &[u8], name: &[u8]) -> bool {
    let lists = parameters(cmdline).filter(|(parameter, _)| same_name(parameter, b"module_blacklist"));
    let last = lists.filter_map(|(_, value)| value).last().unwrap_or_default();
    !name.is_empty() && last.split(|&byte| byte == b',').any(|listed| listed == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_taken_apart_as_the_kernel_does_it() {
        let shown = |text: &str| -> Vec<String> {
            let text_of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let found = parameters(text.as_bytes());
            found
                .map(|(name, value)| match value {
                    Some(value) => format!("{}={}$", text_of(name), text_of(value)),
                    None => format!("{}$", text_of(name)),
                })
                .collect()
        };
        for (text, expected) in [
            ("", &[][..]),
            ("  \n", &[]),
            ("a b=1  c=\n", &["a$", "b=1$", "c=$"]),
            ("a=b=c", &["a=b=c$"]),
            ("a=\"x y\" b", &["a=x y$", "b$"]),
            ("\"a=x y\" b", &["a=x y$", "b$"]),
            ("a=x\"y z\" b", &["a=x\"y z\"$", "b$"]),
            ("a=\"x y", &["a=x y$"]),
            ("a=\" b", &["a= b$"]),
            ("\"", &["$"]),
            ("\"\" \"a\"", &["$", "a$"]),
            ("a -- b=1", &["a$"]),
            ("a --=x b", &["a$", "--=x$", "b$"]),
            ("a\0b", &["a$"]),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_last_list_counts_with_its_names_as_they_are() {
        for (cmdline, has) in [
            ("quiet module_blacklist=tls", true),
            ("module_blacklist=loop,tls,dummy", true),
            ("module-blacklist=tls", true),
            ("module_blacklist=\"loop,tls\"", true),
            ("\"module_blacklist=tls\"", true),
            ("module_blacklist=loop module_blacklist=tls\n", true),
            ("module_blacklist=tls module_blacklist=loop", false),
            ("module_blacklist=tls module_blacklist=", false),
            ("module_blacklist=tls module_blacklist", true),
            ("module_blacklist= tls", false),
            ("module_blacklist=tls_x,x_tls,TLS", false),
            ("modprobe.blacklist=tls", false),
            ("-- module_blacklist=tls", false),
        ] {
            assert_eq!(blacklists(cmdline.as_bytes(), b"tls"), has, "{cmdline}");
        }
        assert!(!blacklists(b"module_blacklist=nvme-core", b"nvme_core"), "the kernel folds no names");
        assert!(!blacklists(b"module_blacklist=,", b""));
    }
}
