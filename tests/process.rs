//! The program as a process: how it is started, and what becomes of its streams.

#[path = "common/program.rs"]
mod program;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

#[path = "common/needs.rs"]
mod needs;

/// A root directory that holds nothing but the program, called `modprobe` and `lsmod` there too.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    // By a process of its own: a copy made here could not be started (ETXTBSY) while a child that another test has just
    // forked still holds the descriptor it was written through.
    let copied = Command::new("cp").arg(program::static_program()).arg(root.path().join("kmod")).status();
    assert!(copied.unwrap().success());
    for tool in ["modprobe", "lsmod"] {
        symlink("kmod", root.path().join(tool)).unwrap();
    }
    root
}

/// The tool `name` in that root; `closed` of its first descriptors are closed.
fn tool(root: &Path, name: &str, closed: i32) -> Command {
    let mut command = Command::new(format!("/{name}"));
    let root = root.to_path_buf();
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: between fork and exec only chroot, chdir and close are called, which are async-signal-safe; the path
    // has been made before, and CString::new's allocation inside nix is on the stack for short paths.
    unsafe {
        command.pre_exec(move || {
            nix::unistd::chroot(&root)?;
            nix::unistd::chdir("/")?;
            for fd in (0..3).rev().take(closed as usize) {
                nix::unistd::close(fd)?;
            }
            Ok(())
        });
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn without_descriptors_and_without_dev_null_it_still_works() {
    if !needs::root() {
        return;
    }
    let root = root();
    assert_eq!(tool(root.path(), "modprobe", 3).arg("nosuch").status().unwrap().code(), Some(1));
    assert_eq!(tool(root.path(), "modprobe", 3).arg("-V").status().unwrap().code(), Some(0));
    assert_eq!(tool(root.path(), "modprobe", 3).arg("-c").status().unwrap().code(), Some(0));
}

#[test]
fn with_stderr_closed_modprobe_speaks_to_the_system_log() {
    if !needs::root() {
        return;
    }
    let root = root();
    fs::create_dir(root.path().join("dev")).unwrap();
    let log = UnixDatagram::bind(root.path().join("dev/log")).unwrap();
    log.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(tool(root.path(), "modprobe", 1).arg("nosuch").status().unwrap().code(), Some(1));
    let mut buffer = [0; 1024];
    let length = log.recv(&mut buffer).expect("a line in the system log");
    let line = text(&buffer[..length]);
    // 26: facility daemon, severity critical.
    assert!(line.starts_with("<26>"), "{line}");
    assert!(line.contains(" modprobe: FATAL: Module nosuch not found in directory /lib/modules/"), "{line}");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    if !needs::root() {
        return;
    }
    let root = root();
    fs::create_dir(root.path().join("proc")).unwrap();
    let lines: String = (0..5000).map(|n| format!("module_{n} 1 0 - Live 0x0\n")).collect();
    fs::write(root.path().join("proc/modules"), lines).unwrap();
    let (reader, writer) = UnixStream::pair().unwrap();
    drop(reader);
    let Output { status, stderr, .. } =
        tool(root.path(), "lsmod", 0).stdout(OwnedFd::from(writer)).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((status.code(), text(&stderr).as_str()), (Some(0), ""));
}

#[test]
fn a_full_disk_is_a_failure() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kmod")).arg("help").stdout(full).output().unwrap();
    let line = "kmod: ERROR: could not write to stdout: No space left on device\n";
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(1), line));
}
