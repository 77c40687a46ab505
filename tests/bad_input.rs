//! Bad input to the real program: it must say which file is wrong and how, end with status 1 (or 0 where nothing was
//! lost), and neither panic, hang, nor die of a signal.

#[path = "common/elf.rs"]
mod elf;

use elf::KoBuilder;
use kmod_once::internals::formats::index::IndexBuilder;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const VERSION: &str = "6.1.0";

/// A module directory with modules `a` and `b` (b needs a) and a configuration directory.
struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        let tree = Tree { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(tree.modules().join("kernel")).unwrap();
        std::fs::create_dir(tree.config()).unwrap();
        tree.write("kernel/a.ko", &KoBuilder::new().modinfo("license", "GPL").export("a_one", 1).build());
        tree.write("kernel/b.ko", &KoBuilder::new().modinfo("license", "GPL").needs("a_one").build());
        tree.write("modules.dep", b"kernel/a.ko:\nkernel/b.ko: kernel/a.ko\n");
        tree.write("modules.alias", b"# Aliases extracted from modules themselves.\nalias pci:v1d* b\n");
        let mut dep = IndexBuilder::new();
        dep.insert(b"a", b"kernel/a.ko:", 0).unwrap();
        dep.insert(b"b", b"kernel/b.ko: kernel/a.ko", 1).unwrap();
        tree.write("modules.dep.bin", &dep.write().unwrap());
        let mut alias = IndexBuilder::new();
        alias.insert(b"pci:v1d*", b"b", 1).unwrap();
        tree.write("modules.alias.bin", &alias.write().unwrap());
        for empty in ["modules.symbols.bin", "modules.builtin.bin", "modules.builtin.alias.bin"] {
            tree.write(empty, &IndexBuilder::new().write().unwrap());
        }
        tree
    }

    fn modules(&self) -> PathBuf {
        self.dir.path().join("lib/modules").join(VERSION)
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("modprobe.d")
    }

    fn write(&self, name: &str, contents: &[u8]) {
        std::fs::write(self.modules().join(name), contents).unwrap();
    }

    fn modprobe<A: AsRef<OsStr>>(&self, words: &[A]) -> Answer {
        let mut all: Vec<OsString> = vec!["-d".into(), self.dir.path().into(), "-S".into(), VERSION.into()];
        all.extend(["-C".into(), self.config().into_os_string()]);
        all.extend(words.iter().map(|word| word.as_ref().to_os_string()));
        run("modprobe", &all, &[])
    }
}

/// What a run left behind.
struct Answer {
    output: Output,
}

impl Answer {
    fn status(&self) -> i32 {
        self.output.status.code().unwrap_or_else(|| panic!("ended by a signal: {:?}", self.output.status))
    }

