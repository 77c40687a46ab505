//! Debian packages for tests: fetched once with apt's own machinery, checked by apt and against tests/versions, kept outside the
//! checkout.
//!
//! They lie in the cache directory, `$KMOD_ONCE_CACHE`, else `$XDG_CACHE_HOME/kmod-once`, else `~/.cache/kmod-once`:
//!
//! ```text
//! apt/ apt-sid/            configuration, package lists (tests/common/apt.rs)
//! debs/                    the .deb files
//! kernels/NAME/            what a kernel package unpacks to, with a stamp `.complete`
//! userland/NAME/           the same for a set of packages
//! systems/SUITE.tar        a whole small system, made by debootstrap
//! ```
//!
//! What is complete is used as it is, so that a second run needs no network.

// Every test program includes this file and uses its own part of it.
#![allow(dead_code)]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{Flock, FlockArg};

mod apt;
mod versions;

use apt::{Apt, run};

/// The releases whose lists are read together: the kernels are looked for in all of them. Sid changes every day, and has lists
/// of its own.
const RELEASES: [&str; 4] = ["bookworm", "trixie", "bullseye", "trixie-backports"];
const SID: [&str; 1] = ["sid"];

/// The oldest kernel that tests boot, the two that they compare most on, and the newest there is: how the names of Debian's
/// packages begin and end. Since 7.0 the modules are in a package of their own.
pub const OLDEST: (&str, &str) = ("linux-image-5.10.", "-amd64-unsigned");
/// Debian 12's.
pub const BOOKWORM: (&str, &str) = ("linux-image-6.1.", "-amd64-unsigned");
/// Debian 13's.
pub const TRIXIE: (&str, &str) = ("linux-image-6.12.", "-amd64-unsigned");
/// The newest of trixie's backports.
pub const NEWEST: (&str, &str) = ("linux-modules-", "+deb13-amd64");

/// Where everything that is fetched is kept.
pub struct Cache {
    root: PathBuf,
    releases: Apt,
    sid: Apt,
}

impl Cache {
    /// Finds the cache directory and makes it.
    ///
    /// # Errors
    /// No home directory is known, or the directory cannot be made.
    pub fn open() -> io::Result<Cache> {
        let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = from("KMOD_ONCE_CACHE")
            .or_else(|| from("XDG_CACHE_HOME").map(|path| path.join("kmod-once")))
            .or_else(|| from("HOME").map(|path| path.join(".cache/kmod-once")))
            .ok_or_else(|| io::Error::other("set KMOD_ONCE_CACHE or HOME: nowhere to keep downloads"))?;
        fs::create_dir_all(root.join("debs"))?;
        let (releases, sid) = (Apt::new(root.join("apt"), &RELEASES), Apt::new(root.join("apt-sid"), &SID));
        Ok(Cache { root, releases, sid })
    }

    /// A path inside the cache.
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// Waits until no other test program fetches.
    fn lock(&self) -> io::Result<Flock<File>> {
        let file = File::options().create(true).append(true).open(self.path("lock"))?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
    }

    /// The directory `userland/NAME` with the named packages of a suite unpacked into it.
    ///
    /// # Errors
    /// What apt or dpkg-deb said when a package could not be had.
    pub fn userland(&self, name: &str, suite: &str, packages: &[&str]) -> io::Result<PathBuf> {
        let below = format!("userland/{name}");
        self.unpacked(&below, Some(suite), packages, false, || self.fetch_all(Some(suite), packages))
    }

    /// The directory `userland/NAME` with the named packages of a suite and everything that they depend on, where `lib`, `bin`
    /// and the like are links into `usr`. No script of a package has run.
    ///
    /// # Errors
    /// What apt or dpkg-deb said when a package could not be had.
    pub fn closure(&self, name: &str, suite: &str, packages: &[&str]) -> io::Result<PathBuf> {
        let apt = if SID.contains(&suite) { &self.sid } else { &self.releases };
        let below = format!("userland/{name}");
        self.unpacked(&below, Some(suite), packages, true, || {
            let incoming = self.incoming()?;
            apt.with_lists(|apt| {
                emptied(&incoming)?;
                apt.closure(suite, packages, &incoming)
            })?;
            files(&incoming)
        })
    }

