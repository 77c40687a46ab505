//! Module files that are no regular files, given to the real program: what comes through a pipe is a module like any other, and
//! what cannot be one is refused at once.

#[path = "common/elf.rs"]
mod elf;

use elf::KoBuilder;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn module() -> Vec<u8> {
    let builder = KoBuilder::new().modinfo("name", "inside").modinfo("license", "GPL");
    builder.needs_version("printk", 0x1234).export("own", 0x5678).build()
}

/// The module as it is, and compressed in each way.
fn forms() -> [(&'static str, Vec<u8>); 4] {
    let mut xz = xz2::write::XzEncoder::new(Vec::new(), 0);
    xz.write_all(&module()).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&module()).unwrap();
    let zstd = zstd::bulk::compress(&module(), 1).unwrap();
    [("plain", module()), ("xz", xz.finish().unwrap()), ("gzip", gzip.finish().unwrap()), ("zstd", zstd)]
}

struct Answer {
    status: Option<i32>,
    out: String,
    err: String,
}

/// A tool without the right to load modules.
fn tool(words: &[&str]) -> Command {
    let program = std::env::var_os("KMOD_ONCE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_kmod").into());
    let mut command = Command::new(program);
    command.arg0(words[0]).args(&words[1..]).env_remove("MODPROBE_OPTIONS").env_remove("KMOD_LOG");
    // SAFETY: only a system call is made between fork and exec.
    unsafe {
        command.pre_exec(|| {
            const CAP_SYS_MODULE: libc::c_ulong = 16;
            // Who is not root has no such right to drop.
            libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_MODULE, 0, 0, 0);
            Ok(())
        });
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(mut command: Command) -> Answer {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Answer { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Runs a tool whose standard input is a pipe from which `contents` comes, a part at a time.
fn fed(words: &[&str], contents: Vec<u8>) -> Answer {
    let (from, to) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let mut command = tool(words);
    command.stdin(from);
    let writer = std::thread::spawn(move || {
        let mut to = fs::File::from(to);
        for part in contents.chunks(100) {
            // Whoever refuses it does not read on.
            if to.write_all(part).is_err() {
                break;
            }
        }
    });
    let answer = run(command);
    writer.join().unwrap();
    answer
}

#[test]
fn modinfo_of_a_pipe() {
    for (form, contents) in forms() {
        for (operand, shown) in
            [("-", "-"), ("/dev/stdin", "/dev/stdin"), ("/proc/self/fd/0", "/proc/self/fd/0")]
        {
            let answer = fed(&["modinfo", operand], contents.clone());
            let expected = format!("filename:       {shown}\nname:           inside\nlicense:        GPL\n");
            assert_eq!(
                (answer.status, &answer.out, &answer.err[..]),
                (Some(0), &expected, ""),
                "{form} {operand}"
            );
        }
    }
    let answer = fed(&["modinfo", "-F", "license", "-"], module());
    assert_eq!((answer.status, &answer.out[..]), (Some(0), "GPL\n"));
    let answer = fed(&["modinfo", "-"], b"\x7fELF, not".to_vec());
    assert_eq!(answer.status, Some(1));
    assert!(answer.err.starts_with("modinfo: ERROR: could not get modinfo from '-': "), "{}", answer.err);
}

#[test]
fn standard_input_that_is_a_file_counts_from_its_start() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&module()).unwrap();
    for operand in ["-", "/dev/stdin"] {
        file.seek(SeekFrom::End(0)).unwrap();
        let mut command = tool(&["modinfo", "-F", "name", operand]);
        command.stdin(file.try_clone().unwrap());
        let answer = run(command);
        assert_eq!((answer.status, &answer.out[..]), (Some(0), "inside\n"), "{}", answer.err);
    }
}

#[test]
fn symbols_of_a_pipe() {
    for operand in ["-", "/dev/stdin"] {
        let answer = fed(&["modprobe", "--show-modversions", operand], module());
        assert_eq!((answer.status, &answer.out[..]), (Some(0), "0x00001234\tprintk\n"), "{}", answer.err);
        let answer = fed(&["modprobe", "--show-exports", operand], module());
        assert_eq!((answer.status, &answer.out[..]), (Some(0), "0x00005678\town\n"), "{}", answer.err);
    }
}

#[test]
fn insmod_of_a_pipe_comes_as_far_as_the_kernel() {
    for (form, contents) in forms() {
        for operand in ["-", "/dev/stdin"] {
            let answer = fed(&["insmod", operand], contents.clone());
            // A sandbox may have no such call.
            let expected = ["Operation not permitted", "Function not implemented"]
                .map(|reason| format!("insmod: ERROR: could not insert module {operand}: {reason}\n"));
            assert_eq!(answer.status, Some(1));
            assert!(expected.contains(&answer.err), "{form}: {}", answer.err);
        }
    }
    // What is edited for a forced load is edited in memory anyway.
    let answer = fed(&["insmod", "--force-modversion", "-"], forms()[1].1.clone());
    assert!(!answer.err.contains("strip"), "{}", answer.err);
    let answer = fed(&["insmod", "--force-vermagic", "-"], module());
    assert!(answer.err.contains("Failed to strip version information: No data available"), "{}", answer.err);
    let answer = fed(&["insmod", "-"], b"abc".to_vec());
    assert!(answer.err.contains("3 bytes long, too short for a module"), "{}", answer.err);
    let answer = run(tool(&["insmod", "-"]));
    let expected = "insmod: ERROR: -: a device, not a module\n\
                    insmod: ERROR: could not insert module -: Invalid parameters\n";
    assert_eq!((answer.status, &answer.err[..]), (Some(1), expected));
}

fn fifo(path: &Path) {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

#[test]
fn a_fifo_in_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("lib/modules/6.1.0")).unwrap();
    let path = dir.path().join("pipe.ko");
    fifo(&path);
    let name = path.to_str().unwrap();
    let root = dir.path().to_str().unwrap();
    let cases: [(&[&str], &str); 3] = [
        (&["modinfo", "-F", "name", name], "inside\n"),
        (&["modprobe", "--show-exports", name], "0x00005678\town\n"),
        (&["depmod", "-n", "-b", root, "6.1.0", name], "alias symbol:own pipe\n"),
    ];
    for (words, expected) in cases {
        let to = path.clone();
        let writer = std::thread::spawn(move || fs::write(to, module()).unwrap());
        let answer = run(tool(words));
        writer.join().unwrap();
        assert_eq!(answer.status, Some(0), "{words:?} {}", answer.err);
        assert!(answer.out.contains(expected), "{words:?} {}", answer.out);
    }
    // A name without a slash is a module's, whatever lies in the working directory.
    fifo(&dir.path().join("loopy"));
    let mut command = tool(&["modinfo", "-b", root, "-k", "6.1.0", "loopy"]);
    command.current_dir(dir.path());
    assert_eq!(run(command).err, "modinfo: ERROR: Module loopy not found.\n");
}

#[test]
fn a_fifo_that_nobody_writes_to_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe.ko");
    fifo(&path);
    let name = path.to_str().unwrap();
    let start = Instant::now();
    let answer = run(tool(&["insmod", name]));
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let expected = format!(
        "insmod: ERROR: {name}: nothing came through this pipe for 10 s\n\
         insmod: ERROR: could not insert module {name}: Connection timed out\n"
    );
    assert_eq!((answer.status, answer.err), (Some(1), expected));
}
