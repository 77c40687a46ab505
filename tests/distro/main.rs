//! Whole distributions: Debian 12 and 13 with their own init, udev and initramfs builders, booted from a disk whose driver
//! and file systems are modules, first as they come, then with ours in the place of theirs, then as they were.
//!
//! For each system (`SYSTEMS`), in the order of its tests:
//!
//! | stage | what is in place | what must hold |
//! |---|---|---|
//! | `stock` | the distribution's kmod and libkmod | boots from the initramfs of each builder: what the others are compared with |
//! | `ours` | our package | boots from each builder's initramfs, which holds our program and not theirs; udevd has our library loaded, and the gate's books show no module twice; `kmod check` finds nothing; `kmod blame` and `kmod plot` know all of it; a module that dkms has built and installed (with our depmod) loads |
//! | `back` | our package purged | every file is as it was; with `KMOD_ONCE_FULL` it boots, too |
//!
//! A boot is good when systemd reaches multi-user.target with the root (ext4) and another disk (xfs) mounted, no unit
//! failed that does not fail with the stock kmod, and the same modules are loaded.
//!
//! `debian-13-selinux` and (with `KMOD_ONCE_FULL`) `debian-13-apparmor` are confined: see `confined.rs`.
//!
//! `readme` (with `KMOD_ONCE_FULL`) gives README's commands on a Debian 13 that has what README asks for.
//!
//! Takes root (for chroot and debootstrap) and QEMU. Everything is emulated (TCG), so nothing here measures time. Named
//! `distro`, run by `make test` with Debian 13; `KMOD_ONCE_FULL` adds Debian 12, and each with the other's kernel.

#[path = "../common/debian.rs"]
mod debian;
#[path = "../common/emulator.rs"]
mod emulator;
#[path = "../common/library.rs"]
mod library;

mod boot;
mod check;
mod confined;
mod dkms;
mod picture;
mod readme;
mod stage;
mod system;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Failed, Trial};

use stage::Machine;
use system::{APPARMOR, SELINUX, SYSTEMS, System};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The stages of a system build on each other, and two emulated machines are enough for two cores.
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(2).min(2));
    if !arguments.list {
        if let Err(problem) = system::can_run() {
            eprintln!("distro: SKIPPED, cannot run: {problem}");
            return ExitCode::FAILURE;
        }
    }
    let full = std::env::var_os("KMOD_ONCE_FULL").is_some();
    let mut trials = Vec::new();
    for system in SYSTEMS.iter().filter(|system| full || !system.only_in_full) {
        let machine = Arc::new(Mutex::new(Machine::new(system)));
        trials.push(trial(system, &machine));
    }
    let named = |name: &str, test: fn(bool) -> anyhow::Result<()>| {
        Trial::test(name, move || test(full).map_err(|problem| Failed::from(format!("{problem:#}"))))
    };
    trials.push(named(SELINUX.name, confined::selinux));
    if full {
        trials.push(named(APPARMOR.name, |_| confined::apparmor()));
        trials.push(named("readme", |_| readme::check()));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// One system is one test: each of its stages begins where the one before ended.
fn trial(system: &'static System, machine: &Arc<Mutex<Machine>>) -> Trial {
    let machine = Arc::clone(machine);
    Trial::test(system.name, move || {
        let mut machine = machine.lock().map_err(|_| Failed::from("an earlier test panicked"))?;
        machine.run().map_err(|problem| Failed::from(format!("{problem:#}")))
    })
}
