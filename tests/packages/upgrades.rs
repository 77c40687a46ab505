//! What is upgraded while our packages are installed: the distribution's, and ours.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::asking::Asking;
use crate::debian::Cache;
use crate::system::{System, compare};
use crate::{SOURCE, debs, said};

/// A package of the suite with other content and a higher version. The library gets a higher number of its own, too.
fn newer(suite: &str, package: &str, dir: &Path) -> PathBuf {
    let deb = Cache::open().unwrap().deb(suite, package).expect("a package of Debian");
    let stage = dir.join(package);
    said(Command::new("dpkg-deb").arg("-R").arg(deb).arg(&stage));
    let control = stage.join("DEBIAN/control");
    let text = fs::read_to_string(&control).unwrap();
    let version = text.lines().find_map(|line| line.strip_prefix("Version: ")).unwrap().to_owned();
    fs::write(&control, text.replace(&version, &format!("{version}+newer"))).unwrap();
    let script = r#"
        kmod=$(find . -path '*bin/kmod'); [ -z "$kmod" ] || printf newer >>"$kmod"
        library=$(find . -type f -name 'libkmod.so.2.*')
        if [ "$library" ]; then
            mv "$library" "${library%/*}/libkmod.so.2.9.1"; printf newer >>"${library%/*}/libkmod.so.2.9.1"
            ln -sf libkmod.so.2.9.1 "${library%/*}/libkmod.so.2"
        fi
        find * -path DEBIAN -prune -o -type f -print | xargs md5sum >DEBIAN/md5sums"#;
    said(Command::new("sh").args(["-ec", script]).current_dir(&stage));
    let to = dir.join(format!("{package}.deb"));
    said(Command::new("dpkg-deb").arg("--build").arg(&stage).arg(&to));
    to
}

/// The module for `modprobe -n -q loop` was made for each system, at another time.
fn but_for_loop(path: &Path) -> bool {
    !path.starts_with("usr/lib/modules")
}

/// kmod and libkmod2 are upgraded, in both orders: with ours in their places, and then without it, as if it had never been there.
fn upgraded_underneath(suite: &str) {
    let dir = tempfile::tempdir().unwrap();
    let theirs = ["libkmod2", "kmod"].map(|package| newer(suite, package, dir.path()));
    let [library, tools] = theirs.each_ref().map(PathBuf::as_path);
    let wanted = {
        let system = System::new(suite);
        system.dpkg(&["--install"], &[library, tools]);
        system.snapshot()
    };
    for order in [[library, tools], [tools, library]] {
        let system = System::new(suite);
        let asking = Asking::begin(&system);
        system.dpkg(&["--install"], &debs());
        system.dpkg(&["--install"], &order);
        assert!(system.has_our_tools() && system.has_our_library());
        system.sound();
        assert!(system.kept().len() == 1 && system.kept()[0].ends_with(b"newer"));
        system.dpkg(&["--purge", "kmod-once", "libkmod2-once"], &[]);
        asking.end();
        let differences = compare(&wanted, &system.snapshot(), but_for_loop);
        assert!(differences.is_empty(), "{suite}:\n{}", differences.join("\n"));
    }
    // All in one run of dpkg, as apt may do it.
    for order in [[debs()[0], debs()[1], library, tools], [tools, library, debs()[1], debs()[0]]] {
        let system = System::new(suite);
        let asking = Asking::begin(&system);
        system.dpkg(&["--install"], &order);
        assert!(system.has_our_tools() && system.has_our_library());
        system.sound();
        system.dpkg(&["--purge", "libkmod2-once", "kmod-once"], &[]);
        asking.end();
        let differences = compare(&wanted, &system.snapshot(), but_for_loop);
        assert!(differences.is_empty(), "{suite}, in one run:\n{}", differences.join("\n"));
    }
}

#[test]
fn kmod_and_libkmod_of_debian_12_may_be_upgraded_underneath() {
    if !crate::needs::root() {
        return;
    }
    upgraded_underneath("bookworm");
}

#[test]
fn kmod_and_libkmod_of_debian_13_may_be_upgraded_underneath() {
    if !crate::needs::root() {
        return;
    }
    upgraded_underneath("trixie");
}

