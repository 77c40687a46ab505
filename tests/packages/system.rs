//! A Debian system of its own in a directory, as debootstrap makes it, with real dpkg.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::debian::Cache;
use crate::{TOOLS, packaged_library, said};

/// kmod, what depends on it, and what has files that ours take the place of.
const SYSTEM: [&str; 4] = ["kmod", "udev", "initramfs-tools-core", "bash-completion"];
/// The commands by which maintainer scripts change anything.
const COMMANDS: [&str; 4] = ["ln", "mv", "rm", "dpkg-divert"];
pub const LIBRARY: &str = "usr/lib/x86_64-linux-gnu/libkmod.so.2";

/// What is in a system, by path: kind, mode, owner, content, time.
pub type Snapshot = BTreeMap<PathBuf, String>;

pub struct System {
    root: tempfile::TempDir,
}

impl System {
    /// A system of that suite, with a module `loop` for the running kernel, so that `modprobe -n -q loop` has an answer.
    pub fn new(suite: &str) -> System {
        let cache = Cache::open().expect("a cache");
        let tar = cache.system(suite, &SYSTEM).expect("a Debian system");
        let system = System { root: tempfile::tempdir().unwrap() };
        said(Command::new("tar").arg("-C").arg(system.root()).arg("-xf").arg(tar));
        let (kernel, _) = cache.kernel("linux-image-6.12.", "-amd64-unsigned").expect("a kernel");
        let found = said(Command::new("find").arg(kernel).args(["-name", "loop.ko*"]));
        let module = Path::new(found.lines().next().expect("the kernel has loop"));
        let release = said(Command::new("uname").arg("-r"));
        let modules = system.path("usr/lib/modules").join(release.trim());
        fs::create_dir_all(modules.join("kernel")).unwrap();
        fs::copy(module, modules.join("kernel").join(module.file_name().unwrap())).unwrap();
        system.run(&["depmod", release.trim()]);
        system
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.arg(self.root()).args(words).env_clear().envs([
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("LC_ALL", "C"),
        ]);
        command
    }

    /// What a command in the system printed.
    pub fn run(&self, words: &[&str]) -> String {
        said(&mut self.command(words))
    }

    /// Hands files to dpkg.
    pub fn dpkg(&self, options: &[&str], debs: &[&Path]) {
        let output = self.tries_dpkg(options, debs);
        assert!(output.status.success(), "dpkg {options:?} {debs:?}: {}", crate::text(&output));
    }

    /// Hands files to dpkg, which may fail.
    pub fn tries_dpkg(&self, options: &[&str], debs: &[&Path]) -> Output {
        let names: Vec<String> =
            debs.iter().map(|deb| format!("/{}", deb.file_name().unwrap().to_str().unwrap())).collect();
        for (deb, name) in debs.iter().zip(&names) {
            fs::copy(deb, self.path(&name[1..])).unwrap();
        }
        let mut words = vec!["dpkg"];
        words.extend(options);
        words.extend(names.iter().map(String::as_str));
        let output = self.command(&words).output().unwrap();
        names.iter().for_each(|name| fs::remove_file(self.path(&name[1..])).unwrap());
        output
    }

    /// All that is in the system; for directories and what dpkg and ldconfig write anew no time. What dpkg and apt keep as
    /// backups and caches, and logs, are left out.
    pub fn snapshot(&self) -> Snapshot {
        let digests = self.digests();
        let mut found = BTreeMap::new();
        let mut pending = vec![PathBuf::new()];
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(self.root().join(&dir)).unwrap() {
                let path = dir.join(entry.unwrap().file_name());
                let full = self.root().join(&path);
                let meta = full.symlink_metadata().unwrap();
                let mut what = format!("{:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
                if meta.is_dir() {
                    pending.push(path.clone());
                } else if meta.is_symlink() {
                    what += &format!(" -> {}", fs::read_link(&full).unwrap().display());
                } else if meta.is_file() {
                    what += &format!(" {} links, {} {}", meta.nlink(), meta.len(), digests[&full]);
                    if !path.starts_with("var/lib/dpkg") && path != Path::new("etc/ld.so.cache") {
                        what += &format!(" at {}.{}", meta.mtime(), meta.mtime_nsec());
                    }
                }
                found.insert(path, what);
            }
        }
        let noise = |path: &Path| {
            ["var/log", "var/cache/apt", "var/cache/ldconfig"].iter().any(|dir| path.starts_with(dir))
                || path.starts_with("var/lib/dpkg") && path.to_string_lossy().ends_with("-old")
        };
        found.retain(|path, _| !noise(path));
        found
    }

