//! Every case with a modprobe in it once more, ours with eight jobs against ours with one: to the byte the same, whatever
//! the kernel answers. Only the gate's own files may differ, which say when each load was.

use crate::case::Case;
use crate::run::Step;
use crate::{Suite, transcript};

/// Whether a case is one for this.
pub fn concerns(case: &Case) -> bool {
    case.commands.iter().any(|command| is_modprobe(&command.words[0]))
}

fn is_modprobe(argv0: &[u8]) -> bool {
    argv0.rsplit(|&byte| byte == b'/').next() == Some(b"modprobe")
}

/// Runs a case both ways.
///
/// # Errors
/// What differs.
pub fn check(suite: &Suite, case: &Case) -> Result<(), String> {
    let ours = &suite.others[1];
    let mut parallel = case.clone();
    for command in parallel.commands.iter_mut().filter(|command| is_modprobe(&command.words[0])) {
        command.env.push(("KMOD_JOBS".to_owned(), b"8".to_vec()));
    }
    let (serial, parallel) = (suite.run(case, ours)?, suite.run(&parallel, ours)?);
    let mut failures = String::new();
    for (serial, parallel) in serial.iter().zip(&parallel) {
        let (expected, got) = (shown(serial), shown(parallel));
        if expected != got {
            let difference = transcript::difference(&expected, &got, 2);
            failures.push_str(&format!("{}\n{difference}", serial.title));
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    Err(format!("{} ({}): - is without, + is with KMOD_JOBS=8\n{failures}", case.name, case.place))
}

fn shown(step: &Step) -> String {
    let of_the_gate = |line: &&str| line.starts_with("file run/kmod");
    step.transcript.split_inclusive('\n').filter(|line| !of_the_gate(line)).collect()
}
