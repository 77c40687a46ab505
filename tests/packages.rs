//! The packages on real systems: Debian 12 and 13 as debootstrap makes them, with real dpkg; and rpm.
//!
//! Installing gives the machine our tools and leaves kmod and what depends on it as they are; removing gives back the tree
//! as it was, to the byte. At no moment is there no modprobe. All of it runs in chroots, which takes root.

// Only a part of each is needed here.
#[path = "common/debian.rs"]
mod debian;
#[path = "common/library.rs"]
mod library;

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use debian::Cache;

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");
const TOOLS: [&str; 6] = ["modprobe", "insmod", "rmmod", "lsmod", "modinfo", "depmod"];
/// kmod, what depends on it, and what has files that ours take the place of.
const SYSTEM: [&str; 4] = ["kmod", "udev", "initramfs-tools-core", "bash-completion"];

/// The package that `make WHAT` makes of the programs under test.
fn package(what: &str) -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| library::library().expect("make library"));
    let binary = std::env::var("KMOD_ONCE_BIN").unwrap_or(env!("CARGO_BIN_EXE_kmod").into());
    let mut make = Command::new("make");
    make.args(["--silent", "-C", SOURCE, what, &format!("KMOD={binary}")])
        .arg(format!("LIBRARY={}", library.display()))
        .arg(format!("PACKAGES={}/packages", env!("CARGO_TARGET_TMPDIR")))
        .env_remove("DESTDIR")
        .env_remove("PREFIX");
    said(&mut make).lines().last().expect("the name of the package").into()
}

/// The Debian package, made once.
fn deb() -> &'static Path {
    static DEB: OnceLock<PathBuf> = OnceLock::new();
    DEB.get_or_init(|| package("deb"))
}

/// What a command printed, to stdout and stderr; it has to succeed.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = text(&output);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A Debian system of its own.
struct System {
    root: tempfile::TempDir,
}

impl System {
    fn new(suite: &str) -> System {
        assert!(nix::unistd::geteuid().is_root(), "packages are installed in a chroot: be root");
        let tar = Cache::open().and_then(|cache| cache.system(suite, &SYSTEM)).expect("a Debian system");
        let root = tempfile::tempdir().unwrap();
        said(Command::new("tar").arg("-C").arg(root.path()).arg("-xf").arg(tar));
        System { root }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// What a command in the system printed.
    fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new("chroot");
        command.arg(self.root.path()).args(words).env_clear().envs([
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("LC_ALL", "C"),
        ]);
        said(&mut command)
    }

    /// Hands files to dpkg.
    fn dpkg(&self, options: &[&str], debs: &[&Path]) {
        let mut words = vec!["dpkg"];
        words.extend(options);
        let names: Vec<String> =
            debs.iter().map(|deb| format!("/{}", deb.file_name().unwrap().to_str().unwrap())).collect();
        for (deb, name) in debs.iter().zip(&names) {
            fs::copy(deb, self.path(&name[1..])).unwrap();
        }
        words.extend(names.iter().map(String::as_str));
        self.run(&words);
        names.iter().for_each(|name| fs::remove_file(self.path(&name[1..])).unwrap());
    }

