//! Random sets of rings of modules that share nothing: the lines are kmod 34.2's, in its order.

use crate::random::Random;
use crate::stage::{Body, Stages, Who};
use crate::tree::{DIR, Tree, VERSION, ko};

/// One random set: rings of one to five modules and modules on none, in a random order. Rings have users, and none needs
/// anything but its next member.
fn set(random: &mut Random) -> Tree {
    let mut needs: Vec<Option<usize>> = Vec::new();
    for _ in 0..2 + random.below(6) {
        let (start, size) = (needs.len(), 1 + random.below(5));
        needs.extend((0..size).map(|member| Some(start + (member + 1) % size)));
    }
    let members = needs.len();
    // Users of a ring, and modules apart.
    for _ in 0..random.below(4) {
        let user = random.below(2) == 0;
        needs.push(user.then(|| random.below(members)));
    }
    let mut all: Vec<usize> = (0..needs.len()).collect();
    random.shuffle(&mut all);
    let mut order = String::new();
    let mut tree = Tree::new();
    for module in all {
        let mut file = ko().export(format!("of_{module}"), 1);
        if let Some(need) = needs[module] {
            file = file.needs(format!("of_{need}"));
        }
        tree = tree.ko(&format!("kernel/m{module}.ko"), file);
        order += &format!("kernel/m{module}.ko\n");
    }
    // Without the list the order is that of a hash table.
    if random.below(4) > 0 { tree.file("modules.order", order) } else { tree }
}

fn rings(stages: &Stages) -> Result<(), String> {
    let sets = if std::env::var_os("KMOD_ONCE_FULL").is_some() { 1000 } else { 200 };
    let seed = crate::random::seed();
    let mut random = Random::new(seed);
    for number in 0..sets {
        let stage = stages.stage("rings").map_err(|error| error.to_string())?;
        set(&mut random).make(&stage).map_err(|error| error.to_string())?;
        let theirs = stage.run(Who::Theirs, "depmod", &[VERSION])?;
        let ours = stage.run(Who::Ours, "depmod", &["--no-cache", VERSION])?;
        if theirs != ours || !theirs.stderr.contains("Cycle detected: ") {
            let order = std::fs::read_to_string(stage.at(DIR).join("modules.order")).unwrap_or_default();
            return Err(format!("seed {seed}, set {number}:\n{order}\n{}\n{}", theirs.stderr, ours.stderr));
        }
    }
    println!("{sets} sets of rings, seed {seed}: every line is theirs");
    Ok(())
}

/// All as tests.
pub fn trials() -> Vec<(String, Body)> {
    vec![("rings::that_share_nothing".into(), Box::new(rings))]
}
