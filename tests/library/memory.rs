//! The C program with our library, watched: no access outside of what is allocated, nothing lost. Once under valgrind, which
//! sees what the library itself does, and once built with AddressSanitizer, which sees exactly what the program does with
//! what it was given, and what is left when it ends.
//!
//! It runs on the machine itself, with a tree's indexes but the machine's /proc and /sys: it is the memory that is looked
//! at. The module calls are answered by a filter all the same. `careless.c` shows that the watchers see what they are for.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Suite;
use crate::build::{compiler, run};
use crate::kernel::Answers;

/// Who watches.
#[derive(Clone, Copy)]
pub enum Watcher {
    /// valgrind's memcheck.
    Valgrind,
    /// gcc's AddressSanitizer with its LeakSanitizer.
    Sanitizer,
}

/// Both, by the name that their tests have.
pub const WATCHERS: [(&str, Watcher); 2] = [("memory", Watcher::Valgrind), ("sanitizer", Watcher::Sanitizer)];

/// A name and the program's arguments: every question that it knows. `%` is the tree.
pub const QUESTIONS: [(&str, &[&str]); 25] = [
    ("nulls", &["nulls"]),
    ("lists", &["lists", "platform:pcspkr", "ext3", "nosuch", "uhci-hcd"]),
    ("references", &["references", "loop"]),
    ("identity", &["identity", "crc32c_intel", "crc32c", "crypto-crc32c"]),
    ("new", &["new", "NULL", "/nowhere", "relative", "", "%"]),
    ("resources", &["resources", "load", "load", "validate", "unload", "lookup=loop", "load", "lookup=ext3"]),
    (
        "lookup",
        &["lookup", "loop", "tls", "ext3", "platform:pcspkr", "ext2", "nosuch", "x]", "weak-one", "soft-one"],
    ),
    ("streamed", &["streamed", "loop", "tls", "ext3", "platform:pcspkr", "ext2", "nosuch"]),
    ("name", &["name", "loop", "a-b.ko.xz", "ext2", "", "a/b", "nosuch", "tls"]),
    ("path", &["path", "%/kernel/drivers/block/loop.ko", "loop", "/nowhere/loop.ko", "/", "block-major-7-0"]),
    ("name-lookup", &["name-lookup", "loop", "tls", "nosuch", "ext2", "tcp-ulp-tls", "two-builtins"]),
    ("loaded", &["loaded"]),
    ("module", &["module", "loop", "ext2", "uhci-hcd", "tls", "nosuch", "%/kernel/net/tls.ko"]),
    ("config", &["config"]),
    ("filter", &["filter", "platform:pcspkr", "ext2"]),
    ("dump", &["dump", "0", "1", "2", "3", "4"]),
    ("log", &["log"]),
    ("probe", &["probe", "0", "uhci-hcd", "x=1", "0"]),
    ("insert", &["insert", "0", "loop", "x=1"]),
    ("remove", &["remove", "f", "loop", "nosuch"]),
    ("state", &["state", "loop", "nosuch", "ext2"]),
    ("contents", &["contents", "xz-mod", "zst-mod", "uhci-hcd", "ext2"]),
    ("dracut", &["dracut", "%/kernel/drivers/usb/usbcore.ko", "%/kernel/drivers/zst-mod.ko.zst", "/nosuch"]),
    ("modaliases", &["modaliases", "%", "%/modules.alias"]),
    ("threads", &["threads", "loop", "ext3", "xz-mod", "zst-mod", "ext2"]),
];

/// What careless.c does wrong.
const CARELESS: [&str; 3] = ["lost", "after", "beyond"];

/// Asks one question.
///
/// # Errors
/// What the watcher said.
pub fn check(suite: &Suite, watcher: Watcher, words: &[&str]) -> Result<(), String> {
    let program = match watcher {
        // The program of the older release runs with the machine's own C library, whichever that is.
        Watcher::Valgrind => &suite.build.releases[1].program,
        Watcher::Sanitizer => &suite.build.sanitized,
    };
    let printed = run(&mut watched(suite, watcher, program, words)?)?;
    if printed.is_empty() { Err("it printed nothing".to_owned()) } else { Ok(()) }
}

/// The program as its watcher runs it. Whatever is found makes it fail.
fn watched(suite: &Suite, watcher: Watcher, program: &Path, words: &[&str]) -> Result<Command, String> {
    let tree = suite.trees.path("std")?.ok_or("no tree")?;
    let library = suite.new_path("library");
    std::fs::create_dir(&library).map_err(|error| error.to_string())?;
    std::os::unix::fs::symlink(&suite.build.library, library.join("libkmod.so.2"))
        .map_err(|error| error.to_string())?;
    let answers = Answers::new(&BTreeMap::new())?;
    let mut command = match watcher {
        Watcher::Valgrind => {
            let mut valgrind = Command::new("valgrind");
            valgrind.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=all"]);
            // It runs one thread at a time, and can leave one waiting for minutes unless told to be fair.
            valgrind
                .arg("--fair-sched=yes")
                .arg("--errors-for-leak-kinds=definite,indirect,possible")
                .arg(program);
            valgrind
        }
        Watcher::Sanitizer => Command::new(program),
    };
    command.args(words.iter().map(|word| word.replace('%', &tree.to_string_lossy())));
    command.env("ASAN_OPTIONS", "exitcode=9:detect_leaks=1:detect_stack_use_after_return=1");
    command.env("LD_LIBRARY_PATH", &library).env("ASK_DIR", tree);
    // SAFETY: install makes system calls only.
    unsafe { command.pre_exec(move || answers.install()) };
    Ok(command)
}

/// A program of this directory, built with AddressSanitizer and linked to our library.
///
/// # Errors
/// What the compiler said.
pub fn sanitized(sources: &[PathBuf], include: &Path, library: &Path, to: &Path) -> Result<(), String> {
    let mut cc = compiler();
    cc.args(["-fsanitize=address", "-fno-omit-frame-pointer", "-pthread", "-I"]).arg(include);
    run(cc.arg("-o").arg(to).args(sources).arg(library)).map(drop)
}

/// Whether every question of the program is asked here, and whether what careless.c does wrong is seen.
///
/// # Errors
/// What is not.
pub fn sees(suite: &Suite, watcher: Watcher) -> Result<(), String> {
    let table =
        include_str!("ask.c").lines().filter_map(|line| line.trim().strip_prefix("{ \"")?.split('"').next());
    let missing: Vec<&str> =
        table.filter(|name| !QUESTIONS.iter().any(|(_, words)| words[0] == *name)).collect();
    if !missing.is_empty() {
        return Err(format!("not asked: {missing:?}"));
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/library/careless.c");
    let (program, include) = (suite.new_path("careless"), &suite.build.releases[0].include);
    match watcher {
        Watcher::Valgrind => {
            let mut cc = compiler();
            cc.arg("-I").arg(include).arg("-o").arg(&program).arg(source);
            run(cc.arg(&suite.build.library))?;
        }
        Watcher::Sanitizer => sanitized(&[source], include, &suite.build.library, &program)?,
    }
    for what in CARELESS {
        let output =
            watched(suite, watcher, &program, &[what])?.output().map_err(|error| error.to_string())?;
        if output.status.code() != Some(9) {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{what}: {}, it was not seen\n{said}", output.status));
        }
    }
    // And it is these that are seen, nothing else.
    run(&mut watched(suite, watcher, &program, &["nothing"])?).map(drop)
}
