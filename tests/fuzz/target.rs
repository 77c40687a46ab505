//! One of the checks of tests/mutation, which FUZZ_TARGET names, on whatever libFuzzer comes up with.
#![no_main]

#[allow(dead_code, unused_imports)]
#[path = "../mutation/checks/mod.rs"]
mod checks;

use std::sync::OnceLock;

static CHECK: OnceLock<&'static checks::Check> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
        let check = checks::named(&name).unwrap_or_else(|| panic!("no target {name}"));
        CHECK.get_or_init(|| check);
    },
    |input: &[u8]| {
        if let Some(check) = CHECK.get() {
            check.run(input);
        }
    }
);