    /// The directory of the kernel whose package name begins with `prefix` and ends in `suffix` (`linux-image-6.1.`,
    /// `-amd64-unsigned`), and the package's name: the one of tests/versions, or the newest where the archive no longer has
    /// that. Since 7.0 the modules are in a package of their own (`linux-modules-7.`, `+deb13-amd64`); the lists of what is
    /// built in come along from its neighbour.
    ///
    /// # Errors
    /// No such package, or what apt or dpkg-deb said.
    pub fn kernel(&self, prefix: &str, suffix: &str) -> io::Result<(PathBuf, String)> {
        let fits = |name: &str| {
            let middle = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
            middle.is_some_and(|middle| {
                let version =
                    middle.strip_suffix("+deb12").or(middle.strip_suffix("+deb13")).unwrap_or(middle);
                version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-')
            })
        };
        let newest =
            |names: Vec<String>| names.into_iter().filter(|name| fits(name)).max_by_key(|name| numbers(name));
        let recorded = newest(versions::all().map(|line| line.package.to_owned()).collect());
        let held = |name: &str| self.path(&format!("kernels/{name}/.complete")).exists();
        let name = match recorded.filter(|name| held(name)) {
            Some(name) => name,
            None => self.choose(prefix, &newest)?,
        };
        if let Ok(dir) = self.kernel_package(&name) {
            return Ok((dir, name));
        }
        // The lists were of another day, and the archive no longer has it.
        let name = self.choose(prefix, &newest)?;
        Ok((self.kernel_package(&name)?, name))
    }

    /// The recorded one of those in the archive, else the newest; without an archive, what is held.
    fn choose(&self, prefix: &str, newest: &dyn Fn(Vec<String>) -> Option<String>) -> io::Result<String> {
        let known = {
            let _lock = self.lock()?;
            self.releases.with_lists(|apt| {
                let names = apt.names(prefix)?;
                let recorded =
                    names.iter().filter(|name| versions::of(None, name).is_some()).cloned().collect();
                newest(recorded)
                    .or_else(|| newest(names))
                    .ok_or_else(|| io::Error::other(format!("no package {prefix}* in any suite")))
            })
        };
        known.or_else(|error| {
            let entries = fs::read_dir(self.path("kernels")).map_err(|_| error)?;
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            newest(names.collect())
                .ok_or_else(|| io::Error::other(format!("no package {prefix}*, here or in an archive")))
        })
    }

    fn kernel_package(&self, name: &str) -> io::Result<PathBuf> {
        let lists = name.strip_prefix("linux-modules-").map(|rest| format!("linux-base-{rest}"));
        let packages: Vec<&str> = std::iter::once(name).chain(lists.as_deref()).collect();
        let below = format!("kernels/{name}");
        self.unpacked(&below, None, &packages, false, || self.fetch_all(None, &packages))
    }

    /// The bootable file of a kernel, of the package that [`Cache::kernel`] named.
    ///
    /// # Errors
    /// What apt or dpkg-deb said.
    pub fn vmlinuz(&self, package: &str) -> io::Result<PathBuf> {
        if let Some(release) = package.strip_prefix("linux-modules-") {
            let binary = self.kernel_package(&format!("linux-binary-unsigned-{release}"))?;
            return Ok(binary.join(format!("usr/lib/modules/{release}/vmlinuz.unsigned")));
        }
        let release = package.strip_prefix("linux-image-").and_then(|name| name.strip_suffix("-unsigned"));
        let release = release.ok_or_else(|| io::Error::other(format!("{package}: not a kernel's name")))?;
        Ok(self.path(&format!("kernels/{package}/boot/vmlinuz-{release}")))
    }

