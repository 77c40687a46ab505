//! `lsmod`, `kmod list`: the loaded modules.
//!
//! All columns come from one read of /proc/modules. kmod reads the names there and the rest from sysfs afterwards. If a
//! module has gone meanwhile, kmod prints negative sizes.

use super::getopt::{Opt, opt};
use super::message::Log;
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

/// The help text, with the options.
pub(crate) const USAGE: Usage =
    Usage { forms: &["[options]"], groups: &["Options"], options: OPTIONS, notes: "" };

/// Lists the modules.
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
        log.error(b"too many arguments provided.");
        return Ok(1);
    }
    log.set_threshold(threshold);
    list(call, &log, json)
}

fn list(call: &Call<'_>, log: &Log<'_>, json: bool) -> ToolResult {
    let text = match proc_modules::read(call.world.system.roots) {
        Ok(text) => text,
        Err(error) => {
            let reason = error.errno().to_string();
            log.error(&bytes!["could not open /proc/modules: ", reason]);
            log.error(&bytes!["could not get list of modules: ", reason]);
            return Ok(1);
        }
    };
    let rows = proc_modules::lines(&text).map(Row::of);
    if json {
        let modules: Vec<serde_json::Value> = rows.map(|row| row.json()).collect();
        call.print(format!("{}\n", serde_json::Value::from(modules)).as_bytes());
        return Ok(0);
    }
    call.print(b"Module                  Size  Used by\n");
    rows.for_each(|row| call.print(&row.text()));
    Ok(0)
}

/// One row of the list.
struct Row<'l> {
    name: Vec<u8>,
    users: Vec<&'l [u8]>,
    line: Line<'l>,
}

impl<'l> Row<'l> {
    fn of(line: Line<'l>) -> Self {
        let is_user = |user: &&[u8]| !user.is_empty() && *user != b"-" && user[0] != b'[';
        let users = line.users.split(|&b| b == b',').filter(is_user).collect();
        Row { name: name::canonical(line.name), users, line }
    }

    /// As lsmod prints it.
    fn text(&self) -> Vec<u8> {
        let mut row = padded(&self.name, 19, false);
        row.push(b' ');
        row.extend(padded(self.line.size, 8, true));
        row.extend_from_slice(&bytes!["  ", self.line.count]);
        for (index, user) in self.users.iter().enumerate() {
            row.push(if index == 0 { b' ' } else { b',' });
            row.extend_from_slice(user);
        }
        row.push(b'\n');
        row
    }

    /// `{"name", "size", "refcount", "used_by", "state"}`; size in bytes, `null` for what is not known.
    fn json(&self) -> serde_json::Value {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<i64>().ok());
        let state = self.line.state().map(|state| match state {
            State::Coming => "coming",
            State::Going => "going",
            _ => "live",
        });
        serde_json::json!({
            "name": text(&self.name),
            "size": number(self.line.size),
            "refcount": number(self.line.count),
            "used_by": self.users.iter().map(|user| text(user)).collect::<Vec<_>>(),
            "state": state,
        })
    }
}

fn padded(text: &[u8], width: usize, right: bool) -> Vec<u8> {
    let blanks = vec![b' '; width.saturating_sub(text.len())];
    if right { bytes![blanks, text] } else { bytes![text, blanks] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(line: &str) -> Row<'_> {
        Row::of(proc_modules::lines(line.as_bytes()).next().unwrap())
    }

    #[test]
    fn columns_are_those_of_kmod() {
        let shown = |line: &str| String::from_utf8(row(line).text()).unwrap();
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
        let json = |line: &str| row(line).json();
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
