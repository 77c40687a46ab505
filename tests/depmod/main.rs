//! depmod compared with Debian 13's kmod 34.2, to the byte: the eleven files, the exit status, and what is said; on
//! synthetic trees (synthetic/), on two whole distribution kernels (whole.rs), one run after another while the tree
//! changes (incremental.rs), and when things go wrong (faults.rs), where there is nothing to compare with.
//!
//! Both tools run in one root directory on one tree, since the order in which a directory lists its entries matters. That
//! takes root, for chroot(2). The packages are fetched once, see tests/common/debian.rs. What differs on purpose is in
//! DIFFERENCES.md beside this file.

#[path = "../common/debian.rs"]
mod debian;
#[path = "../common/elf.rs"]
mod elf;
#[path = "../common/needs.rs"]
mod needs;
#[path = "../common/program.rs"]
mod program;
#[allow(dead_code)] // what only the other test program uses
#[path = "../compliance/tools.rs"]
mod tools;

mod early;
mod faults;
mod fifos;
mod identity;
mod incremental;
mod property;
mod quick;
mod random;
mod rings;
mod spared;
mod stage;

mod synthetic;
mod trace;
mod tree;
mod whole;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use stage::Stages;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if arguments.list {
        // listing needs neither packages nor rights
        return libtest_mimic::run(&arguments, trials(None)).exit_code();
    }
    let stages = match Stages::prepare(program::static_program()) {
        Ok(stages) => Arc::new(stages),
        Err(problem) if !needs::is_root() => return needs::suite_left_out("depmod", &problem.to_string()),
        Err(problem) => {
            eprintln!("depmod: cannot run: {problem}");
            return ExitCode::FAILURE;
        }
    };
    libtest_mimic::run(&arguments, trials(Some(stages))).exit_code()
}

/// Everything there is to test. Without stages the trials can only be listed.
fn trials(stages: Option<Arc<Stages>>) -> Vec<Trial> {
    let mut all: Vec<(String, stage::Body)> = Vec::new();
    all.extend(whole::trials());
    all.extend(early::trials());
    all.extend(incremental::trials());
    all.extend(identity::trials());
    all.extend(faults::trials());
    all.extend(fifos::trials());
    all.extend(rings::trials());
    all.extend(quick::trials());
    all.extend(property::trials());
    all.extend(spared::trials());
    all.extend(synthetic::trials());
    all.into_iter()
        .map(|(name, body)| {
            let stages = stages.clone();
            Trial::test(name, move || {
                let stages = stages.ok_or("nothing to run it on")?;
                body(&stages).map_err(Into::into)
            })
        })
        .collect()
}
