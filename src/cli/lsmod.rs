//! `lsmod`, `kmod list`: the loaded modules.
//!
//! All columns come from one pass over /proc/modules. kmod reads the names there and the rest from sysfs afterwards, where a
//! module may be gone by then; it then prints negative sizes.
//!
//! A line of /proc/modules: `NAME SIZE COUNT USERS STATE ADDRESS [TAINTS]`, USERS being `-` or names that each end in a
//! comma, among them marks such as `[permanent],`. A kernel that cannot unload modules has `-` for COUNT.

use super::getopt::{Opt, opt};
use super::message::Log;
use super::usage::Usage;
use super::{Call, Outcome};
use crate::error::strerror;
use crate::system::file::read_whole;
use crate::{bytes, limits, name};

const OPTIONS: &[Opt] = &[
    opt(b's', "syslog", "messages go to the system log, not to stderr"),
    opt(b'v', "verbose", "more messages"),
    opt(b'V', "version", "print the version"),
    opt(b'h', "help", "print this text"),
];

/// The help text, with the options.
pub const USAGE: Usage = Usage { forms: &["[options]"], groups: &["Options"], options: OPTIONS, notes: "" };

/// Lists the modules.
pub fn run(call: &Call<'_>) -> Outcome {
    let log = call.log();
    let mut threshold = 3;
    let operands = call.options(OPTIONS, |found| {
        match found.id {
            b's' => log.use_syslog(),
            b'v' => threshold += 1,
            b'V' => return Err(call.version()),
            _ => return Err(call.help(&USAGE)),
        }
        Ok(())
    })?;
    if !operands.is_empty() {
        log.error(b"too many arguments provided.");
        return Ok(1);
    }
    log.set_threshold(threshold);
    list(call, &log)
}

fn list(call: &Call<'_>, log: &Log<'_>) -> Outcome {
    let path = call.world.system.roots.proc_modules();
    let text = match read_whole(&path, limits::TEXT_FILE) {
        Ok(text) => text,
        Err(error) => {
            let reason = strerror(error.errno());
            log.error(&bytes!["could not open /proc/modules: ", reason]);
            log.error(&bytes!["could not get list of modules: ", reason]);
            return Ok(1);
        }
    };
    call.print(b"Module                  Size  Used by\n");
    for line in text.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        call.print(&row(line));
    }
    Ok(0)
}

/// One line of the list, from one of /proc/modules.
fn row(line: &[u8]) -> Vec<u8> {
    let mut words = line.split(|&b| b == b' ');
    let mut word = || words.next().unwrap_or(b"-");
    let (name, size, count, users) = (name::canonical(word()), word(), word(), word());
    let mut row = padded(&name, 19, false);
    row.push(b' ');
    row.extend(padded(size, 8, true));
    row.extend_from_slice(&bytes!["  ", count]);
    let users =
        users.split(|&b| b == b',').filter(|user| !user.is_empty() && *user != b"-" && user[0] != b'[');
    for (index, user) in users.enumerate() {
        row.push(if index == 0 { b' ' } else { b',' });
        row.extend_from_slice(user);
    }
    row.push(b'\n');
    row
}

fn padded(text: &[u8], width: usize, right: bool) -> Vec<u8> {
    let blanks = vec![b' '; width.saturating_sub(text.len())];
    if right { bytes![blanks, text] } else { bytes![text, blanks] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_kmod() {
        let shown = |line: &str| String::from_utf8(row(line.as_bytes())).unwrap();
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
}
