//! Whole tools run inside a test: a fixture tree, a scripted kernel, and a host that records.

mod arguments;
#[path = "../../../tests/common/elf.rs"]
mod elf;
mod explain;
mod forbid;
mod insert;
mod live;
mod others;
mod paging;
mod parallel;
mod remove;

use super::run;
use super::streams::{Memory, Streams};
use super::world::{Host, World};
use crate::error::Errno;
use crate::log::Priority;
use crate::system::clock::Real;
use crate::system::fake::{Call, FakeKernel};
use crate::system::roots::as_path;
use crate::system::{Roots, System};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Mutex;

/// The output of a run; paths are without the fixture's root.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    out: String,
    err: String,
    status: u8,
}

/// A run that printed `out` to stdout, nothing to stderr, and ended with 0.
fn printed(out: &str) -> Ran {
    Ran { out: out.into(), err: String::new(), status: 0 }
}

/// A run that complained and ended with 1.
fn failed(err: &str) -> Ran {
    Ran { out: String::new(), err: err.into(), status: 1 }
}

/// A machine with no modules yet.
struct Machine {
    dir: tempfile::TempDir,
    roots: Roots,
    kernel: FakeKernel,
    host: FakeHost,
}

#[derive(Default)]
struct FakeHost {
    directory: PathBuf,
    variables: Mutex<BTreeMap<String, Vec<u8>>>,
    stderr_closed: bool,
    syslog: Mutex<Vec<String>>,
    /// Commands with the changes to their environment.
    commands: Mutex<Vec<(String, BTreeMap<String, String>)>>,
    /// The exit codes of the next commands; 0 after the last.
    codes: Mutex<Vec<i32>>,
    /// The stdout of the tools, to see what was written before a command started.
    stdout: Memory,
    written_before: Mutex<Vec<u8>>,
    is_terminal: bool,
    /// The texts handed to a pager, with its command.
    paged: Mutex<Vec<String>>,
    /// If set, a command loads its module into these roots, and records which modules were there when it started.
    kernel: Mutex<Option<(Roots, Vec<String>)>>,
}

const RELEASE: &str = "6.1.0";

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::below(dir.path());
        for path in [roots.run.clone(), roots.proc_fs.clone(), roots.module_dir(RELEASE.as_bytes())] {
            fs::create_dir_all(path).unwrap();
        }
        fs::create_dir_all(dir.path().join("etc/modprobe.d")).unwrap();
        fs::write(roots.cmdline(), "quiet\n").unwrap();
        let kernel = FakeKernel::new(&roots);
        let host = FakeHost { directory: dir.path().to_path_buf(), ..FakeHost::default() };
        Machine { dir, roots, kernel, host }
    }

    /// A machine with loop, dummy, usbcore (needs usb-common) and ehci-hcd (needs usbcore).
    fn with_modules() -> Self {
        let machine = Machine::new();
        machine.module("loop", &[]);
        machine.module("dummy", &[]);
        machine.module("usb-common", &[]);
        machine.module("usbcore", &["usb-common"]);
        machine.module("ehci-hcd", &["usbcore", "usb-common"]);
        machine
    }

    fn append(&self, path: PathBuf, line: &str) {
        use std::io::Write;
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }

    fn module_file(&self, name: &str) -> PathBuf {
        self.roots.module_dir(RELEASE.as_bytes()).join(name)
    }

    /// A module file with its line in modules.dep; `needs` in that file's order.
    fn module(&self, name: &str, needs: &[&str]) {
        let needs: String = needs.iter().map(|name| format!(" {name}.ko")).collect();
        self.append(self.module_file("modules.dep"), &format!("{name}.ko:{needs}"));
        fs::write(self.module_file(&format!("{name}.ko")), b"\x7fELF and so on").unwrap();
    }

    fn config(&self, lines: &str) {
        self.append(self.dir.path().join("etc/modprobe.d/test.conf"), lines);
    }

    fn builtin(&self, name: &str) {
        self.append(self.module_file("modules.builtin"), &format!("kernel/{name}.ko"));
    }

    fn live(&self, names: &[&str]) {
        names.iter().for_each(|name| self.kernel.set_state(name, "live"));
    }

    fn used(&self, name: &str, count: &str) {
        fs::write(self.roots.sys_module(name.as_bytes(), "refcnt"), count).unwrap();
    }

    /// Makes an attribute that can be opened but not read.
    fn unreadable(&self, name: &str, attribute: &str) {
        let path = self.roots.sys_module(name.as_bytes(), attribute);
        fs::remove_file(&path).unwrap();
        fs::create_dir(path).unwrap();
    }

    fn holder(&self, name: &str, holder: &str) {
        self.kernel.hold(name, holder);
    }

    fn variable(&self, name: &str, value: &str) {
        self.host.variables.lock().unwrap().insert(name.into(), value.into());
    }

    /// The results of the next kernel calls.
    fn answers(&self, answers: &[Option<Errno>]) {
        self.kernel.answers.lock().unwrap().extend_from_slice(answers);
    }

    fn run(&self, words: &[&str]) -> Ran {
        let args: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let system = System { roots: &self.roots, kernel: &self.kernel, clock: &Real };
        let (stdout, stderr) = (self.host.stdout.clone(), Memory::default());
        let streams = Streams::new(stdout.clone(), stderr.clone());
        let world = World { args: &args, system, host: &self.host, streams };
        let status = run(&world);
        let base = self.dir.path().to_string_lossy().into_owned();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&base, "");
        let mut out = self.host.written_before.lock().unwrap().split_off(0);
        out.extend(stdout.take());
        Ran { out: text(out), err: text(stderr.take()), status }
    }

    /// The kernel calls since the last question: `+name parameters` and `-name`.
    fn calls(&self) -> Vec<String> {
        let calls = std::mem::take(&mut *self.kernel.calls.lock().unwrap());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        calls
            .into_iter()
            .map(|call| match call {
                Call::Finit(name, parameters, 0) => format!("+{name} {}", text(parameters)),
                Call::Finit(name, parameters, flags) => format!("+{name} {} flags {flags}", text(parameters)),
                Call::Init(length, parameters) => format!("+{length} bytes {}", text(parameters)),
                Call::Delete(name, false) => format!("-{name}"),
                Call::Delete(name, true) => format!("-{name} by force"),
            })
            .collect()
    }

    /// The commands that were run since the last question.
    fn commands(&self) -> Vec<(String, BTreeMap<String, String>)> {
        std::mem::take(&mut *self.host.commands.lock().unwrap())
    }
}

