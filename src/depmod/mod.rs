//! Makes a module directory's indexes: finds the modules, reads each once, resolves their dependencies, writes the files.
//!
//! ```text
//! settings -> scan -> order -> gather (facts, cache) -> interner, symbols -> resolve, cycles -> output -> replace
//! ```
//!
//! Nothing is written before everything is known; then the files are replaced one after the other
//! ([`crate::system::replace`]). A problem of one module is reported, and the module is kept without the information that
//! could not be read.

pub(crate) mod cache;
pub(crate) mod cycles;
pub(crate) mod digest;
pub(crate) mod facts;
pub(crate) mod gather;
pub(crate) mod hash;
pub(crate) mod interner;
pub(crate) mod order;
pub(crate) mod output;
pub(crate) mod places;
pub(crate) mod quick;
pub(crate) mod resolve;
pub(crate) mod scan;
pub(crate) mod settings;
pub(crate) mod symbols;

use crate::error::{Errno, Error};
use crate::limits;
use crate::log::{Priority, Silent, Sink, bytes};
use crate::system::System;
use crate::system::map::{self, Contents};
use crate::system::replace::LockedDirectory;
use crate::system::roots::as_path;
use facts::Wanted;
use interner::InternedFacts;
use resolve::Reports;
use scan::{Found, Module, Scan};
use settings::Settings;
use std::cell::Cell;
use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// Why depmod wrote nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The message to end with, of priority `Crit`.
    Fatal(Vec<u8>),
    /// All messages have been logged.
    Told,
}

/// The input and options of a run.
#[derive(Debug)]
pub struct Request<'a> {
    /// The module directory.
    pub dir: &'a [u8],
    /// Where the files go.
    pub out: &'a [u8],
    /// Module files to use instead of those that a search finds.
    pub files: Option<&'a [&'a [u8]]>,
    /// The configuration; empty with `files`.
    pub settings: Settings,
    /// A `Module.symvers`.
    pub symvers: Option<&'a [u8]>,
    /// A `System.map`; ignored if `symvers` is given.
    pub system_map: Option<&'a [u8]>,
    /// A byte that symbols may begin with.
    pub prefix: Option<u8>,
    /// Report unknown symbols and versions that disagree, as far as the kernel's symbols are known.
    pub report_symbols: bool,
    /// Print which symbol makes a module depend on another.
    pub print_dependencies: bool,
    /// Report an entry of an index that appears twice.
    pub warn_duplicates: bool,
    /// Print the text files and write nothing.
    pub show: bool,
    /// The directory of the caches; `None` for none.
    pub caches: Option<&'a Path>,
    /// When the run began, in nanoseconds since the epoch.
    pub started: i64,
    /// How many threads may run at once.
    pub cores: usize,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// How many modules there are.
    pub modules: usize,
    /// How many of their files were parsed; the others were known from the cache.
    pub read: usize,
    /// How many could not be read; each was reported.
    pub unreadable: usize,
    /// How many modules, aliases and symbols do not fit into the indexes; each was reported.
    pub left_out: usize,
    /// How many symbols modules export.
    pub symbols: usize,
    /// The files that were written, with their sizes in bytes; none if they were only printed.
    pub files: Vec<(&'static str, usize)>,
}

/// Receives the progress of reading module files.
pub trait Progress: Sync {
    /// `done` of `total` files have been read. Called by any thread.
    fn step(&self, done: usize, total: usize);
    /// All files have been read.
    fn end(&self);
}

impl Progress for Silent {
    fn step(&self, _: usize, _: usize) {}
    fn end(&self) {}
}

/// The outputs of a run.
#[derive(Clone, Copy)]
pub struct Outputs<'a> {
    /// Messages.
    pub sink: &'a dyn Sink,
    /// stdout.
    pub print: &'a dyn Fn(&[u8]),
    /// The progress of reading.
    pub progress: &'a dyn Progress,
}

