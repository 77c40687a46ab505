//! `depmod`: the command line of the tool that makes a module directory's indexes.

use super::getopt::{Opt, opt};
use super::message::Log;
use super::usage::Usage;
use super::{Call, Exit, Outcome};
use crate::bytes;

/// The options, in the order in which getopt lists them when a name is ambiguous.
const OPTIONS: &[Opt] = &[
    opt(b'a', "all", "read all modules (default unless files are named)"),
    opt(b'A', "quick", "do nothing unless a module is newer than modules.dep"),
    opt(b'b', "basedir", "the root above the module directory, if not /").takes("DIR").group(1),
    opt(b'm', "moduledir", "where modules are below the root, if not /lib/modules").takes("DIR").group(1),
    opt(b'o', "outdir", "the root below which to write, if not the same").takes("DIR").group(1),
    opt(b'C', "config", "read configuration from PATH instead; may repeat").takes("PATH"),
    opt(b'E', "symvers", "the kernel's symbols and versions, from a Module.symvers").takes("FILE").group(1),
    opt(b'F', "filesyms", "the kernel's symbols, from a System.map").takes("FILE").group(1),
    opt(b'e', "errsyms", "report symbols that nothing provides (with -E or -F)"),
    opt(b'v', "verbose", "say which symbol makes a module need another"),
    opt(b'n', "show", "print the text files, write nothing"),
    opt(b'n', "dry-run", "the same"),
    opt(b'P', "symbol-prefix", "one character that symbols may begin with").takes("CHAR"),
    opt(b'w', "warn", "warn of duplicate aliases and symbols"),
    opt(b'V', "version", "print the version"),
    opt(b'h', "help", "print this text"),
    // Accepted and ignored, from the days of module-init-tools.
    opt(b'u', "unresolved-error", "").legacy(),
    opt(b'q', "quiet", "").legacy(),
    opt(b'r', "root", "").legacy(),
    opt(200, "map", "").legacy(),
];

const USAGE: Usage = Usage {
    forms: &["[options] [VERSION [FILE...]]"],
    groups: &["Options", "For those who build systems"],
    options: OPTIONS,
    notes: "",
};

/// The command line as typed.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// `-a`
    pub all: bool,
    /// `-A`
    pub quick: bool,
    /// `-b`
    pub base: Option<&'a [u8]>,
    /// `-m`
    pub module_dir: Option<&'a [u8]>,
    /// `-o`
    pub out: Option<&'a [u8]>,
    /// `-C`, each
    pub config: Vec<&'a [u8]>,
    /// `-E`
    pub symvers: Option<&'a [u8]>,
    /// `-F`
    pub system_map: Option<&'a [u8]>,
    /// `-e`
    pub unresolved: bool,
    /// `-n`
    pub show: bool,
    /// `-P`
    pub prefix: Option<u8>,
    /// `-w`
    pub warn: bool,
    /// How often `-v` was given.
    pub verbose: i32,
    /// VERSION and FILEs
    pub operands: Vec<&'a [u8]>,
}

fn parse<'a>(call: &Call<'a>, log: &Log<'_>) -> Result<Request<'a>, Exit> {
    let mut request = Request::default();
    request.operands = call.options(OPTIONS, |found| {
        match found.id {
            b'a' => request.all = true,
            b'A' => request.quick = true,
            b'b' => request.base = found.value,
            b'm' => request.module_dir = found.value,
            b'o' => request.out = found.value,
            b'C' => request.config.extend(found.value),
            b'E' => request.symvers = found.value,
            b'F' => request.system_map = found.value,
            b'e' => request.unresolved = true,
            b'v' => request.verbose += 1,
            b'n' => request.show = true,
            b'w' => request.warn = true,
            b'P' => match found.value.unwrap_or_default() {
                [] => request.prefix = None,
                [one] => request.prefix = Some(*one),
                _ => return Err(log.fatal(b"-P only takes a single char").err().map_or(Exit(1), Exit::from)),
            },
            b'V' => return Err(call.version()),
            b'h' => return Err(call.help(&USAGE)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(request)
}

/// Makes the indexes.
pub fn run(call: &Call<'_>) -> Outcome {
    let log = call.log();
    let request = parse(call, &log)?;
    log.set_threshold(super::message::START + request.verbose);
    log.fatal(&bytes!["this build cannot make indexes yet"])?;
    Ok(1)
}
