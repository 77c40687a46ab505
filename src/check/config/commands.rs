//! Commands that start themselves again.

use super::own;
use crate::check::finding::shown;
use crate::check::{Context, Finding, Severity};
use crate::config::Kind;
use crate::formats::pattern::fnmatch;
use crate::name;

/// Install and remove commands that call modprobe for their own module, without the option by which modprobe passes over
/// them.
pub(super) fn recursive(context: &Context<'_>, findings: &mut Vec<Finding>) {
    for (kind, option) in [(Kind::Install, "--ignore-install"), (Kind::Remove, "--ignore-remove")] {
        for entry in own(context, kind) {
            let is_it = |name: &[u8]| fnmatch(entry.key, name);
            if calls(entry.value).iter().any(|call| asks_for(call, kind == Kind::Remove, &is_it)) {
                let what =
                    format!("the command for '{}' calls modprobe for it, and so itself", shown(entry.key));
                findings.push(context.at(&entry, Severity::Error, what).hint(format!("modprobe {option}")));
            }
        }
    }
}

/// The words behind each `modprobe` of a command.
fn calls(command: &[u8]) -> Vec<Vec<&[u8]>> {
    let parts = command.split(|byte| b";&|(){}`".contains(byte));
    let calls = parts.filter_map(|part| {
        let words = part.split(u8::is_ascii_whitespace).map(unquoted).filter(|word| !word.is_empty());
        let mut words = words.skip_while(|word| word.rsplit(|&b| b == b'/').next() != Some(b"modprobe"));
        words.next()?;
        Some(words.collect())
    });
    calls.collect()
}

fn unquoted(mut word: &[u8]) -> &[u8] {
    while let [b'"' | b'\'', rest @ ..] | [rest @ .., b'"' | b'\''] = word {
        word = rest;
    }
    word
}

/// Whether a call of modprobe loads, or removes, a module for which `is_it` holds, with its command.
fn asks_for(words: &[&[u8]], removes: bool, is_it: &dyn Fn(&[u8]) -> bool) -> bool {
    // These change nothing, or pass over the commands; with -C other files count.
    const OTHERS: &str =
        "ignore-install ignore-remove dry-run show show-depends resolve-alias showconfig config version help";
    let is_option = |word: &&&[u8]| word.len() > 1 && word[0] == b'-';
    let has = |shorts: &[u8], longs: &str| {
        words.iter().filter(is_option).any(|word| match word.strip_prefix(b"--") {
            Some(name) => name.len() > 2 && longs.split(' ').any(|long| long.as_bytes().starts_with(name)),
            None => word.iter().any(|byte| shorts.contains(byte)),
        })
    };
    if has(b"inDRcCVh", OTHERS) || has(b"r", "remove") != removes {
        return false;
    }
    let operands = words.iter().filter(|word| !is_option(word));
    // Further operands are parameters.
    let most = if removes || has(b"a", "all") { usize::MAX } else { 1 };
    operands.take(most).any(|word| is_it(&name::canonical(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_starts_itself() {
        let asks = |command: &str, removes| {
            calls(command.as_bytes()).iter().any(|call| asks_for(call, removes, &|name| name == b"a_b"))
        };
        for command in [
            "modprobe a-b",
            "/sbin/modprobe -q a_b x=1 && true",
            "true; exec modprobe --all c a-b $CMDLINE_OPTS",
            "sh -c 'modprobe a_b'",
            "{ modprobe c;modprobe a-b; }",
        ] {
            assert!(asks(command, false) && !asks(command, true), "{command}");
        }
        for command in [
            "modprobe --ignore-install a-b",
            "modprobe --ignore a-b",
            "modprobe -qi a_b",
            "modprobe c a_b",
            "modprobe -n a_b",
            "modprobe -r a_b",
            "echo a_b",
            "modprobe-x a_b",
            "modprobe",
            "",
        ] {
            assert!(!asks(command, false), "{command}");
        }
        assert!(asks("modprobe -r c a_b", true) && !asks("modprobe -ri a_b", true));
    }
}