/// Makes the files of `request`. Entries that do not fit into the indexes are counted in the summary; the others are
/// written.
///
/// # Errors
/// If nothing was written; the old files are unchanged.
pub fn run(request: &Request<'_>, system: System<'_>, outputs: Outputs<'_>) -> Result<Summary, Failure> {
    let sink = outputs.sink;
    let symvers = kernel_symbols(request.symvers)?;
    let system_map = if request.symvers.is_some() { None } else { kernel_symbols(request.system_map)? };
    // Locked from here on: two runs at once would each read a tree that the other is about to index.
    let directory = if request.show { None } else { open(request.out, system, sink)? };

    let place = request.caches.and_then(|caches| cache::CacheFile::of(caches, as_path(request.dir)));
    let cached = place.as_ref().and_then(cache::CacheFile::load);
    let mut remembered = cached.as_deref().and_then(cache::Remembered::parse).unwrap_or_default();

    let mut table = symbols::Table::new(request.prefix);
    match (&symvers, &system_map) {
        (Some((path, contents)), _) => table.read_symvers(&mut remembered.interner, contents, path, sink),
        (None, Some((path, contents))) => {
            table.read_system_map(&mut remembered.interner, contents, path, sink)
        }
        (None, None) => {}
    }
    let Found { modules, left_out, .. } = find_modules(request, sink)?;

    let reports = Reports {
        unknown: request.report_symbols,
        versions: request.report_symbols && symvers.is_some(),
        dependencies: request.print_dependencies,
        prefix: request.prefix,
    };
    let memory = place.as_ref().map(|_| &remembered.modules);
    let wanted = if reports.versions { Wanted::Crcs } else { Wanted::Names };
    let read = gather::read(&modules, wanted, memory, request.cores, outputs.progress);
    outputs.progress.end();
    // Lives no longer than what was read, which it borrows.
    let mut interner = std::mem::take(&mut remembered.interner);
    let remembered = remembered.modules;
    let mut known = vec![InternedFacts::default(); modules.len()];
    let mut digests = vec![None; modules.len()];
    for read in &read {
        let old = || read.digest.and_then(|digest| remembered.get(&digest)).cloned().unwrap_or_default();
        known[read.module] = read.facts.as_ref().map_or_else(old, |facts| interner.add(facts));
        digests[read.module] = read.digest;
    }
    let new = read.iter().filter(|read| read.facts.is_some());
    let (new, to_remember) = (new.clone().count(), new.filter(|read| read.digest.is_some()).count());
    sink.log(Priority::Info, format!("{} modules, {new} of them read", modules.len()).as_bytes());
    log_trouble(&modules, &known, sink);

    table.add_exports(&mut interner, &known);
    let symbols = table.resolve(&mut interner);
    let provided: Vec<_> = table.provided().collect();
    let dependencies =
        resolve::dependencies(&modules, &known, &interner, &symbols, reports, sink, outputs.print);
    let numbers = resolve::topological_numbers(&dependencies).map_err(|left| {
        log_cycles(&modules, &dependencies, &left, sink);
        Failure::Told
    })?;

    let builtin = input(request.dir, "modules.builtin");
    let builtin_info = input(request.dir, "modules.builtin.modinfo");
    let sources = output::Sources {
        dir: request.dir,
        modules: &modules,
        known: &known,
        interner: &interner,
        dependencies: &dependencies,
        numbers: &numbers,
        provided: &provided,
        builtin: builtin.as_deref(),
        builtin_info: builtin_info.as_deref(),
        warn_duplicates: request.warn_duplicates,
        left_out: Cell::new(left_out),
    };
    let mut summary = Summary {
        modules: modules.len(),
        read: new,
        unreadable: known.iter().filter(|known| known.trouble.is_some()).count(),
        left_out,
        symbols: provided.len(),
        files: Vec::new(),
    };
    if request.show {
        output::texts(&sources, sink).iter().for_each(|file| (outputs.print)(&file.contents));
        return Ok(summary);
    }
    let files = output::all(&sources, sink)?;
    write(request, directory, &files, system, sink)?;
    summary.left_out = sources.left_out.get();
    summary.files = files.iter().map(|file| (file.name, file.contents.len())).collect();

    if let Some(place) = place.filter(|_| request.files.is_none()) {
        let mut seen = HashSet::new();
        let all = known.iter().zip(&digests).filter_map(|(known, digest)| Some((known, (*digest)?)));
        // A file that cannot be read may be readable next time.
        let sound = all.filter(|(known, digest)| known.trouble.is_none() && seen.insert(*digest));
        let entries: Vec<_> = sound.map(|(known, digest)| cache::Entry { digest, known }).collect();
        if to_remember > 0 || entries.len() < remembered.len() {
            keep(&place, &cache::render(&place, &interner, &entries), cached.as_deref(), request, sink);
        }
    }
    Ok(summary)
}

