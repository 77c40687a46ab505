//! The C program with our library under valgrind: no access outside of what is allocated, nothing lost.
//!
//! It runs on the machine itself, with a tree's indexes but the machine's /proc and /sys: it is the memory that is looked
//! at. The module calls are answered by a filter all the same.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::Suite;
use crate::build::run;
use crate::kernel::Answers;

/// A name and the program's arguments.
pub const QUESTIONS: [(&str, &[&str]); 15] = [
    ("nulls", &["nulls"]),
    ("lists", &["lists", "platform:pcspkr", "ext3", "nosuch", "uhci-hcd"]),
    ("references", &["references", "loop"]),
    ("identity", &["identity", "crc32c_intel", "crc32c", "crypto-crc32c"]),
    ("resources", &["resources", "load", "load", "validate", "unload", "lookup=loop", "load", "lookup=ext3"]),
    (
        "lookup",
        &["lookup", "loop", "tls", "ext3", "platform:pcspkr", "ext2", "nosuch", "x]", "weak-one", "soft-one"],
    ),
    ("streamed", &["streamed", "loop", "tls", "ext3", "platform:pcspkr", "ext2", "nosuch"]),
    ("config", &["config"]),
    ("filter", &["filter", "platform:pcspkr", "ext2"]),
    ("dump", &["dump", "0", "1", "2", "3", "4"]),
    ("log", &["log"]),
    ("probe", &["probe", "0", "uhci-hcd", "x=1", "0"]),
    ("state", &["state", "loop", "nosuch", "ext2"]),
    ("threads", &["threads", "loop", "ext3", "xz-mod", "zst-mod", "ext2"]),
    ("contents", &["contents", "xz-mod", "zst-mod", "uhci-hcd", "ext2"]),
];

/// Asks one question.
///
/// # Errors
/// What valgrind said.
pub fn check(suite: &Suite, words: &[&str]) -> Result<(), String> {
    let tree = suite.trees.path("std")?.ok_or("no tree")?;
    let library = suite.new_path("library");
    std::fs::create_dir(&library).map_err(|error| error.to_string())?;
    std::os::unix::fs::symlink(&suite.build.library, library.join("libkmod.so.2"))
        .map_err(|error| error.to_string())?;
    let answers = Answers::new(&BTreeMap::new())?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=all"]);
    valgrind.args(["--errors-for-leak-kinds=definite,indirect,possible"]);
    // The program of the older release runs with the machine's own C library, whichever that is.
    valgrind.arg(&suite.build.releases[1].program).args(words);
    valgrind.env("LD_LIBRARY_PATH", &library).env("ASK_DIR", tree);
    // SAFETY: install makes system calls only.
    unsafe { valgrind.pre_exec(move || answers.install()) };
    let printed = run(&mut valgrind)?;
    if printed.is_empty() { Err("it printed nothing".to_owned()) } else { Ok(()) }
}