    fn err(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    fn out(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// Asserts the status, and that stderr names all of these.
    #[track_caller]
    fn fails_naming(self, words: &[&str]) {
        let err = self.err();
        assert_eq!(self.status(), 1, "{err}");
        for word in words {
            assert!(err.contains(word), "no {word:?} in {err:?}");
        }
    }
}

/// Keeps the tools away from the machine's own kernel and gate: no right to load modules, an empty /run and /sys. Where
/// the tests do not run as root there is nothing to keep them from.
fn isolate(command: &mut Command) {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    const CAP_SYS_MODULE: libc::c_ulong = 16;
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    // SAFETY: only system calls are made between fork and exec, on constant arguments.
    unsafe {
        command.pre_exec(|| {
            unshare(CloneFlags::CLONE_NEWNS)?;
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
            for place in ["/run", "/sys"] {
                mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
            }
            if libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_MODULE, 0, 0, 0) == -1 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// Runs one of the tools, with a bound on its time.
fn run(tool: &str, words: &[OsString], environment: &[(&str, &OsStr)]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kmod"));
    command.arg0(tool).args(words).env_remove("MODPROBE_OPTIONS").envs(environment.iter().copied());
    isolate(&mut command);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    let (done, over) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let bound = Duration::from_secs(60);
        if over.recv_timeout(bound) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            // The signal makes the assertion on the status fail.
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    });
    let start = Instant::now();
    let output = child.wait_with_output().unwrap();
    drop(done);
    watchdog.join().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("panicked"), "{text}");
    assert!(start.elapsed() < Duration::from_secs(60), "hung");
    Answer { output }
}

#[test]
fn a_broken_index_is_named_and_the_text_file_serves() {
    let whole = std::fs::read(Tree::new().modules().join("modules.dep.bin")).unwrap();
    let mut wrong_magic = whole.clone();
    wrong_magic[0] = 0x42;
    let mut wrong_version = whole.clone();
    wrong_version[5] = 9;
    for (bytes, words) in [(&wrong_magic, "magic check fail"), (&wrong_version, "major version check fail")] {
        let tree = Tree::new();
        tree.write("modules.dep.bin", bytes);
        let answer = tree.modprobe(&["-D", "b"]);
        let (out, err) = (answer.out(), answer.err());
        assert_eq!(answer.status(), 0, "{err}");
        assert!(err.contains(words) && err.contains("modules.dep.bin"), "{err}");
        assert!(out.ends_with("kernel/b.ko \n") && out.lines().count() == 2, "{out}");
    }
    // Cut anywhere, whatever is left of it is never read past its end.
    for length in (0..whole.len()).step_by(3) {
        let tree = Tree::new();
        tree.write("modules.dep.bin", &whole[..length]);
        let answer = tree.modprobe(&["-D", "b"]);
        assert!(answer.status() <= 1);
    }
}

#[test]
fn an_index_that_leads_in_circles_ends() {
    // A root whose child 'a' is the root again.
    let mut circle = vec![0xb0, 0x07, 0xf4, 0x57, 0, 2, 0, 1, 0x20, 0, 0, 0x0c, b'a', b'a', 0x20, 0, 0, 0x0c];
    circle.resize(64, 0);
    let tree = Tree::new();
    for name in ["modules.dep.bin", "modules.alias.bin", "modules.symbols.bin"] {
        tree.write(name, &circle);
    }
    let name = "a".repeat(4000);
    assert_eq!(tree.modprobe(&["-D", &name]).status(), 1);
    assert_eq!(tree.modprobe(&["-R", "symbol:aaa"]).status(), 1);
    let dump = tree.modprobe(&["-c"]);
    assert_eq!(dump.status(), 0);
}

#[test]
fn a_module_file_that_is_none_is_named() {
    let cut = KoBuilder::new().modinfo("license", "GPL").build();
    let xz = {
        use std::io::Write;
        let mut encoder = xz2::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(&cut).unwrap();
        encoder.finish().unwrap()
    };
    let mut corrupt = xz.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle] ^= 0x55;
    for (bytes, what) in [
        (&xz[..xz.len() - 20], "Unexpected end of input"),
        (&corrupt[..], "corrupt"),
        (&b"\x28\xb5\x2f\xfd garbage"[..], "zstd"),
        (&b"\x1f\x8b\x08\x00 garbage"[..], "gzip"),
        (&b""[..], "0 bytes long"),
        (&b"abc"[..], "3 bytes long"),
    ] {
        let tree = Tree::new();
        tree.write("kernel/a.ko", bytes);
        tree.modprobe(&["a"]).fails_naming(&["kernel/a.ko", what, "could not insert 'a'"]);
        let path = tree.modules().join("kernel/a.ko");
        let insmod = run("insmod", &[path.clone().into()], &[]);
        insmod.fails_naming(&["kernel/a.ko", "could not insert module"]);
        let modinfo = run("modinfo", &[path.into()], &[]);
        modinfo.fails_naming(&["could not get modinfo from 'a'"]);
    }
    for bytes in [&cut[..20], &cut[..cut.len() / 2], &b"#!/bin/sh\nexit 0\n"[..]] {
        let tree = Tree::new();
        tree.write("kernel/a.ko", bytes);
        let path = tree.modules().join("kernel/a.ko");
        run("modinfo", &[path.into()], &[]).fails_naming(&["could not get modinfo from 'a'"]);
        tree.modprobe(&["a"]).fails_naming(&["could not insert 'a'"]);
    }
}

#[test]
fn a_module_that_is_missing_a_directory_or_a_pipe_is_named() {
    let tree = Tree::new();
    let a = tree.modules().join("kernel/a.ko");
    std::fs::remove_file(&a).unwrap();
    tree.modprobe(&["a"]).fails_naming(&["could not insert 'a'"]);
    std::fs::create_dir(&a).unwrap();
    tree.modprobe(&["a"]).fails_naming(&["could not insert 'a': Is a directory"]);
    std::fs::remove_dir(&a).unwrap();
    nix::unistd::mkfifo(&a, nix::sys::stat::Mode::from_bits_retain(0o600)).unwrap();
    tree.modprobe(&["a"]).fails_naming(&["could not insert 'a': Illegal seek"]);
}

#[test]
fn hostile_configuration_is_named_line_by_line() {
    let tree = Tree::new();
    let config = tree.config().join("x.conf");
    std::fs::write(&config, "options a ok=1\nbogus\nalias [x a\ninstall\n\0\0\n").unwrap();
    let answer = tree.modprobe(&["-D", "a"]);
    let (out, err) = (answer.out(), answer.err());
    assert_eq!(answer.status(), 0, "{err}");
    assert!(out.ends_with("kernel/a.ko ok=1 \n"), "{out}");
    for line in ["x.conf line 2", "x.conf line 3", "x.conf line 4"] {
        assert!(err.contains(line), "no {line:?} in {err:?}");
    }
    // Nothing but noise, with and without lines.
    let noise: Vec<u8> = (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(&config, &noise).unwrap();
    assert_eq!(tree.modprobe(&["-q", "-D", "a"]).status(), 0);
    std::fs::write(&config, vec![b'a'; 8 << 20]).unwrap();
    let answer = tree.modprobe(&["-D", "a"]);
    assert_eq!(answer.status(), 0);
    assert!(answer.err().contains("x.conf") && answer.err().len() < 10_000, "{} bytes", answer.err().len());
    // Directives that lead in circles.
    let circles = "alias x y\nalias y x\nsoftdep a pre: b post: a\nsoftdep b pre: a post: b\n";
    std::fs::write(&config, circles).unwrap();
    assert_eq!(tree.modprobe(&["-D", "a"]).status(), 0);
    tree.modprobe(&["x"]).fails_naming(&["could not find module by name='y'"]);
}

#[test]
fn install_commands_that_start_each_other_end() {
    let tree = Tree::new();
    let kmod = env!("CARGO_BIN_EXE_kmod");
    let call = |name: &str| {
        let (root, config) = (tree.dir.path().display(), tree.config());
        let config = config.display();
        format!("exec -a modprobe {kmod} -d {root} -S {VERSION} -C {config} {name}")
    };
    // sh has no `exec -a`; a link does the same.
    let link = tree.dir.path().join("modprobe");
    std::os::unix::fs::symlink(kmod, &link).unwrap();
    let through_link =
        |name: &str| call(name).replace(&format!("exec -a modprobe {kmod}"), &link.display().to_string());
    let lines = format!("install a {}\ninstall b {}\n", through_link("b"), through_link("a"));
    std::fs::write(tree.config().join("x.conf"), lines).unwrap();
    tree.modprobe(&["a"]).fails_naming(&["could not insert 'a'"]);
}

#[test]
fn names_that_are_paths_or_monsters_are_not_found() {
    let tree = Tree::new();
    let long = "a".repeat(120_000);
    let dots = "../".repeat(30_000);
    for name in
        ["../../etc/passwd", "..", ".", "a/../../b", "[", "]", "[a", "*", "", "\n", long.as_str(), &dots]
    {
        tree.modprobe(&["--", name]).fails_naming(&["not found in directory"]);
        tree.modprobe(&["-r", "--", name]);
    }
    for bytes in [&b"\xff\xfe"[..], b"a\x80", b"\x1b[31m"] {
        tree.modprobe(&[OsStr::from_bytes(b"--"), OsStr::from_bytes(bytes)]).fails_naming(&["not found"]);
    }
    // A mebibyte of arguments: Linux takes no single word over 128 KiB.
    let many: Vec<String> = (0..10).map(|_| "x".repeat(100_000)).collect();
    let mut words = vec!["-a".to_string(), "--".to_string()];
    words.extend(many);
    tree.modprobe(&words).fails_naming(&["not found in directory"]);
    let options = OsString::from_vec(vec![b' '; 120_000]);
    let words: Vec<OsString> = ["-d", &tree.dir.path().display().to_string(), "-S", VERSION, "-D", "a"]
        .iter()
        .map(OsString::from)
        .collect();
    assert_eq!(run("modprobe", &words, &[("MODPROBE_OPTIONS", &options)]).status(), 0);
}

#[test]
fn a_bad_release_or_root_finds_nothing() {
    let tree = Tree::new();
    let root = tree.dir.path().display().to_string();
    for (dir, release) in [(root.as_str(), "../../.."), ("/nonexistent", VERSION), (&root, "")] {
        let words: Vec<OsString> = ["-d", dir, "-S", release, "a"].iter().map(OsString::from).collect();
        run("modprobe", &words, &[]).fails_naming(&["Module a not found in directory"]);
    }
    let endless = "x/".repeat(50_000);
    let words: Vec<OsString> = ["-d", &endless, "-S", VERSION, "a"].iter().map(OsString::from).collect();
    assert_eq!(run("modprobe", &words, &[]).status(), 1);
}

#[test]
fn a_file_that_is_cut_while_it_is_mapped_does_not_kill() {
    // The map is made by the library, the cut happens before the pages are touched.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.ko");
    std::fs::write(&path, vec![1; 1 << 20]).unwrap();
    kmod_once::internals::system::map::install_sigbus_handler();
    let contents = kmod_once::internals::system::map::open(&path, 1 << 30).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(4096).unwrap();
    assert_eq!(contents[0], 1);
    assert_eq!(contents[(1 << 20) - 1], 0, "a page that the file lost reads as zeros");
}
