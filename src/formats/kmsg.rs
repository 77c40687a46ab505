//! Records of /dev/kmsg, and the meaning of the module loader's messages.
//!
//! ```text
//! record       PRIORITY,SEQUENCE,MICROSECONDS,FLAGS[,...];TEXT \n
//! followed by  any number of lines " KEY=VALUE \n"
//! ```
//!
//! In TEXT bytes outside printable ASCII, and the backslash, are written as `\xHH`. MICROSECONDS count from boot. Source:
//! the kernel's Documentation/ABI/testing/dev-kmsg.
//!
//! The messages are those of the kernel's module loader (kernel/module/). They are not a stable interface, so callers print
//! an unknown message as it is.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Grows by one with each record since boot.
    pub sequence: u64,
    /// Time since boot.
    pub time: Duration,
    /// The text, with its escapes.
    pub text: String,
}

/// The records in `bytes`. Other lines are skipped.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = Record> + '_ {
    bytes.split(|&byte| byte == b'\n').filter_map(record)
}

fn record(line: &[u8]) -> Option<Record> {
    let line = String::from_utf8_lossy(line);
    let (head, text) = line.split_once(';').filter(|(head, _)| !head.starts_with(' '))?;
    let mut numbers = head.split(',').skip(1);
    let sequence = numbers.next()?.parse().ok()?;
    let time = Duration::from_micros(numbers.next()?.parse().ok()?);
    Some(Record { sequence, time, text: text.to_owned() })
}

/// Whether a text is a message of the module loader about the module `name`. Most messages begin with the name. Some about
/// signatures name no module; they count for every name.
pub fn is_about(text: &str, name: &str) -> bool {
    let own = text.strip_prefix(name).is_some_and(|rest| rest.starts_with(": "));
    own || (text.starts_with("Loading of ") && text.ends_with(" is rejected"))
        || (text.starts_with("Lockdown: ") && text.contains("module loading is restricted"))
}

/// The name of a firmware file that was not found, from a message of the firmware loader or of Debian's kernel:
///
/// ```text
/// DRIVER DEVICE: Direct firmware load for NAME failed with error -2
/// DRIVER DEVICE: firmware: failed to load NAME (-2)
/// ```
pub(crate) fn missing_firmware(text: &str) -> Option<&str> {
    let direct = || text.split_once("Direct firmware load for ")?.1.strip_suffix(" failed with error -2");
    let debian = || text.split_once("firmware: failed to load ")?.1.strip_suffix(" (-2)");
    direct().or_else(debian).filter(|name| !name.is_empty() && !name.contains(' '))
}

/// The meaning of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    /// A clause whose subject is the module: `needs the symbol X, which ...`.
    pub text: String,
    /// The symbol, if the message is about a missing one.
    pub missing: Option<String>,
}

/// The meaning of a message about the module `name`; `None` for an unknown message.
pub fn meaning(text: &str, name: &str) -> Option<Meaning> {
    let Some(said) = text.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")) else {
        return Some(Meaning { text: refusal(text)?.to_owned(), missing: None });
    };
    // For a symbol with another version the kernel logs first that the versions disagree, and then this with another errno.
    let missing = said.strip_prefix("Unknown symbol ").filter(|_| said.ends_with("(err -2)"));
    if let Some(symbol) = missing.and_then(first_word) {
        let text = format!("needs the symbol {symbol}, which neither the kernel nor a loaded module has");
        return Some(Meaning { text, missing: Some(symbol.to_owned()) });
    }
    Some(Meaning { text: clause(said)?, missing: None })
}

/// The meaning of what is said about a module, if it names no missing symbol.
fn clause(said: &str) -> Option<String> {
    let symbol_after = |before: &str| said.strip_prefix(before).and_then(first_word);
    // A and B of "`A' ... `B'"; `middle` is the text between them, with its quotes.
    let quoted_pair = |middle: &str| {
        let (value, parameter) = said.strip_prefix('`')?.split_once(middle)?;
        Some((value, parameter.trim_end_matches('\'')))
    };
    let unknown = || said.strip_prefix("unknown parameter '").or(said.strip_prefix("Unknown parameter `"));
    Some(if let Some(symbol) = symbol_after("Unknown symbol ") {
        format!("cannot use the symbol {symbol}")
    } else if let Some(symbol) = symbol_after("disagrees about version of symbol ") {
        format!("was built against another kernel: its symbol {symbol} has another version")
    } else if let Some(symbol) = symbol_after("no symbol version for ") {
        format!("does not say which version of the symbol {symbol} it needs")
    } else if let Some(rest) = said.strip_prefix("version magic '") {
        let (own, wanted) = rest.split_once("' should be '")?;
        let (own, wanted) = (own.trim_end(), wanted.trim_end_matches('\'').trim_end());
        format!("was built for the kernel \"{own}\", and this one is \"{wanted}\"")
    } else if let Some(rest) = said.strip_prefix("exports duplicate symbol ") {
        let (symbol, owner) = (first_word(rest)?, rest.split_once("(owned by "));
        let owner = owner.map_or("something loaded", |(_, owner)| owner.trim_end_matches(')'));
        format!("has the symbol {symbol}, which {owner} has already")
    } else if let Some(rest) = said.strip_prefix("module uses symbol ") {
        let (symbol, rest) = rest.split_once(' ')?;
        let space = rest.split_once("from namespace ")?.1.split([',', ' ']).next()?;
        format!("uses the symbol {symbol} of the namespace {space} without importing that")
    } else if let Some((value, parameter)) = quoted_pair("' invalid for parameter `") {
        format!("does not take the value \"{value}\" for its parameter {parameter}")
    } else if let Some((value, parameter)) = quoted_pair("' too large for parameter `") {
        format!("takes only smaller values than \"{value}\" for its parameter {parameter}")
    } else if let Some(rest) = unknown() {
        format!("has no parameter {}", rest.split(['\'', '=']).next()?)
    } else {
        refusal(said)?.to_owned()
    })
}