impl Host for FakeHost {
    fn variable(&self, name: &str) -> Option<Vec<u8>> {
        self.variables.lock().unwrap().get(name).cloned()
    }

    fn directory(&self) -> Result<PathBuf, Errno> {
        Ok(self.directory.clone())
    }

    fn release(&self) -> Result<Vec<u8>, Errno> {
        Ok(RELEASE.into())
    }

    fn stderr_closed(&self) -> bool {
        self.stderr_closed
    }

    fn syslog(&self, program: &[u8], priority: Priority, text: &[u8]) {
        let (program, text) = (as_path(program).display(), as_path(text).display());
        self.syslog.lock().unwrap().push(format!("{program} {} {text}", priority as i32));
    }

    fn run_shell(&self, command: &[u8], changes: &[(OsString, OsString)]) -> Result<i32, Errno> {
        self.written_before.lock().unwrap().extend(self.stdout.take());
        let text = |word: &OsString| String::from_utf8(word.clone().into_vec()).unwrap();
        let changes: BTreeMap<String, String> =
            changes.iter().map(|(name, value)| (text(name), text(value))).collect();
        if let Some((roots, found)) = &mut *self.kernel.lock().unwrap() {
            let names = fs::read_dir(roots.sys_module_dir()).unwrap();
            found.extend(names.map(|entry| entry.unwrap().file_name().into_string().unwrap()));
            let state = roots.sys_module(changes["MODPROBE_MODULE"].as_bytes(), "initstate");
            fs::create_dir(state.parent().unwrap()).unwrap();
            fs::write(state, "live\n").unwrap();
        }
        self.commands.lock().unwrap().push((String::from_utf8(command.to_vec()).unwrap(), changes));
        let mut codes = self.codes.lock().unwrap();
        Ok(if codes.is_empty() { 0 } else { codes.remove(0) })
    }

    fn page(&self, command: Option<&[u8]>, text: &[u8]) -> bool {
        let (command, text) = (as_path(command.unwrap_or(b"less")).display(), as_path(text).display());
        self.paged.lock().unwrap().push(format!("{command}: {text}"));
        self.is_terminal
    }
}
