//! `depmod`: the command line of the tool that makes a module directory's indexes.

use super::bar::ProgressBar;
use super::getopt::{Opt, opt};
use super::message::Log;
use super::usage::Usage;
use super::{Call, Exit, ToolResult};
use crate::depmod::settings::Settings;
use crate::depmod::{self, Failure, Outputs, quick};
use crate::formats::number::unsigned;
use crate::log::{Silent, Sink, bytes};
use crate::system::roots::{as_path, into_path, module_parent};
use crate::tree::ConfigPaths;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const NO_CACHE: u8 = 201;
const CACHE_DIR: u8 = 202;
const JSON: u8 = 203;

/// The options, in the order in which getopt lists them when a name is ambiguous.
const OPTIONS: &[Opt] = &[
    opt(b'a', "all", "read all modules (default unless files are named)"),
    opt(b'A', "quick", "do nothing unless the modules are others than those indexed"),
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
    opt(NO_CACHE, "no-cache", "read every module, keep nothing for the next run").whole(),
    opt(CACHE_DIR, "cache-dir", "keep what was read in DIR, not in /var/cache").takes("DIR").whole(),
    opt(JSON, "json", "print what was done as JSON, for programs").whole(),
    opt(b'V', "version", "print the version"),
    opt(b'h', "help", "print this text"),
    // Accepted and ignored, from the days of module-init-tools.
    opt(b'u', "unresolved-error", "").legacy(),
    opt(b'q', "quiet", "").legacy(),
    opt(b'r', "root", "").legacy(),
    opt(200, "map", "").legacy(),
];

pub(crate) const USAGE: Usage = Usage {
    forms: &["[options] [VERSION [FILE...]]"],
    groups: &["Options", "For those who build systems"],
    options: OPTIONS,
    notes: "",
};

/// The command line as given.
#[derive(Default)]
struct CommandLine<'a> {
    all: bool,
    quick: bool,
    base: Option<&'a [u8]>,
    module_dir: Option<&'a [u8]>,
    out: Option<&'a [u8]>,
    config: Vec<&'a [u8]>,
    symvers: Option<&'a [u8]>,
    system_map: Option<&'a [u8]>,
    unresolved: bool,
    show: bool,
    prefix: Option<u8>,
    warn: bool,
    no_cache: bool,
    cache_dir: Option<&'a [u8]>,
    json: bool,
    /// How often `-v` was given.
    verbose: i32,
    /// VERSION and FILEs
    operands: Vec<&'a [u8]>,
}

fn parse<'a>(call: &Call<'a>, log: &Log<'_>) -> Result<CommandLine<'a>, Exit> {
    let mut request = CommandLine::default();
    request.operands = call.options(&USAGE, |found| {
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
                [one] => request.prefix = Some(*one),
                _ => return log.fatal(b"-P only takes a single char").and(Err(Exit(1))),
            },
            JSON => request.json = true,
            NO_CACHE => request.no_cache = true,
            CACHE_DIR => request.cache_dir = found.value,
            _ => {}
        }
        Ok(())
    })?;
    Ok(request)
}

