//! Dependencies: which modules provide the symbols that each module needs, an order of loading, and the closure that
//! `modules.dep` has.

use super::interner::{InternedFacts, Interner};
use super::scan::Module;
use super::symbols::{Symbol, bare};
use crate::log::{Priority, Sink, bytes};

/// What to report about symbols.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reports {
    /// Unknown symbols.
    pub unknown: bool,
    /// Symbols with another CRC than the module was built against.
    pub versions: bool,
    /// On stdout, each dependency with the symbol that makes it.
    pub dependencies: bool,
    /// A byte that symbols may begin with, which is not printed.
    pub prefix: Option<u8>,
}

/// For each module, in order, the modules that it depends on, in the order of the symbols that it needs. `symbols` is
/// indexed by the number of the name.
pub fn dependencies(
    modules: &[Module],
    known: &[InternedFacts<'_>],
    interner: &Interner<'_>,
    symbols: &[Option<Symbol>],
    reports: Reports,
    sink: &dyn Sink,
    print: &dyn Fn(&[u8]),
) -> Vec<Vec<u32>> {
    // The last module that was seen to depend on each module, so that each is listed once.
    let mut seen = vec![u32::MAX; modules.len()];
    let mut lists = Vec::with_capacity(modules.len());
    for (index, (module, known)) in (0u32..).zip(modules.iter().zip(known)) {
        let mut list = Vec::new();
        for &id in &known.needs {
            let need = interner.need(id);
            let name = interner.name(need.name);
            let warn = |what: &str| sink.log(Priority::Warning, &bytes![module.path, what, name]);
            let Some(symbol) = symbols[need.name as usize] else {
                if reports.unknown && !need.weak {
                    warn(" needs unknown symbol ");
                }
                continue;
            };
            if reports.versions && symbol.crc != need.crc && !need.weak {
                warn(" disagrees about version of symbol ");
            }
            let Some(owner) = symbol.owner else { continue };
            if std::mem::replace(&mut seen[owner as usize], index) != index {
                list.push(owner);
                if reports.dependencies {
                    let name = bare(name, reports.prefix);
                    let path = &modules[owner as usize].path;
                    print(&bytes![module.path, " needs \"", name, "\": ", path, "\n"]);
                }
            }
        }
        lists.push(list);
    }
    lists
}

/// A topological order: a number for each module, lower than those of all modules that it depends on.
///
/// # Errors
/// If there are cycles: the modules on a cycle and those that a cycle depends on, in order.
pub fn topological_numbers(lists: &[Vec<u32>]) -> Result<Vec<u32>, Vec<u32>> {
    let mut users = vec![0u32; lists.len()];
    for &dependency in lists.iter().flatten() {
        users[dependency as usize] += 1;
    }
    let all = 0..lists.len() as u32;
    let mut stack: Vec<u32> = all.clone().filter(|&module| users[module as usize] == 0).collect();
    let mut numbers = vec![0; lists.len()];
    let mut next = 0;
    while let Some(module) = stack.pop() {
        numbers[module as usize] = next;
        next += 1;
        for &dependency in &lists[module as usize] {
            users[dependency as usize] -= 1;
            if users[dependency as usize] == 0 {
                stack.push(dependency);
            }
        }
    }
    if next as usize == lists.len() {
        Ok(numbers)
    } else {
        Err(all.filter(|&module| users[module as usize] > 0).collect())
    }
}

/// Computes closures of modules one after another, reusing its memory.
pub(crate) struct Closures<'a> {
    lists: &'a [Vec<u32>],
    numbers: &'a [u32],
    seen: Vec<u32>,
    found: Vec<u32>,
}

impl<'a> Closures<'a> {
    /// `lists` and `numbers` are the results of [`dependencies`] and [`topological_numbers`].
    pub(crate) fn new(lists: &'a [Vec<u32>], numbers: &'a [u32]) -> Self {
        Closures { lists, numbers, seen: vec![u32::MAX; lists.len()], found: Vec::new() }
    }

    /// All modules that `module` depends on, directly or not, ascending by number: a loader inserts from the end.
    pub(crate) fn of(&mut self, module: u32) -> &[u32] {
        self.found.clear();
        let (mut current, mut next) = (Some(module), 0);
        while let Some(user) = current {
            for &dependency in &self.lists[user as usize] {
                if std::mem::replace(&mut self.seen[dependency as usize], module) != module {
                    self.found.push(dependency);
                }
            }
            current = self.found.get(next).copied();
            next += 1;
        }
        self.found.sort_unstable_by_key(|&dependency| self.numbers[dependency as usize]);
        &self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_description() {
        // one, two, three; three needs two, then one; two needs one.
        let lists = [vec![], vec![0], vec![1, 0]];
        let numbers = topological_numbers(&lists).unwrap();
        assert_eq!(numbers, [2, 1, 0]);
        let mut closures = Closures::new(&lists, &numbers);
        assert_eq!(closures.of(2), [1, 0]);
        assert_eq!(closures.of(1), [0]);
        assert!(closures.of(0).is_empty());
    }

    #[test]
    fn what_is_left_of_a_cycle() {
        // 0 uses the cycle 1 <-> 2, which uses 3; 4 is apart.
        assert_eq!(topological_numbers(&[vec![1], vec![2], vec![1, 3], vec![], vec![]]), Err(vec![1, 2, 3]));
        assert_eq!(topological_numbers(&[vec![0]]), Err(vec![0]));
    }

    #[test]
    fn long_chains_and_wide_fans() {
        let chain: Vec<Vec<u32>> =
            (0..20_000u32).map(|i| if i == 0 { vec![] } else { vec![i - 1] }).collect();
        let numbers = topological_numbers(&chain).unwrap();
        assert_eq!(Closures::new(&chain, &numbers).of(19_999).len(), 19_999);
    }
}