    /// The headers of the kernel `release`, with the packages they need, unpacked.
    ///
    /// # Errors
    /// What apt or dpkg-deb said.
    pub fn headers(&self, release: &str) -> io::Result<PathBuf> {
        let package = format!("linux-headers-{release}");
        let below = format!("kernels/{package}");
        if self.path(&below).join(".complete").exists() {
            return Ok(self.path(&below));
        }
        let mut packages = {
            let _lock = self.lock()?;
            self.releases.with_lists(|apt| apt.depends(&package))?
        };
        packages.retain(|name| {
            name.starts_with("linux-kbuild-")
                || (name.starts_with("linux-headers-") && name.ends_with("-common"))
        });
        packages.push(package);
        let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
        self.unpacked(&below, None, &packages, false, || self.fetch_all(None, &packages))
    }

    /// A package of a suite, as its .deb file.
    ///
    /// # Errors
    /// What apt said when it could not be had.
    pub fn deb(&self, suite: &str, package: &str) -> io::Result<PathBuf> {
        let dir = self.path(&format!("debs/{suite}/{package}"));
        let _lock = self.lock()?;
        fs::create_dir_all(&dir)?;
        let deb = match files(&dir)?.pop() {
            Some(deb) => deb,
            None => {
                let fetched = self.fetch(Some(suite), package)?;
                let deb = dir.join(fetched.file_name().unwrap_or_default());
                fs::hard_link(&fetched, &deb)?;
                deb
            }
        };
        eprint!("{}", versions::check(Some(suite), &deb)?);
        Ok(deb)
    }

    /// A whole small system of a suite with the named packages installed, as a tar file.
    ///
    /// # Errors
    /// What debootstrap or tar said.
    pub fn system(&self, suite: &str, packages: &[&str]) -> io::Result<PathBuf> {
        let tar = self.path(&format!("systems/{suite}.tar"));
        if tar.exists() {
            return Ok(tar);
        }
        let _lock = self.lock()?;
        if tar.exists() {
            return Ok(tar);
        }
        fs::create_dir_all(self.path("systems"))?;
        let [root, half_made] = ["root", "new"].map(|end| self.path(&format!("systems/{suite}.{end}")));
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        eprintln!("debootstrap {suite}, some minutes");
        let [mirror, _] = apt::mirrors();
        run(Command::new("debootstrap")
            .args(["--variant=minbase", &format!("--include={}", packages.join(",")), suite])
            .arg(&root)
            .arg(mirror))?;
        run(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&half_made).arg("."))?;
        fs::remove_dir_all(&root)?;
        fs::rename(&half_made, &tar)?;
        Ok(tar)
    }

    /// The directory `below` with what `fetch` gets unpacked into it: for ever, unless tests/versions has other versions of these
    /// packages by now.
    fn unpacked(
        &self,
        below: &str,
        suite: Option<&str>,
        packages: &[&str],
        merged_usr: bool,
        fetch: impl Fn() -> io::Result<Vec<PathBuf>>,
    ) -> io::Result<PathBuf> {
        let dir = self.path(below);
        let line = |package: &&str| match versions::of(suite, package) {
            Some(recorded) => format!("{package} {}", recorded.version),
            None => (*package).to_owned(),
        };
        let stamp = packages.iter().map(line).collect::<Vec<_>>().join("\n");
        let is_complete = || {
            let text = fs::read_to_string(dir.join(".complete")).ok()?;
            let differs = text.strip_prefix(&stamp)?.trim_start();
            eprint!("{differs}");
            (differs.is_empty() || differs.starts_with(versions::LOUD)).then_some(())
        };
        if is_complete().is_some() {
            return Ok(dir);
        }
        let _lock = self.lock()?;
        if is_complete().is_some() {
            return Ok(dir);
        }
        let half_made = self.path(&format!("{below}.new"));
        emptied(&half_made)?;
        if merged_usr {
            for name in ["bin", "sbin", "lib", "lib64"] {
                fs::create_dir_all(half_made.join("usr").join(name))?;
                symlink(format!("usr/{name}"), half_made.join(name))?;
            }
        }
        let mut differs = String::new();
        for deb in fetch()? {
            differs += &versions::check(suite, &deb)?;
            unpack(&deb, &half_made)?;
        }
        fs::write(half_made.join(".complete"), format!("{stamp}\n{differs}"))?;
        eprint!("{differs}");
        let old = self.path(&format!("{below}.old"));
        if dir.exists() {
            fs::rename(&dir, &old)?;
        }
        fs::rename(&half_made, &dir)?;
        if old.exists() {
            fs::remove_dir_all(&old)?;
        }
        Ok(dir)
    }

    fn fetch_all(&self, suite: Option<&str>, packages: &[&str]) -> io::Result<Vec<PathBuf>> {
        packages.iter().map(|package| self.fetch(suite, package)).collect()
    }

    /// The file of a package: the recorded one if it is here, else what the archive has.
    fn fetch(&self, suite: Option<&str>, package: &str) -> io::Result<PathBuf> {
        if let Some(recorded) = versions::of(suite, package) {
            let start = format!("{package}_{}_", recorded.version.replace(':', "%3a"));
            let is_it = |deb: &PathBuf| {
                deb.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start))
            };
            if let Some(deb) = files(&self.path("debs"))?.into_iter().find(is_it) {
                return Ok(deb);
            }
        }
        let incoming = self.incoming()?;
        self.releases.with_lists(|apt| {
            emptied(&incoming)?;
            apt.download(suite, package, &incoming)
        })?;
        let deb = files(&incoming)?.pop();
        let deb =
            deb.ok_or_else(|| io::Error::other(format!("apt-get download left no .deb of {package}")))?;
        let to = self.path("debs").join(deb.file_name().unwrap_or_default());
        fs::rename(&deb, &to)?;
        Ok(to)
    }

    /// Where packages come.
    fn incoming(&self) -> io::Result<PathBuf> {
        let incoming = self.path("debs/incoming");
        emptied(&incoming)?;
        Ok(incoming)
    }
}

