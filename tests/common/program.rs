//! Our program for tests that put it where there is no C library.

use std::path::PathBuf;

/// What cargo built for these tests where that is static, which it is with what `make env` says. Else what `KMOD_ONCE_BIN`
/// names.
pub fn static_program() -> PathBuf {
    if cfg!(target_feature = "crt-static") {
        return env!("CARGO_BIN_EXE_kmod").into();
    }
    let named = std::env::var_os("KMOD_ONCE_BIN");
    named.expect("a static program is needed: make build && eval \"$(make env)\"").into()
}
