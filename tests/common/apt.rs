//! A private apt: its own sources and lists below one directory. apt checks the signature of its lists, and against them size
//! and hash of everything it downloads. Nothing here needs root, nothing is installed, and the host's apt is not touched.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Where releases go that have left the mirrors.
const ARCHIVE: [&str; 2] = ["http://archive.debian.org/debian", "http://archive.debian.org/debian-security"];
/// The oldest of the releases, which leaves them first.
const OLDEST: &str = "bullseye";

/// The lists of some suites.
pub struct Apt {
    dir: PathBuf,
    suites: &'static [&'static str],
    updated: AtomicBool,
}

impl Apt {
    /// Nothing is written yet.
    pub fn new(dir: PathBuf, suites: &'static [&'static str]) -> Apt {
        Apt { dir, suites, updated: AtomicBool::new(false) }
    }

    /// Does something with the lists. If that fails and the lists are of another day, then once more with new ones: the
    /// archive no longer has what was in them.
    ///
    /// # Errors
    /// Why it failed at last.
    pub fn with_lists<T>(&self, act: impl Fn(&Apt) -> io::Result<T>) -> io::Result<T> {
        if self.has_lists() {
            match act(self) {
                Err(error) if !self.updated.load(Ordering::Relaxed) => {
                    eprintln!("{error}; once more, with new lists");
                }
                done => return done,
            }
        }
        self.update()?;
        act(self)
    }

    /// The names of all packages that begin with `prefix`.
    ///
    /// # Errors
    /// What apt said.
    pub fn names(&self, prefix: &str) -> io::Result<Vec<String>> {
        let text = run(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The names that a package depends on, the first alternative of each.
    ///
    /// # Errors
    /// What apt said.
    pub fn depends(&self, package: &str) -> io::Result<Vec<String>> {
        let text = run(self.apt("apt-cache").args(["show", "--no-all-versions", package]))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
        Ok(line.split(',').filter_map(|word| word.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Downloads a package, of a suite if one is named, into an empty directory.
    ///
    /// # Errors
    /// What apt said.
    pub fn download(&self, suite: Option<&str>, package: &str, to: &Path) -> io::Result<()> {
        let choice = suite.map_or_else(|| package.to_owned(), |suite| format!("{package}/{suite}"));
        eprintln!("fetching {choice}");
        run(self.apt("apt-get").args(["-qq", "download", &choice]).current_dir(to)).map(|_| ())
    }

    /// Downloads packages of a suite, and of no other one, with everything they depend on, into an empty directory.
    ///
    /// # Errors
    /// What apt said.
    pub fn closure(&self, suite: &str, packages: &[&str], to: &Path) -> io::Result<()> {
        eprintln!("fetching {} of {suite} with what they need", packages.join(", "));
        fs::create_dir_all(to.join("partial"))?;
        let list = self.dir.join(format!("etc/{suite}.list"));
        let mut apt = self.apt("apt-get");
        apt.args(["-qq", "-y", "--download-only", "-o"]);
        apt.arg(format!("Dir::Etc::sourcelist={}", list.display())).arg("-o");
        apt.arg(format!("Dir::Cache::archives={}", to.display())).arg("install").args(packages);
        run(&mut apt)?;
        fs::remove_dir_all(to.join("partial"))?;
        // apt leaves a lock there where it takes any.
        let _ = fs::remove_file(to.join("lock"));
        Ok(())
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // APT_CONFIG is read before the host's configuration directories are, so these are not read at all.
        command.env("APT_CONFIG", self.dir.join("apt.conf")).env("LC_ALL", "C");
        command
    }

    /// Whether there are lists of these suites.
    fn has_lists(&self) -> bool {
        let asked_for = fs::read_to_string(self.dir.join("etc/all.list")).unwrap_or_default();
        let known =
            [mirrors(), ARCHIVE.map(str::to_owned)].iter().any(|of_oldest| asked_for == self.all(of_oldest));
        known && fs::exists(self.dir.join("complete")).unwrap_or(false)
    }

    /// The sources of all suites.
    fn all(&self, of_oldest: &[String; 2]) -> String {
        self.suites.iter().map(|suite| sources(suite, of_oldest)).collect()
    }

    /// Fetches the lists, once per process. A suite that is gone is said, and no error: what matters is whether the packages
    /// wanted are found afterwards.
    fn update(&self) -> io::Result<()> {
        if self.updated.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        if !Path::new(KEYRING).exists() {
            return Err(io::Error::other(format!("{KEYRING} is missing: install debian-archive-keyring")));
        }
        for below in ["etc/apt.conf.d", "etc/preferences.d", "lists/partial", "archives/partial"] {
            fs::create_dir_all(self.dir.join(below))?;
        }
        let dir = self.dir.display();
        fs::write(
            self.dir.join("apt.conf"),
            format!(
                "Dir \"{dir}\";\nDir::Etc \"{dir}/etc\";\nDir::Etc::sourcelist \"{dir}/etc/all.list\";\n\
                 Dir::Etc::sourceparts \"/dev/null\";\nDir::State \"{dir}\";\nDir::State::lists \"{dir}/lists\";\n\
                 Dir::State::status \"/dev/null\";\nDir::Cache \"{dir}\";\nDir::Cache::archives \"{dir}/archives\";\n\
                 APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\nAPT::Sandbox::User \"root\";\n\
                 APT::Install-Recommends \"false\";\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\n\
                 Debug::NoLocking \"1\";\n"
            ),
        )?;
        eprintln!("fetching the package lists of {}", self.suites.join(", "));
        let mut done = self.update_from(&mirrors());
        if done.is_err() && self.suites.contains(&OLDEST) {
            eprintln!("{OLDEST} may have left the mirrors: with {}", ARCHIVE[0]);
            done = self.update_from(&ARCHIVE.map(str::to_owned));
        }
        if let Err(error) = done {
            eprintln!("!! NOT ALL PACKAGE LISTS CAN BE HAD: {error}");
        }
        fs::write(self.dir.join("complete"), "")
    }

    fn update_from(&self, of_oldest: &[String; 2]) -> io::Result<()> {
        for suite in self.suites {
            fs::write(self.dir.join(format!("etc/{suite}.list")), sources(suite, of_oldest))?;
        }
        fs::write(self.dir.join("etc/all.list"), self.all(of_oldest))?;
        run(self.apt("apt-get").args(["-qq", "update"])).map(|_| ())
    }
}

/// The lines of a suite with its updates.
fn sources(suite: &str, of_oldest: &[String; 2]) -> String {
    let [main, security] = if suite == OLDEST { of_oldest.clone() } else { mirrors() };
    let end = |end: &str| format!("{suite}{end}");
    let parts = match suite {
        "bookworm" => vec![
            (&main, end("")),
            (&main, end("-updates")),
            (&main, end("-backports")),
            (&security, end("-security")),
        ],
        OLDEST => vec![(&main, end("")), (&security, end("-security"))],
        _ => vec![(&main, end(""))],
    };
    // What was archived is never signed anew, and sid's lists are valid for a week, for which not every mirror keeps up.
    let valid = if main == ARCHIVE[0] || suite == "sid" { " check-valid-until=no" } else { "" };
    parts
        .iter()
        .map(|(uri, suite)| format!("deb [signed-by={KEYRING}{valid}] {uri} {suite} main\n"))
        .collect()
}

/// From where the host's apt takes Debian itself and its security updates.
pub fn mirrors() -> [String; 2] {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    files.retain(|path| path.extension().is_some_and(|end| end == "list" || end == "sources"));
    files.sort();
    let texts: Vec<String> = files.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    ["/debian", "/debian-security"].map(|end| {
        let lines = texts.iter().flat_map(|text| text.lines());
        let words = lines.filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace);
        let mut uris = words.map(|word| word.trim_end_matches('/'));
        let found = uris.find(|word| word.starts_with("http") && word.ends_with(end));
        found.map_or_else(|| format!("http://deb.debian.org{end}"), str::to_owned)
    })
}

/// Runs a program and gives its output, or its complaints as an error.
///
/// # Errors
/// It could not be run, or failed.
pub fn run(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {}: {}", output.status, complaint.trim_end())))
}
