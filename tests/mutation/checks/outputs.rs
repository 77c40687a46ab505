//! What depmod makes of what it was told: from the lists of the kernel's build and from what modules say, to the files.

use super::pieces;
use kmod_once::internals::depmod::facts::Facts;
use kmod_once::internals::depmod::interner::{InternedFacts, Interner};
use kmod_once::internals::depmod::output::{self, Sources};
use kmod_once::internals::depmod::resolve::{Reports, dependencies, topological_numbers};
use kmod_once::internals::depmod::scan::Module;
use kmod_once::internals::depmod::symbols::Table;
use kmod_once::internals::depmod::{cycles, order};
use kmod_once::internals::formats::index::Index;
use kmod_once::internals::formats::text;
use kmod_once::internals::limits;
use kmod_once::internals::log::Silent;
use kmod_once::internals::name;
use std::cell::Cell;
use std::collections::HashMap;

/// The pieces of the input are Module.symvers, System.map, modules.order, modules.builtin, modules.builtin.modinfo, and then
/// modules: a path, and lines `aALIAS`, `eSYMBOL` (exported), `nSYMBOL` (needed), `wSYMBOL` (needed, if it is there),
/// `sSOFTDEP`.
///
/// Cycles that are told are cycles; without any, each index says what its text file says, and a module needs nothing that is
/// numbered before it.
pub fn check(input: &[u8]) -> bool {
    let mut pieces = pieces(input);
    let mut piece = || pieces.next().unwrap_or_default();
    let (symvers, map, listed, builtin, info) = (piece(), piece(), piece(), piece(), piece());
    let (mut modules, mut read): (Vec<Module>, HashMap<Vec<u8>, Facts>) = Default::default();
    let meta = std::fs::metadata("/").unwrap();
    for piece in pieces.take(40) {
        let mut lines = piece.split(|&b| b == b'\n');
        let path = [b"/m/", lines.next().unwrap_or_default()].concat();
        let base = path.rsplit(|&b| b == b'/').next().unwrap_or_default();
        let name = name::canonical(base);
        // What a directory cannot hold, and what the scan sorts out before.
        let odd = name.is_empty()
            || path.iter().any(|&b| b == 0 || b >= 0x80 || b == b' ' || b == b':')
            || !name::is_module_file(base);
        if !odd && modules.iter().all(|module| module.name != name) {
            read.insert(name.clone(), facts(lines));
            modules.push(Module::new(path, name, &meta));
        }
    }
    if order::sort(&mut modules, b"/m", Some(listed), &Silent).is_err() {
        return false;
    }
    let mut interner = Interner::default();
    let mut table = Table::new(None);
    table.read_symvers(&mut interner, symvers, b"symvers", &Silent);
    table.read_system_map(&mut interner, map, b"map", &Silent);
    let known: Vec<InternedFacts<'_>> =
        modules.iter().map(|module| interner.add(&read[&module.name])).collect();
    table.add_exports(&mut interner, &known);
    let symbols = table.resolve(&mut interner);
    let provided: Vec<_> = table.provided().collect();
    let lists = dependencies(&modules, &known, &interner, &symbols, Reports::default(), &Silent, &|_| {});
    let numbers = match topological_numbers(&lists) {
        Ok(numbers) => numbers,
        Err(left) => {
            let found = cycles::find(&lists, &left);
            assert!(!found.is_empty(), "no order, and no cycle");
            for cycle in found {
                let next = cycle.iter().cycle().skip(1);
                assert!(cycle.iter().zip(next).all(|(&from, to)| lists[from as usize].contains(to)));
            }
            return true;
        }
    };
    for (module, list) in lists.iter().enumerate() {
        assert!(list.iter().all(|&needed| numbers[needed as usize] > numbers[module]));
    }
    let sources = Sources {
        dir: b"/m",
        modules: &modules,
        known: &known,
        interner: &interner,
        dependencies: &lists,
        numbers: &numbers,
        provided: &provided,
        builtin: Ok(builtin),
        builtin_info: Ok(info),
        warn_duplicates: true,
        left_out: Cell::new(0),
    };
    let Ok(files) = output::all(&sources, &Silent) else { return false };
    let contents = |name: &str| &files.iter().find(|file| file.name == name).expect(name).contents[..];
    let dep = Index::open(contents("modules.dep.bin")).unwrap();
    for module in &modules {
        let line = dep.exact(&module.name);
        assert!(line.is_some_and(|line| line.starts_with(module.relative(b"/m"))));
        assert_eq!(line, text::dep_line(contents("modules.dep"), &module.name));
    }
    assert_eq!(count(&dep), modules.len());
    for (index, listing) in
        [("modules.alias.bin", "modules.alias"), ("modules.symbols.bin", "modules.symbols")]
    {
        let index = Index::open(contents(index)).unwrap();
        let mut held: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        index.dump(&mut |key, value| held.push((key.to_vec(), value.to_vec())));
        let listed = text::aliases(contents(listing));
        // What has an odd bracket is in the text only; the names of symbols are not folded.
        let folded = |pattern: &[u8]| match listing {
            "modules.alias" => name::alias(pattern),
            _ => Some(pattern.to_vec()),
        };
        let mut wanted: Vec<_> =
            listed.filter_map(|(pattern, module)| Some((folded(pattern)?, module.to_vec()))).collect();
        // What the index cannot hold is left out, and nothing else.
        let all = wanted.len();
        let fits = |text: &[u8]| text.iter().all(|&byte| byte != 0 && byte < 0x80);
        wanted.retain(|(key, _)| fits(key) && key.len() <= limits::INDEX_KEY);
        assert!(sources.left_out.get() >= all - wanted.len(), "{listing}");
        held.sort();
        wanted.sort();
        assert_eq!(held, wanted, "{listing}");
    }
    let names = Index::open(contents("modules.builtin.bin")).unwrap();
    for line in
        builtin.split(|&b| b == b'\n').filter(|line| line.ends_with(b".ko") && line[0].is_ascii_alphabetic())
    {
        let name = name::from_path(line).expect("a path");
        // A NUL ends a line, which then has a name of its own.
        assert!(
            line.contains(&0) || !line.is_ascii() || names.exact(&name).is_some(),
            "{}",
            line.escape_ascii()
        );
    }
    !modules.is_empty()
}

fn facts<'l>(lines: impl Iterator<Item = &'l [u8]>) -> Facts {
    let mut facts = Facts::default();
    for line in lines {
        // No string of a module holds a NUL.
        let line = line.split(|&b| b == 0).next().unwrap_or_default();
        let (symbols, info) = (&mut facts.symbols, &mut facts.info);
        match line {
            [b'a', alias @ ..] => info.aliases.push(alias),
            [b's', softdep @ ..] => info.softdeps.push(softdep),
            [b'e', name @ ..] => {
                symbols.exports.push(name);
                symbols.export_crcs.push(name.len() as u64);
            }
            [kind @ (b'n' | b'w'), name @ ..] => {
                symbols.needs.push(name);
                symbols.need_crcs.push((name.len() as u64, *kind == b'w'));
            }
            _ => {}
        }
    }
    facts
}

fn count(index: &Index<'_>) -> usize {
    let mut count = 0;
    index.dump(&mut |_, _| count += 1);
    count
}
