//! Damaged input to every parser: the checks of checks/ over thousands of real inputs that were damaged, and over every input
//! that ever failed. The damage is made from a fixed seed, so a failure repeats.

mod checks;
mod damage;
#[path = "../common/debian.rs"]
mod debian;
#[path = "../common/elf.rs"]
mod elf;
#[path = "../common/needs.rs"]
mod needs;
mod seeds;

use checks::{ALL, Check, named, read_all};
use damage::{Random, damage};
use std::fs;
use std::path::Path;

/// Runs a check over damaged seeds. Most of what is damaged must still make some sense, and some must not, or the damage is
/// too heavy or too light: `sense` is the least percentage of each.
fn mutate(name: &str, rounds: usize, sense: (usize, usize)) {
    let check = named(name).expect("a check");
    if needs::fetched(seeds::kernels()).is_none() {
        return;
    }
    let seeds = seeds::of(name);
    for (number, seed) in seeds.iter().enumerate() {
        run(check, seed, &format!("seed {number}"));
    }
    let mut random =
        Random(name.bytes().fold(0x6b6d_6f64, |hash: u64, byte| hash.wrapping_mul(31) ^ u64::from(byte)));
    let mut made_sense = 0;
    for round in 0..rounds {
        let mut input = seeds[round % seeds.len()].clone();
        for _ in 0..=random.below(4) {
            damage(&mut input, &mut random);
        }
        input.truncate(check.longest);
        made_sense += usize::from(run(check, &input, &format!("round {round}")));
    }
    let (some, none) = (made_sense * 100 / rounds, (rounds - made_sense) * 100 / rounds);
    assert!(some >= sense.0 && none >= sense.1, "{name}: {some} % made sense, {none} % did not");
}

/// Runs a check; where it fails, says with which input.
fn run(check: &Check, input: &[u8], what: &str) -> bool {
    let result = std::panic::catch_unwind(|| check.run(input));
    result.unwrap_or_else(|panic| {
        let shown = input[..input.len().min(4000)].escape_ascii();
        eprintln!("{} fails for {what}, {} bytes: {shown}", check.name, input.len());
        std::panic::resume_unwind(panic)
    })
}

macro_rules! mutations {
    ($($name:ident: $rounds:expr, $some:expr, $none:expr;)*) => {
        $(
            #[test]
            fn $name() {
                mutate(stringify!($name), $rounds, ($some, $none));
            }
        )*

        #[test]
        fn every_check_is_run() {
            let run = [$(stringify!($name)),*];
            assert!(ALL.iter().all(|check| run.contains(&check.name)));
        }
    };
}

mutations! {
    elf: 20_000, 10, 10;
    signature: 20_000, 10, 10;
    index: 10_000, 10, 1;
    index_written: 4_000, 10, 0;
    text: 10_000, 10, 0;
    modprobe_d: 3_000, 10, 0;
    depmod_d: 20_000, 10, 0;
    cmdline: 20_000, 10, 0;
    options: 20_000, 10, 0;
    arguments: 20_000, 10, 0;
    cache: 20_000, 10, 10;
    record: 20_000, 10, 10;
    kmsg: 10_000, 10, 0;
    compressed: 3_000, 10, 10;
    pattern: 50_000, 1, 10;
    outputs: 5_000, 10, 0;
    lists: 3_000, 10, 0;
}

/// Each input that a check failed on, as tests/fuzz/regressions/CHECK/WHAT_IT_WAS.
#[test]
fn what_failed_once() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/regressions");
    let mut count = 0;
    for check in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        let name = check.file_name().unwrap().to_str().unwrap().to_owned();
        for input in fs::read_dir(check).unwrap().map(|entry| entry.unwrap().path()) {
            run(named(&name).expect("a check"), &fs::read(&input).unwrap(), &input.display().to_string());
            count += 1;
        }
    }
    assert!(count > 0, "none were found");
}

#[test]
fn every_byte_of_the_headers_at_its_edges_and_every_cut() {
    for module in seeds::built() {
        assert_eq!(read_all(&module), 7, "undamaged, every reader finds something");
        let word = if module[4] == 2 { 8 } else { 4 };
        let field = &module[if word == 8 { 40..48 } else { 32..36 }];
        let fold = |value: usize, byte: &u8| value << 8 | usize::from(*byte);
        let table =
            if module[5] == 2 { field.iter().fold(0, fold) } else { field.iter().rev().fold(0, fold) };
        assert!(table > 64 && table < module.len());
        for at in (0..64).chain(table..module.len()) {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = module.clone();
                changed[at] = value;
                read_all(&changed);
            }
        }
        for cut in (0..module.len()).step_by(7) {
            read_all(&module[..cut]);
            read_all(&module[cut..]);
        }
    }
}
