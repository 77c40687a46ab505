//! A machine with rpm, as far as rpm's own books go, and rpmlint.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{TOOLS, packages, packages_of, said, text};

/// The rpm packages, made once.
fn rpms() -> &'static [PathBuf] {
    static RPMS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    RPMS.get_or_init(|| packages("rpm"))
}

/// The one of them that begins like this.
fn named(begin: &str) -> &'static str {
    let fits = |rpm: &&PathBuf| rpm.file_name().unwrap().to_str().unwrap().starts_with(begin);
    rpms().iter().find(fits).unwrap_or_else(|| panic!("no {begin}: {:?}", rpms())).to_str().unwrap()
}

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
fn rpm_takes_them_for_kmod_and_its_library() {
    if !crate::needs::root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (ours, library) = (named("kmod-once-0"), named("kmod-once-libs-"));
    let (kmod, libs) = (stub(dir.path(), "kmod", ""), stub(dir.path(), "kmod-libs", ""));
    let needs = stub(
        dir.path(),
        "needs-kmod",
        "Requires: kmod >= 27\nRequires: /usr/sbin/modprobe /sbin/modprobe\n\
         Requires: libkmod.so.2()(64bit) libkmod.so.2(LIBKMOD_5)(64bit)",
    );
    // The C library of the machine: whatever ours needs.
    let needed = said(Command::new("rpm").args(["-q", "--requires", "-p", library]));
    let needed: Vec<&str> = needed.lines().filter(|line| !line.starts_with("rpmlib(")).collect();
    let of_glibc = |line: &&str| ["libc.so.6", "ld-linux", "rtld("].iter().any(|name| line.starts_with(name));
    assert!(!needed.is_empty() && needed.iter().all(of_glibc), "{needed:?}");
    let glibc = stub(dir.path(), "glibc", &format!("Provides: {}", needed.join(" ")));
    let rpm = Rpm { root: tempfile::tempdir().unwrap() };
    // As where sbin and bin are one.
    fs::create_dir_all(rpm.root.path().join("usr/bin")).unwrap();
    symlink("bin", rpm.root.path().join("usr/sbin")).unwrap();

    rpm.run(&["-i", &kmod, &libs, &glibc]);
    for package in [ours, library] {
        let refusal = rpm.refuses(&["-i", package]);
        assert!(refusal.contains("conflicts with"), "{refusal}");
    }
    rpm.run(&["-e", "kmod", "kmod-libs"]);
    rpm.run(&["-i", ours, library, &needs]);
    assert_eq!(rpm.run(&["-V", "kmod-once", "kmod-once-libs"]), "");
    for tool in TOOLS {
        let version = said(Command::new(rpm.root.path().join("usr/sbin").join(tool)).arg("-V"));
        assert!(version.starts_with("kmod version 34\n"), "{version}");
    }
    for package in ["kmod-once", "kmod-once-libs"] {
        let refusal = rpm.refuses(&["-e", package]);
        assert!(refusal.contains("is needed by"), "{refusal}");
    }
    rpm.run(&["-e", "needs-kmod", "kmod-once", "kmod-once-libs"]);
    let left = said(Command::new("find").arg(rpm.root.path().join("usr")).args(["-name", "*kmod*"]));
    assert_eq!(left, "");
}

/// Every crate that is linked in has a licence that the package names.
#[test]
fn the_licences_are_named() {
    if !crate::needs::root() {
        return;
    }
    let list = said(
        Command::new("sh")
            .arg("-c")
            .arg("rpm2cpio \"$0\" | cpio --quiet -i --to-stdout '*/LICENSE.dependencies'")
            .arg(named("kmod-once-0")),
    );
    let named = said(Command::new("rpm").args(["-q", "--qf", "%{LICENSE}", "-p", named("kmod-once-0")]));
    assert!(list.lines().count() > 15, "{list}");
    // What writes code while others are compiled is not in the program.
    let linked = |line: &&str| {
        !line.contains("proc-macro")
            && !["heck ", "quote ", "syn ", "unicode-ident "].iter().any(|name| line.contains(name))
    };
    for line in list.lines().filter(linked) {
        let (licence, name) = line.split_once(": ").expect("LICENCE: CRATE");
        let alternatives = |expression: &str| -> Vec<String> {
            let mut all: Vec<String> =
                expression.trim_matches(['(', ')']).split(" OR ").map(str::to_owned).collect();
            all.sort();
            all
        };
        let found = named.split(" AND ").any(|part| alternatives(part) == alternatives(licence));
        assert!(found, "{name} is {licence}, which is not in {named}");
    }
}

/// Of a program that has them, as cargo's own debugging builds do.
#[test]
fn debugging_symbols_are_a_package_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let rpms = packages_of(env!("CARGO_BIN_EXE_kmod"), "rpm", dir.path());
    let unpacked = |begin: &str, file: &str| {
        let fits = |rpm: &&PathBuf| rpm.file_name().unwrap().to_str().unwrap().starts_with(begin);
        let rpm = rpms.iter().find(fits).unwrap_or_else(|| panic!("no {begin}: {rpms:?}"));
        let unpack = "cd \"$0\" && rpm2cpio \"$1\" | cpio --quiet -id && ls -d $2";
        let found = said(Command::new("sh").args(["-c", unpack]).arg(dir.path()).arg(rpm).arg(file));
        let file = dir.path().join(found.trim());
        let sections = said(Command::new("readelf").args(["--wide", "--sections", "--notes"]).arg(file));
        let build = sections.lines().find_map(|line| Some(line.split_once("Build ID: ")?.1.to_owned()));
        (sections.contains(" .debug_info "), build.unwrap_or_else(|| panic!("no build id: {sections}")))
    };
    let (program, symbols) = (
        unpacked("kmod-once-0", "usr/bin/kmod"),
        unpacked("kmod-once-debuginfo-", "usr/lib/debug/usr/bin/kmod*"),
    );
    assert_eq!((program.0, symbols.0), (false, true));
    assert_eq!(program.1, symbols.1);
}

#[test]
fn rpmlint_finds_no_errors() {
    if !crate::needs::root() {
        return;
    }
    let config = Path::new(crate::SOURCE).join("dist/rpm/rpmlint.toml");
    let output = Command::new("rpmlint").arg("--config").arg(config).args(rpms()).output().unwrap();
    let text = text(&output);
    let errors: Vec<&str> = text.lines().filter(|line| line.contains(": E: ")).collect();
    assert!(errors.is_empty() && text.contains("packages and"), "{}", errors.join("\n"));
}
