//! The stages of one system, and what must hold in each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::boot::{self, Report, Start};
use crate::check::{check, finds_nothing, is_ours, our_library, ours, serves_udev};
use crate::debian::Cache;
use crate::dkms;
use crate::picture;
use crate::system::{System, base, copy, inside, run};

/// A system on its way through the stages.
pub struct Machine {
    system: &'static System,
    dir: PathBuf,
}

/// The builders of an initramfs, and the name under /boot of what each makes.
const BUILDERS: [(&str, &str); 2] = [("initramfs-tools", "initrd-tools"), ("dracut", "initrd-dracut")];

impl Machine {
    /// A system that nothing was done with.
    pub fn new(system: &'static System) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("distro-{}", system.name));
        Machine { system, dir }
    }

    /// Its root directory.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Where its disks and consoles go.
    pub fn work(&self) -> PathBuf {
        self.dir.join("boot")
    }

    /// The system as it comes. The kernel's image.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn begin(&self, cache: &Cache) -> Result<PathBuf> {
        let _ = fs::remove_dir_all(&self.dir);
        fs::create_dir_all(&self.dir)?;
        self.install(cache)
    }

    /// Deletes it.
    ///
    /// # Errors
    /// It cannot be deleted.
    pub fn end(&self) -> Result<()> {
        Ok(fs::remove_dir_all(&self.dir)?)
    }

    /// All stages.
    pub fn run(&mut self) -> Result<()> {
        let full = std::env::var_os("KMOD_ONCE_FULL").is_some();
        let cache = Cache::open()?;
        let kernel = self.begin(&cache)?;
        dkms::headers(&cache, &self.root(), &self.release()?)?;
        let before = manifest(&self.root())?;

        self.build("stock")?;
        // The modules that are there in the end do not depend on the builder, but for what the image of one loads early.
        let stock = self.boot_each("stock", &kernel)?;
        for report in &stock {
            check(&self.named("stock"), report, report)?;
        }

        self.add_packages()?;
        self.build("ours")?;
        self.image_holds_ours()?;
        dkms::install(&self.root(), &self.release()?, &ours()?)?;
        for ((report, stock), (builder, _)) in
            self.boot_each("ours", &kernel)?.iter().zip(&stock).zip(BUILDERS)
        {
            check(&self.named("ours"), report, stock)?;
            is_ours(report)?;
            serves_udev(report, stock)?;
            finds_nothing(report)?;
            picture::check(report, builder)?;
            dkms::check(report)?;
        }
        dkms::remove(&self.root(), &self.release()?)?;

        let line = "dpkg --purge kmod-once libkmod2-once && rm /tmp/*.deb";
        inside(&self.root(), &["sh", "-c", line])?;
        let changed: Vec<String> = differences(&before, &manifest(&self.root())?);
        if !changed.is_empty() {
            bail!("{}: not as before: {changed:#?}", self.system.name);
        }
        println!("distro: {}: {} files and links are as before", self.named("back"), before.len());
        if full {
            self.build("back")?;
            for (report, stock) in self.boot_each("back", &kernel)?.iter().zip(&stock) {
                check(&self.named("back"), report, stock)?;
            }
        }
        self.end()
    }

    /// Makes our packages and installs them over the distribution's kmod and libkmod2.
    ///
    /// # Errors
    /// They cannot be made or installed, or what is there is not ours.
    pub fn add_packages(&self) -> Result<()> {
        let packages = self.dir.join("packages");
        let mut command = Command::new("make");
        command.arg("-C").arg(env!("CARGO_MANIFEST_DIR")).arg("deb");
        // Not stripped, so that what is installed can be compared.
        run(command.arg(format!("PACKAGES={}", packages.display())).arg("STRIP=true"))?;
        let is_deb = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
        let files = fs::read_dir(&packages)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        for file in files.filter(is_deb) {
            fs::copy(&file, self.root().join("tmp").join(file.file_name().unwrap_or_default()))?;
        }
        inside(&self.root(), &["sh", "-c", "dpkg --install /tmp/*.deb"])?;
        // Theirs, unchanged, and ours from now on: what builds dracut's image, and what lists devices.
        for program in ["/usr/lib/dracut/dracut-install", "/usr/bin/lspci"] {
            let script =
                format!("realpath $(ldd {program} | sed -n 's/.*libkmod.so.2 => \\([^ ]*\\).*/\\1/p')");
            let library = inside(&self.root(), &["sh", "-c", &script])?;
            if fs::read(self.root().join(library.trim().trim_start_matches('/')))?
                != fs::read(our_library()?)?
            {
                bail!("{}: {program} is not linked to our library: {library}", self.system.name);
            }
        }
        let audit = inside(&self.root(), &["dpkg", "--audit"])?;
        if !audit.is_empty() {
            bail!("{}: dpkg --audit: {audit}", self.system.name);
        }
        Ok(())
    }

    /// Whether our program is in both images, and theirs in neither; and our library, where there is one.
    fn image_holds_ours(&self) -> Result<()> {
        let (program, library) = (fs::read(ours()?)?, fs::read(our_library()?)?);
        for (builder, image) in BUILDERS {
            let script = format!("rm -rf /tmp/image && unmkinitramfs /boot/{image} /tmp/image");
            inside(&self.root(), &["sh", "-c", &script])?;
            let unpacked = self.root().join("tmp/image");
            let named = ["(", "-name", "kmod", "-type", "f", ")", "-o", "-name", "libkmod.so.2"];
            let found = run(Command::new("find").arg(&unpacked).args(named))?;
            let (mut programs, mut libraries) = (0, 0);
            for path in found.lines().map(Path::new) {
                if path.file_name().is_some_and(|name| name == "kmod") {
                    // initramfs-tools keeps scripts of this name elsewhere.
                    if path.parent().is_some_and(|dir| dir.ends_with("bin")) {
                        programs += 1;
                        if fs::read(path)? != program {
                            bail!("{builder}: {} is not ours", path.display());
                        }
                    }
                } else if fs::read(path)? == library {
                    libraries += 1;
                } else {
                    bail!("{builder}: {} is not ours", path.display());
                }
            }
            if programs == 0 {
                bail!("{builder}: no program of ours in\n{found}");
            }
            println!("distro: {}: {builder}: our program, {libraries} of our library", self.named("ours"));
            fs::remove_dir_all(unpacked)?;
        }
        Ok(())
    }

    /// How a stage of it is called.
    pub fn named(&self, stage: &str) -> String {
        format!("{} {stage}", self.system.name)
    }

    /// The plain system with the kernel's modules, and what reports. The kernel's image.
    fn install(&self, cache: &Cache) -> Result<PathBuf> {
        let root = self.root();
        copy(&base(cache, self.system.suite, self.system.packages)?, &root)?;
        let (package, _) = cache.kernel(self.system.kernel, "-amd64-unsigned")?;
        let mut kernel = None;
        for entry in fs::read_dir(package.join("boot"))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("vmlinuz-") {
                kernel = Some(path.clone());
            }
            fs::copy(&path, root.join("boot").join(&name))?;
        }
        let below = ["lib/modules", "usr/lib/modules"].into_iter().find(|dir| package.join(dir).is_dir());
        let modules = package.join(below.context("a kernel has modules")?);
        fs::create_dir_all(root.join("usr/lib/modules"))?;
        run(Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .arg(modules.join("."))
            .arg(root.join("usr/lib/modules")))?;
        boot::prepare(&root)?;
        kernel.context("a kernel package has a kernel")
    }

    /// The version of its kernel.
    ///
    /// # Errors
    /// It has no modules.
    pub fn release(&self) -> Result<String> {
        let mut names = fs::read_dir(self.root().join("usr/lib/modules"))?;
        let name = names.next().context("a module directory")??.file_name();
        Ok(name.to_string_lossy().into_owned())
    }

    /// The indexes and both initramfs images, by the tools that are in place.
    fn build(&self, stage: &str) -> Result<()> {
        let (root, release) = (self.root(), self.release()?);
        println!("distro: {}: depmod, initramfs-tools, dracut", self.named(stage));
        inside(&root, &["depmod", &release])?;
        inside(&root, &["mkinitramfs", "-o", "/boot/initrd-tools", &release])?;
        // Not stripped once more, so that what is in it can be compared.
        let how =
            ["dracut", "--force", "--no-hostonly", "--nostrip", "--kver", &release, "/boot/initrd-dracut"];
        inside(&root, &how)?;
        Ok(())
    }

    /// Boots from the image of each builder.
    fn boot_each(&self, stage: &str, kernel: &Path) -> Result<Vec<Report>> {
        let boot = |&(builder, image): &(&str, &str)| {
            let what = format!("{} {builder}", self.named(stage));
            let start = Start { kernel, initrd: image, parameters: "" };
            boot::boot(&self.root(), &start, &self.work(), &what)
        };
        BUILDERS.iter().map(boot).collect()
    }
}

