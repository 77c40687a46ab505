//! The initramfs images of a kernel.
//!
//! - *small*: our init, the tools under test, and the modules that the scenarios load. Boots in seconds. With some hundred
//!   modules more it is *modules*, with our library and a program that uses it *library*.
//! - *full*: a Debian userland with its udev and rules, and the kernel's modules. For coldplug.
//!
//! In both, `/tools/<tool>/` holds `kmod` and the links to it (`modprobe`, `rmmod`, ...) of each tool under test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use super::cache::{Cache, Kernel};
use super::cpio::Image;
use super::run;
use crate::scenarios;
use crate::tool::Tool;

const APPLETS: [&str; 6] = ["modprobe", "insmod", "rmmod", "lsmod", "modinfo", "depmod"];

/// Libraries that Debian's kmod and dash need, by the start of the file name.
const LIBRARIES: [&str; 8] =
    ["libc.so", "libm.so", "liblzma.so", "libzstd.so", "libz.so", "libcrypto.so", "libkmod.so", "libdl.so"];

/// Drivers that a full image does without, which are a third of all bytes: of hardware that QEMU does not emulate. The indexes
/// have them.
const ABSENT: [&str; 14] = [
    "kernel/drivers/gpu/drm/amd",
    "kernel/drivers/gpu/drm/i915",
    "kernel/drivers/gpu/drm/nouveau",
    "kernel/drivers/gpu/drm/radeon",
    "kernel/drivers/iio",
    "kernel/drivers/infiniband",
    "kernel/drivers/media/dvb-frontends",
    "kernel/drivers/media/i2c",
    "kernel/drivers/media/pci",
    "kernel/drivers/media/tuners",
    "kernel/drivers/media/usb",
    "kernel/drivers/net/ethernet/mellanox",
    "kernel/drivers/net/wireless",
    "kernel/sound/soc",
];

/// Where an image is made, and from what.
pub struct Builder<'a> {
    /// Downloads.
    pub cache: &'a Cache,
    /// Our `kmod`.
    pub ours: PathBuf,
    /// The directory for images.
    pub out: PathBuf,
}

