//! Explores every state of the gate's protocol: the state machine of `src/gate/machine.rs`, which the tools run too, in a
//! model of the system. A few participants act in every order, and the faults of each scenario happen at every point.
//!
//! The search is our own. It has a hundred lines, fewer to read than a library for it (stateright) with its dependencies, and it
//! prints a counterexample line by line in terms of the gate.
//!
//! `cargo test --profile quick --test exploration [-- NAME...]`; `KMOD_ONCE_FULL=1` explores the long scenarios, too;
//! `KMOD_ONCE_STORIES=1` prints the counterexample of each mutant.

mod acts;
mod fingerprint;
mod kernel;
mod mutants;
mod rules;
mod scenarios;
mod search;
mod story;
mod world;

use scenarios::Scenario;
use search::explore;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use world::Scene;

fn main() -> ExitCode {
    fingerprint::check();
    let names: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let long = std::env::var_os("KMOD_ONCE_FULL").is_some();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|part| name.contains(part.as_str()));
    let scenarios = scenarios::all();
    let chosen: Vec<&Scenario> = scenarios
        .iter()
        .filter(|scenario| wanted(scenario.name) && (long || !scenario.long || !names.is_empty()))
        .collect();
    let good = explore_all(&chosen);
    let wanted = |mutant: &str| wanted(mutant) || names.iter().any(|name| name == "mutants");
    let found = find_mutants(&scenarios, wanted);
    if good && found { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs `work` for each item, two at a time.
fn in_parallel<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}

fn explore_all(scenarios: &[&Scenario]) -> bool {
    let began = Instant::now();
    println!("{:<45} {:>6} {:>10} {:>5} {:>7}", "scenario", "people", "states", "depth", "seconds");
    // States; scenarios that reached their budget; scenarios with a counterexample.
    let sums = Mutex::new((0, 0, 0));
    in_parallel(scenarios, |scenario| {
        let began = Instant::now();
        let scene = Scene { scenario, mutant: None };
        let found = explore(&scene);
        let (name, people, seconds) = (scenario.name, scenario.people.len(), began.elapsed().as_secs_f32());
        let note = if found.complete { "" } else { "  BOUNDED: not explored to its end" };
        let mut sums = sums.lock().unwrap();
        println!("{name:<45} {people:>6} {:>10} {:>5} {seconds:>7.1}{note}", found.states, found.depth);
        sums.0 += found.states;
        sums.1 += usize::from(!found.complete);
        if let Some(counterexample) = found.broken {
            sums.2 += 1;
            println!("FAILED: {}\n{}", counterexample.broken.rule, story::tell(&scene, &counterexample));
        }
    });
    let (states, bounded, broken) = *sums.lock().unwrap();
    println!(
        "{} scenarios: {states} states, {:.1} s; {bounded} bounded, {broken} failed\n",
        scenarios.len(),
        began.elapsed().as_secs_f32()
    );
    broken == 0
}

fn find_mutants(scenarios: &[Scenario], wanted: impl Fn(&str) -> bool) -> bool {
    let began = Instant::now();
    let mutants: Vec<_> = mutants::ALL.iter().filter(|(mutant, _)| wanted(&format!("{mutant:?}"))).collect();
    let survivors = AtomicUsize::new(0);
    println!("{:<40} {:<40} {:>5}  found by", "mutant", "in", "depth");
    in_parallel(&mutants, |(mutant, likely)| {
        let first = scenarios.iter().filter(|scenario| likely.contains(&scenario.name));
        let others = scenarios.iter().filter(|scenario| !likely.contains(&scenario.name) && !scenario.long);
        let label = format!("{mutant:?}");
        for scenario in first.chain(others) {
            let scene = Scene { scenario, mutant: Some(*mutant) };
            if let Some(counterexample) = explore(&scene).broken {
                let depth = counterexample.path.len();
                println!("{label:<40} {:<40} {depth:>5}  {}", scenario.name, counterexample.broken.rule);
                if std::env::var_os("KMOD_ONCE_STORIES").is_some() {
                    println!("{}", story::tell(&scene, &counterexample));
                }
                return;
            }
        }
        survivors.fetch_add(1, Ordering::Relaxed);
        println!("{label:<40} SURVIVED");
    });
    let survivors = survivors.load(Ordering::Relaxed);
    println!("{} mutants, {:.1} s; {survivors} survived", mutants.len(), began.elapsed().as_secs_f32());
    survivors == 0
}
