//! Debian packages without installing them: a private apt configuration in the cache, the mirror of the host's own apt.
//!
//! apt checks size and hash of everything it downloads against its signed index. Nothing here needs root, and nothing is
//! installed: packages are unpacked into directories of the cache.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::run;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A private apt: its own sources, lists and archives, below one directory.
pub struct Apt {
    dir: PathBuf,
    updated: std::cell::Cell<bool>,
}

impl Apt {
    /// Sets the configuration up below `dir`. No network yet.
    pub fn new(dir: &Path) -> Result<Self> {
        for sub in ["lists/partial", "archives/partial", "etc/apt.conf.d", "etc/preferences.d"] {
            fs::create_dir_all(dir.join(sub)).with_context(|| format!("{}", dir.display()))?;
        }
        let d = dir.display();
        fs::write(
            dir.join("apt.conf"),
            format!(
                "Dir \"{d}\";\nDir::Etc \"{d}/etc\";\nDir::Etc::sourcelist \"{d}/etc/all.list\";\n\
                 Dir::Etc::sourceparts \"/dev/null\";\nDir::State \"{d}\";\nDir::State::lists \"{d}/lists\";\n\
                 Dir::State::status \"/dev/null\";\nDir::Cache \"{d}\";\nDir::Cache::archives \"{d}/archives\";\n\
                 APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\nAPT::Sandbox::User \"\";\n\
                 APT::Install-Recommends \"false\";\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\n\
                 Debug::NoLocking \"1\";\n"
            ),
        )?;
        let (main, security) = mirrors();
        let line = |uri: &str, suite: &str| format!("deb [signed-by={KEYRING}] {uri} {suite} main\n");
        let bookworm = [
            line(&main, "bookworm"),
            line(&main, "bookworm-updates"),
            line(&security, "bookworm-security"),
            line(&main, "bookworm-backports"),
        ]
        .concat();
        let trixie = line(&main, "trixie");
        fs::write(dir.join("etc/bookworm.list"), &bookworm)?;
        fs::write(dir.join("etc/trixie.list"), &trixie)?;
        fs::write(dir.join("etc/all.list"), bookworm + &trixie)?;
        Ok(Self { dir: dir.to_owned(), updated: false.into() })
    }

    fn apt(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        command.env("APT_CONFIG", self.dir.join("apt.conf")).env("LC_ALL", "C");
        command
    }

