//! Input made to cost more than any machine has, given to the real program: it ends, says what is wrong with which file and what
//! the limit is, and takes no more memory than stated here, as the kernel counted it. What each limit is: src/limits.rs.

#[path = "common/elf.rs"]
mod elf;

use elf::KoBuilder;
use kmod_once::internals::formats::index::IndexBuilder;
use nix::sys::ptrace;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

const VERSION: &str = "6.1.0";
const MIB: u64 = 1 << 20;
/// What a run may take beside its input: the program itself, its stacks and its buffers.
const OWN: u64 = 24 * MIB;

struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    /// Modules `a` and `b`, without configuration.
    fn new() -> Self {
        let tree = Tree { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(tree.path("kernel")).unwrap();
        fs::create_dir(tree.config()).unwrap();
        let module = KoBuilder::new().modinfo("license", "GPL").build();
        let mut dep = IndexBuilder::new();
        let mut text = String::new();
        for name in ["a", "b"] {
            tree.write(&format!("kernel/{name}.ko"), &module);
            dep.insert(name.as_bytes(), format!("kernel/{name}.ko:").as_bytes(), 0).unwrap();
            text += &format!("kernel/{name}.ko:\n");
        }
        tree.write("modules.dep.bin", &dep.write().unwrap());
        tree.write("modules.dep", text.as_bytes());
        tree
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("lib/modules").join(VERSION).join(name)
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("modprobe.d")
    }

    fn write(&self, name: &str, contents: &[u8]) {
        fs::write(self.path(name), contents).unwrap();
    }

    fn configure(&self, contents: impl AsRef<[u8]>) {
        fs::write(self.config().join("x.conf"), contents).unwrap();
    }

    fn modprobe(&self, words: &[&str]) -> Answer {
        let (dir, config) = (self.dir.path().as_os_str(), self.config());
        let own = ["-d".as_ref(), dir, "-S".as_ref(), VERSION.as_ref(), "-C".as_ref(), config.as_os_str()];
        let words: Vec<&OsStr> = own.into_iter().chain(words.iter().map(OsStr::new)).collect();
        run("modprobe", &words, None)
    }

    fn depmod(&self) -> Answer {
        let dir = self.dir.path().as_os_str();
        run("depmod", &["-b".as_ref(), dir, VERSION.as_ref()], None)
    }
}

struct Answer {
    /// The exit status, or the signal that ended it.
    status: Result<i32, Signal>,
    out: String,
    err: String,
    /// The most memory that it had, in bytes.
    peak: u64,
}

impl Answer {
    /// Asserts the status, the most memory, and that stderr names all of these.
    #[track_caller]
    fn is(&self, status: i32, most: u64, words: &[&str]) {
        let err = &self.err[..self.err.len().min(1000)];
        assert_eq!(self.status, Ok(status), "{err}");
        assert!(!err.contains("panicked"), "{err}");
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in {err:?}");
        }
        assert!(self.err.len() < 4_000_000, "{} bytes of messages", self.err.len());
        assert!(self.peak <= most, "{} MiB, at most {} MiB", self.peak / MIB, most / MIB);
    }
}