impl Builder<'_> {
    /// This very program without its debugging information: the init of every image.
    fn init(&self) -> Result<PathBuf> {
        if !cfg!(target_feature = "crt-static") {
            bail!("this program becomes the guest's init, and must be static for that: eval \"$(make env)\"");
        }
        let to = self.out.join("init");
        run(Command::new("strip").arg("-o").arg(&to).arg(std::env::current_exe()?))?;
        Ok(to)
    }

    fn common(&self, image: &mut Image) -> Result<()> {
        image.file(Path::new("init"), &self.init()?)?;
        for dir in ["proc", "sys", "dev", "run", "tmp", "trace", "var", "root"] {
            image.dir(Path::new(dir), 0o755);
        }
        for tool in Tool::ALL {
            let dir = format!("tools/{}", tool.name());
            let kmod = match tool.suite() {
                _ if tool == Tool::Busybox => self.cache.busybox()?,
                Some(suite) => self.cache.userland(suite)?.join("usr/bin/kmod"),
                None => self.ours.clone(),
            };
            image.file(&Path::new(&dir).join("kmod"), &kmod)?;
            for applet in APPLETS {
                image.link(&format!("{dir}/{applet}"), "kmod");
            }
        }
        Ok(())
    }

    /// Our library, and `client`, a program linked to it (tests/lab/library.c).
    fn library(&self, image: &mut Image) -> Result<()> {
        let library = crate::library::library().map_err(|what| anyhow!("{what}"))?;
        let client = self.out.join("client");
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut cc = Command::new("gcc");
        cc.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-Wl,-rpath,/lab", "-o"]);
        cc.arg(&client).arg("-I").arg(here.join("dist/library")).arg(here.join("tests/lab/library.c"));
        run(cc.arg(&library))?;
        image.file(Path::new("lab/libkmod.so.2"), &library)?;
        image.file(Path::new("lab/client"), &client)
    }

    /// A small image of a kernel, with what its kind has more than the small one.
    pub fn small(&self, kernel: &Kernel, kind: scenarios::Image) -> Result<PathBuf> {
        let mut image = Image::new();
        self.common(&mut image)?;
        if kind == scenarios::Image::Library {
            self.library(&mut image)?;
        }
        // The newer release's libraries serve both kmods: they are compatible backwards.
        let root = self.cache.userland("trixie")?;
        let lib = Path::new("usr/lib/x86_64-linux-gnu");
        image
            .tree(lib, &root.join(lib), &|p| LIBRARIES.iter().any(|l| p.to_string_lossy().starts_with(l)))?;
        image.file(Path::new("lib64/ld-linux-x86-64.so.2"), &root.join("usr/lib64/ld-linux-x86-64.so.2"))?;
        image.file(Path::new("bin/sh"), &root.join("usr/bin/dash"))?;
        let modules = PathBuf::from("usr/lib/modules").join(&kernel.release);
        let from = kernel.tree.join("lib/modules").join(&kernel.release);
        let mut wanted = closure(&from, scenarios::modules())?;
        if kind == scenarios::Image::Modules {
            wanted.extend(chosen(&from)?);
        }
        image.tree(&modules, &from, &|path| {
            let Ok(below) = path.strip_prefix("kernel") else {
                return path != Path::new("build") && path != Path::new("source");
            };
            below.extension().is_none()
                || wanted.contains(path)
                // What the kernel itself asks for while these load (crypto-crc32c and the like).
                || below.starts_with("crypto")
                || below.starts_with("arch/x86/crypto")
        })?;
        image.tree(Path::new("alt"), &kernel.tree.join("alt"), &|_| true)?;
        let to = self.out.join(format!("{kind:?}-{}.cpio", kernel.series.name).to_lowercase());
        image.write(&to)?;
        Ok(to)
    }

    /// The full image of a kernel with one Debian release's userland.
    pub fn full(&self, kernel: &Kernel, suite: &str) -> Result<PathBuf> {
        let mut image = Image::new();
        let root = self.cache.userland(suite)?;
        image.tree(Path::new(""), &root, &|path| {
            let path = path.to_string_lossy();
            ![
                "usr/share/doc",
                "usr/share/man",
                "usr/share/locale",
                "usr/share/info",
                "usr/lib/x86_64-linux-gnu/gconv",
                "usr/share/perl",
                "usr/lib/x86_64-linux-gnu/perl",
            ]
            .iter()
            .any(|p| path.starts_with(p))
        })?;
        self.common(&mut image)?;
        let modules = PathBuf::from("usr/lib/modules").join(&kernel.release);
        let from = kernel.tree.join("lib/modules").join(&kernel.release);
        image.tree(&modules, &from, &|path| {
            !["build", "source"].map(Path::new).contains(&path)
                && !ABSENT.iter().any(|dir| path.starts_with(dir))
        })?;
        let rule = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/udev/80-drivers.rules");
        image.file(Path::new("lab/80-drivers.rules"), &rule)?;
        self.library(&mut image)?;
        let to = self.out.join(format!("full-{}-{suite}.cpio", kernel.series.name));
        image.write(&to)?;
        Ok(to)
    }
}

/// The files of the modules that go through all tools, and of everything they depend on.
fn chosen(modules: &Path) -> Result<BTreeSet<PathBuf>> {
    let path = modules.join("modules.dep");
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let chosen = lines.filter(|(file, _)| scenarios::drop_in::chosen(file));
    Ok(chosen
        .flat_map(|(file, needs)| std::iter::once(file).chain(needs.split_whitespace()))
        .map(PathBuf::from)
        .collect())
}

/// The files (relative to the module directory) of `names` and of everything they depend on.
fn closure(modules: &Path, names: Vec<&str>) -> Result<BTreeSet<PathBuf>> {
    let path = modules.join("modules.dep");
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let mut files = BTreeSet::new();
    for name in names {
        let found = text
            .lines()
            .filter_map(|l| l.split_once(": ").or_else(|| l.strip_suffix(':').map(|f| (f, ""))))
            .find(|(file, _)| {
                let base = file.rsplit('/').next().unwrap_or_default();
                base.split(".ko").next().is_some_and(|stem| stem.replace('-', "_") == name)
            });
        let (file, needs) = found.with_context(|| format!("{}: no module {name}", path.display()))?;
        files.insert(PathBuf::from(file));
        files.extend(needs.split_whitespace().map(PathBuf::from));
    }
    Ok(files)
}
