//! Counts what a program does in a root directory of its own: system calls with strace, instructions with callgrind. Both
//! repeat to the digit, however busy the machine is.
//!
//! Neither tool is asked to look through a chroot. strace traces `chroot` and what comes of it. Valgrind's tool is one
//! static program, which is put into the root; it must see the real /proc, so it gets a mount namespace of its own in
//! which that lies over the root's, with the root's kernel command line on top.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The tools that count.
pub struct Counters {
    strace: PathBuf,
    /// chroot(8).
    pub chroot: PathBuf,
    callgrind: PathBuf,
}

impl Counters {
    /// Finds them.
    ///
    /// # Errors
    /// What is missing.
    pub fn find() -> Result<Counters, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("the programs run in root directories of their own: run this as root".into());
        }
        let libraries = ["/usr/libexec/valgrind", "/usr/lib/x86_64-linux-gnu/valgrind", "/usr/lib/valgrind"];
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let tool = format!("callgrind-{architecture}-linux");
        let callgrind = libraries.iter().map(|dir| Path::new(dir).join(&tool)).find(|path| path.exists());
        Ok(Counters {
            strace: program("strace").ok_or("no strace: tests/lab/tools.sh installs it")?,
            chroot: program("chroot").ok_or("no chroot")?,
            callgrind: callgrind.ok_or("no valgrind: tests/lab/tools.sh installs it")?,
        })
    }

    /// The names of the system calls that `words` (a path below `root` first) makes, from its exec on, in order.
    /// `prepare` is done to the process before.
    ///
    /// # Errors
    /// It could not be traced.
    pub fn calls(
        &self,
        root: &Path,
        words: &[&str],
        prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> Result<Vec<String>, String> {
        let log = root.join("tmp/strace.log");
        let mut command = Command::new(&self.strace);
        command
            .args(["-f", "-qq", "-e", "signal=none", "-o"])
            .arg(&log)
            .arg(&self.chroot)
            .arg(root)
            .args(words);
        // SAFETY: `prepare` makes system calls only: so each caller promises.
        unsafe { command.pre_exec(prepare) };
        quiet(&mut command)?;
        let text = fs::read_to_string(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let calls = text.lines().filter(|line| !line.contains(" resumed>"));
        let names: Vec<String> = calls
            .filter_map(|line| {
                let line = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
                Some(line.split_once('(')?.0.to_owned())
            })
            .collect();
        // chroot's own exec, and those with which it looks for the program, come before.
        let start = names.iter().rposition(|name| name == "execve").ok_or("nothing was started")?;
        Ok(names[start + 1..].to_vec())
    }

    /// The instructions that `words` takes in user space, from its first to its last.
    ///
    /// # Errors
    /// It could not be run or counted.
    pub fn instructions(&self, root: &Path, words: &[&str]) -> Result<u64, String> {
        let tool = root.join("tmp/callgrind");
        if !tool.exists() {
            fs::copy(&self.callgrind, &tool).map_err(|error| error.to_string())?;
        }
        let counted = root.join("tmp/callgrind.out");
        let _ = fs::remove_file(&counted);
        fs::copy(root.join("proc/cmdline"), root.join("tmp/cmdline")).map_err(|error| error.to_string())?;
        let mut command = Command::new("/tmp/callgrind");
        command.args(["-q", "--tool=callgrind", "--callgrind-out-file=/tmp/callgrind.out"]).args(words);
        command.env_clear().envs([("VALGRIND_LIB", "/tmp"), ("VALGRIND_LAUNCHER", "/tmp/callgrind")]);
        let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).expect("no NUL in a path");
        let (at, proc_fs) = (path(root), path(&root.join("proc")));
        let (said, cmdline) = (path(&root.join("tmp/cmdline")), path(&root.join("proc/cmdline")));
        let enter = move || {
            let (nothing, no_text) = (std::ptr::null::<libc::c_void>(), std::ptr::null::<libc::c_char>());
            let done =
                |result: libc::c_int| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
            // SAFETY: system calls only, with strings that live as long as the closure.
            unsafe {
                done(libc::unshare(libc::CLONE_NEWNS))?;
                let private = libc::MS_REC | libc::MS_PRIVATE;
                done(libc::mount(c"none".as_ptr(), c"/".as_ptr(), no_text, private, nothing))?;
                done(libc::mount(c"proc".as_ptr(), proc_fs.as_ptr(), c"proc".as_ptr(), 0, nothing))?;
                done(libc::mount(said.as_ptr(), cmdline.as_ptr(), no_text, libc::MS_BIND, nothing))?;
                done(libc::chroot(at.as_ptr()))?;
                done(libc::chdir(c"/".as_ptr()))
            }
        };
        // SAFETY: `enter` makes system calls only.
        unsafe { command.pre_exec(enter) };
        quiet(&mut command)?;
        let text =
            fs::read_to_string(&counted).map_err(|error| format!("{words:?} left no count: {error}"))?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        total.and_then(|total| total.trim().parse().ok()).ok_or_else(|| "callgrind counted nothing".into())
    }
}

/// Runs a command to its end, whatever its status: what it did is what counts.
fn quiet(command: &mut Command) -> Result<(), String> {
    if command.get_envs().len() == 0 {
        command.env_clear();
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().map(drop).map_err(|error| format!("{command:?}: {error}"))
}

/// Where a program is that root's shell would find.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let known = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(known).map(|dir| dir.join(name)).find(|path| path.exists())
}
