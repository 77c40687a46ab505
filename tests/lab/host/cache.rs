//! What the lab downloads and builds once: kernels, userlands, helper modules, module indexes.
//!
//! Packages are those of tests/common/debian.rs, in the same cache; beside them
//!
//! ```text
//! <cache>/lab/tree-<package>-<digest>/  a kernel, its modules (hard links), the helper modules, and the indexes
//! ```

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;

use super::run;
use super::series::Series;
use super::vmlinux::vmlinux;
use crate::debian::{self, module_directory};

const VMLINUX: &str = "vmlinux";

/// A helper module that is installed under another name than its own.
const RENAMED: (&str, &str) = ("lab_realname.ko", "lab-file-name.ko");

/// udev, kmod, a shell and the libraries. The libraries that kmod only loads when it meets a compressed module are not among
/// its dependencies in newer releases; an installed system always has them.
const USERLAND: [&str; 8] =
    ["udev", "kmod", "dash", "coreutils", "base-passwd", "liblzma5", "libzstd1", "zlib1g"];
/// What builds modules. The tools in the headers of a new kernel need a new C library, so that the whole comes of Debian 13.
const BUILDERS: [&str; 10] =
    ["gcc", "make", "dash", "coreutils", "sed", "grep", "mawk", "findutils", "libelf1t64", "binutils"];

/// Runs the rest of the arguments in the root directory $1, with the headers below $2 and the sources $3 in their places.
const INSIDE: &str = r#"
    root=$1 headers=$2 work=$3; shift 3
    mount --rbind /dev "$root/dev"
    # objtool looks into it.
    mount --rbind /proc "$root/proc"
    mount -t tmpfs tmp "$root/tmp"
    mount --bind "$work" "$root/mnt"
    mount --bind "$headers/usr/src" "$root/usr/src"
    for kbuild in "$headers"/usr/lib/linux-kbuild-*; do
        mkdir -p "$root/usr/lib/${kbuild##*/}"
        mount --bind "$kbuild" "$root/usr/lib/${kbuild##*/}"
    done
    exec chroot "$root" /usr/bin/env -i PATH=/usr/bin LC_ALL=C "$@""#;

/// A kernel of the lab.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Which of the lab's.
    pub series: &'static Series,
    /// `uname -r` of it.
    pub release: String,
    /// Holds `vmlinux`, and `lib/modules/<release>` with all modules, the helper modules in `updates/`, and the indexes.
    pub tree: PathBuf,
}

impl Kernel {
    /// What QEMU starts.
    pub fn vmlinux(&self) -> PathBuf {
        self.tree.join(VMLINUX)
    }
}

/// Everything that is downloaded and built once.
pub struct Cache {
    debian: debian::Cache,
}

impl Cache {
    /// The tests' cache.
    pub fn open() -> Result<Self> {
        let debian = debian::Cache::open()?;
        fs::create_dir_all(debian.path("lab"))?;
        Ok(Self { debian })
    }

