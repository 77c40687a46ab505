//! What the lab downloads and builds once: kernels, userlands, helper modules, module indexes.
//!
//! ```text
//! <cache>/kernels/<package>/            a linux-image package, unpacked
//! <cache>/debs/                         the packages of kernels and headers
//! <cache>/headers/<package>/            linux-headers with its common and kbuild parts, unpacked
//! <cache>/userland/lab-<suite>/         udev and kmod of one Debian release, with what they need
//! <cache>/lab/apt/                      the private apt
//! <cache>/lab/choice-<series>           the name of the kernel package that was chosen
//! <cache>/lab/tree-<package>-<digest>/  its modules (hard links), the helper modules, and the indexes
//! ```
//!
//! The cache is outside the checkout, and a second run needs no network.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use super::apt::{self, Apt};
use super::run;

/// A helper module that is installed under another name than its own.
const RENAMED: (&str, &str) = ("lab_realname.ko", "lab-file-name.ko");

/// A kernel of the lab.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// `6.1` or `6.12`.
    pub series: &'static str,
    /// `uname -r` of it.
    pub release: String,
    /// The bootable image.
    pub vmlinuz: PathBuf,
    /// Holds `lib/modules/<release>` with all modules, the helper modules in `updates/`, and the indexes.
    pub tree: PathBuf,
}

/// Everything that is downloaded and built once.
pub struct Cache {
    root: PathBuf,
    apt: Apt,
}

/// Debian's packages for a series: what stands before and after the number that changes.
fn package_patterns(series: &str) -> &'static [(&'static str, &'static str)] {
    match series {
        "6.1" => &[("linux-image-6.1.0-", "-amd64-unsigned")],
        _ => {
            &[("linux-image-6.12.", "+deb12-amd64-unsigned"), ("linux-image-6.12.", "+deb13-amd64-unsigned")]
        }
    }
}

impl Cache {
    /// The cache named by `KMOD_ONCE_CACHE`, else `kmod-once` in the user's cache directory.
    pub fn open() -> Result<Self> {
        let var = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let root = var("KMOD_ONCE_CACHE")
            .or_else(|| var("XDG_CACHE_HOME").map(|d| d.join("kmod-once")))
            .or_else(|| var("HOME").map(|d| d.join(".cache/kmod-once")))
            .context("neither KMOD_ONCE_CACHE, XDG_CACHE_HOME nor HOME is set")?;
        for sub in ["kernels", "debs", "headers", "userland", "lab"] {
            fs::create_dir_all(root.join(sub)).with_context(|| format!("{}", root.display()))?;
        }
        let apt = Apt::new(&root.join("lab/apt"))?;
        Ok(Self { root, apt })
    }

