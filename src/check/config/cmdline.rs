//! Checks of the kernel command line alone. Its options and lists of modules are entries of the configuration, and are checked
//! as such.

use crate::check::finding::shown;
use crate::check::{Context, Finding};
use crate::config::Kind;
use crate::config::cmdline::{LISTS, Option as CmdlineOption, parse};
use crate::formats::kernel_args::{parameters, same_name};
use crate::gate::settings::Settings;
use crate::limits;
use crate::log::bytes;
use crate::name;
use crate::system::file::read_whole;

fn read(context: &Context<'_>) -> Vec<u8> {
    read_whole(&context.system.roots.cmdline(), limits::CMDLINE_FILE).unwrap_or_default()
}

fn means_something(word: &[u8]) -> bool {
    Settings::from_cmdline(word) != Settings::default()
}

/// Switches of the gate without effect. The gate's own parser says which words have one.
pub(super) fn switches(context: &Context<'_>) -> Vec<Finding> {
    let text = read(context);
    let words = text.split(u8::is_ascii_whitespace).filter(|word| word.starts_with(b"kmod."));
    let findings = words.filter_map(|word| {
        let equals = word.iter().position(|&b| b == b'=').unwrap_or(word.len());
        let (key, value) = (&word[..equals], word.get(equals + 1..).unwrap_or_default());
        let takes = |value: &str| means_something(&bytes![key, "=", value]);
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let is_switch = [&b"on"[..], b"1", b"yes", b"off", b"0", b"no"].contains(&value);
        // A word that sets the default has no effect either, but is right.
        let (is_right, wants) = match key {
            _ if takes("77") => (is_number, "a number of milliseconds"),
            _ if takes("off") => (is_switch, "on or off"),
            _ if takes("1") => (is_switch, "0 or 1"),
            _ => (false, ""),
        };
        let what = match wants {
            _ if is_right => return None,
            "" => format!("there is no switch '{}'", shown(key)),
            wants => format!("'{}' wants {wants}", shown(key)),
        };
        Some(Finding::error(context.system.roots.cmdline(), what).hint("kmod-gate(7)"))
    });
    findings.collect()
}

/// modprobe's own options that are not read: other lists than it has, lists without names, names that are none, an open quote.
pub(super) fn lists(context: &Context<'_>) -> Vec<Finding> {
    let path = context.system.roots.cmdline();
    let error = |what: String| Finding::error(&path, what);
    let text = read(context);
    let mut findings = Vec::new();
    parse(&text, &mut |option| match option {
        CmdlineOption::Name(kind, word) if kind != Kind::Blacklist && name::alias(word).is_none() => {
            let why = "its brackets do not pair up, or it is too long";
            findings.push(error(format!("'{}' does not count: {why}", shown(word))));
        }
        CmdlineOption::Parameter { module: b"modprobe", text: [list, ..] } => {
            let list = shown(list.strip_suffix(b"=").unwrap_or(list));
            let mut known = LISTS.into_iter().map(|(known, _)| known);
            let similar = known.find(|known| strsim::osa_distance(known, &list) <= 1);
            let finding = match similar {
                Some(known) if known == list => error(format!("'modprobe.{list}' has no names")),
                _ => error(format!("there is no option 'modprobe.{list}'")),
            };
            let meant =
                similar.map_or("modprobe.d(5)".to_owned(), |known| format!("modprobe.{known}=NAME,..."));
            findings.push(finding.hint(meant));
        }
        _ => {}
    });
    let quotes = text.iter().filter(|&&byte| byte == b'"').count();
    if quotes % 2 == 1 && memchr::memmem::find(&text, b"modprobe.").is_some() {
        findings.push(error("a double quote is not closed: what it is in does not count".to_owned()));
    }
    findings
}

/// Names in the kernel's `module_blacklist=`, which does not fold `-` to `_`.
pub(super) fn module_blacklist(context: &Context<'_>) -> Vec<Finding> {
    let text = read(context);
    let lists = parameters(&text).filter(|(parameter, _)| same_name(parameter, b"module_blacklist"));
    let last = lists.filter_map(|(_, value)| value).last().unwrap_or_default();
    let names = last.split(|&b| b == b',').filter(|name| !name.is_empty());
    names
        .filter_map(|written| {
            let folded = name::canonical(written);
            let meant = match context.exists(&folded) {
                true if folded == written => return None,
                true => shown(&folded),
                false => context.similar(&folded)?,
            };
            let what =
                format!("module_blacklist= has '{}', which the kernel calls no module", shown(written));
            Some(Finding::error(context.system.roots.cmdline(), what).hint(format!("{meant}?")))
        })
        .collect()
}