pub(crate) fn run(call: &Call<'_>) -> ToolResult {
    let log = call.log();
    let request = parse(call, &log)?;
    log.set_threshold(super::message::START + request.verbose);
    if request.json && (request.show || request.verbose > 0) {
        return Err(log.end(b"--json does not go with -n or -v, which print something else"));
    }
    let (version, files) = match request.operands.split_first() {
        Some((version, files)) => (version.to_vec(), files),
        None => (call.world.host.release().unwrap_or_default(), &[][..]),
    };
    if !is_version(&version) {
        return Err(log.end(&bytes!["Bad version passed ", version]));
    }
    let absolute = |path: &[u8]| call.absolute_or_end(&log, path);
    let prefix = &call.world.system.roots.prefix;
    let base = request.base.map_or_else(|| Ok(prefix.clone()), absolute)?;
    let there = |parent: &'static [u8]| as_path(&directory(&base, parent, &version)).is_dir();
    let parent = request.module_dir.unwrap_or_else(|| module_parent(there));
    let dir = directory(&base, parent, &version);
    let out = match request.out {
        Some(out) => directory(&absolute(out)?, parent, &version),
        None => dir.clone(),
    };
    let all = request.all || request.quick || files.is_empty();
    let paths = match request.config[..] {
        [] => ConfigPaths::Default,
        ref paths => ConfigPaths::List(paths.iter().map(|path| into_path(path.to_vec())).collect()),
    };
    let settings = |sink: &dyn Sink| -> Result<Settings, Exit> {
        let mut settings = Settings::load(call.world.system.roots, &paths, &version, sink);
        settings.resolve_externals(absolute)?;
        Ok(settings)
    };
    // Bad lines of the configuration are reported by the run that follows.
    let is_current = || settings(&Silent).map(|settings| !quick::is_outdated(&dir, &out, &settings, &log));
    let report = |summary| {
        if request.json {
            call.print(&json(&out, summary));
        }
    };
    if request.quick && (request.show || is_current()?) {
        report(None);
        return Ok(0);
    }
    let kernel_known = request.symvers.is_some() || request.system_map.is_some();
    if request.unresolved && !kernel_known {
        log.warning(b"-e needs -E or -F");
    }
    let settings = if all { settings(&log)? } else { Settings::default().finish() };
    let caches = match request.cache_dir {
        _ if request.no_cache => None,
        Some(dir) => Some(absolute(dir)?),
        None => Some(call.world.system.roots.depmod_caches()),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let bar = ProgressBar::new(call, request.show);
    let work = depmod::Request {
        dir: &dir,
        out: &out,
        files: (!all).then_some(files),
        settings,
        symvers: request.symvers,
        system_map: request.system_map,
        prefix: request.prefix,
        report_symbols: request.unresolved && kernel_known,
        print_dependencies: request.verbose > 0,
        warn_duplicates: request.warn,
        show: request.show,
        caches: caches.as_deref(),
        started: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let outputs = Outputs { sink: &log, print: &|text| call.print(text), progress: &bar };
    match depmod::run(&work, call.world.system, outputs) {
        Ok(summary) => {
            report(Some(&summary));
            Ok(u8::from(summary.left_out > 0))
        }
        Err(Failure::Told) => Ok(1),
        Err(Failure::Fatal(text)) => log.fatal(&text).and(Ok(1)),
    }
}

/// `{"directory", "up_to_date", "modules", "read", "unreadable", "symbols", "files": [{"name", "bytes"}]}`; the counts are
/// `null` if `-A` found nothing to do.
fn json(out: &[u8], summary: Option<&depmod::Summary>) -> Vec<u8> {
    let file = |(name, bytes): &(&'static str, usize)| serde_json::json!({"name": name, "bytes": bytes});
    let value = serde_json::json!({
        "directory": String::from_utf8_lossy(out),
        "up_to_date": summary.is_none(),
        "modules": summary.map(|summary| summary.modules),
        "read": summary.map(|summary| summary.read),
        "unreadable": summary.map(|summary| summary.unreadable),
        "symbols": summary.map(|summary| summary.symbols),
        "files": summary.map(|summary| summary.files.iter().map(file).collect::<Vec<_>>()).unwrap_or_default(),
    });
    format!("{value}\n").into_bytes()
}

/// ROOT/MODULEDIR/VERSION, not normalised.
fn directory(root: &Path, parent: &[u8], version: &[u8]) -> Vec<u8> {
    let start = parent.iter().take_while(|&&byte| byte == b'/').count();
    bytes![root.as_os_str().as_bytes(), "/", parent[start..], "/", version]
}

/// Whether `%u.%u` of scanf(3) matches at the start of `text`.
fn is_version(text: &[u8]) -> bool {
    unsigned(text).and_then(|(_, rest)| unsigned(rest.strip_prefix(b".")?)).is_some()
}
