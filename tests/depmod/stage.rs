//! A root directory with both tools in it, and running them there.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::debian::Cache;
use crate::needs;
use crate::tools::Tools;

/// One test. The error says what is wrong.
pub type Body = Box<dyn FnOnce(&Stages) -> Result<(), String> + Send>;

/// The names of the files that depmod writes.
pub const OUTPUTS: [&str; 11] = [
    "modules.dep",
    "modules.dep.bin",
    "modules.alias",
    "modules.alias.bin",
    "modules.softdep",
    "modules.weakdep",
    "modules.symbols",
    "modules.symbols.bin",
    "modules.builtin.bin",
    "modules.builtin.alias.bin",
    "modules.devname",
];

/// Seconds after which a run counts as hung. A whole tree takes kmod 6 on a quiet machine.
const PATIENCE: u32 = 180;

/// Makes stages.
pub struct Stages {
    dir: PathBuf,
    ours: PathBuf,
    theirs: Tools,
    kmod_30: Tools,
    /// The packages' cache.
    pub cache: Cache,
}

impl Stages {
    /// For the static program `ours`. Fetches what is missing.
    ///
    /// # Errors
    /// The packages cannot be had, or we may not chroot.
    pub fn prepare(ours: PathBuf) -> io::Result<Stages> {
        if !nix::unistd::geteuid().is_root() {
            return Err(io::Error::other(
                "the tools are run in root directories of their own: run this as root",
            ));
        }
        let dir = needs::folder("depmod")?;
        let cache = Cache::open()?;
        let theirs = Tools::kmod_34(&cache)?.staged(&dir.join("tools"))?;
        let kmod_30 = Tools::kmod_30(&cache)?.staged(&dir.join("tools"))?;
        Ok(Stages { dir, ours, theirs, kmod_30, cache })
    }

    /// A fresh root directory. It is removed when it is dropped.
    pub fn stage(&self, name: &str) -> io::Result<Stage> {
        let path = self.dir.join("roots").join(name.replace([':', '/', ' '], "-"));
        self.furnish(&self.theirs, &path)?;
        Ok(Stage { path })
    }

    /// The same with kmod 30 as *theirs*.
    pub fn stage_30(&self, name: &str) -> io::Result<Stage> {
        let path = self.dir.join("roots").join(name.replace([':', '/', ' '], "-"));
        self.furnish(&self.kmod_30, &path)?;
        Ok(Stage { path })
    }

    fn furnish(&self, tools: &Tools, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)?;
        tools.install(path)?;
        for dir in ["proc", "etc", "tmp", "ours", "var/cache"] {
            fs::create_dir_all(path.join(dir))?;
        }
        let ours = path.join("ours/depmod");
        if fs::hard_link(&self.ours, &ours).is_err() {
            fs::copy(&self.ours, &ours)?;
        }
        Ok(())
    }
}

/// A root directory.
pub struct Stage {
    /// Where it is.
    pub path: PathBuf,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What stays behind is inside the build directory and is removed by the next run.
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Which tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Debian's.
    Theirs,
    /// The one under test.
    Ours,
}

/// How a run ended and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The exit status, or what ended it instead.
    pub status: String,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained of.
    pub stderr: String,
}

impl Stage {
    /// A path below the root.
    pub fn at(&self, path: &str) -> PathBuf {
        self.path.join(path.trim_start_matches('/'))
    }

    /// The command that runs `tool` (`depmod`, `modprobe`) with `args` in the root. Nothing is started yet.
    pub fn command(&self, who: Who, tool: &str, args: &[&str]) -> Command {
        let program = if who == Who::Ours { "/ours/depmod" } else { "/bin/kmod" };
        let root = CString::new(self.path.as_os_str().as_bytes()).expect("no NUL in a path");
        let mut command = Command::new(program);
        command.arg0(format!("/sbin/{tool}")).args(args).env_clear().stdin(Stdio::null());
        let enter = move || {
            // SAFETY: alarm(2), umask(2), chroot(2) and chdir(2) may be called between fork and exec; the strings live as
            // long as the closure.
            unsafe {
                libc::alarm(PATIENCE);
                libc::umask(0o022);
                if libc::chroot(root.as_ptr()) != 0 || libc::chdir(c"/".as_ptr()) != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: `enter` makes system calls only.
        unsafe { command.pre_exec(enter) };
        command
    }

    /// Runs `tool` and waits for it.
    pub fn run(&self, who: Who, tool: &str, args: &[&str]) -> Result<Ended, String> {
        let output =
            self.command(who, tool, args).output().map_err(|error| format!("{tool} {args:?}: {error}"))?;
        Ok(Ended {
            status: output.status.to_string(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs depmod, and fails unless it succeeds.
    pub fn depmod(&self, who: Who, args: &[&str]) -> Result<Ended, String> {
        let ended = self.run(who, "depmod", args)?;
        if ended.status != "exit status: 0" {
            return Err(format!("{who:?} depmod {args:?}: {}\n{}", ended.status, ended.stderr));
        }
        Ok(ended)
    }
}

/// The files of a set: name and contents, in the order of [`OUTPUTS`]; `None` for one that is not there.
pub fn set(dir: &Path) -> Vec<Option<Vec<u8>>> {
    OUTPUTS.iter().map(|name| fs::read(dir.join(name)).ok()).collect()
}

/// Compares two sets.
///
/// # Errors
/// The files that differ, and where.
pub fn same_set(what: &str, left: &[Option<Vec<u8>>], right: &[Option<Vec<u8>>]) -> Result<(), String> {
    let mut wrong = Vec::new();
    for ((name, left), right) in OUTPUTS.iter().zip(left).zip(right) {
        match (left, right) {
            (Some(left), Some(right)) if left != right => {
                let at = left.iter().zip(right).take_while(|(a, b)| a == b).count();
                let show = |bytes: &[u8]| {
                    bytes[at.saturating_sub(40)..bytes.len().min(at + 40)].escape_ascii().to_string()
                };
                wrong.push(format!(
                    "{name}: {} and {} bytes, differ at {at}:\n  {}\n  {}",
                    left.len(),
                    right.len(),
                    show(left),
                    show(right)
                ));
            }
            (None, Some(_)) | (Some(_), None) => {
                wrong.push(format!("{name}: there: {}, {}", left.is_some(), right.is_some()));
            }
            _ => {}
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{what}:\n{}", wrong.join("\n"))) }
}