    /// Fetches the package lists, once per run. A suite that is gone (backports end their life) is not an error: what
    /// matters is whether the packages wanted are found afterwards.
    fn update(&self) -> Result<()> {
        if self.updated.replace(true) {
            return Ok(());
        }
        eprintln!("lab: reading the package lists of bookworm and trixie");
        let output = self.apt("apt-get").args(["-qq", "update"]).output().context("apt-get")?;
        if !output.status.success() {
            eprintln!("lab: apt-get update: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// The names of all packages that begin with `prefix`.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        self.update()?;
        let text = run(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The names that `package` depends on, first alternative of each.
    pub fn depends(&self, package: &str) -> Result<Vec<String>> {
        self.update()?;
        let text = run(self.apt("apt-cache").args(["show", "--no-all-versions", package]))?;
        let line = text.lines().find_map(|l| l.strip_prefix("Depends: ")).unwrap_or_default();
        Ok(line.split(',').filter_map(|d| d.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Downloads one package into `to` (verified by apt) and returns its file.
    pub fn download(&self, package: &str, to: &Path) -> Result<PathBuf> {
        let prefix = format!("{package}_");
        if let Some(file) = debs(to)?.into_iter().find(|f| name_of(f).starts_with(&prefix)) {
            return Ok(file);
        }
        self.update()?;
        eprintln!("lab: downloading {package}");
        // apt writes the file under its name while it downloads: fetch beside, then rename, so that a name means complete.
        let beside = to.join(format!(".fetch-{}", std::process::id()));
        fs::create_dir_all(&beside)?;
        run(self.apt("apt-get").args(["-qq", "download", package]).current_dir(&beside))?;
        let Some(file) = debs(&beside)?.pop() else { bail!("apt-get download {package}: no file came") };
        let at = to.join(file.file_name().unwrap_or_default());
        fs::rename(&file, &at)?;
        fs::remove_dir_all(&beside)?;
        Ok(at)
    }

    /// Downloads `packages` of one suite with everything they depend on, and returns all files.
    pub fn closure(&self, suite: &str, packages: &[&str], to: &Path) -> Result<Vec<PathBuf>> {
        self.update()?;
        eprintln!("lab: downloading {} of {suite} with what they need", packages.join(", "));
        fs::create_dir_all(to.join("partial"))?;
        let mut command = self.apt("apt-get");
        command.args(["-qq", "-y", "--download-only", "--no-install-recommends"]);
        command
            .arg("-o")
            .arg(format!("Dir::Etc::sourcelist={}", self.dir.join(format!("etc/{suite}.list")).display()));
        command.arg("-o").arg(format!("Dir::Cache::archives={}", to.display()));
        run(command.arg("install").args(packages))?;
        debs(to)
    }
}

/// Unpacks packages into `to`, where `lib`, `bin` and the like are links into `usr`.
///
/// The tree appears under its name only when it is complete; `.complete` inside says so to other users of the cache.
pub fn unpack(debs: &[PathBuf], to: &Path, merged_usr: bool) -> Result<()> {
    let beside = to.with_file_name(format!(".unpack-{}-{}", std::process::id(), name_of(to)));
    if beside.exists() {
        fs::remove_dir_all(&beside)?;
    }
    fs::create_dir_all(&beside)?;
    if merged_usr {
        for name in ["bin", "sbin", "lib", "lib64"] {
            fs::create_dir_all(beside.join("usr").join(name))?;
            std::os::unix::fs::symlink(format!("usr/{name}"), beside.join(name))?;
        }
    }
    for deb in debs {
        let mut data = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(deb)
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        let Some(stdout) = data.stdout.take() else { bail!("dpkg-deb: no output") };
        // dpkg-deb -x would put a directory where a package of before the /usr merge has one.
        run(Command::new("tar")
            .args(["-x", "--keep-directory-symlink", "--no-same-owner", "-C"])
            .arg(&beside)
            .stdin(stdout))?;
        if !data.wait()?.success() {
            bail!("{}: dpkg-deb cannot read it", deb.display());
        }
    }
    fs::write(beside.join(".complete"), "")?;
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::rename(&beside, to).with_context(|| format!("{}", to.display()))
}

fn debs(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for item in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let path = item?.path();
        if path.extension() == Some(OsStr::new("deb")) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The archive and the security archive that the host's apt uses, or Debian's own.
fn mirrors() -> (String, String) {
    let mut main = None;
    let mut security = None;
    let mut see = |uri: &str, suite: &str| {
        if suite.ends_with("-security") {
            security.get_or_insert_with(|| uri.to_owned());
        } else if ["bookworm", "trixie"].contains(&suite) && uri.contains("debian") {
            main.get_or_insert_with(|| uri.to_owned());
        }
    };
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(dir) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(dir.flatten().map(|d| d.path()));
    }
    files.sort();
    for text in files.iter().filter_map(|f| fs::read_to_string(f).ok()) {
        // One-line style: deb [options] URI SUITE COMPONENTS
        for line in text.lines().filter(|l| l.starts_with("deb ")) {
            let words: Vec<_> = line
                .split_whitespace()
                .skip(1)
                .skip_while(|w| w.starts_with('[') || w.ends_with(']'))
                .collect();
            if let [uri, suite, ..] = words[..] {
                see(uri, suite);
            }
        }
        // Stanzas with URIs: and Suites: lines.
        for stanza in text.split("\n\n") {
            let field = |name: &str| {
                stanza.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned()
            };
            if let Some(uri) = field("URIs:").split_whitespace().next() {
                field("Suites:").split_whitespace().for_each(|suite| see(uri, suite));
            }
        }
    }
    (
        main.unwrap_or_else(|| "http://deb.debian.org/debian".into()),
        security.unwrap_or_else(|| "http://deb.debian.org/debian-security".into()),
    )
}
