//! Breadth first through all the states of a scenario. Of a state only its fingerprint is kept, with that of the state it was
//! first reached from and the step between them; a way is found again by doing its steps anew.

use crate::rules::Broken;
use crate::world::{Scene, Step, World};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

/// What an exploration found.
pub struct Found {
    pub states: usize,
    pub depth: usize,
    /// Whether there was an end to it within the budget.
    pub complete: bool,
    pub broken: Option<Counterexample>,
}

pub struct Counterexample {
    pub broken: Broken,
    pub way: Vec<Step>,
}

/// A fingerprint is spread already.
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
                    let mut way = way_to(&seen, root, parent);
                    way.push(*step);
                    let broken = Some(Counterexample { broken, way });
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

fn way_to(seen: &Seen, root: u64, end: u64) -> Vec<Step> {
    let mut way = Vec::new();
    let mut at = end;
    while at != root {
        let (parent, step) = seen[&at];
        way.push(step);
        at = parent;
    }
    way.reverse();
    way
}
