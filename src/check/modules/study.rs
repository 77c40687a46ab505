//! Reads every module of a directory once, and computes what depmod would make of them now.

use crate::check::Context;
use crate::depmod::facts::{Facts, Wanted};
use crate::depmod::interner::{InternedFacts, Interner};
use crate::depmod::output::{self, Sources};
use crate::depmod::resolve::{Reports, dependencies, topological_numbers};
use crate::depmod::scan::{Module, Scan};
use crate::depmod::settings::Settings;
use crate::depmod::symbols::Table;
use crate::depmod::{cycles, gather, input, order};
use crate::error::{Errno, Error};
use crate::formats::compress;
use crate::formats::modinfo;
use crate::limits;
use crate::log::{Kept, Silent, bytes};
use crate::system::directory;
use crate::system::file::read_whole;
use crate::system::map::{self, Contents};
use crate::system::roots::as_path;
use crate::tree::ConfigPaths;
use std::cell::Cell;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The facts about all modules of a directory.
pub(crate) struct Study {
    /// The modules that are used, in depmod's order.
    pub modules: Vec<Module>,
    /// The facts of each, by its place.
    pub facts: Vec<Facts>,
    /// The files that lost to another one of the same module name.
    pub shadowed: Vec<Module>,
    /// What depmod says of files and directories that it passes over.
    pub passed_over: Vec<Vec<u8>>,
    /// The result of resolving them.
    pub resolved: Resolved,
}

/// The result of resolving all modules as depmod does.
#[derive(Default)]
pub(crate) struct Resolved {
    /// The symbols that a module (by its place) needs and that neither the kernel nor a module has; empty if the kernel's
    /// symbols are unknown.
    pub missing: Vec<(usize, Vec<u8>)>,
    /// The symbols that a module (by its place) was built against in another version.
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
            Settings::load(context.system.roots, &ConfigPaths::Default, context.request.release, &Silent);
        settings.resolve_externals(|path| directory::absolute(path, || directory::working(None))).ok()?;
        let kept = Kept::default();
        let found = Scan::new(dir, &settings, &kept).everything().ok()?;
        let passed_over = kept.take_errors().collect();
        let (mut modules, shadowed) = (found.modules, found.shadowed);
        let listed = input(dir, "modules.order").ok();
        order::sort(&mut modules, dir, listed.as_deref(), &Silent).ok()?;
        let read = gather::read(&modules, Wanted::Everything, None, context.request.cores, &Silent);
        let facts: Vec<_> = read.into_iter().map(|read| read.facts.unwrap_or_default()).collect();
        let resolved = resolve(dir, &modules, &facts, &kernel_symbols(context));
        Some(Study { modules, facts, shadowed, passed_over, resolved })
    }

    /// The values of a key of `.modinfo` of the module at a place.
    pub(crate) fn info<'s>(&'s self, place: usize, key: &'s [u8]) -> impl Iterator<Item = &'s [u8]> {
        let entries = modinfo::entries(&self.facts[place].modinfo);
        entries.filter(move |(found, _)| *found == key).map(|(_, value)| value)
    }

    /// The path of the module at a place.
    pub(crate) fn path(&self, place: usize) -> PathBuf {
        as_path(&self.modules[place].path).to_path_buf()
    }
}

fn resolve(dir: &[u8], modules: &[Module], facts: &[Facts], kernel: &Kernel) -> Resolved {
    let mut resolved = Resolved::default();
    let mut interner = Interner::default();
    let mut table = Table::new(None);
    match kernel {
        Kernel::Symvers(text) => table.read_symvers(&mut interner, text, b"", &Silent),
        Kernel::Names(text) => table.read_system_map(&mut interner, text, b"", &Silent),
        Kernel::Unknown => {}
    }
    let known: Vec<InternedFacts<'_>> = facts.iter().map(|facts| interner.add(facts)).collect();
    table.add_exports(&mut interner, &known);
    let symbols = table.resolve(&mut interner);
    for (place, known) in known.iter().enumerate() {
        for need in known.needs.iter().map(|&id| interner.need(id)).filter(|need| !need.weak) {
            let name = || (place, interner.name(need.name).to_vec());
            match symbols[need.name as usize] {
                None if !matches!(kernel, Kernel::Unknown) => resolved.missing.push(name()),
                // If either side has no version, there is nothing to compare.
                Some(symbol) if symbol.crc != 0 && need.crc != 0 && symbol.crc != need.crc => {
                    resolved.disagreeing.push(name());
                }
                _ => {}
            }
        }
    }
    let lists = dependencies(modules, &known, &interner, &symbols, Reports::default(), &Silent, &|_| {});
    let numbers = match topological_numbers(&lists) {
        Ok(numbers) => numbers,
        Err(left) => {
            let name = |at: &u32| modules[*at as usize].name.clone();
            let rings = cycles::find(&lists, &left);
            resolved.cycles = rings.iter().map(|ring| ring.iter().map(name).collect()).collect();
            return resolved;
        }
    };
    let provided: Vec<_> = table.provided().collect();
    // The texts that are compared do not depend on the kernel's lists.
    let unread = Error::os(Errno::ENOENT);
    let sources = Sources {
        dir,
        modules,
        known: &known,
        interner: &interner,
        dependencies: &lists,
        numbers: &numbers,
        provided: &provided,
        builtin: Err(&unread),
        builtin_info: Err(&unread),
        warn_duplicates: false,
        left_out: Cell::new(0),
    };
    resolved.texts = output::texts(&sources, &Silent);
    resolved
}

/// The symbols of the kernel: from the file that comes with the kernel or its headers, else from the running kernel's own
/// list. Some distributions ship a placeholder as `System.map`, and the running kernel's list may lack the `__ksymtab_`
/// names.
fn kernel_symbols(context: &Context<'_>) -> Kernel {
    let release = context.request.release;
    let boot =
        |name: &str| bytes![context.system.roots.prefixed("/boot/").as_os_str().as_bytes(), name, release];
    let dir = |name: &str| bytes![context.tree.dir().as_os_str().as_bytes(), "/", name];
    let read = |path: Vec<u8>| {
        let contents: Contents = map::open(as_path(&path), limits::TEXT_FILE).ok()?;
        compress::image(&contents, limits::TEXT_FILE).ok().map(|text| text.into_owned())
    };
    let ends = |start: Vec<u8>| ["", ".gz", ".xz", ".zst"].map(|end| bytes![start, end]);
    let symvers = [dir("build/Module.symvers")].into_iter().chain(ends(dir("symvers")));
    let is_symvers = |text: &Vec<u8>| text.starts_with(b"0x") && has(text, b"\tvmlinux\t");
    if let Some(text) = symvers.chain(ends(boot("symvers-"))).filter_map(read).find(is_symvers) {
        return Kernel::Symvers(text);
    }
    let maps = [dir("System.map"), boot("System.map-")].into_iter().filter_map(read);
    let own = context.request.running.then(|| context.system.roots.proc_fs.join("kallsyms"));
    let own = own.and_then(|path| read_whole(&path, limits::TEXT_FILE).ok());
    let is_list = |text: &Vec<u8>| has(text, b" __ksymtab_");
    maps.chain(own).find(is_list).map_or(Kernel::Unknown, Kernel::Names)
}

fn has(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}