/// Makes a directory anew.
fn emptied(dir: &Path) -> io::Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)
}

/// The packages in a directory.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "deb"));
    paths.sort();
    Ok(paths)
}

/// Unpacks a package. `dpkg-deb -x` would put a directory in the place of a link to one.
fn unpack(deb: &Path, to: &Path) -> io::Result<()> {
    let mut data = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(deb).stdout(Stdio::piped()).spawn()?;
    let stdout = data.stdout.take().ok_or_else(|| io::Error::other("dpkg-deb: no output"))?;
    let tar = ["-x", "--keep-directory-symlink", "--no-same-owner", "-C"];
    run(Command::new("tar").args(tar).arg(to).stdin(stdout))?;
    if data.wait()?.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{}: dpkg-deb cannot read it", deb.display())))
}

/// The version of an unpacked kernel, and the directory of its modules: below `lib/modules`, since 7.0 `usr/lib/modules`.
///
/// # Errors
/// There is no such directory, or not just one kernel in it.
pub fn module_directory(package: &Path) -> io::Result<(String, PathBuf)> {
    let places = ["lib/modules", "usr/lib/modules"].map(|below| package.join(below));
    let modules = places.iter().find(|place| place.is_dir()).unwrap_or(&places[0]);
    let entries: Vec<fs::DirEntry> = fs::read_dir(modules)?.collect::<io::Result<_>>()?;
    match &entries[..] {
        [one] => Ok((one.file_name().to_string_lossy().into_owned(), one.path())),
        _ => Err(io::Error::other(format!("{}: {} kernels", modules.display(), entries.len()))),
    }
}

/// The numbers in a name, for comparing versions: `6.1.0-9` comes before `6.1.0-10`.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}
