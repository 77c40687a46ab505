//! Reads every module of a directory once, and computes what depmod would make of them now.

use crate::check::Context;
use crate::depmod::facts::{Facts, Wanted};
use crate::depmod::interner::{InternedFacts, Interner};
use crate::depmod::output::{self, Sources};
use crate::depmod::resolve::{Reports, dependencies, topological_numbers};
use crate::depmod::scan::{Found, Module, Scan};
use crate::depmod::settings::Settings;
use crate::depmod::symbols::Table;
use crate::depmod::{cycles, gather, input, order};
use crate::error::{Errno, Error};
use crate::formats::compress;
use crate::limits;
use crate::log::{Kept, Silent, bytes};
use crate::system::directory;
use crate::system::file::read_whole;
use crate::system::map;
use crate::system::roots::as_path;
use crate::tree::ConfigPaths;
use memchr::memmem;
use std::cell::Cell;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The facts about all modules of a directory, and the result of resolving them as depmod does.
#[derive(Default)]
pub(crate) struct Study {
    /// The modules that are used, in depmod's order.
    pub modules: Vec<Module>,
    /// The facts of each, by its place.
    pub facts: Vec<Facts>,
    /// The files that lost to another one of the same module name.
    pub shadowed: Vec<Module>,
    /// What depmod says of files and directories that it passes over.
    pub passed_over: Vec<Vec<u8>>,
    /// The symbols that a module (by its place, ascending) needs and that neither the kernel nor a module has; empty if the
    /// kernel's symbols are unknown.
    pub missing: Vec<(usize, Vec<u8>)>,
    /// The symbols that a module (by its place, ascending) was built against in another version.
    pub disagreeing: Vec<(usize, Vec<u8>)>,
    /// The text files that depmod would write; none if there are cycles.
    pub texts: Vec<output::File>,
    /// The names of the modules on each cycle.
    pub cycles: Vec<Vec<Vec<u8>>>,
}

/// The source of the kernel's symbols.
enum Kernel {
    /// A `Module.symvers`, which has versions.
    Symvers(Vec<u8>),
    /// A `System.map`, or the running kernel's `kallsyms`: names only.
    Names(Vec<u8>),
    Unknown,
}

impl Study {
    /// Reads all modules; `None` if there is no such directory.
    pub(crate) fn of(context: &Context<'_>) -> Option<Study> {
        let dir = context.tree.dir().as_os_str().as_bytes();
        // Problems of depmod.d and of modules.order are reported by their own checks.
        let mut settings =
            Settings::load(context.roots, &ConfigPaths::Default, context.request.release, &Silent);
        settings.resolve_externals(|path| directory::absolute(path, || directory::working(None))).ok()?;
        let kept = Kept::default();
        let Found { mut modules, shadowed, .. } = Scan::new(dir, &settings, &kept).everything().ok()?;
        let passed_over = kept.take_errors().collect();
        order::sort(&mut modules, dir, input(dir, "modules.order").ok().as_deref(), &Silent).ok()?;
        let read = gather::read(&modules, Wanted::Everything, None, context.request.cores, &Silent);
        let facts = read.into_iter().map(|read| read.facts.unwrap_or_default()).collect();
        let mut study = Study { modules, facts, shadowed, passed_over, ..Study::default() };
        study.resolve(dir, &kernel_symbols(context));
        Some(study)
    }

    /// The path and the facts of each module.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Path, &Facts)> {
        self.modules.iter().map(|module| as_path(&module.path)).zip(&self.facts)
    }

    fn resolve(&mut self, dir: &[u8], kernel: &Kernel) {
        let mut interner = Interner::default();
        let mut table = Table::new(None);
        match kernel {
            Kernel::Symvers(text) => table.read_symvers(&mut interner, text, b"", &Silent),
            Kernel::Names(text) => table.read_system_map(&mut interner, text, b"", &Silent),
            Kernel::Unknown => {}
        }
        let known: Vec<InternedFacts<'_>> = self.facts.iter().map(|facts| interner.add(facts)).collect();
        table.add_exports(&mut interner, &known);
        let symbols = table.resolve(&mut interner);
        for (place, known) in known.iter().enumerate() {
            for need in known.needs.iter().map(|&id| interner.need(id)).filter(|need| !need.weak) {
                let name = || (place, interner.name(need.name).to_vec());
                match symbols[need.name as usize] {
                    None if !matches!(kernel, Kernel::Unknown) => self.missing.push(name()),
                    // If either side has no version, there is nothing to compare.
                    Some(symbol) if symbol.crc != 0 && need.crc != 0 && symbol.crc != need.crc => {
                        self.disagreeing.push(name());
                    }
                    _ => {}
                }
            }
        }
        let reports = Reports::default();
        let modules = &self.modules;
        let lists = dependencies(modules, &known, &interner, &symbols, reports, &Silent, &|_| {});
        let numbers = match topological_numbers(&lists) {
            Ok(numbers) => numbers,
            Err(left) => {
                let names =
                    |ring: Vec<u32>| ring.iter().map(|&at| modules[at as usize].name.clone()).collect();
                self.cycles = cycles::find(&lists, &left).into_iter().map(names).collect();
                return;
            }
        };
        // The texts that are compared do not depend on the kernel's lists.
        let unread = Error::os(Errno::ENOENT);
        let sources = Sources {
            dir,
            modules,
            known: &known,
            interner: &interner,
            dependencies: &lists,
            numbers: &numbers,
            provided: &table.provided().collect::<Vec<_>>(),
            builtin: Err(&unread),
            builtin_info: Err(&unread),
            warn_duplicates: false,
            left_out: Cell::new(0),
        };
        self.texts = output::texts(&sources, &Silent);
    }
}

/// The symbols of the kernel: from the file that comes with the kernel or its headers, else from the running kernel's own
/// list. Some distributions ship a placeholder as `System.map`, and the running kernel's list may lack the `__ksymtab_`
/// names.
fn kernel_symbols(context: &Context<'_>) -> Kernel {
    let release = context.request.release;
    let boot = |name: &str| bytes![context.roots.prefixed("/boot/").as_os_str().as_bytes(), name, release];
    let dir = |name: &str| bytes![context.tree.dir().as_os_str().as_bytes(), "/", name];
    let read = |path: Vec<u8>| {
        let contents = map::open(as_path(&path), limits::TEXT_FILE).ok()?;
        Some(compress::image(&contents, limits::TEXT_FILE).ok()?.into_owned())
    };
    let ends = |start: Vec<u8>| ["", ".gz", ".xz", ".zst"].map(|end| bytes![start, end]);
    let symvers = [dir("build/Module.symvers")].into_iter().chain(ends(dir("symvers")));
    let is_symvers = |text: &Vec<u8>| text.starts_with(b"0x") && memmem::find(text, b"\tvmlinux\t").is_some();
    if let Some(text) = symvers.chain(ends(boot("symvers-"))).filter_map(read).find(is_symvers) {
        return Kernel::Symvers(text);
    }
    let maps = [dir("System.map"), boot("System.map-")].into_iter().filter_map(read);
    let own = context.request.running.then(|| context.roots.proc_fs.join("kallsyms"));
    let own = own.and_then(|path| read_whole(&path, limits::TEXT_FILE).ok());
    let is_list = |text: &Vec<u8>| memmem::find(text, b" __ksymtab_").is_some();
    maps.chain(own).find(is_list).map_or(Kernel::Unknown, Kernel::Names)
}
