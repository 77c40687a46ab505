//! Debian packages for tests: fetched once with apt's own machinery, checked by apt, kept outside the checkout.
//!
//! Nothing is installed and the host's apt is not touched: a configuration of our own names the suites, and its lists,
//! state and downloads lie in the cache directory, `$KMOD_ONCE_CACHE`, else `$XDG_CACHE_HOME/kmod-once`, else
//! `~/.cache/kmod-once`:
//!
//! ```text
//! apt/                     configuration, package lists
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
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};

/// Where everything that is fetched is kept.
pub struct Cache {
    root: PathBuf,
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
        fs::create_dir_all(&root)?;
        Ok(Cache { root })
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
        self.unpacked(&format!("userland/{name}"), Some(suite), packages)
    }

    /// The directory of the newest kernel whose package name begins with `prefix` and ends in `suffix`
    /// (`linux-image-6.1.`, `-amd64-unsigned`), and the package's name. What the cache holds is preferred to what the
    /// archive has. Since 7.0 the modules are in a package of their own (`linux-modules-7.`, `+deb13-amd64`); the
    /// lists of what is built in come along from its neighbour.
    ///
    /// # Errors
    /// No such package, or what apt or dpkg-deb said.
    pub fn kernel(&self, prefix: &str, suffix: &str) -> io::Result<(PathBuf, String)> {
        let fits = |name: &str| {
            let middle = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
            middle.is_some_and(|middle| {
                let version = middle.strip_suffix("+deb12").unwrap_or(middle);
                version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-')
            })
        };
        let held: Vec<String> = match fs::read_dir(self.path("kernels")) {
            Ok(entries) => entries
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter(|name| fits(name) && self.path("kernels").join(name).join(".complete").exists())
                .collect(),
            Err(_) => Vec::new(),
        };
        let newest = |names: Vec<String>| names.into_iter().max_by_key(|name| numbers(name));
        let name = match newest(held) {
            Some(name) => name,
            None => {
                let _lock = self.lock()?;
                self.update()?;
                let known = self.apt("apt-cache", &["pkgnames", prefix])?;
                newest(known.lines().filter(|name| fits(name)).map(str::to_owned).collect())
                    .ok_or_else(|| io::Error::other(format!("no package {prefix}*{suffix} in any suite")))?
            }
        };
        let lists = name.strip_prefix("linux-modules-").map(|rest| format!("linux-base-{rest}"));
        let packages: Vec<&str> = std::iter::once(&name).chain(&lists).map(String::as_str).collect();
        let dir = self.unpacked(&format!("kernels/{name}"), None, &packages)?;
        Ok((dir, name))
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
        let known = {
            let _lock = self.lock()?;
            self.update()?;
            self.apt("apt-cache", &["show", "--no-all-versions", &package])?
        };
        let needs = known.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
        let mut packages: Vec<&str> =
            needs.split(',').filter_map(|word| word.split_whitespace().next()).collect();
        packages.retain(|name| {
            name.starts_with("linux-kbuild-")
                || (name.starts_with("linux-headers-") && name.ends_with("-common"))
        });
        packages.push(&package);
        self.unpacked(&below, None, &packages)
    }

    /// A package of a suite, as its .deb file.
    ///
    /// # Errors
    /// What apt said when it could not be had.
    pub fn deb(&self, suite: &str, package: &str) -> io::Result<PathBuf> {
        let dir = self.path(&format!("debs/{suite}/{package}"));
        let held = |dir: &Path| Some(fs::read_dir(dir).ok()?.next()?.ok()?.path());
        if let Some(deb) = held(&dir) {
            return Ok(deb);
        }
        let _lock = self.lock()?;
        self.update()?;
        let incoming = self.path("debs/incoming");
        if incoming.exists() {
            fs::remove_dir_all(&incoming)?;
        }
        fs::create_dir_all(&incoming)?;
        eprintln!("fetching {package}/{suite}");
        self.apt_in(&incoming, "apt-get", &["-q", "download", &format!("{package}/{suite}")])?;
        fs::create_dir_all(self.path(&format!("debs/{suite}")))?;
        fs::rename(&incoming, &dir)?;
        held(&dir).ok_or_else(|| io::Error::other(format!("apt-get download left no .deb of {package}")))
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
        let mirror = host_mirror("/debian").unwrap_or_else(|| "http://deb.debian.org/debian".to_owned());
        run(Command::new("debootstrap")
            .args(["--variant=minbase", &format!("--include={}", packages.join(",")), suite])
            .arg(&root)
            .arg(mirror))?;
        run(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&half_made).arg("."))?;
        fs::remove_dir_all(&root)?;
        fs::rename(&half_made, &tar)?;
        Ok(tar)
    }

    fn unpacked(&self, below: &str, suite: Option<&str>, packages: &[&str]) -> io::Result<PathBuf> {
        let dir = self.path(below);
        if dir.join(".complete").exists() {
            return Ok(dir);
        }
        let _lock = self.lock()?;
        if dir.join(".complete").exists() {
            return Ok(dir);
        }
        self.update()?;
        let half_made = self.path(&format!("{below}.new"));
        let incoming = self.path("debs/incoming");
        for empty in [&half_made, &incoming] {
            if empty.exists() {
                fs::remove_dir_all(empty)?;
            }
            fs::create_dir_all(empty)?;
        }
        for package in packages {
            let choice = suite.map_or((*package).to_owned(), |suite| format!("{package}/{suite}"));
            eprintln!("fetching {choice}");
            self.apt_in(&incoming, "apt-get", &["-q", "download", &choice])?;
            let deb = fs::read_dir(&incoming)?
                .next()
                .ok_or_else(|| io::Error::other(format!("apt-get download left no .deb of {package}")))??;
            run(Command::new("dpkg-deb").arg("-x").arg(deb.path()).arg(&half_made))?;
            fs::rename(deb.path(), self.path("debs").join(deb.file_name()))?;
        }
        fs::write(half_made.join(".complete"), packages.join("\n"))?;
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::rename(&half_made, &dir)?;
        Ok(dir)
    }

    /// Writes the configuration and fetches the package lists, once for every cache.
    fn update(&self) -> io::Result<()> {
        let config = self.path("apt/apt.conf");
        let complete = self.path("apt/.complete");
        for below in
            ["apt/etc/apt.conf.d", "apt/etc/preferences.d", "apt/lists/partial", "apt/archives/partial"]
        {
            fs::create_dir_all(self.path(below))?;
        }
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        if !Path::new(keyring).exists() {
            return Err(io::Error::other(format!("{keyring} is missing: install debian-archive-keyring")));
        }
        let mirror = host_mirror("/debian").unwrap_or_else(|| "http://deb.debian.org/debian".to_owned());
        let line = |uri: &str, suite: &str| format!("deb [signed-by={keyring}] {uri} {suite} main\n");
        let suites = ["bookworm", "bookworm-updates", "bookworm-backports", "trixie"];
        let mut sources: String = suites.iter().map(|suite| line(&mirror, suite)).collect();
        let security = host_mirror("/debian-security");
        sources.extend(security.iter().map(|uri| line(uri, "bookworm-security")));
        // The oldest kernels and the newest. The oldest suite leaves the mirrors one day.
        let mut more: String =
            ["bullseye", "trixie-backports"].iter().map(|suite| line(&mirror, suite)).collect();
        more.extend(security.iter().map(|uri| line(uri, "bullseye-security")));
        let all = format!("{sources}{more}");
        let list = self.path("apt/etc/sources.list");
        if config.exists() && fs::read_to_string(&complete).is_ok_and(|asked_for| asked_for == all) {
            return Ok(());
        }
        fs::write(&list, &all)?;
        let apt = self.path("apt");
        let apt = apt.display();
        fs::write(
            &config,
            format!(
                "Dir \"{apt}\";\nDir::Etc \"{apt}/etc\";\nDir::Etc::sourcelist \"{apt}/etc/sources.list\";\n\
                 Dir::Etc::sourceparts \"/dev/null\";\nDir::State \"{apt}\";\nDir::State::lists \"{apt}/lists\";\n\
                 Dir::State::status \"/dev/null\";\nDir::Cache \"{apt}\";\nDir::Cache::archives \"{apt}/archives\";\n\
                 APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n"
            ),
        )?;
        eprintln!("fetching package lists from {mirror}");
        if let Err(error) = self.apt("apt-get", &["-q", "update"]) {
            eprintln!("without the oldest and the newest kernels, since not all lists can be had: {error}");
            fs::write(&list, &sources)?;
            self.apt("apt-get", &["-q", "update"])?;
        }
        fs::write(complete, all)
    }

    fn apt(&self, program: &str, args: &[&str]) -> io::Result<String> {
        self.apt_in(&self.root, program, args)
    }

    fn apt_in(&self, dir: &Path, program: &str, args: &[&str]) -> io::Result<String> {
        // APT_CONFIG is read before the host's configuration directories are, so these are not read at all
        run(Command::new(program)
            .env("APT_CONFIG", self.path("apt/apt.conf"))
            .env("LC_ALL", "C")
            .current_dir(dir)
            .args(args))
    }
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

/// The URI from which the host's apt takes Debian itself (`/debian`) or its security updates (`/debian-security`).
fn host_mirror(end: &str) -> Option<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    files.retain(|path| path.extension().is_some_and(|end| end == "list" || end == "sources"));
    files.sort();
    let texts: Vec<String> = files.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    texts
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_end_matches('/'))
        .find(|word| word.starts_with("http") && word.ends_with(end))
        .map(str::to_owned)
}

/// The numbers in a name, for comparing versions: `6.1.0-9` comes before `6.1.0-10`.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// Runs a program and gives its output, or its complaints as an error.
fn run(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {}: {}", output.status, complaint.trim_end())))
}