    /// Keeps a second lab away while things are downloaded and unpacked.
    pub fn lock(&self) -> Result<Flock<File>> {
        let file = File::create(self.root.join("lab/.lock"))?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e.into())
    }

    /// The package of a series: the newest one at the first look, remembered from then on.
    fn choose(&self, series: &str) -> Result<String> {
        let choice = self.root.join(format!("lab/choice-{series}"));
        if let Ok(name) = fs::read_to_string(&choice) {
            if self.root.join("kernels").join(name.trim()).join(".complete").exists() {
                return Ok(name.trim().to_owned());
            }
        }
        for (before, after) in package_patterns(series) {
            let number = |n: &String| n.strip_prefix(before)?.strip_suffix(after)?.parse::<u32>().ok();
            let newest = self.apt.names(before)?.into_iter().filter_map(|n| Some((number(&n)?, n))).max();
            if let Some((_, name)) = newest {
                fs::write(&choice, &name)?;
                return Ok(name);
            }
        }
        bail!(
            "no package of linux {series} among {:?}: is a Debian archive reachable?",
            package_patterns(series)
        )
    }

    /// Downloads and unpacks one package below `kernels/`.
    fn package(&self, package: &str) -> Result<PathBuf> {
        let to = self.root.join("kernels").join(package);
        if !to.join(".complete").exists() {
            let deb = self.apt.download(package, &self.root.join("debs"))?;
            apt::unpack(&[deb], &to, false)?;
        }
        Ok(to)
    }

    /// udev, kmod, a shell and the libraries of one Debian release (`bookworm` or `trixie`).
    ///
    /// The libraries that kmod only loads when it meets a compressed module are not among its dependencies in newer
    /// releases; an installed system always has them.
    pub fn userland(&self, suite: &str) -> Result<PathBuf> {
        let to = self.root.join(format!("userland/lab-{suite}"));
        if !to.join(".complete").exists() {
            let packages =
                ["udev", "kmod", "dash", "coreutils", "base-passwd", "liblzma5", "libzstd1", "zlib1g"];
            let debs = self.apt.closure(suite, &packages, &self.root.join(format!("lab/debs-{suite}")))?;
            apt::unpack(&debs, &to, true)?;
            // What the packages' scripts would have done.
            for file in ["passwd", "group"] {
                fs::copy(
                    to.join(format!("usr/share/base-passwd/{file}.master")),
                    to.join(format!("etc/{file}")),
                )?;
            }
            if !to.join("usr/bin/sh").exists() {
                symlink("dash", to.join("usr/bin/sh"))?;
            }
        }
        Ok(to)
    }

    /// The kernel of a series, ready to boot.
    pub fn kernel(&self, series: &'static str) -> Result<Kernel> {
        let package = self.choose(series)?;
        let image = self.package(&package)?;
        let release = package
            .strip_prefix("linux-image-")
            .and_then(|p| p.strip_suffix("-unsigned"))
            .with_context(|| format!("{package}: not a kernel image's name"))?
            .to_owned();
        let tree = self.tree(&package, &release, &image)?;
        let vmlinuz = image.join(format!("boot/vmlinuz-{release}"));
        Ok(Kernel { series, release, vmlinuz, tree })
    }

    /// The module tree with helper modules and indexes.
    fn tree(&self, package: &str, release: &str, image: &Path) -> Result<PathBuf> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/modules");
        let digest = digest(&source)?;
        let tree = self.root.join(format!("lab/tree-{package}-{digest:016x}"));
        if tree.join(".complete").exists() {
            return Ok(tree);
        }
        let modules = format!("lib/modules/{release}");
        if tree.exists() {
            fs::remove_dir_all(&tree)?;
        }
        fs::create_dir_all(tree.join("lib/modules"))?;
        // Hard links: the kernel's 4000 modules are stored once.
        run(Command::new("cp").arg("-al").arg(image.join(&modules)).arg(tree.join("lib/modules/")))?;
        self.build_helpers(release, &source, &tree.join(&modules).join("updates"))?;
        self.depmod(&tree, release)?;
        super::alt::build(self, &tree, release)?;
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

    /// Builds the helper modules against the kernel's headers with the host's gcc.
    fn build_helpers(&self, release: &str, source: &Path, to: &Path) -> Result<()> {
        let package = format!("linux-headers-{release}");
        let headers = self.root.join("headers").join(&package);
        let build = headers.join("usr/src").join(&package);
        if !headers.join(".complete").exists() {
            let mut names = self.apt.depends(&package)?;
            names.retain(|n| {
                n.starts_with("linux-kbuild-") || (n.starts_with("linux-headers-") && n.ends_with("-common"))
            });
            names.push(package.clone());
            let debs = names
                .iter()
                .map(|n| self.apt.download(n, &self.root.join("debs")))
                .collect::<Result<Vec<_>>>()?;
            apt::unpack(&debs, &headers, false)?;
        }
        // The package expects to be installed: its Makefile includes another one by its absolute path.
        let makefile = build.join("Makefile");
        let text = fs::read_to_string(&makefile).with_context(|| format!("{}", makefile.display()))?;
        let here = format!("include {}/usr/src/", headers.display());
        if !text.contains(&here) {
            fs::write(&makefile, text.replace("include /usr/src/", &here))?;
        }
        let work = self.root.join(format!("lab/.build-{}", std::process::id()));
        fs::create_dir_all(&work)?;
        for item in fs::read_dir(source)? {
            let path = item?.path();
            fs::copy(&path, work.join(path.file_name().unwrap_or_default()))?;
        }
        eprintln!("lab: building the helper modules for {release}");
        // Without type information for BPF: it would need pahole.
        run(Command::new("make")
            .arg("-s")
            .arg("-C")
            .arg(&build)
            .arg(format!("M={}", work.display()))
            .args(["CONFIG_DEBUG_INFO_BTF_MODULES=", "CC=gcc", "CROSS_COMPILE=", "modules"]))?;
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

/// A number that changes when a helper module's source, or the way the tree is made, changes.
fn digest(source: &Path) -> Result<u64> {
    let mut files: Vec<_> =
        fs::read_dir(source)?.collect::<Result<Vec<_>, _>>()?.into_iter().map(|d| d.path()).collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    (include_str!("cache.rs"), include_str!("alt.rs")).hash(&mut hasher);
    for file in files {
        fs::read(&file)?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}
