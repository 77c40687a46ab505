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
    pub sink: &'a dyn Sink,
    /// Writes to stdout.
    pub print: &'a dyn Fn(&[u8]),
    pub progress: &'a dyn Progress,
}

/// Makes the files of `request`. Entries that do not fit into the indexes are counted in the summary; the others are
/// written.
///
/// # Errors
/// If nothing was written; the old files are unchanged.
pub fn run(request: &Request<'_>, system: System<'_>, outputs: Outputs<'_>) -> Result<Summary, Failure> {
    let sink = outputs.sink;
    let load = |path| match map::open_operand(as_path(path), limits::TEXT_FILE) {
        Ok(contents) => Ok((path, contents)),
        Err(error) => Err(Failure::Fatal(bytes!["could not load ", path, ": ", error.errno().to_string()])),
    };
    let kernel_symbols = request.symvers.or(request.system_map).map(load).transpose()?;
    // Locked from here on: two runs at once would each read a tree that the other is about to index.
    let directory = if request.show { None } else { open(request.out, system, sink)? };

    let place = request.caches.and_then(|caches| cache::CacheFile::of(caches, as_path(request.dir)));
    let cached = place.as_ref().and_then(cache::CacheFile::load);
    let cache::Remembered { mut interner, modules: remembered } =
        cached.as_deref().and_then(cache::Remembered::parse).unwrap_or_default();

    let mut table = symbols::Table::new(request.prefix);
    match (&kernel_symbols, request.symvers) {
        (Some((path, contents)), Some(_)) => table.read_symvers(&mut interner, contents, path, sink),
        (Some((path, contents)), None) => table.read_system_map(&mut interner, contents, path, sink),
        (None, _) => {}
    }
    let Found { modules, left_out, .. } = find_modules(request, sink)?;

    let reports = Reports {
        unknown: request.report_symbols,
        versions: request.report_symbols && request.symvers.is_some(),
        dependencies: request.print_dependencies,
        prefix: request.prefix,
    };
    let memory = place.as_ref().map(|_| &remembered);
    let wanted = if reports.versions { Wanted::Crcs } else { Wanted::Names };
    let read = gather::read(&modules, wanted, memory, request.cores, outputs.progress);
    outputs.progress.end();
    let known: Vec<_> = read
        .iter()
        .map(|read| match &read.facts {
            Some(facts) => interner.add(facts),
            None => read.digest.and_then(|digest| remembered.get(&digest)).cloned().unwrap_or_default(),
        })
        .collect();
    let parsed = read.iter().filter(|read| read.facts.is_some()).count();
    sink.log(Priority::Info, format!("{} modules, {parsed} of them read", modules.len()).as_bytes());
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
    let files = if request.show { output::texts(&sources, sink) } else { output::all(&sources, sink)? };
    let mut summary = Summary {
        modules: modules.len(),
        read: parsed,
        unreadable: known.iter().filter(|known| known.trouble.is_some()).count(),
        left_out: sources.left_out.get(),
        symbols: provided.len(),
        files: Vec::new(),
    };
    if request.show {
        files.iter().for_each(|file| (outputs.print)(&file.contents));
        return Ok(summary);
    }
    let directory = directory.map_or_else(|| create(request.out, system, sink), Ok)?;
    let contents: Vec<_> = files.iter().map(|file| (file.name, &file.contents[..])).collect();
    let started = UNIX_EPOCH + Duration::from_nanos(u64::try_from(request.started).unwrap_or(0));
    directory.replace(&contents, started).map_err(|error| {
        sink.log(Priority::Err, &bytes!["could not write ", error.to_string()]);
        Failure::Told
    })?;
    // The cache is written without the lock.
    drop(directory);
    summary.files = files.iter().map(|file| (file.name, file.contents.len())).collect();

    if let Some(place) = place.filter(|_| request.files.is_none()) {
        let mut seen = HashSet::new();
        let all = read.iter().zip(&known).filter_map(|(read, known)| Some((read.digest?, known)));
        // A file that cannot be read may be readable next time.
        let sound = all.filter(|(digest, known)| known.trouble.is_none() && seen.insert(*digest));
        let sound: Vec<_> = sound.collect();
        let is_new = read.iter().any(|read| read.facts.is_some() && read.digest.is_some());
        if is_new || sound.len() < remembered.len() {
            let new = cache::render(&place, &interner, &sound);
            let is_kept = cached.as_ref() == Some(&new);
            let stored = if is_kept { Ok(()) } else { place.store(&new, request.started) };
            if let Err(error) = stored {
                // The only effect: the next run takes as long as this one.
                sink.log(Priority::Info, &bytes!["could not keep what was read: ", error.to_string()]);
            }
        }
    }
    Ok(summary)
}

/// The modules, in order.
fn find_modules(request: &Request<'_>, sink: &dyn Sink) -> Result<Found, Failure> {
    let scan = Scan::new(request.dir, &request.settings, sink);
    let mut found = match request.files {
        Some(files) => scan.named(files)?,
        None => scan.everything()?,
    };
    let report = |error: &Error| unread("modules.order", request.dir, error, sink);
    let order = input(request.dir, "modules.order").inspect_err(report).ok();
    order::sort(&mut found.modules, request.dir, order.as_deref(), sink)?;
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
    for cycle in &cycles {
        let ring = cycle.iter().chain(cycle.first()).map(|&module| &modules[module as usize].name[..]);
        let ring: Vec<&[u8]> = ring.collect();
        sink.log(Priority::Err, &bytes!["Cycle detected: ", ring.join(&b" -> "[..])]);
    }
    let count = cycles.iter().flatten().collect::<HashSet<_>>().len();
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

/// The same, created.
fn create(out: &[u8], system: System<'_>, sink: &dyn Sink) -> Result<LockedDirectory, Failure> {
    LockedDirectory::create(as_path(out)).map_err(|error| {
        Failure::Fatal(bytes!["could not create directory ", out, ": ", error.errno().to_string()])
    })?;
    open(out, system, sink)?.ok_or_else(|| Failure::Fatal(bytes!["directory ", out, " vanished"]))
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