    /// The digests of all files. By sha256sum, since ours here are not optimised and would take most of the time of a test.
    fn digests(&self) -> BTreeMap<PathBuf, String> {
        let mut find = Command::new("find");
        let words = ["-xdev", "-type", "f", "-exec", "sha256sum", "--zero", "{}", "+"];
        let lines = said(find.arg(self.root()).args(words));
        let lines =
            lines.split_terminator('\0').map(|line| line.split_once("  ").expect("a digest and a path"));
        lines.map(|(digest, path)| (path.into(), digest.into())).collect()
    }

    /// Puts a check between any two steps of the maintainer scripts: wrappers of the commands by which they change
    /// anything, which write to /missing if there is no modprobe or no library before or after.
    pub fn watch(&self) {
        for command in COMMANDS {
            let script = format!(
                "#!/bin/sh\nlook() {{ /usr/sbin/modprobe -V >/dev/null 2>&1 && [ -e /{LIBRARY} ] || echo \"$*\" >>/missing; }}\n\
                 echo x >>/watched\nlook before {command} \"$@\"\n/usr/bin/{command} \"$@\"\nstatus=$?\n\
                 look after {command} \"$@\"\nexit $status\n"
            );
            self.wrap(command, &script);
        }
    }

    /// Takes the checks away again, and says how many there were.
    pub fn watched(&self) -> usize {
        COMMANDS.iter().for_each(|command| self.unwrap(command));
        assert!(!self.path("missing").exists(), "{}", fs::read_to_string(self.path("missing")).unwrap());
        let count = fs::read_to_string(self.path("watched")).unwrap().lines().count();
        fs::remove_file(self.path("watched")).unwrap();
        count
    }

    /// Puts a script before a command.
    pub fn wrap(&self, command: &str, script: &str) {
        let path = self.path("usr/local/sbin").join(command);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn unwrap(&self, command: &str) {
        fs::remove_file(self.path("usr/local/sbin").join(command)).unwrap();
    }

    /// Whether every tool is this project's.
    pub fn has_our_tools(&self) -> bool {
        // kmod 30's lsmod knows no -V.
        let ours = |tool: &str| {
            let output = self.command(&[tool, "-V"]).output().unwrap();
            output.status.success() && output.stdout == b"kmod version 34\n+ZSTD +XZ +ZLIB -OPENSSL\n"
        };
        let count = TOOLS.iter().filter(|tool| ours(&format!("/usr/sbin/{tool}"))).count();
        let kmod = self.run(&["kmod", "--help"]).contains("This is kmod-once");
        assert!(count == if kmod { TOOLS.len() } else { 0 }, "{count} tools are ours, and kmod: {kmod}");
        kmod
    }

    /// Whether the loader finds this project's library, and the links that it follows are as ldconfig would make them.
    pub fn has_our_library(&self) -> bool {
        let before = fs::read_link(self.path(LIBRARY)).unwrap();
        self.run(&["ldconfig"]);
        assert_eq!(fs::read_link(self.path(LIBRARY)).unwrap(), before, "ldconfig makes it another");
        let known = self.run(&["ldconfig", "-p"]);
        let line = known.lines().find(|line| line.contains("libkmod.so.2 ")).expect("a libkmod");
        let path = self.run(&["realpath", line.split(" => ").nth(1).unwrap()]);
        fs::read(self.path(&path.trim()[1..])).unwrap() == packaged_library()
    }

    /// The distribution's `kmod` where it is kept while ours is in its place: once.
    pub fn kept(&self) -> Vec<Vec<u8>> {
        let places = ["usr/bin/kmod.distrib", "usr/bin/kmod.distrib.usr-is-merged"];
        places.iter().filter_map(|path| fs::read(self.path(path)).ok()).collect()
    }

    /// What dpkg has to say against packages, theirs and ours: nothing.
    pub fn sound(&self) {
        assert_eq!(self.run(&["dpkg", "--audit"]), "");
        assert_eq!(self.run(&["dpkg", "--verify"]), "");
        self.run(&["apt-get", "check"]);
    }
}

/// What is in one of them and not in the other, as far as it counts.
pub fn compare(before: &Snapshot, after: &Snapshot, counts: impl Fn(&Path) -> bool) -> Vec<String> {
    let paths: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
    paths
        .into_iter()
        .filter(|path| counts(path) && before.get(*path) != after.get(*path))
        .map(|path| format!("{}: {:?}, was {:?}", path.display(), after.get(path), before.get(path)))
        .collect()
}

/// Not what dpkg writes down of packages that were removed and not purged.
pub fn but_for_the_books(path: &Path) -> bool {
    path != Path::new("var/lib/dpkg/status") && !path.starts_with("var/lib/dpkg/info")
}
