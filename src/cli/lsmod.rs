//! `lsmod`, `kmod list`: the loaded modules.
//!
//! All columns come from one read of /proc/modules. kmod reads the names there and the rest from sysfs afterwards. If a
//! module has gone meanwhile, kmod prints negative sizes.

use super::getopt::{Opt, opt};
use super::usage::Usage;
use super::{Call, ToolResult};
use crate::log::bytes;
use crate::name;
use crate::system::proc_modules::{self, Line};
use crate::system::sysfs::State;

const JSON: u8 = 200;

const OPTIONS: &[Opt] = &[
    opt(JSON, "json", "print JSON, for programs").whole(),
    opt(b's', "syslog", "messages go to the system log, not to stderr"),
    opt(b'v', "verbose", "more messages"),
    opt(b'V', "version", "print the version"),
    opt(b'h', "help", "print this text"),
];

pub(crate) const USAGE: Usage =
    Usage { forms: &["[options]"], groups: &["Options"], options: OPTIONS, notes: "" };

pub(crate) fn run(call: &Call<'_>) -> ToolResult {
    let log = call.log();
    let (mut threshold, mut json) = (3, false);
    let operands = call.options(&USAGE, |found| {
        match found.id {
            JSON => json = true,
            b's' => log.use_syslog(),
            b'v' => threshold += 1,
            _ => {}
        }
        Ok(())
    })?;
    if !operands.is_empty() {
        return Err(log.end(b"too many arguments provided."));
    }
    log.set_threshold(threshold);
    let text = proc_modules::read(call.world.system.roots).map_err(|error| {
        let reason = error.errno().to_string();
        log.error(&bytes!["could not open /proc/modules: ", reason]);
        log.end(&bytes!["could not get list of modules: ", reason])
    })?;
    let lines = proc_modules::lines(&text);
    if json {
        let modules: serde_json::Value = lines.map(to_json).collect();
        call.print(format!("{modules}\n").as_bytes());
    } else {
        call.print(b"Module                  Size  Used by\n");
        lines.for_each(|line| call.print(&row(&line)));
    }
    Ok(0)
}

/// The names of the modules that use it.
fn users<'l>(line: &Line<'l>) -> Vec<&'l [u8]> {
    let is_user = |user: &&[u8]| !user.is_empty() && *user != b"-" && user[0] != b'[';
    line.users.split(|&b| b == b',').filter(is_user).collect()
}

/// The line as lsmod prints it.
fn row(line: &Line<'_>) -> Vec<u8> {
    let blanks = |text: &[u8], width: usize| vec![b' '; width.saturating_sub(text.len())];
    let (name, size) = (name::canonical(line.name), line.size);
    let users = users(line).join(&b',');
    let blank = if users.is_empty() { "" } else { " " };
    bytes![name, blanks(&name, 19), " ", blanks(size, 8), size, "  ", line.count, blank, users, "\n"]
}

/// `{"name", "size", "refcount", "used_by", "state"}`; size in bytes, `null` for what is not known.
fn to_json(line: Line<'_>) -> serde_json::Value {
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<i64>().ok());
    let state = line.state.map(|state| match state {
        State::Coming => "coming",
        State::Going => "going",
        _ => "live",
    });
    serde_json::json!({
        "name": String::from_utf8_lossy(&name::canonical(line.name)),
        "size": number(line.size),
        "refcount": number(line.count),
        "used_by": users(&line).into_iter().map(String::from_utf8_lossy).collect::<Vec<_>>(),
        "state": state,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line<'_> {
        proc_modules::lines(text.as_bytes()).next().unwrap()
    }

    #[test]
    fn columns_are_those_of_kmod() {
        let shown = |text: &str| String::from_utf8(row(&line(text))).unwrap();
        assert_eq!(
            shown("tls 114688 1 bonding, Live 0xffffffffc0200000"),
            "tls                   114688  1 bonding\n"
        );
        assert_eq!(shown("loop 40960 0 - Live 0x0"), "loop                   40960  0\n");
        assert_eq!(
            shown("drm 700000 3 amdgpu,i915, Live 0x0 (OE)"),
            "drm                   700000  3 amdgpu,i915\n"
        );
        assert_eq!(shown("nf 1 2 [permanent],[unsafe], Live 0x0"), "nf                         1  2\n");
        assert_eq!(
            shown("a_name_of_more_than_19_bytes 123456789 - -"),
            "a_name_of_more_than_19_bytes 123456789  -\n"
        );
    }

    #[test]
    fn the_same_for_programs() {
        let json = |text: &str| to_json(line(text));
        assert_eq!(
            json("drm 700000 3 amdgpu,i915,[permanent], Live 0x0 (OE)"),
            serde_json::json!({"name": "drm", "size": 700_000, "refcount": 3, "used_by": ["amdgpu", "i915"], "state": "live"})
        );
        assert_eq!(
            json("loop - -"),
            serde_json::json!({"name": "loop", "size": null, "refcount": null, "used_by": [], "state": null})
        );
    }
}