    /// Keeps a second lab away while things are downloaded and unpacked.
    pub fn lock(&self) -> Result<Flock<File>> {
        let file = File::create(self.debian.path("lab/.lock"))?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e.into())
    }

    /// udev, kmod, a shell and the libraries of one Debian release. If sid's cannot be had, trixie's: what changes every day
    /// is broken on some.
    pub fn userland(&self, suite: &str) -> Result<PathBuf> {
        let root = match self.debian.closure(&format!("lab-{suite}"), suite, &USERLAND) {
            Err(error) if suite == "sid" => {
                eprintln!("!! WITHOUT SID'S USERLAND, with trixie's: {error}");
                return self.userland("trixie");
            }
            root => root?,
        };
        // What the packages' scripts would have done.
        for file in ["passwd", "group"] {
            let master = root.join(format!("usr/share/base-passwd/{file}.master"));
            fs::copy(&master, root.join("etc").join(file))
                .with_context(|| format!("{}", master.display()))?;
        }
        links(&root, &[("sh", "dash")])?;
        Ok(root)
    }

    /// Debian 13's busybox, which needs no libraries.
    pub fn busybox(&self) -> Result<PathBuf> {
        Ok(self.debian.closure("lab-busybox", "trixie", &["busybox-static"])?.join("usr/bin/busybox"))
    }

    /// The kernel of a series, ready to boot.
    pub fn kernel(&self, series: &'static Series) -> Result<Kernel> {
        let (start, end) = series.packages;
        let (image, package) = self.debian.kernel(start, end)?;
        let (release, modules) = module_directory(&image)?;
        let tree = self.tree(&package, &release, &modules)?;
        Ok(Kernel { series, release, tree })
    }

    /// The kernel, and the module tree with helper modules and indexes.
    fn tree(&self, package: &str, release: &str, image: &Path) -> Result<PathBuf> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/modules");
        let digest = digest(&source)?;
        let tree = self.debian.path(&format!("lab/tree-{package}-{digest:016x}"));
        if tree.join(".complete").exists() {
            return Ok(tree);
        }
        let modules = tree.join("lib/modules");
        if tree.exists() {
            fs::remove_dir_all(&tree)?;
        }
        fs::create_dir_all(&modules)?;
        // Hard links: the kernel's 4000 modules are stored once.
        run(Command::new("cp").arg("-al").arg(image).arg(&modules))?;
        self.build_helpers(release, &source, &modules.join(release).join("updates"))?;
        self.depmod(&tree, release)?;
        super::alt::build(self, &tree, release)?;
        let vmlinuz = self.debian.vmlinuz(package)?;
        let kernel = vmlinux(&fs::read(&vmlinuz)?).with_context(|| format!("{}", vmlinuz.display()))?;
        fs::write(tree.join(VMLINUX), kernel)?;
        fs::write(tree.join(".complete"), "")?;
        Ok(tree)
    }

    /// Runs the depmod of Debian 13 on `base/lib/modules/<release>`.
    pub fn depmod(&self, base: &Path, release: &str) -> Result<()> {
        let root = self.userland("trixie")?;
        run(Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"))
            .args(["--argv0", "depmod", "--library-path"])
            .arg(root.join("usr/lib/x86_64-linux-gnu"))
            .arg(root.join("usr/bin/kmod"))
            .arg("-b")
            .arg(base)
            .arg(release))?;
        Ok(())
    }

    /// Builds the helper modules against the kernel's headers with Debian 13's compiler, in its own root directory.
    fn build_helpers(&self, release: &str, source: &Path, to: &Path) -> Result<()> {
        let headers = self.debian.headers(release)?;
        let root = self.debian.closure("lab-builders", "trixie", &BUILDERS)?;
        links(&root, &[("sh", "dash"), ("awk", "mawk")])?;
        for dir in ["dev", "proc", "tmp", "mnt", "usr/src"] {
            fs::create_dir_all(root.join(dir))?;
        }
        let work = self.debian.path(&format!("lab/.build-{}", std::process::id()));
        fs::create_dir_all(&work)?;
        for item in fs::read_dir(source)? {
            let path = item?.path();
            fs::copy(&path, work.join(path.file_name().unwrap_or_default()))?;
        }
        eprintln!("lab: building the helper modules for {release}");
        let mut inside = Command::new("unshare");
        inside.args(["--mount", "--propagation", "private"]);
        if !geteuid().is_root() {
            inside.arg("--map-root-user");
        }
        inside.args(["sh", "-ec", INSIDE, "sh"]).args([&root, &headers, &work]);
        // Without type information for BPF: it would need pahole.
        inside.args(["make", "-s", "-j2", "-C", &format!("/usr/src/linux-headers-{release}"), "M=/mnt"]);
        run(inside.args(["CONFIG_DEBUG_INFO_BTF_MODULES=", "CC=gcc", "CROSS_COMPILE=", "modules"]))?;
        fs::create_dir_all(to)?;
        for item in fs::read_dir(&work)? {
            let path = item?.path();
            if path.extension().is_some_and(|e| e == "ko") {
                let name = path.file_name().unwrap_or_default();
                let at = to.join(if name == RENAMED.0 { RENAMED.1.as_ref() } else { name });
                run(Command::new("strip").arg("-g").arg("-o").arg(&at).arg(&path))?;
            }
        }
        fs::remove_dir_all(&work)?;
        Ok(())
    }
}

/// Links that packages' scripts would have made in an unpacked root directory.
fn links(root: &Path, links: &[(&str, &str)]) -> Result<()> {
    for (name, to) in links.iter().filter(|(name, _)| !root.join("usr/bin").join(name).exists()) {
        std::os::unix::fs::symlink(to, root.join("usr/bin").join(name))?;
    }
    Ok(())
}

/// A number that changes when a helper module's source, or the way the tree is made, changes.
fn digest(source: &Path) -> Result<u64> {
    let mut files: Vec<_> =
        fs::read_dir(source)?.collect::<Result<Vec<_>, _>>()?.into_iter().map(|d| d.path()).collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    (include_str!("cache.rs"), include_str!("alt.rs"), include_str!("vmlinux.rs")).hash(&mut hasher);
    for file in files {
        fs::read(&file)?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}
