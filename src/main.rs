//! The multi-call binary: the real system, the real streams, and an exit status.
#![no_main]

use kmod_once::cli::streams::{Stderr, Stdout, Streams};
use kmod_once::cli::world::{Process, World};
use kmod_once::system::{Roots, System, clock, kernel, map};

kmod_once::entry_point!(run);

fn run(args: Vec<Vec<u8>>) -> u8 {
    map::survive_truncation();
    let roots = Roots::default();
    let system = System { roots: &roots, kernel: &kernel::Linux, clock: &clock::Real };
    let world = World { args: &args, system, host: &Process, streams: Streams::new(Stdout, Stderr) };
    kmod_once::cli::run(&world)
}
