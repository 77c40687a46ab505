//! Our program for tests that put it where there is no C library.

use std::path::PathBuf;

/// What `KMOD_ONCE_BIN` names; `make env` has it. Else what cargo built for these tests, if that is static.
pub fn static_program() -> PathBuf {
    let built = cfg!(target_feature = "crt-static").then(|| env!("CARGO_BIN_EXE_kmod").into());
    let program = std::env::var_os("KMOD_ONCE_BIN").or(built);
    program.expect("a static program is needed: make build && eval \"$(make env)\"").into()
}