/// The meaning of a message about a missing or unusable signature.
fn refusal(text: &str) -> Option<&'static str> {
    const KEY: &str =
        "is signed with a key that the kernel does not have, and the kernel takes no such module";
    const UNSIGNED: &str = "is not signed, and the kernel takes signed modules only";
    let meanings = [
        ("unavailable key is rejected", KEY),
        ("unsigned module is rejected", UNSIGNED),
        ("unsigned module loading is restricted", UNSIGNED),
        ("unsupported crypto is rejected", "is signed in a way that the kernel cannot check"),
    ];
    meanings.into_iter().find(|(part, _)| text.contains(part)).map(|(_, meaning)| meaning)
}

fn first_word(text: &str) -> Option<&str> {
    text.split(' ').next().filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_that_was_asked_for_in_vain() {
        for (text, name) in [
            (
                "r8169 0000:01:00.0: Direct firmware load for rtl_nic/a.fw failed with error -2",
                Some("rtl_nic/a.fw"),
            ),
            ("r8169 0000:01:00.0: firmware: failed to load rtl_nic/a.fw (-2)", Some("rtl_nic/a.fw")),
            ("r8169 0000:01:00.0: Direct firmware load for rtl_nic/a.fw failed with error -12", None),
            ("r8169 0000:01:00.0: firmware: direct-loading firmware rtl_nic/a.fw", None),
            ("x: firmware: failed to load  (-2)", None),
        ] {
            assert_eq!(missing_firmware(text), name, "{text}");
        }
    }

    #[test]
    fn records_are_told_from_what_belongs_to_them() {
        let log = b"6,1,100,-;Linux version 6.1\n SUBSYSTEM=x\n DEVICE=+x:y;z\n3,2,2000000,-,caller=T1;xfs: Unknown symbol a;b (err -2)\nhalf a line\n,,;\n";
        let found: Vec<Record> = records(log).collect();
        let time = Duration::from_micros;
        assert_eq!(
            found,
            [
                Record { sequence: 1, time: time(100), text: "Linux version 6.1".into() },
                Record {
                    sequence: 2,
                    time: time(2_000_000),
                    text: "xfs: Unknown symbol a;b (err -2)".into()
                },
            ]
        );
    }

    #[test]
    fn the_loaders_words_become_sentences() {
        let told = |text: &str| meaning(text, "xfs").map(|meaning| meaning.text);
        for (text, said) in [
            (
                "xfs: Unknown symbol crc32c (err -2)",
                "needs the symbol crc32c, which neither the kernel nor a loaded module has",
            ),
            ("xfs: Unknown symbol crc32c (err -22)", "cannot use the symbol crc32c"),
            (
                "xfs: disagrees about version of symbol printk",
                "was built against another kernel: its symbol printk has another version",
            ),
            (
                "xfs: version magic '6.0 SMP ' should be '6.1 SMP preempt '",
                "was built for the kernel \"6.0 SMP\", and this one is \"6.1 SMP preempt\"",
            ),
            (
                "xfs: `abc' invalid for parameter `max'",
                "does not take the value \"abc\" for its parameter max",
            ),
            (
                "xfs: `9' too large for parameter `max'",
                "takes only smaller values than \"9\" for its parameter max",
            ),
            ("xfs: unknown parameter 'colour' ignored", "has no parameter colour"),
            ("xfs: Unknown parameter `colour=red'", "has no parameter colour"),
            ("xfs: exports duplicate symbol a (owned by ext4)", "has the symbol a, which ext4 has already"),
            (
                "xfs: module uses symbol dma_x from namespace DMA_BUF, but does not import it.",
                "uses the symbol dma_x of the namespace DMA_BUF without importing that",
            ),
            (
                "Loading of unsigned module is rejected",
                "is not signed, and the kernel takes signed modules only",
            ),
            (
                "xfs: Loading of module with unavailable key is rejected",
                "is signed with a key that the kernel does not have, and the kernel takes no such module",
            ),
            (
                "Lockdown: modprobe: unsigned module loading is restricted; see man kernel_lockdown.7",
                "is not signed, and the kernel takes signed modules only",
            ),
        ] {
            assert_eq!(told(text).as_deref(), Some(said), "{text}");
            assert!(is_about(text, "xfs") || text.contains("Loading of module with"), "{text}");
        }
        assert_eq!(told("xfs: loading out-of-tree module taints kernel."), None);
        assert_eq!(told("ext4: Unknown symbol a (err -2)"), None);
        assert!(!is_about("ext4: Unknown symbol a (err -2)", "xfs") && !is_about("xfs4: a", "xfs"));
        assert_eq!(meaning("xfs: Unknown symbol a (err -2)", "xfs").unwrap().missing.as_deref(), Some("a"));
    }
}
