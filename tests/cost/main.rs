//! What a request costs, as counts that are held: system calls to the last one, instructions within a tenth. A change that
//! moves one of them shows here, and either is not meant or changes the figure.
//!
//! The release program is counted (`KMOD_ONCE_BIN`; `make test` sets it). What the C library does before our first line and
//! after our last is taken off, since that is its own affair: the system calls are those from the first of ours on, which is
//! `poll` (`ppoll` where the architecture has no other), and of the instructions those of a run under a name that is no
//! tool's are taken off, which says so and ends.

#[path = "count.rs"]
mod count;
#[path = "../common/elf.rs"]
mod elf;
#[allow(dead_code)]
#[path = "../compliance/kernel.rs"]
mod kernel;
#[path = "../common/needs.rs"]
mod needs;

use count::Counters;
use elf::KoBuilder;
use libtest_mimic::{Arguments, Failed, Trial};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

/// A kind of request.
struct Request {
    name: &'static str,
    words: &'static [&'static str],
    /// System calls from our first on, in a root without configuration files and in one with two.
    calls: [usize; 2],
    /// Instructions besides those of the C library's own start, with two configuration files: with glibc and with musl.
    instructions: [u64; 2],
}

const ALIAS: &str = "pci:v00001234d00000007sv00000000sd00000000bc00sc00i00";

/// The bars are 20 system calls for what is live, 60 system calls and 300 thousand instructions for a lookup. Each file of
/// configuration is opened and read. Of the calls of a lookup three are for the line that `-n` prints. One is musl's, which
/// unblocks two signals of its own before it sets the first handler.
const REQUESTS: [Request; 4] = [
    Request { name: "version", words: &["modprobe", "--version"], calls: [7, 7], instructions: [543, 1_101] },
    Request { name: "live", words: &["modprobe", "live"], calls: [20, 24], instructions: [29_082, 27_419] },
    Request {
        name: "name",
        words: &["modprobe", "-n", "-q", "top"],
        calls: [37, 41],
        instructions: [108_573, 110_720],
    },
    Request {
        name: "alias",
        words: &["modprobe", "-n", "-q", ALIAS],
        calls: [37, 41],
        instructions: [107_776, 108_715],
    },
];

/// System calls from our first up to and with the one that hands over the module: of a module that needs another one which
/// is live, with a gate that has been there before.
const INSERT: [usize; 2] = [59, 63];

/// The most that a lookup may take in all, the C library's start included.
const LOOKUP: u64 = 300_000;

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let suite = match Suite::new() {
        Ok(suite) => Arc::new(suite),
        Err(_) if args.list => return libtest_mimic::run(&args, Vec::new()).exit_code(),
        Err(reason) => return needs::suite_left_out("cost", &reason),
    };
    let mut trials = Vec::new();
    for request in &REQUESTS {
        let of = suite.clone();
        trials.push(Trial::test(format!("calls::{}", request.name), move || of.calls(request)));
        let of = suite.clone();
        trials.push(Trial::test(format!("instructions::{}", request.name), move || of.instructions(request)));
    }
    trials.push(Trial::test("calls::insert", move || suite.insert()));
    // One root for all of them.
    libtest_mimic::run(&Arguments { test_threads: Some(1), ..args }, trials).exit_code()
}

struct Suite {
    counters: Counters,
    with_musl: bool,
    /// Without and with configuration files.
    roots: [Root; 2],
}

/// A root directory. Its `/run` is in memory and a mount of its own, or the gate would not use it.
struct Root(tempfile::TempDir);

impl Root {
    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.path().join("run"), nix::mount::MntFlags::MNT_DETACH);
    }
}

impl Suite {
    fn new() -> Result<Suite, String> {
        let counters = Counters::find()?;
        let binary = std::env::var_os("KMOD_ONCE_BIN").filter(|path| !path.is_empty());
        let binary = PathBuf::from(binary.ok_or("KMOD_ONCE_BIN names no release program; make test does")?);
        let root = |files| {
            furnish(&binary, &counters.chroot, files)
                .map_err(|error| format!("{}: {error}", binary.display()))
        };
        let roots = [root(false)?, root(true)?];
        let program = fs::read(&binary).map_err(|error| format!("{}: {error}", binary.display()))?;
        // glibc looks for this variable in every process.
        let with_musl = !program.windows(14).any(|window| window == b"GLIBC_TUNABLES");
        Ok(Suite { counters, with_musl, roots })
    }

    /// A request's system calls from our first on.
    fn made(&self, root: &Root, words: &[&str]) -> Result<Vec<String>, Failed> {
        let path = format!("/sbin/{}", words[0]);
        let words: Vec<&str> = [&[&path[..]], &words[1..]].concat();
        // Nothing here may reach the machine's own kernel.
        let said = [("finit".to_owned(), "0".to_owned())].into();
        let answers = kernel::Answers::new(&said)?;
        let mut calls = self.counters.calls(root.path(), &words, move || answers.install())?;
        let first = calls.iter().position(|name| name == "poll" || name == "ppoll");
        let first = first.ok_or("it never came to our first call")?;
        Ok(calls.split_off(first))
    }