/// Replaces the cache if it differs.
fn keep(place: &cache::CacheFile, new: &[u8], old: Option<&[u8]>, request: &Request<'_>, sink: &dyn Sink) {
    if old != Some(new) {
        if let Err(error) = place.store(new, request.started) {
            // The only effect: the next run takes as long as this one.
            sink.log(Priority::Info, &bytes!["could not keep what was read: ", error.to_string()]);
        }
    }
}

/// The modules, in order.
fn find_modules(request: &Request<'_>, sink: &dyn Sink) -> Result<Found, Failure> {
    let scan = Scan::new(request.dir, &request.settings, sink);
    let mut found = match request.files {
        Some(files) => scan.named(files)?,
        None => scan.everything()?,
    };
    let order = input(request.dir, "modules.order");
    if let Err(error) = &order {
        unread("modules.order", request.dir, error, sink);
    }
    order::sort(&mut found.modules, request.dir, order.ok().as_deref(), sink)?;
    Ok(found)
}

fn log_trouble(modules: &[Module], known: &[InternedFacts<'_>], sink: &dyn Sink) {
    for (module, trouble) in modules.iter().zip(known).filter_map(|(m, known)| Some((m, known.trouble?))) {
        if let Some(decoder) = &trouble.decoder {
            sink.log(Priority::Err, decoder.as_bytes());
        }
        let reason = trouble.errno.to_string();
        sink.log(Priority::Err, &bytes!["failed to load symbols from ", module.path, ": ", reason]);
    }
}

fn log_cycles(modules: &[Module], lists: &[Vec<u32>], left: &[u32], sink: &dyn Sink) {
    let cycles = cycles::find(lists, left);
    let mut members: Vec<u32> = Vec::new();
    for cycle in &cycles {
        let ring: Vec<&[u8]> =
            cycle.iter().chain(cycle.first()).map(|&module| &modules[module as usize].name[..]).collect();
        sink.log(Priority::Err, &bytes!["Cycle detected: ", ring.join(&b" -> "[..])]);
        members.extend(cycle);
    }
    members.sort_unstable();
    members.dedup();
    let count = members.len();
    sink.log(Priority::Err, format!("Found {count} modules in dependency cycles!").as_bytes());
}

/// The directory to write to, locked; `None` if it does not exist yet.
fn open(out: &[u8], system: System<'_>, sink: &dyn Sink) -> Result<Option<LockedDirectory>, Failure> {
    match LockedDirectory::open(as_path(out), system, sink) {
        Ok(directory) => Ok(Some(directory)),
        Err(error) if matches!(error.errno(), Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(error) => Err(Failure::Fatal(error.to_string().into_bytes())),
    }
}

fn write(
    request: &Request<'_>,
    directory: Option<LockedDirectory>,
    files: &[output::File],
    system: System<'_>,
    sink: &dyn Sink,
) -> Result<(), Failure> {
    let directory = match directory {
        Some(directory) => directory,
        None => {
            LockedDirectory::create(as_path(request.out)).map_err(|error| {
                let reason = error.errno().to_string();
                Failure::Fatal(bytes!["could not create directory ", request.out, ": ", reason])
            })?;
            let gone = || Failure::Fatal(bytes!["directory ", request.out, " vanished"]);
            open(request.out, system, sink)?.ok_or_else(gone)?
        }
    };
    let files: Vec<(&str, &[u8])> = files.iter().map(|file| (file.name, &file.contents[..])).collect();
    let started = UNIX_EPOCH + Duration::from_nanos(u64::try_from(request.started).unwrap_or(0));
    directory.replace(&files, started).map_err(|error| {
        sink.log(Priority::Err, &bytes!["could not write ", error.to_string()]);
        Failure::Told
    })
}

/// A file of kernel symbols given on the command line.
fn kernel_symbols(path: Option<&[u8]>) -> Result<Option<(&[u8], Contents)>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let contents = map::open_operand(as_path(path), limits::TEXT_FILE)
        .map_err(|error| Failure::Fatal(bytes!["could not load ", path, ": ", error.errno().to_string()]))?;
    Ok(Some((path, contents)))
}

/// The contents of a file of the module directory.
///
/// # Errors
/// As [`map::open`].
pub(crate) fn input(dir: &[u8], name: &str) -> Result<Contents, Error> {
    map::open(as_path(&bytes![dir, "/", name]), limits::TEXT_FILE)
}

/// Reports that a file of the kernel's build cannot be read.
fn unread(name: &str, dir: &[u8], error: &Error, sink: &dyn Sink) {
    sink.log(Priority::Warning, &bytes!["could not open ", name, " at ", dir, ": ", error.reason()]);
}
