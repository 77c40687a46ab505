//! Modules that depend on themselves through others cannot be loaded in any order: depmod reports them and writes nothing.
//!
//! Cycles are inside strongly connected components, so those are found first; modules that are only needed by a cycle are
//! left out. Each module in turn is the root of a depth-first walk that visits the last dependency of a list first. Each
//! path back to the root with a module that is not reported yet is one line. The next root is the first unreported module
//! after the last reported one, in module order, starting over at the end. For cycles that share no module this gives
//! kmod's lines (tests/depmod/rings.rs); for others kmod loops or aborts.

use std::collections::BTreeSet;

/// The cycles, each without the repeated root at its end, in the order in which they are reported. `left` are the modules
/// that [`super::resolve::topological_numbers`] could not number, ascending, which includes all that they depend on.
pub fn find(lists: &[Vec<u32>], left: &[u32]) -> Vec<Vec<u32>> {
    let component = components(lists, left);
    // A dependency in the same component leads back to the module.
    let is_on_a_cycle = |&module: &u32| {
        let own = component[module as usize];
        lists[module as usize].iter().any(|&next| component[next as usize] == own)
    };
    let mut roots: BTreeSet<u32> = left.iter().copied().filter(is_on_a_cycle).collect();
    let mut named = vec![false; lists.len()];
    let mut cycles = Vec::new();
    let mut head = 0;
    while let Some(&root) = roots.range(head..).next().or_else(|| roots.first()) {
        let before = cycles.len();
        walk(lists, &component, root, &mut named, &mut cycles);
        roots.remove(&root);
        for &module in cycles[before..].iter().flatten() {
            roots.remove(&module);
            head = module + 1;
        }
    }
    cycles
}

fn walk(lists: &[Vec<u32>], component: &[u32], root: u32, named: &mut [bool], cycles: &mut Vec<Vec<u32>>) {
    let own = component[root as usize];
    let mut visited = vec![false; lists.len()];
    // The path from the root to the current module, and the modules still to visit with their depths.
    let mut path: Vec<u32> = Vec::new();
    let mut stack = vec![(root, 0)];
    while let Some((module, depth)) = stack.pop() {
        path.truncate(depth);
        if module == root && depth > 0 {
            if path.iter().any(|&module| !named[module as usize]) {
                path.iter().for_each(|&module| named[module as usize] = true);
                cycles.push(path.clone());
            }
            continue;
        }
        if std::mem::replace(&mut visited[module as usize], true) {
            continue;
        }
        path.push(module);
        let next = lists[module as usize].iter().filter(|&&next| component[next as usize] == own);
        stack.extend(next.map(|&next| (next, depth + 1)));
    }
}

/// One module of the strongly connected component of each module in `left` (Kosaraju's algorithm, without recursion).
fn components(lists: &[Vec<u32>], left: &[u32]) -> Vec<u32> {
    const NONE: u32 = u32::MAX;
    let mut users = vec![Vec::new(); lists.len()];
    let mut visited = vec![false; lists.len()];
    // The modules in the order in which a depth-first walk leaves them.
    let mut finished = Vec::new();
    for &start in left {
        let mut calls = vec![(start, 0)];
        while let Some((module, edge)) = calls.pop() {
            if edge == 0 && std::mem::replace(&mut visited[module as usize], true) {
                continue;
            }
            if let Some(&next) = lists[module as usize].get(edge) {
                users[next as usize].push(module);
                calls.extend([(module, edge + 1), (next, 0)]);
            } else {
                finished.push(module);
            }
        }
    }
    let mut component = vec![NONE; lists.len()];
    for &root in finished.iter().rev() {
        let mut stack = vec![root];
        while let Some(module) = stack.pop() {
            if component[module as usize] == NONE {
                component[module as usize] = root;
                stack.extend(&users[module as usize]);
            }
        }
    }
    component
}

#[cfg(test)]
mod tests {
    use super::super::resolve::topological_numbers;
    use super::*;

    /// `"a:b b:a"` → `["a -> b -> a"]`, and how many modules are on the cycles.
    fn reported(text: &str) -> (Vec<String>, usize) {
        let mut names: Vec<&str> = Vec::new();
        let pairs: Vec<(&str, Vec<&str>)> = text
            .split(' ')
            .map(|word| word.split_once(':').unwrap())
            .map(|(name, needs)| (name, needs.split(',').filter(|n| !n.is_empty()).collect()))
            .collect();
        names.extend(pairs.iter().map(|(name, _)| name));
        let id = |name: &str| names.iter().position(|n| *n == name).unwrap() as u32;
        let lists: Vec<Vec<u32>> =
            pairs.iter().map(|(_, needs)| needs.iter().map(|n| id(n)).collect()).collect();
        let cycles = find(&lists, &topological_numbers(&lists).unwrap_err());
        let lines = cycles.iter().map(|cycle| {
            let ring = cycle.iter().chain(cycle.first());
            ring.map(|&module| names[module as usize]).collect::<Vec<_>>().join(" -> ")
        });
        let lines: Vec<String> = lines.collect();
        let mut all: Vec<u32> = cycles.into_iter().flatten().collect();
        all.sort_unstable();
        all.dedup();
        (lines, all.len())
    }

    #[test]
    fn the_table_of_the_description() {
        assert_eq!(reported("a:b b:a c:d d:c"), (vec!["a -> b -> a".into(), "c -> d -> c".into()], 4));
        assert_eq!(reported("a:b,c b:a c:a"), (vec!["a -> c -> a".into(), "a -> b -> a".into()], 3));
        assert_eq!(reported("a:b b:c c:b"), (vec!["b -> c -> b".into()], 2));
        assert_eq!(reported("a:a"), (vec!["a -> a".into()], 1));
    }

    #[test]
    fn the_next_root_is_behind_the_last_module_that_was_named() {
        assert_eq!(
            reported("c2:c1 a1:a2 b1:b2 c1:c2 b2:b1 a2:a1").0,
            ["c2 -> c1 -> c2", "b2 -> b1 -> b2", "a2 -> a1 -> a2"]
        );
    }

    #[test]
    fn what_kmod_cannot_do() {
        // A cycle that leads into another one, and a module downstream of a cycle.
        assert_eq!(reported("a:b b:a,d d:e e:f f:e"), (vec!["a -> b -> a".into(), "e -> f -> e".into()], 4));
        let (lines, count) = reported("m1:m2,m3 m2:m3,m4 m3:m1 m4:m2");
        assert_eq!(lines, ["m1 -> m3 -> m1", "m4 -> m2 -> m4"]);
        assert_eq!(count, 4);
    }

    #[test]
    fn everybody_on_everybody() {
        let all: Vec<u32> = (0..200).collect();
        let lists: Vec<Vec<u32>> =
            all.iter().map(|&a| all.iter().copied().filter(|&b| b != a).collect()).collect();
        let cycles = find(&lists, &all);
        let named: std::collections::BTreeSet<u32> = cycles.iter().flatten().copied().collect();
        assert_eq!(named.len(), 200);
        assert!(cycles.len() <= 200);
    }

    #[test]
    fn a_ring_of_50000_ends() {
        let count = 50_000u32;
        let lists: Vec<Vec<u32>> = (0..count).map(|i| vec![(i + 1) % count]).collect();
        let cycles = find(&lists, &(0..count).collect::<Vec<_>>());
        assert_eq!(cycles.len(), 1);
        assert_eq!(cycles[0].len(), 50_000);
    }
}