    fn calls(&self, request: &Request) -> Result<(), Failed> {
        for (root, count) in self.roots.iter().zip(request.calls) {
            self.expect(&self.made(root, request.words)?, count)?;
        }
        Ok(())
    }

    fn insert(&self) -> Result<(), Failed> {
        for (root, count) in self.roots.iter().zip(INSERT) {
            // The first leaves the gate's directories behind.
            self.made(root, &["modprobe", "upon"])?;
            let mut calls = self.made(root, &["modprobe", "upon"])?;
            let handed =
                calls.iter().position(|name| name == "finit_module").ok_or("nothing was handed over")?;
            calls.truncate(handed + 1);
            self.expect(&calls, count)?;
        }
        Ok(())
    }

    /// `count` is with musl's call.
    fn expect(&self, calls: &[String], count: usize) -> Result<(), Failed> {
        let count = count - usize::from(!self.with_musl);
        if calls.len() == count {
            return Ok(());
        }
        Err(format!("{} system calls, not {count}: {}", calls.len(), calls.join(" ")).into())
    }

    fn instructions(&self, request: &Request) -> Result<(), Failed> {
        let count = |words: &[&str]| {
            let path = format!("/sbin/{}", words[0]);
            self.counters.instructions(self.roots[1].path(), &[&[&path[..]], &words[1..]].concat())
        };
        let (all, start) = (count(request.words)?, count(&["nothing"])?);
        if all > LOOKUP {
            return Err(format!("{all} instructions in all, more than {LOOKUP}").into());
        }
        let own = all - start;
        println!("{}: {own} instructions and {start} to start", request.name);
        let expected = request.instructions[usize::from(self.with_musl)];
        if own.abs_diff(expected) * 10 > expected {
            return Err(format!("{own} instructions, not {expected} give or take a tenth").into());
        }
        Ok(())
    }
}

/// A root directory with the program, a small tree of modules, and configuration as distributions have it: /lib leads to
/// usr/lib, and two of the directories exist, with one file in each or none.
fn furnish(binary: &Path, chroot: &Path, files: bool) -> Result<Root, Box<dyn std::error::Error>> {
    let root = Root(tempfile::tempdir()?);
    let at = |path: &str| root.path().join(path);
    let release = nix::sys::utsname::uname()?.release().to_owned();
    let modules = at("usr/lib/modules").join(release);
    for dir in
        ["bin", "sbin", "proc", "tmp", "run", "dev", "etc/modprobe.d", "usr/lib/modprobe.d", "sys/module"]
    {
        fs::create_dir_all(at(dir))?;
    }
    let nothing = None::<&str>;
    nix::mount::mount(nothing, &at("run"), Some("tmpfs"), nix::mount::MsFlags::empty(), nothing)?;
    fs::create_dir_all(at("proc/sys/kernel/random"))?;
    fs::write(at("proc/sys/kernel/random/boot_id"), "6fd5a44b-35f4-4ad4-a9b9-6b9be13e1fe9\n")?;
    std::os::unix::fs::symlink("usr/lib", at("lib"))?;
    fs::copy(binary, at("bin/kmod"))?;
    for name in ["modprobe", "depmod", "nothing"] {
        std::os::unix::fs::symlink("../bin/kmod", at("sbin").join(name))?;
    }
    fs::write(at("proc/cmdline"), "BOOT_IMAGE=/boot/vmlinuz root=/dev/sda1 ro quiet loop.max_loop=8\n")?;
    if files {
        fs::write(
            at("etc/modprobe.d/local.conf"),
            "# Nothing much.\noptions top debug=1\nblacklist pcspkr\n",
        )?;
        fs::write(
            at("usr/lib/modprobe.d/aliases.conf"),
            "# Old names.\nalias off-1 off\nalias net-pf-99 off\n",
        )?;
    }
    for live in ["live", "below"] {
        fs::create_dir_all(at("sys/module").join(live))?;
        fs::write(at("sys/module").join(live).join("initstate"), "live\n")?;
    }
    fs::create_dir_all(modules.join("kernel"))?;
    let module = |name: &str, ko: KoBuilder| {
        fs::write(modules.join("kernel").join(name), ko.modinfo("license", "GPL").build())
    };
    module("live.ko", KoBuilder::new())?;
    module("below.ko", KoBuilder::new().export("below_it", 1))?;
    module("upon.ko", KoBuilder::new().needs("below_it"))?;
    module("base.ko", KoBuilder::new().export("base_it", 1))?;
    module("top.ko", KoBuilder::new().needs("base_it").modinfo("softdep", "pre: live"))?;
    for number in 0..64 {
        let alias = format!("pci:v00001234d{number:08X}sv*sd*bc*sc*i*");
        module(&format!("filler{number}.ko"), KoBuilder::new().alias(alias).modinfo("softdep", "pre: live"))?;
    }
    let made = Command::new(chroot).arg(root.path()).args(["/sbin/depmod", "-a"]).env_clear().output()?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into_owned().into());
    }
    Ok(root)
}
