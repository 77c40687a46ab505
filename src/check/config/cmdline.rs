//! Checks of the kernel command line alone. Its options and lists of modules are entries of the configuration, and are checked
//! as such.

use crate::check::finding::shown;
use crate::check::{Context, Finding};
use crate::config::Kind;
use crate::config::cmdline::{LISTS, Option as CmdlineOption, parse};
use crate::formats::kernel_args::{parameters, same_name};
use crate::formats::modinfo;
use crate::gate::settings::Settings;
use crate::log::bytes;
use crate::name;

/// Switches of the gate without effect. The gate's own parser says which words have one.
pub(super) fn switches(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let words = context.cmdline.split(u8::is_ascii_whitespace);
    for word in words.filter(|word| word.starts_with(b"kmod.")) {
        let (key, value) = modinfo::entry(word);
        let takes = |value: &str| Settings::from_cmdline(&bytes![key, "=", value]) != Settings::default();
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let is_switch = [&b"on"[..], b"1", b"yes", b"off", b"0", b"no"].contains(&value);
        let switch = shown(key);
        // A word that sets the default has no effect either, but is right.
        let (is_right, what) = if takes("77") {
            (is_number, format!("'{switch}' wants a number of milliseconds"))
        } else if takes("off") {
            (is_switch, format!("'{switch}' wants on or off"))
        } else if takes("1") {
            (is_switch, format!("'{switch}' wants 0 or 1"))
        } else {
            (false, format!("there is no switch '{switch}'"))
        };
        if !is_right {
            findings.push(Finding::error(context.roots.cmdline(), what).hint("kmod-gate(7)"));
        }
    }
}

/// modprobe's own options that are not read: unknown lists, lists without names, invalid names, an open quote.
pub(super) fn lists(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let error = |what: String| Finding::error(context.roots.cmdline(), what);
    parse(&context.cmdline, &mut |option| match option {
        CmdlineOption::Name(kind, word) if kind != Kind::Blacklist && name::alias(word).is_none() => {
            let why = "its brackets do not pair up, or it is too long";
            findings.push(error(format!("'{}' does not count: {why}", shown(word))));
        }
        CmdlineOption::Parameter { module: b"modprobe", text: [list, ..] } => {
            let list = shown(list.strip_suffix(b"=").unwrap_or(list));
            let mut known = LISTS.into_iter().map(|(known, _)| known);
            let similar = known.find(|known| strsim::osa_distance(known, &list) <= 1);
            let what = match similar {
                Some(known) if known == list => format!("'modprobe.{list}' has no names"),
                _ => format!("there is no option 'modprobe.{list}'"),
            };
            let hint =
                similar.map_or("modprobe.d(5)".to_owned(), |known| format!("modprobe.{known}=NAME,..."));
            findings.push(error(what).hint(hint));
        }
        _ => {}
    });
    let quotes = context.cmdline.iter().filter(|&&byte| byte == b'"').count();
    if quotes % 2 == 1 && memchr::memmem::find(&context.cmdline, b"modprobe.").is_some() {
        findings.push(error("a double quote is not closed: what it is in does not count".to_owned()));
    }
}

/// Names in the kernel's `module_blacklist=`, which does not fold `-` to `_`.
pub(super) fn module_blacklist(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let lists =
        parameters(&context.cmdline).filter(|(parameter, _)| same_name(parameter, b"module_blacklist"));
    let last = lists.filter_map(|(_, value)| value).last().unwrap_or_default();
    for written in last.split(|&b| b == b',').filter(|name| !name.is_empty()) {
        let folded = name::canonical(written);
        let meant = match context.exists(&folded) {
            true if folded == written => None,
            true => Some(shown(&folded)),
            false => context.similar(&folded),
        };
        if let Some(meant) = meant {
            let what =
                format!("module_blacklist= has '{}', which the kernel calls no module", shown(written));
            findings.push(Finding::error(context.roots.cmdline(), what).hint(format!("{meant}?")));
        }
    }
}
