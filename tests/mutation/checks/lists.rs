//! The lists that tools show as they are: /proc/modules and modules.devname.

use kmod_once::internals::cli::streams::{Memory, Streams};
use kmod_once::internals::cli::world::{Host, World};
use kmod_once::internals::error::Errno;
use kmod_once::internals::log::Priority;
use kmod_once::internals::system::clock::Real;
use kmod_once::internals::system::kernel::Linux;
use kmod_once::internals::system::{Roots, System};
use std::ffi::OsString;
use std::path::PathBuf;

/// A process without anything in its environment.
struct Nobody;

impl Host for Nobody {
    fn variable(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    fn directory(&self) -> Result<PathBuf, Errno> {
        Ok("/".into())
    }

    fn release(&self) -> Result<Vec<u8>, Errno> {
        Ok(b"6.1.0".to_vec())
    }

    fn stderr_closed(&self) -> bool {
        false
    }

    fn syslog(&self, _: &[u8], _: Priority, _: &[u8]) {}

    fn run_shell(&self, _: &[u8], _: &[(OsString, OsString)]) -> Result<i32, Errno> {
        Err(Errno::EPERM)
    }

    fn page(&self, _: Option<&[u8]>, _: &[u8]) -> bool {
        false
    }
}

thread_local! {
    static DIR: tempfile::TempDir = {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(dir.path().join("proc")).expect("a directory");
        std::fs::create_dir_all(dir.path().join("lib/modules/6.1.0")).expect("a directory");
        dir
    };
}

/// Any bytes as either list: lsmod shows a row for each line, its JSON is JSON with as many; static-nodes shows a list that
/// it reads the same, and tells of every line that it leaves out.
pub fn check(input: &[u8]) -> bool {
    let (status, out, err) = run("proc/modules", input, &["lsmod"]);
    let rows = input.split(|&b| b == b'\n').filter(|line| !line.is_empty()).count();
    assert!(status == 0 && err.is_empty());
    assert_eq!(out.iter().filter(|&&b| b == b'\n').count(), rows + 1);
    let (status, out, _) = run("proc/modules", input, &["lsmod", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!((status, json.as_array().map(Vec::len)), (0, Some(rows)));

    let words = ["kmod", "static-nodes", "--format=devname"];
    let devname = "lib/modules/6.1.0/modules.devname";
    let (status, out, err) = run(devname, input, &words);
    let lines = input.split_inclusive(|&b| b == b'\n').filter(|line| !line.starts_with(b"#")).count();
    let nodes = out.iter().filter(|&&b| b == b'\n').count();
    let refused = err.windows(8).filter(|window| window == b"Error: i").count();
    assert!(nodes + refused >= lines && nodes <= lines);
    assert_eq!(u8::from(nodes < lines), status);
    // A word of the list cannot begin a comment when it is printed at the start of a line, unless it did before a blank.
    if !out.split(|&b| b == b'\n').any(|line| line.starts_with(b"#")) {
        assert_eq!(run(devname, &out, &words), (0, out, Vec::new()));
    }
    nodes > 0
}

fn run(file: &str, contents: &[u8], words: &[&str]) -> (u8, Vec<u8>, Vec<u8>) {
    DIR.with(|dir| {
        std::fs::write(dir.path().join(file), contents).unwrap();
        let roots = Roots::below(dir.path());
        let system = System { roots: &roots, kernel: &Linux, clock: &Real };
        let (out, err) = (Memory::default(), Memory::default());
        let args: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let streams = Streams::new(out.clone(), err.clone());
        let status = kmod_once::internals::cli::run(&World { args: &args, system, host: &Nobody, streams });
        (status, out.take(), err.take())
    })
}
