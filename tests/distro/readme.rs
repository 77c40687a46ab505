//! README's commands as a new user would give them: Debian 13 with its own cargo, gcc, make and git and nothing of ours, a
//! fresh checkout, and each command of README.md and then INSTALL.md in the pages' order and as it is printed there. It also
//! shows that Debian's cargo builds this, which is as old as Cargo.toml allows.
//!
//! The commands are read from the pages: one that is new there and not known here is an error. Two are not given:
//! what needs another distribution, and `make demo` and `make test`, of which the latter gives this test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::debian::Cache;
use crate::stage::{differences, manifest};
use crate::system::{base, copy, inside, run};

/// What README asks for, and the system that is served: udev and kmod.
const PACKAGES: &str = "cargo,gcc,libc6-dev,make,git,sudo,apt,kmod,udev";

/// The checkout inside the root, and the crates: where [`manifest`] does not look.
const CHECKOUT: &str = "/tmp/kmod-once";
const CRATES: &str = "/tmp/crates";

/// Stands in for the setting of the machine's own kernel, which is nobody's to change here.
const SETTING: (&str, &str) = ("/proc/sys/kernel/modprobe", "/tmp/sys-kernel-modprobe");

/// What a login would have set, and what it is for systemd's programs.
const SURROUNDINGS: &str = "HOME=/root SYSTEMD_OFFLINE=1 SYSTEMD_IN_CHROOT=1";

/// How a command begins, and what must hold once it was given. None: it is not given.
type Known = (&'static str, Option<fn(&User, &str) -> Result<()>>);

const KNOWN: [Known; 9] = [
    ("make demo", None),
    ("make test", None),
    ("make build library && sudo make install", Some(installed)),
    ("/usr/local/sbin/modprobe -n -v loop", Some(says_insmod)),
    ("echo /usr/local/sbin/modprobe | sudo tee", Some(is_told)),
    ("sudo ldconfig && sudo systemctl restart systemd-udevd", Some(library_is_first)),
    ("sudo cp /usr/local/share/kmod-once/udev/80-drivers.rules", Some(rule_is_there)),
    ("sudo dpkg -i target/packages/*.deb", Some(packages_serve)),
    ("sudo dnf swap", None),
];

/// What stands in the page's sentences and is given after the blocks' commands before it: how to go back, how to make a
/// package and how to be rid of it.
const BACK: &str = "sudo make uninstall && sudo ldconfig";
const PACKAGE: &str = "make deb";
const REMOVE: &str = "sudo apt remove kmod-once libkmod2-once";

/// The one who reads the page.
struct User {
    root: PathBuf,
}

/// All of it.
///
/// # Errors
/// What did not work as printed.
pub fn check() -> Result<()> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    let cache = Cache::open()?;
    let user = User { root: dir.join("root") };
    copy(&base(&cache, "trixie", PACKAGES)?, &user.root)?;
    user.check_out(&dir)?;
    // No systemd runs there that could be told to start udevd anew, or a udevd to read its rules: they know what to say.
    let keep = "Defaults env_keep += \"SYSTEMD_OFFLINE SYSTEMD_IN_CHROOT\"\n";
    fs::write(user.path("/etc/sudoers.d/chroot"), keep)?;
    user.add_module(&cache)?;
    let before = manifest(&user.root)?;
    let page = pages()?;
    for words in [BACK, PACKAGE, REMOVE] {
        if !page.contains(words) {
            bail!("README does not say any more: {words}");
        }
    }
    let commands = commands(&page);
    let (mut given, mut went_back) = (0, false);
    for line in &commands {
        let known = KNOWN.iter().find(|(begin, _)| line.starts_with(begin));
        let (_, Some(holds)) =
            known.with_context(|| format!("README has a command that is not known here: {line}"))?
        else {
            continue;
        };
        if line.starts_with("sudo dpkg") {
            user.go_back(&before)?;
            user.give(PACKAGE)?;
            went_back = true;
        }
        let said = user.give(line)?;
        holds(&user, &said).with_context(|| format!("$ {line}\n{said}"))?;
        given += 1;
    }
    if given != KNOWN.iter().filter(|(_, holds)| holds.is_some()).count() || !went_back {
        bail!("README lacks some of these commands: {commands:#?}");
    }
    user.give(&format!("echo y | {REMOVE}"))?;
    user.is_as_before(&before, "removing the package")?;
    fs::remove_dir_all(&dir)?;
    Ok(())
}

/// README.md up to "Using it", and INSTALL.md.
fn pages() -> Result<String> {
    let read = |name: &str| {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).with_context(|| name.to_owned())
    };
    let readme = read("README.md")?;
    let (commands, _) = readme.split_once("\n## Using it\n").context("README.md: no \"Using it\"")?;
    Ok(commands.to_owned() + &read("INSTALL.md")?)
}

/// The lines of the pages' blocks of commands; the list of files is none.
fn commands(page: &str) -> Vec<&str> {
    let (before, rest) = page.split_once("<!-- installed -->").unwrap_or((page, ""));
    let after = rest.split_once("<!-- /installed -->").map_or("", |(_, after)| after);
    let lines = before.lines().chain(after.lines());
    // A comment may go on in the next line.
    lines.filter_map(|line| line.strip_prefix("    ")).filter(|line| !line.trim().starts_with('#')).collect()
}

