//! `insmod`: inserts one file. It reads no configuration and loads no dependencies.

use super::getopt::{Opt, opt};
use super::usage::Usage;
use super::{Call, ToolResult, parameters, refusal};
use crate::error::Errno;
use crate::gate::{self, WaitBudget};
use crate::load::insert::{Force, Insertion, Loader};
use crate::log::bytes;
use crate::name;
use crate::system::module_file::STDIN;
use crate::system::roots::as_path;

const FORCE_MODVERSION: u8 = 200;
const FORCE_VERMAGIC: u8 = 201;

const OPTIONS: &[Opt] = &[
    opt(b'f', "force", "do not compare the versions of symbols and the version\nmagic. DANGEROUS"),
    opt(b's', "syslog", "messages go to the system log, not to stderr"),
    opt(b'v', "verbose", "more messages"),
    opt(b'V', "version", "print the version"),
    opt(b'h', "help", "print this text"),
    opt(FORCE_MODVERSION, "force-modversion", "").legacy(),
    opt(FORCE_VERMAGIC, "force-vermagic", "").legacy(),
    // Ignored, as before kmod 31.
    opt(b'p', "", "").unlisted(),
];

pub(crate) const USAGE: Usage = Usage {
    forms: &["[options] FILE [PARAMETER=VALUE...]"],
    groups: &["Options"],
    options: OPTIONS,
    notes: "\nFILE may be a pipe; - is standard input.\n",
};

pub(crate) fn run(call: &Call<'_>) -> ToolResult {
    let log = call.log();
    let mut force = Force::default();
    let mut threshold = 3;
    let operands = call.options(&USAGE, |found| {
        match found.id {
            b'f' => force = Force { vermagic: true, modversions: true },
            FORCE_MODVERSION => force.modversions = true,
            FORCE_VERMAGIC => force.vermagic = true,
            b's' => log.use_syslog(),
            b'v' => threshold += 1,
            _ => {}
        }
        Ok(())
    })?;
    let Some((&file, words)) = operands.split_first() else { return Err(log.end(b"missing filename.")) };
    log.set_threshold(threshold);
    let path = as_path(file);
    if file != STDIN.as_bytes() {
        if let Err(error) = std::fs::metadata(path) {
            let reason = Errno::of(&error).to_string();
            return Err(log.end(&bytes!["could not load module ", file, ": ", reason]));
        }
    }
    let system = call.world.system;
    let gate = call.gate(&log);
    let result = Loader::new(system, &gate, &log).insert(&Insertion {
        path,
        name: None,
        parameters: &parameters::join(words),
        force,
        budget: &WaitBudget::new(&system),
        dependency: false,
        remember: false,
        request: file,
    });
    let errno = match result {
        // Another process's call loaded it: insmod reports what the kernel would answer to a second call.
        Ok(gate::Outcome::Joined) => Errno::EEXIST,
        Ok(_) => return Ok(0),
        Err(error) => error.errno(),
    };
    // What some errnos mean when the kernel refuses a module.
    let reason = match errno {
        Errno::ENOEXEC => "Invalid module format".to_string(),
        Errno::ENOENT => "Unknown symbol in module".to_string(),
        Errno::ESRCH => "Module has wrong symbol version".to_string(),
        Errno::EINVAL => "Invalid parameters".to_string(),
        other => other.to_string(),
    };
    log.error(&bytes!["could not insert module ", file, ": ", reason]);
    let name = name::from_path(file).unwrap_or_default();
    let refusal = if errno == Errno::EPERM { refusal::of_file(system.roots, &name, path) } else { None };
    if let Some(refusal) = refusal {
        log.error(&bytes!["'", name, "' is refused: ", refusal.text]);
    }
    Ok(1)
}
