//! A breadth-first search through all states of a scenario. For each state it keeps the fingerprint, the fingerprint of the state
//! before it, and the step between the two. The path to a state is replayed from its steps.

use crate::rules::Broken;
use crate::world::{Scene, Step, World};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

/// The result of an exploration.
pub struct Found {
    pub states: usize,
    pub depth: usize,
    /// Whether all states were reached within the budget.
    pub complete: bool,
    pub broken: Option<Counterexample>,
}

pub struct Counterexample {
    pub broken: Broken,
    pub path: Vec<Step>,
}

/// A hasher for fingerprints, which are hashes already.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Seen = HashMap<u64, (u64, Step), BuildHasherDefault<Same>>;

pub fn explore(scene: &Scene) -> Found {
    let budget = scene.scenario.budget;
    let first = scene.begin();
    let root = scene.fingerprint(&first);
    let mut seen = Seen::default();
    seen.insert(root, (root, Step::Deadline));
    let mut level: Vec<(u64, World)> = vec![(root, first)];
    let mut steps = Vec::new();
    let mut depth = 0;
    while !level.is_empty() {
        let mut below = Vec::new();
        for (parent, world) in level {
            scene.steps(&world, &mut steps);
            for step in &steps {
                let mut next = world.clone();
                if let Err(broken) = scene.apply(&mut next, *step) {
                    let mut path = path_to(&seen, root, parent);
                    path.push(*step);
                    let broken = Some(Counterexample { broken, path });
                    return Found { states: seen.len(), depth: depth + 1, complete: true, broken };
                }
                let print = scene.fingerprint(&next);
                if let Entry::Vacant(place) = seen.entry(print) {
                    place.insert((parent, *step));
                    below.push((print, next));
                }
            }
            if seen.len() >= budget {
                return Found { states: seen.len(), depth, complete: false, broken: None };
            }
        }
        level = below;
        depth += usize::from(!level.is_empty());
    }
    Found { states: seen.len(), depth, complete: true, broken: None }
}

fn path_to(seen: &Seen, root: u64, end: u64) -> Vec<Step> {
    let mut path = Vec::new();
    let mut at = end;
    while at != root {
        let (parent, step) = seen[&at];
        path.push(step);
        at = parent;
    }
    path.reverse();
    path
}