/// Runs a tool without the right to load modules, in at most `space` bytes of address space.
fn run(tool: &str, words: &[&OsStr], space: Option<u64>) -> Answer {
    let program = std::env::var_os("KMOD_ONCE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_kmod").into());
    let mut command = Command::new(program);
    command.arg0(tool).args(words).env_remove("MODPROBE_OPTIONS").env_remove("KMOD_LOG");
    // SAFETY: only system calls are made between fork and exec.
    unsafe {
        command.pre_exec(move || {
            const CAP_SYS_MODULE: libc::c_ulong = 16;
            // Who is not root has no such right to drop.
            libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_MODULE, 0, 0, 0);
            ptrace::traceme()?;
            if let Some(space) = space {
                setrlimit(Resource::RLIMIT_AS, space, space)?;
            }
            Ok(())
        });
    }
    // Waited for below, with what ptrace(2) says on the way.
    #[allow(clippy::zombie_processes)]
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    let (done, over) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        // A guard against hanging, and no statement about speed.
        if over.recv_timeout(Duration::from_secs(600)) == Err(RecvTimeoutError::Timeout) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    });
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reader = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            from.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let (out, err) = (reader(Box::new(stdout)), reader(Box::new(stderr)));
    let mut peak = 0;
    let status = loop {
        let signal = match waitpid(pid, None).unwrap() {
            WaitStatus::Exited(_, status) => break Ok(status),
            WaitStatus::Signaled(_, signal, _) => break Err(signal),
            // The end is near, and the memory still there.
            WaitStatus::PtraceEvent(..) => {
                peak = most_memory(pid);
                None
            }
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {
                ptrace::setoptions(pid, ptrace::Options::PTRACE_O_TRACEEXIT).unwrap();
                None
            }
            WaitStatus::Stopped(_, signal) => Some(signal),
            _ => None,
        };
        ptrace::cont(pid, signal).unwrap();
    };
    drop(done);
    watchdog.join().unwrap();
    Answer { status, out: out.join().unwrap(), err: err.join().unwrap(), peak }
}

/// The most memory that a process had, in bytes, as /proc says. (What wait4(2) says counts ours at the fork.)
fn most_memory(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// Files of some megabytes at most that inflate to 10 GiB: a part that inflates to 64 MiB of zeros, 160 times.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let zeros = vec![0; 64 << 20];
    let mut xz = xz2::write::XzEncoder::new(Vec::new(), 0);
    xz.write_all(&zeros).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&zeros).unwrap();
    let parts = [
        ("xz", xz.finish().unwrap()),
        ("zst", zstd::bulk::compress(&zeros, 1).unwrap()),
        ("gz", gzip.finish().unwrap()),
    ];
    parts.into_iter().map(|(kind, part)| (kind, part.repeat(160))).collect()
}

#[test]
fn small_files_that_inflate_to_ten_gibibytes() {
    const LIMIT: &str = "inflates to more than 1073741824 bytes";
    for (kind, file) in bombs() {
        assert!(file.len() < 50 << 20, "{} bytes", file.len());
        let tree = Tree::new();
        let path = tree.path(&format!("kernel/a.ko.{kind}"));
        fs::rename(tree.path("kernel/a.ko"), &path).unwrap();
        fs::write(&path, &file).unwrap();
        // What was inflated up to the limit, and the file.
        let most = OWN + 1024 * MIB + file.len() as u64;
        let name = path.to_str().unwrap();
        run("insmod", &[path.as_ref()], None).is(1, most, &[name, LIMIT, "could not insert module"]);
        // The others inflate in the same way.
        if kind == "xz" {
            run("modinfo", &[path.as_ref()], None).is(
                1,
                most,
                &["could not get modinfo from 'a'", name, LIMIT],
            );
            tree.depmod().is(0, most, &[LIMIT, name]);
        }
        // Where there is less memory than the limit: the same, for another reason.
        let little = Some(512 * MIB);
        run("insmod", &[path.as_ref()], little).is(1, 512 * MIB, &[name, "Cannot allocate memory"]);
        run("modinfo", &[path.as_ref()], little).is(1, 512 * MIB, &["could not get modinfo from 'a'"]);
    }
}

