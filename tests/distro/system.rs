//! The systems that are booted: a Debian release as debootstrap makes it, with a kernel's modules in it.
//!
//! ```text
//! <cache>/distro/<suite>-<digest>/    what debootstrap made; the digest is that of the list of packages
//! ```

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::debian::Cache;

/// A Debian release with a kernel.
pub struct System {
    /// The test's name.
    pub name: &'static str,
    /// `bookworm` or `trixie`.
    pub suite: &'static str,
    /// How the kernel's package begins.
    pub kernel: &'static str,
    /// What is in it beside debootstrap's minimal system.
    pub packages: &'static str,
    /// Whether it is left out unless everything is asked for.
    pub only_in_full: bool,
}

const fn system(name: &'static str, suite: &'static str, kernel: &'static str, only_in_full: bool) -> System {
    System { name, suite, kernel, packages: PACKAGES, only_in_full }
}

const LINUX_6_1: &str = "linux-image-6.1.0-";
const LINUX_6_12: &str = "linux-image-6.12.";

/// All systems.
pub const SYSTEMS: &[System] = &[
    system("debian-12-linux-6.1", "bookworm", LINUX_6_1, true),
    system("debian-13-linux-6.12", "trixie", LINUX_6_12, false),
    system("debian-12-linux-6.12", "bookworm", LINUX_6_12, true),
    system("debian-13-linux-6.1", "trixie", LINUX_6_1, true),
];

/// Beside debootstrap's minimal system: an init, udev, both builders of an initramfs and what they call; dkms and what
/// compiles for it. iproute2 brings libelf, which the kernel's own build tools are linked to, by whichever name a release
/// has it.
const PACKAGES: &str = "systemd,systemd-sysv,udev,kmod,dbus,initramfs-tools,dracut-core,zstd,xz-utils,cpio,e2fsprogs,xfsprogs,pciutils,\
    dkms,gcc,libc6-dev,make,iproute2";

/// What is booted confined: one builder of an initramfs, no dkms; and the policies.
const CONFINED: &str = "systemd,systemd-sysv,udev,kmod,dbus,initramfs-tools,zstd,xz-utils,cpio,e2fsprogs,xfsprogs,pciutils,\
    selinux-policy-default,policycoreutils,selinux-utils,apparmor";

/// The system that SELinux confines.
pub const SELINUX: System =
    System { packages: CONFINED, ..system("debian-13-selinux", "trixie", LINUX_6_12, false) };

/// The same, which AppArmor confines.
pub const APPARMOR: System =
    System { packages: CONFINED, ..system("debian-13-apparmor", "trixie", LINUX_6_12, true) };

/// What is wanted of the host, in the words of the one who has to get it.
///
/// # Errors
/// What is missing.
pub fn can_run() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the systems are made in chroots: be root");
    }
    for program in ["debootstrap", "mkfs.ext4", "mkfs.xfs", "qemu-system-x86_64", "unshare"] {
        let found = std::env::var_os("PATH").is_some_and(|path| {
            let mut dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
            dirs.any(|dir| dir.join(program).exists())
        });
        if !found {
            bail!("no {program}: tests/lab/tools.sh installs it");
        }
    }
    for file in [crate::check::ours()?, crate::check::our_library()?] {
        std::fs::metadata(&file).with_context(|| format!("{}, which make builds", file.display()))?;
    }
    Ok(())
}

/// The minimal system of a suite with these packages, from the cache or made now.
///
/// # Errors
/// What debootstrap said.
pub fn base(cache: &Cache, suite: &str, packages: &str) -> Result<PathBuf> {
    // Two systems of one suite may begin at once.
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut hasher = DefaultHasher::new();
    packages.hash(&mut hasher);
    let to = cache.path(&format!("distro/{suite}-{:016x}", hasher.finish()));
    if to.exists() {
        return Ok(to);
    }
    let parent = to.parent().context("a directory of the cache")?;
    fs::create_dir_all(parent)?;
    let beside = parent.join(format!(".{suite}-{:016x}-{}", hasher.finish(), std::process::id()));
    eprintln!("distro: making a {suite} with debootstrap");
    let mut command = Command::new("debootstrap");
    command.arg("--variant=minbase").arg(format!("--include={packages}")).arg(suite).arg(&beside);
    run(command.arg(mirror()))?;
    let _ = fs::remove_dir_all(beside.join("var/cache/apt/archives"));
    let _ = fs::remove_dir_all(beside.join("var/lib/apt/lists"));
    fs::rename(&beside, &to)?;
    Ok(to)
}

/// The archive that the host's own apt uses, or Debian's.
fn mirror() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(dir) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(dir.flatten().map(|entry| entry.path()));
    }
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    let words = texts.flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let archive = |word: &String| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian");
    words.into_iter().find(archive).unwrap_or_else(|| "http://deb.debian.org/debian".to_owned())
}

/// A copy of `from`; file contents are shared until one side changes where the file system can do that.
///
/// # Errors
/// What cp said.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(to)).map(drop)
}

/// Runs a command in a root directory, with /proc, /sys and /dev, which are gone again when it ends, however it ends.
///
/// # Errors
/// It failed; with what it wrote.
pub fn inside(root: &Path, words: &[&str]) -> Result<String> {
    const SCRIPT: &str = "mount -t proc proc \"$0/proc\" && mount -t sysfs sys \"$0/sys\" && \
        mount --bind /dev \"$0/dev\" && mount -t tmpfs tmp \"$0/run\" && exec chroot \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT]).arg(root).args(words);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut command)
}

/// Runs a command to its end; what it wrote to standard output.
///
/// # Errors
/// It failed; with what it wrote to both.
pub fn run(command: &mut Command) -> Result<String> {
    let name = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| name.clone())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        let said = text(&output.stdout) + &text(&output.stderr);
        let tail: Vec<&str> = said.lines().rev().take(30).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!("{name}: {}\n{}", output.status, tail.join("\n"));
    }
    Ok(text(&output.stdout))
}