    /// All that is in the system: type, mode, owner, time and content; for directories no time. What dpkg and
    /// apt keep as backups and caches, and logs, are left out.
    fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut pending = vec![PathBuf::new()];
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(self.root.path().join(&dir)).unwrap() {
                let path = dir.join(entry.unwrap().file_name());
                let full = self.root.path().join(&path);
                let meta = full.symlink_metadata().unwrap();
                let mut what = format!("{:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
                if meta.is_dir() {
                    pending.push(path.clone());
                } else if meta.is_symlink() {
                    what += &format!(" -> {}", fs::read_link(&full).unwrap().display());
                } else if meta.is_file() {
                    let mut hasher = DefaultHasher::new();
                    hasher.write(&fs::read(&full).unwrap());
                    what += &format!(" {} {:016x}", meta.len(), hasher.finish());
                    if !path.starts_with("var/lib/dpkg") {
                        what += &format!(" at {}.{}", meta.mtime(), meta.mtime_nsec());
                    }
                }
                found.insert(path, what);
            }
        }
        let noise = |path: &Path| {
            path.starts_with("var/log")
                || path.starts_with("var/cache/apt")
                || path.starts_with("var/lib/dpkg") && path.to_string_lossy().ends_with("-old")
        };
        found.retain(|path, _| !noise(path));
        found
    }

    /// Puts a check between any two steps of the maintainer scripts: wrappers of the commands by which they change
    /// anything, which write to /missing if there is no modprobe before or after.
    fn watch(&self) {
        for command in ["ln", "mv", "rm", "dpkg-divert"] {
            let path = self.path("usr/local/sbin").join(command);
            let script = format!(
                "#!/bin/sh\nlook() {{ /usr/sbin/modprobe -V >/dev/null 2>&1 || echo \"$*\" >>/missing; }}\n\
                 echo x >>/watched\nlook before {command} \"$@\"\n/usr/bin/{command} \"$@\"\nstatus=$?\n\
                 look after {command} \"$@\"\nexit $status\n"
            );
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// Takes the checks away again, and says how many there were.
    fn watched(&self) -> usize {
        for command in ["ln", "mv", "rm", "dpkg-divert"] {
            fs::remove_file(self.path("usr/local/sbin").join(command)).unwrap();
        }
        assert!(!self.path("missing").exists(), "{}", fs::read_to_string(self.path("missing")).unwrap());
        let count = fs::read_to_string(self.path("watched")).unwrap().lines().count();
        fs::remove_file(self.path("watched")).unwrap();
        count
    }

    /// Whether every tool is this project's.
    fn has_ours(&self) -> bool {
        // kmod 30's lsmod knows no -V.
        let ours = |tool: &str| {
            let output = Command::new("chroot").arg(self.root.path()).args([tool, "-V"]).output().unwrap();
            output.status.success() && output.stdout == b"kmod version 34\n+ZSTD +XZ +ZLIB -OPENSSL\n"
        };
        let count = TOOLS.iter().filter(|tool| ours(&format!("/usr/sbin/{tool}"))).count();
        let kmod = self.run(&["kmod", "--help"]).contains("This is kmod-once");
        assert!(count == if kmod { TOOLS.len() } else { 0 }, "{count} tools are ours, and kmod: {kmod}");
        kmod
    }

    /// The distribution's `kmod` where it is kept while ours is in its place: once.
    fn kept(&self) -> Vec<Vec<u8>> {
        let places = ["usr/bin/kmod.distrib", "usr/bin/kmod.distrib.usr-is-merged"];
        places.iter().filter_map(|path| fs::read(self.path(path)).ok()).collect()
    }

    /// What dpkg has to say against its packages: nothing.
    fn sound(&self) {
        assert_eq!(self.run(&["dpkg", "--audit"]), "");
        let mut verify = vec!["dpkg", "--verify"];
        verify.extend(SYSTEM);
        assert_eq!(self.run(&verify), "");
        self.run(&["apt-get", "check"]);
    }
}

/// Installed, installed again, removed and purged.
fn round_trip(suite: &str) {
    let system = System::new(suite);
    let deb = deb();
    let kmod = fs::read(system.path("usr/bin/kmod")).unwrap();
    assert!(!system.has_ours());
    system.run(&["apt-get", "check"]);
    let before = system.snapshot();

    system.watch();
    for _ in 0..2 {
        system.dpkg(&["--install"], &[deb]);
        assert!(system.has_ours());
        system.sound();
        assert_eq!(system.kept(), std::slice::from_ref(&kmod));
        assert_eq!(system.run(&["dpkg", "--verify", "kmod-once"]), "");
    }
    let page = system.run(&["zcat", "/usr/share/man/man8/modprobe.8.gz"]);
    assert!(page.contains("kmod-gate"), "{page}");
    let completion = fs::read_link(system.path("usr/share/bash-completion/completions/modprobe")).unwrap();
    assert!(completion.starts_with("/usr/lib/kmod-once"), "{completion:?}");

    system.dpkg(&["--remove", "kmod-once"], &[]);
    assert!(system.watched() > 50);
    assert!(!system.has_ours());
    system.sound();
    let removed = system.snapshot();
    let status = Path::new("var/lib/dpkg/status");
    let info = Path::new("var/lib/dpkg/info");
    let same = |path: &Path| path != status && !path.starts_with(info);
    let differences = compare(&before, &removed, same);
    assert!(differences.is_empty(), "after removal:\n{}", differences.join("\n"));

    fs::create_dir_all(system.path("var/cache/kmod-once/depmod")).unwrap();
    system.dpkg(&["--purge", "kmod-once"], &[]);
    let differences = compare(&before, &system.snapshot(), |_| true);
    assert!(differences.is_empty(), "after purging:\n{}", differences.join("\n"));
}

fn compare(
    before: &BTreeMap<PathBuf, String>,
    after: &BTreeMap<PathBuf, String>,
    counts: impl Fn(&Path) -> bool,
) -> Vec<String> {
    let paths: std::collections::BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
    paths
        .into_iter()
        .filter(|path| counts(path) && before.get(*path) != after.get(*path))
        .map(|path| format!("{}: {:?}, was {:?}", path.display(), after.get(path), before.get(path)))
        .collect()
}

#[test]
fn debian_12_comes_back_as_it_was() {
    round_trip("bookworm");
}

#[test]
fn debian_13_comes_back_as_it_was() {
    round_trip("trixie");
}

/// Debian 12's kmod has its file in /bin, Debian 13's in /usr/bin: to dpkg another file, to the system the same one.
#[test]
fn kmod_may_be_upgraded_underneath() {
    let system = System::new("bookworm");
    let cache = Cache::open().unwrap();
    let newer = ["kmod", "libkmod2", "bash-completion"]
        .map(|package| cache.deb("trixie", package).expect("a package of Debian 13"));
    system.dpkg(&["--install"], &[deb()]);
    system.watch();
    system.dpkg(
        &["--force-depends", "--auto-deconfigure", "--install"],
        &newer.each_ref().map(PathBuf::as_path),
    );
    assert!(system.watched() > 0 && system.has_ours());
    // What is put back does not run here: it was built for the C library of Debian 13.
    let inside = tempfile::tempdir().unwrap();
    said(Command::new("dpkg-deb").arg("-x").arg(&newer[0]).arg(inside.path()));
    let kmod = fs::read(inside.path().join("usr/bin/kmod")).unwrap();
    assert_eq!(system.kept(), std::slice::from_ref(&kmod));

    system.dpkg(&["--remove", "kmod-once"], &[]);
    assert_eq!(fs::read(system.path("usr/bin/kmod")).unwrap(), kmod);
    assert!(system.kept().is_empty());
    assert_eq!(system.run(&["dpkg", "--verify", "kmod"]), "");
}

/// Without a merged /usr our link in /usr/bin would not be what /sbin/modprobe leads to: nothing is changed then.
#[test]
fn without_a_merged_usr_the_package_is_not_configured() {
    let system = System::new("bookworm");
    fs::remove_file(system.path("bin")).unwrap();
    said(Command::new("cp").arg("-a").arg(system.path("usr/bin")).arg(system.path("bin")));
    fs::copy(deb(), system.path("k.deb")).unwrap();
    let output = Command::new("chroot")
        .arg(system.root.path())
        .args(["dpkg", "--install", "/k.deb"])
        .output()
        .unwrap();
    assert!(!output.status.success() && text(&output).contains("usrmerge"), "{}", text(&output));
    assert!(!system.has_ours());
    system.dpkg(&["--purge", "kmod-once"], &[]);
    assert_eq!(system.run(&["dpkg", "--audit"]), "");
    assert!(!system.has_ours());
}

/// A machine with rpm, as far as rpm's own books go.
struct Rpm {
    root: tempfile::TempDir,
}

impl Rpm {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("rpm");
        command.arg("--root").arg(self.root.path()).args(["--dbpath", "/var/lib/rpm"]).args(words);
        command
    }

    fn run(&self, words: &[&str]) -> String {
        said(&mut self.command(words))
    }

    /// What is said by a command that has to fail.
    fn refuses(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        assert!(!output.status.success(), "{words:?} succeeded");
        text(&output)
    }
}