#[test]
fn what_cannot_hold_a_module_is_refused_at_once() {
    let start = std::time::Instant::now();
    let tree = Tree::new();
    let sources = [
        ("zero", "/dev/zero", "a device, not a module"),
        ("random", "/dev/urandom", "a device, not a module"),
        // A file without a size, which has 256 GiB.
        ("pagemap", "/proc/self/pagemap", "0 bytes long, too short for a module"),
    ];
    for (name, source, why) in sources {
        // In the tree, too, where depmod and modprobe come upon it.
        for end in ["ko", "ko.xz"] {
            let link = tree.path(&format!("kernel/{name}.{end}"));
            std::os::unix::fs::symlink(source, &link).unwrap();
            let words: [&[&OsStr]; 4] = [
                &["insmod".as_ref(), source.as_ref()],
                &["insmod".as_ref(), link.as_ref()],
                &["modprobe".as_ref(), "--show-modversions".as_ref(), source.as_ref()],
                &["modprobe".as_ref(), "--show-exports".as_ref(), link.as_ref()],
            ];
            for words in words {
                let answer = run(words[0].to_str().unwrap(), &words[1..], None);
                answer.is(1, OWN, &[why]);
            }
            let modinfo = run("modinfo", &[link.as_ref()], None);
            assert_eq!(modinfo.status, Ok(1), "{}", modinfo.err);
            assert!(modinfo.peak <= OWN && !modinfo.err.is_empty());
            let words =
                ["-n".as_ref(), "-b".as_ref(), tree.dir.path().as_os_str(), VERSION.as_ref(), link.as_ref()];
            let text = format!("failed to load symbols from {}: Invalid argument", link.display());
            run("depmod", &words, None).is(0, OWN, &[&text]);
            fs::remove_file(link).unwrap();
        }
    }
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

/// An index whose nodes form a path: a million nodes deep, each the only child of the one before.
fn deep_index() -> Vec<u8> {
    const CHILDREN: u32 = 0x2000_0000;
    let mut bytes = [0xb007_f457u32, 0x0002_0001, CHILDREN | 12].map(u32::to_be_bytes).concat();
    for _ in 0..1_000_000 {
        let next = CHILDREN | (bytes.len() as u32 + 6);
        bytes.extend_from_slice(b"aa");
        bytes.extend_from_slice(&next.to_be_bytes());
    }
    bytes
}

/// One whose root has 26 children, which are all the root again, with a value.
fn circular_index() -> Vec<u8> {
    let mut bytes = [0xb007_f457u32, 0x0002_0001, 0x6000_000c].map(u32::to_be_bytes).concat();
    bytes.extend_from_slice(b"az");
    bytes.extend_from_slice(&0x6000_000cu32.to_be_bytes().repeat(26));
    bytes.extend_from_slice(b"\0\0\0\x01\0\0\0\0b\0");
    bytes.resize(MIB as usize, 0);
    bytes
}

#[test]
fn indexes_without_an_end() {
    let name = "a".repeat(4000);
    for index in [deep_index(), circular_index()] {
        let tree = Tree::new();
        for file in
            ["modules.alias.bin", "modules.symbols.bin", "modules.builtin.bin", "modules.builtin.alias.bin"]
        {
            tree.write(file, &index);
        }
        let most = OWN + 5 * index.len() as u64;
        for words in [&["-R", &name][..], &["-R", "symbol:aaaa"], &["-R", "*"]] {
            let answer = tree.modprobe(words);
            answer.is(answer.status.unwrap().min(1), most, &[]);
        }
        let answer = tree.modprobe(&["-c"]);
        answer.is(0, most, &[]);
        // A key has at most 4096 bytes, and what it costs to spell them is paid out of the length of the file.
        assert!(answer.out.lines().all(|line| line.len() < 4200));
        tree.write("modules.dep.bin", &index);
        let answer = tree.modprobe(&["-D", &name]);
        answer.is(answer.status.unwrap().min(1), most, &[]);
    }
}

#[test]
fn lines_and_files_of_configuration_that_are_too_long() {
    let tree = Tree::new();
    let config = tree.config().join("x.conf");
    let config = config.to_str().unwrap();
    tree.configure(vec![b'a'; 100 << 20]);
    tree.modprobe(&["-D", "a"]).is(0, OWN + 65 * MIB, &[config, "larger than 67108864 bytes"]);
    for end in ["", "\\\n"] {
        let line = format!("options a {}{end}", "x".repeat(1000)).repeat(60 << 10);
        tree.configure(line);
        let words = [config, "ignoring a line of more than 1048576 bytes"];
        // The file, in a buffer that may be twice as long.
        tree.modprobe(&["-D", "a"]).is(0, OWN + 128 * MIB, &words);
    }
    // Millions of lines that make no sense.
    tree.configure("x\n".repeat(20 << 20));
    let answer = tree.modprobe(&["-D", "a"]);
    assert_eq!(answer.err.lines().count(), 16385);
    answer.is(
        0,
        OWN + 64 * MIB,
        &["x.conf line 16385: ignoring bad line starting with 'x'; no more of the kind is told"],
    );
    // The same for depmod's.
    let own = tree.dir.path().join("x.conf");
    fs::write(&own, vec![b'a'; 100 << 20]).unwrap();
    let words =
        ["-b".as_ref(), tree.dir.path().as_os_str(), "-C".as_ref(), own.as_os_str(), VERSION.as_ref()];
    run("depmod", &words, None).is(0, OWN + 65 * MIB, &[own.to_str().unwrap(), "67108864"]);
}

#[test]
fn a_million_aliases() {
    let many: String = (0..1_000_000).map(|n| format!("alias x{n} a\n")).collect();
    let tree = Tree::new();
    tree.configure(&many);
    // 64 bytes for each entry, in a list that may be twice as long, its words, the file, and the places by name.
    let most = OWN + 160 * MIB + 2 * many.len() as u64;
    let answer = tree.modprobe(&["-D", "x999999"]);
    answer.is(0, most, &[]);
    assert!(answer.out.ends_with("kernel/a.ko \n"), "{}", answer.out);
    // All of one query.
    tree.configure("alias x a\n".repeat(1_000_000));
    tree.modprobe(&["-R", "x"]).is(0, most, &[]);

    let tree = Tree::new();
    tree.write("modules.alias", many.as_bytes());
    tree.modprobe(&["-D", "x999999"]).is(0, OWN + many.len() as u64, &[]);
    let mut index = IndexBuilder::new();
    (0..1_000_000u32).for_each(|n| index.insert(format!("x*{n}*").as_bytes(), b"a", n).unwrap());
    let index = index.write().unwrap();
    tree.write("modules.alias.bin", &index);
    let query = format!("x{}", (0..10).map(|n| n.to_string().repeat(12)).collect::<String>());
    tree.modprobe(&["-R", &query]).is(0, OWN + index.len() as u64 + 64 * MIB, &[]);
}

#[test]
fn directories_of_a_hundred_thousand_files() {
    let tree = Tree::new();
    let below = tree.path("kernel/many");
    fs::create_dir(&below).unwrap();
    for n in 0..100_000 {
        fs::write(tree.config().join(format!("{n}.conf")), b"").unwrap();
        fs::write(below.join(format!("{n}.txt")), b"").unwrap();
    }
    // A name, where it is from, and the path of the file in the configuration.
    tree.modprobe(&["-q", "-D", "a"]).is(0, OWN + 60 * MIB, &[]);
    tree.depmod().is(0, OWN, &[]);
    let modules = tree.path("kernel/modules");
    fs::create_dir(&modules).unwrap();
    for n in 0..65_600 {
        fs::write(modules.join(format!("m{n}.ko")), b"").unwrap();
    }
    tree.depmod().is(1, OWN + 60 * MIB, &["could not build module array"]);
}

#[test]
fn soft_dependencies_that_multiply() {
    let tree = Tree::new();
    // Each of them needs each other one.
    let names: Vec<String> = (0..1500).map(|n| format!("m{n}")).collect();
    let mut config = String::new();
    for name in &names {
        config += &format!("softdep {name} pre: {}\nalias {name} {name}\n", names.join(" "));
    }
    tree.configure(&config);
    tree.modprobe(&["-D", "m0"]).is(1, OWN + 700 * MIB, &["would take more than 1048576 steps"]);
    // One line whose every word leads to 20,000 modules: each word counts once, and so does each module.
    let words = " x".repeat(100_000);
    tree.configure(format!("softdep a pre:{words}\n{}", "alias x b\n".repeat(20_000)));
    tree.modprobe(&["-D", "a"]).is(0, OWN + 700 * MIB, &[]);
    // Long names: what a step costs.
    let names: Vec<String> = (0..300).map(|n| format!("{}{n}", "y".repeat(1000))).collect();
    let aliases: String = names.iter().map(|name| format!("alias {name} {name}\n")).collect();
    tree.configure(format!("softdep * pre: {}\n{aliases}", names.join(" ")));
    tree.modprobe(&["-D", "a"]).is(1, OWN + 700 * MIB, &["would take more than 67108864 bytes of names"]);
}