impl User {
    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Gives one command in the checkout; what it printed.
    fn give(&self, line: &str) -> Result<String> {
        println!("distro: readme: $ {line}");
        let line = line.replace(SETTING.0, SETTING.1);
        inside(&self.root, &["sh", "-c", &format!("export {SURROUNDINGS}; cd {CHECKOUT} && {line}")])
    }

    /// What a clone has, and the crates, so that no network is needed.
    fn check_out(&self, dir: &Path) -> Result<()> {
        let to = self.path(CHECKOUT);
        fs::create_dir_all(&to)?;
        let source = env!("CARGO_MANIFEST_DIR");
        let script = "git -C \"$0\" ls-files -co --exclude-standard -z | tar -C \"$0\" --null -T - -cf - | tar -C \"$1\" -xf -";
        run(Command::new("sh").args(["-c", script, source]).arg(&to))?;
        if !to.join("Makefile").exists() {
            bail!("no checkout to copy in {source}");
        }
        let mut vendor = Command::new(env!("CARGO"));
        vendor.args(["vendor", "--locked", "--quiet", "--versioned-dirs", "--manifest-path"]);
        run(vendor.arg(Path::new(source).join("Cargo.toml")).arg(self.path(CRATES)).current_dir(dir))?;
        fs::create_dir_all(self.path("/root/.cargo"))?;
        let config =
            format!("[source.crates-io]\nreplace-with = \"here\"\n[source.here]\ndirectory = \"{CRATES}\"\n");
        Ok(fs::write(self.path("/root/.cargo/config.toml"), config)?)
    }

    /// The module that the page asks for, of the release that the machine's kernel says it is.
    fn add_module(&self, cache: &Cache) -> Result<()> {
        let (kernel, _) = cache.kernel("linux-image-6.12.", "-amd64-unsigned")?;
        let found = run(Command::new("find").arg(&kernel).args(["-name", "loop.ko*"]))?;
        let release = run(Command::new("uname").arg("-r"))?;
        let modules = self.path("/usr/lib/modules").join(release.trim());
        fs::create_dir_all(modules.join("kernel"))?;
        let source = Path::new(found.lines().next().context("the kernel has no loop")?);
        fs::copy(source, modules.join("kernel").join(source.file_name().unwrap_or_default()))?;
        inside(&self.root, &["depmod", release.trim()]).map(drop)
    }

    fn go_back(&self, before: &[String]) -> Result<()> {
        self.give(BACK)?;
        fs::remove_file(self.path("/etc/udev/rules.d/80-drivers.rules"))?;
        self.is_as_before(before, "going back")
    }

    fn is_as_before(&self, before: &[String], what: &str) -> Result<()> {
        let changed = differences(before, &manifest(&self.root)?);
        // Empty directories below /usr/local stay, as somebody else may have made them; the rest is what cargo, apt and
        // sudo keep for themselves.
        let matters = |line: &&String| {
            let directory = line.starts_with("+ d") && line.contains(" ./usr/local/");
            let own = [" ./root/", " ./var/lib/apt", " ./var/lib/sudo"].iter().any(|own| line.contains(own));
            !directory && !own
        };
        let changed: Vec<&String> = changed.iter().filter(matters).collect();
        if !changed.is_empty() {
            bail!("after {what} it is not as before: {changed:#?}");
        }
        Ok(())
    }
}

fn installed(user: &User, _: &str) -> Result<()> {
    let version = inside(&user.root, &["/usr/local/sbin/modprobe", "--help"])?;
    if !version.contains("--explain") || !user.path("/usr/local/lib/libkmod.so.2").exists() {
        bail!("not installed");
    }
    Ok(())
}

fn says_insmod(_: &User, said: &str) -> Result<()> {
    if !said.starts_with("insmod /lib/modules/") {
        bail!("it says something else");
    }
    Ok(())
}

fn is_told(user: &User, _: &str) -> Result<()> {
    if fs::read_to_string(user.path(SETTING.1))? != "/usr/local/sbin/modprobe\n" {
        bail!("the setting is another");
    }
    Ok(fs::remove_file(user.path(SETTING.1))?)
}

fn library_is_first(user: &User, _: &str) -> Result<()> {
    let known = inside(&user.root, &["ldconfig", "-p"])?;
    let first = known.lines().find(|line| line.contains("libkmod.so.2 ")).unwrap_or_default();
    if !first.ends_with("=> /usr/local/lib/libkmod.so.2") {
        bail!("the loader takes {first}");
    }
    Ok(())
}

fn rule_is_there(user: &User, _: &str) -> Result<()> {
    let rule = fs::read_to_string(user.path("/etc/udev/rules.d/80-drivers.rules"))?;
    if !rule.contains("/usr/local/sbin/modprobe -") {
        bail!("the rule calls another modprobe");
    }
    Ok(())
}

fn packages_serve(user: &User, _: &str) -> Result<()> {
    if !inside(&user.root, &["modprobe", "--help"])?.contains("--explain") {
        bail!("modprobe is not ours");
    }
    let library = inside(&user.root, &["sh", "-c", "realpath /usr/lib/*/libkmod.so.2"])?;
    if !library.trim().ends_with("/libkmod.so.2.99") {
        bail!("the loader takes {library}");
    }
    Ok(())
}