/// An empty package with the given tags.
fn stub(dir: &Path, name: &str, tags: &str) -> String {
    let spec = dir.join(format!("{name}.spec"));
    let text = format!(
        "Name: {name}\nVersion: 34\nRelease: 1\nSummary: stub\nLicense: none\n{tags}\n%description\nstub\n%files\n"
    );
    fs::write(&spec, text).unwrap();
    let define = |name: &str, value: &str| format!("{name} {}{value}", dir.display());
    said(
        Command::new("rpmbuild")
            .args(["-bb", "--quiet", "--define", &define("_topdir", "/build")])
            .args(["--define", &define("_rpmdir", ""), "--define", "_rpmfilename %%{NAME}.rpm"])
            .arg(&spec),
    );
    dir.join(format!("{name}.rpm")).to_str().unwrap().to_owned()
}

#[test]
fn rpm_takes_it_for_kmod() {
    let dir = tempfile::tempdir().unwrap();
    let ours = package("rpm").to_str().unwrap().to_owned();
    let kmod = stub(dir.path(), "kmod", "");
    let needs =
        stub(dir.path(), "needs-kmod", "Requires: kmod >= 27\nRequires: /usr/sbin/modprobe /sbin/modprobe");
    let rpm = Rpm { root: tempfile::tempdir().unwrap() };
    // As where sbin and bin are one.
    fs::create_dir_all(rpm.root.path().join("usr/bin")).unwrap();
    symlink("bin", rpm.root.path().join("usr/sbin")).unwrap();

    rpm.run(&["-i", &kmod]);
    let refusal = rpm.refuses(&["-i", &ours]);
    assert!(refusal.contains("conflicts with"), "{refusal}");
    rpm.run(&["-e", "kmod"]);
    rpm.run(&["-i", &ours, &needs]);
    assert_eq!(rpm.run(&["-V", "kmod-once"]), "");
    for tool in TOOLS {
        let version = said(Command::new(rpm.root.path().join("usr/sbin").join(tool)).arg("-V"));
        assert!(version.starts_with("kmod version 34\n"), "{version}");
    }
    let provided = rpm.run(&["-q", "--provides", "kmod-once"]);
    assert!(!provided.contains("libkmod"), "a library that no loader finds: {provided}");
    let refusal = rpm.refuses(&["-e", "kmod-once"]);
    assert!(refusal.contains("is needed by"), "{refusal}");
    rpm.run(&["-e", "needs-kmod", "kmod-once"]);
    assert!(
        !rpm.root.path().join("usr/bin/kmod").exists() && !rpm.root.path().join("usr/lib/kmod-once").exists()
    );
}
