//! The paths of the kernel's files, the configuration and the gate, below roots that a test can change.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The root directories, and what is known about them.
#[derive(Debug, Clone)]
pub struct Roots {
    /// `/proc`
    pub proc_fs: PathBuf,
    /// `/sys`
    pub sys_fs: PathBuf,
    /// `/run`
    pub run: PathBuf,
    /// `/dev`
    pub dev: PathBuf,
    /// The prefix of `/etc`, `/usr`, `/lib` and `/var` in default paths. Empty on a real system.
    pub prefix: PathBuf,
    /// The user id that must own the gate's directories: 0, except in a fixture.
    pub gate_owner: u32,
    /// Whether the gate may be on a disk, as in a fixture.
    pub gate_on_disk: bool,
    /// Whether `/sys/module` exists; read once.
    pub(super) has_sysfs: OnceLock<bool>,
    /// The target of the link `/lib`; read once.
    lib_link: OnceLock<Option<PathBuf>>,
}

impl Default for Roots {
    fn default() -> Self {
        Roots {
            proc_fs: "/proc".into(),
            sys_fs: "/sys".into(),
            run: "/run".into(),
            dev: "/dev".into(),
            prefix: PathBuf::new(),
            gate_owner: 0,
            gate_on_disk: false,
            has_sysfs: OnceLock::new(),
            lib_link: OnceLock::new(),
        }
    }
}

/// The directories of modprobe.d and depmod.d, highest precedence first (modprobe.d(5); `/usr/lib` since kmod 31).
const CONFIG_PARENTS: [&str; 5] = ["/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"];

impl Roots {
    /// All roots below `base`, as in a fixture tree.
    pub fn below(base: &Path) -> Self {
        Roots {
            proc_fs: base.join("proc"),
            sys_fs: base.join("sys"),
            run: base.join("run"),
            dev: base.join("dev"),
            prefix: base.to_path_buf(),
            gate_owner: nix::unistd::geteuid().as_raw(),
            gate_on_disk: true,
            ..Roots::default()
        }
    }

    pub fn sys_module_dir(&self) -> PathBuf {
        self.sys_fs.join("module")
    }

    /// `/sys/module/NAME/ATTRIBUTE`
    pub fn sys_module(&self, name: &[u8], attribute: &str) -> PathBuf {
        // With one allocation: this path is built for every module.
        let root = self.sys_fs.as_os_str().as_bytes();
        into_path([root, b"/module/", name, b"/", attribute.as_bytes()].concat())
    }

    /// `/sys/module/compression`: the compression that the kernel's own decoder takes (5.17 and later).
    pub fn kernel_compression(&self) -> PathBuf {
        self.sys_fs.join("module/compression")
    }

    pub fn proc_modules(&self) -> PathBuf {
        self.proc_fs.join("modules")
    }

    pub fn cmdline(&self) -> PathBuf {
        self.proc_fs.join("cmdline")
    }

    pub fn boot_id(&self) -> PathBuf {
        self.proc_fs.join("sys/kernel/random/boot_id")
    }

    pub fn modules_disabled(&self) -> PathBuf {
        self.proc_fs.join("sys/kernel/modules_disabled")
    }

    /// `/proc/locks`: the holders of file locks.
    pub fn locks(&self) -> PathBuf {
        self.proc_fs.join("locks")
    }

    /// `/dev/kmsg`: the kernel's log.
    pub fn kernel_log(&self) -> PathBuf {
        self.dev.join("kmsg")
    }

    pub fn process(&self, pid: i32, name: &str) -> PathBuf {
        self.proc_fs.join(pid.to_string()).join(name)
    }

    /// `/run/kmod`: holds the gate's directory, the trace, and the file that switches the trace on.
    pub fn gate_parent(&self) -> PathBuf {
        self.run.join("kmod")
    }

    /// The configuration directories called `name` (`modprobe.d`, `depmod.d`), highest precedence first.
    pub fn config_dirs(&self, name: &str) -> Vec<PathBuf> {
        CONFIG_PARENTS.iter().map(|parent| self.prefixed(parent).join(name)).collect()
    }

    /// `/var/cache/kmod-once/depmod`, below the prefix: depmod's caches, which may be deleted at any time.
    pub fn depmod_caches(&self) -> PathBuf {
        self.prefixed("/var/cache/kmod-once/depmod")
    }

    /// The module directory of `release`, below the prefix: see [`module_parent`]. The path is joined as text, so that a
    /// release that begins with `/` stays below the prefix.
    pub fn module_dir(&self, release: &[u8]) -> PathBuf {
        let prefix = self.prefix.as_os_str().as_bytes();
        let dir = |parent: &[u8]| into_path([prefix, parent, b"/", release].concat());
        let merged =
            self.lib_link().is_some_and(|target| matches!(target.to_str(), Some("usr/lib" | "/usr/lib")));
        dir(module_parent(|parent| merged || dir(parent).is_dir()))
    }

    /// The target of `/lib`, below the prefix, if it is a link. Read once.
    pub fn lib_link(&self) -> Option<&Path> {
        self.lib_link.get_or_init(|| std::fs::read_link(self.prefixed("/lib")).ok()).as_deref()
    }

    /// The absolute path `absolute` below the prefix.
    pub fn prefixed(&self, absolute: impl AsRef<OsStr>) -> PathBuf {
        let mut path = self.prefix.as_os_str().to_os_string();
        path.push(absolute);
        path.into()
    }
}

/// The parent of the module directories, below a root: the first of `/lib/modules` and `/usr/lib/modules` for which
/// `is_there` holds, else the first. `MODULEDIR` of the Makefile replaces `/lib/modules`. On most systems `/lib` is a link
/// to `/usr/lib`; some have no `/lib`.
pub(crate) fn module_parent(is_there: impl Fn(&'static [u8]) -> bool) -> &'static [u8] {
    const FIRST: &str = match option_env!("KMOD_ONCE_MODULEDIR") {
        Some(directory) => directory,
        None => "/lib/modules",
    };
    const PARENTS: [&[u8]; 2] = [FIRST.as_bytes(), b"/usr/lib/modules"];
    PARENTS.into_iter().find(|parent| is_there(parent)).unwrap_or(PARENTS[0])
}

/// Bytes as a path, without a copy.
pub(crate) fn into_path(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(bytes).into()
}

/// Bytes as a path, borrowed.
pub(crate) fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