/// Debian 12's kmod has its file in /bin, Debian 13's in /usr/bin: to dpkg another file, to the system the same one.
#[test]
fn debian_12_may_become_debian_13_underneath() {
    if !crate::needs::root() {
        return;
    }
    let system = System::new("bookworm");
    let cache = Cache::open().unwrap();
    let newer = ["kmod", "libkmod2", "bash-completion"]
        .map(|package| cache.deb("trixie", package).expect("a package of Debian 13"));
    system.dpkg(&["--install"], &debs());
    system.watch();
    let asking = Asking::begin(&system);
    system.dpkg(
        &["--force-depends", "--auto-deconfigure", "--install"],
        &newer.each_ref().map(PathBuf::as_path),
    );
    assert!(system.watched() > 0 && system.has_our_tools() && system.has_our_library());
    asking.end();
    // What is put back does not run here: it was built for the C library of Debian 13.
    let inside = tempfile::tempdir().unwrap();
    said(Command::new("dpkg-deb").arg("-x").arg(&newer[0]).arg(inside.path()));
    let kmod = fs::read(inside.path().join("usr/bin/kmod")).unwrap();
    assert_eq!(system.kept(), std::slice::from_ref(&kmod));

    system.dpkg(&["--remove", "kmod-once", "libkmod2-once"], &[]);
    assert_eq!(fs::read(system.path("usr/bin/kmod")).unwrap(), kmod);
    assert!(system.kept().is_empty() && !system.has_our_library());
    assert_eq!(system.run(&["dpkg", "--verify", "kmod", "libkmod2", "bash-completion"]), "");
}

/// Our own package as it was with links in the place of the files.
fn package_of_links(dir: &Path) -> PathBuf {
    let stage = dir.join("links");
    said(Command::new("dpkg-deb").arg("-R").arg(debs()[0]).arg(&stage));
    let scripts = Path::new(SOURCE).join("tests/packages/links");
    for script in ["preinst", "postrm", "triggers"] {
        fs::remove_file(stage.join("DEBIAN").join(script)).unwrap();
    }
    for script in ["postinst", "prerm"] {
        fs::copy(scripts.join(script), stage.join("DEBIAN").join(script)).unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(stage.join("DEBIAN").join(script), mode).unwrap();
    }
    let moved = r#"
        instead=usr/lib/kmod-once/instead
        mkdir -p $instead/usr/share/man/man5
        mv usr/bin $instead/usr/
        mv usr/share/bash-completion $instead/usr/share/
        mv usr/share/man/man8 $instead/usr/share/man/
        for page in depmod.d modprobe.d modules.dep; do mv usr/share/man/man5/$page.5.gz $instead/usr/share/man/man5/; done
        find usr -type f | xargs md5sum >DEBIAN/md5sums"#;
    said(Command::new("sh").args(["-ec", moved]).current_dir(&stage));
    let to = dir.join("links.deb");
    said(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&stage).arg(&to));
    to
}

fn links_become_files(suite: &str) {
    let dir = tempfile::tempdir().unwrap();
    let old = package_of_links(dir.path());
    let system = System::new(suite);
    let before = system.snapshot();
    system.dpkg(&["--install"], &[&old]);
    assert!(system.has_our_tools() && system.path("usr/bin/kmod").is_symlink());
    let asking = Asking::begin(&system);
    system.dpkg(&["--install"], &debs());
    assert!(system.has_our_tools() && system.has_our_library());
    assert!(!system.path("usr/bin/kmod").is_symlink() && !system.path("usr/lib/kmod-once").exists());
    system.sound();
    system.dpkg(&["--purge", "kmod-once", "libkmod2-once"], &[]);
    asking.end();
    let differences = compare(&before, &system.snapshot(), |_| true);
    assert!(differences.is_empty(), "{suite}:\n{}", differences.join("\n"));
}

#[test]
fn links_of_the_older_package_become_files() {
    if !crate::needs::root() {
        return;
    }
    links_become_files("bookworm");
    links_become_files("trixie");
}