/// What is in a root directory: path, kind, mode and content of everything that a package could have put there.
///
/// # Errors
/// It cannot be read, or is no system.
pub fn manifest(root: &Path) -> Result<Vec<String>> {
    const SCRIPT: &str = "cd \"$0\" && find . -xdev \\( -path ./boot -o -path ./proc -o -path ./sys -o -path ./dev -o -path ./run \
        -o -path ./tmp -o -path ./var/log -o -path ./var/cache -o -path ./var/lib/dpkg -o -path ./etc/ld.so.cache \
        -o -path ./var/tmp -o -path ./var/lib/dkms -o -path ./usr/lib/modules \\) -prune \
        -o -type f -printf '%M %u %g ' -exec sha256sum {} \\; -o -printf '%M %u %g %p -> %l\\n' | LC_ALL=C sort -k5";
    let text = run(Command::new("sh").args(["-c", SCRIPT]).arg(root))?;
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.len() < 1000 {
        bail!("{}: only {} files", root.display(), lines.len());
    }
    Ok(lines)
}

/// The lines that only one of them has.
pub fn differences(before: &[String], after: &[String]) -> Vec<String> {
    let set = |lines: &[String]| lines.iter().cloned().collect::<std::collections::BTreeSet<_>>();
    let (before, after) = (set(before), set(after));
    let gone = before.difference(&after).map(|line| format!("- {line}"));
    gone.chain(after.difference(&before).map(|line| format!("+ {line}"))).collect()
}
