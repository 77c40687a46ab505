//! Installed, installed again, removed and purged.

use std::fs;

use crate::asking::Asking;
use crate::system::{System, but_for_the_books, compare};
use crate::{debs, text};

const NAMES: [&str; 2] = ["kmod-once", "libkmod2-once"];

/// Both packages come and go, in every order.
fn round_trip(suite: &str) {
    let system = System::new(suite);
    let kmod = fs::read(system.path("usr/bin/kmod")).unwrap();
    assert!(!system.has_our_tools() && !system.has_our_library());
    system.sound();
    let before = system.snapshot();
    println!("{} files", before.len());

    system.watch();
    for _ in 0..2 {
        system.dpkg(&["--install"], &debs());
        assert!(system.has_our_tools() && system.has_our_library());
        system.sound();
        assert_eq!(system.kept(), std::slice::from_ref(&kmod));
    }
    for path in ["usr/bin/kmod", "usr/share/man/man8/modprobe.8.gz"] {
        assert!(system.path(path).symlink_metadata().unwrap().is_file(), "{path}");
    }
    let page = system.run(&["zcat", "/usr/share/man/man8/modprobe.8.gz"]);
    assert!(page.contains("kmod-gate"), "{page}");
    system.dpkg(&[&["--remove"][..], &NAMES].concat(), &[]);
    assert!(system.watched() > 50);
    assert!(!system.has_our_tools() && !system.has_our_library());
    let differences = compare(&before, &system.snapshot(), but_for_the_books);
    assert!(differences.is_empty(), "after removal:\n{}", differences.join("\n"));

    for (come, go) in [([0, 1], [0, 1]), ([0, 1], [1, 0]), ([1, 0], [0, 1]), ([1, 0], [1, 0])] {
        let asking = Asking::begin(&system);
        system.dpkg(&["--install"], &[debs()[come[0]]]);
        assert_eq!((system.has_our_tools(), system.has_our_library()), (come[0] == 0, come[0] == 1));
        system.dpkg(&["--install"], &[debs()[come[1]]]);
        assert!(system.has_our_tools() && system.has_our_library());
        system.sound();
        system.dpkg(&["--remove", NAMES[go[0]]], &[]);
        assert_eq!((system.has_our_tools(), system.has_our_library()), (go[0] == 1, go[0] == 0));
        system.dpkg(&["--remove", NAMES[go[1]]], &[]);
        asking.end();
        system.sound();
        let differences = compare(&before, &system.snapshot(), but_for_the_books);
        assert!(differences.is_empty(), "came as {come:?}, went as {go:?}:\n{}", differences.join("\n"));
    }

    fs::create_dir_all(system.path("var/cache/kmod-once/depmod")).unwrap();
    system.dpkg(&[&["--purge"][..], &NAMES].concat(), &[]);
    let differences = compare(&before, &system.snapshot(), |_| true);
    assert!(differences.is_empty(), "after purging:\n{}", differences.join("\n"));
}

#[test]
fn debian_12_comes_back_as_it_was() {
    if !crate::needs::root() {
        return;
    }
    round_trip("bookworm");
}

#[test]
fn debian_13_comes_back_as_it_was() {
    if !crate::needs::root() {
        return;
    }
    round_trip("trixie");
}

/// A maintainer script that fails half-way leaves the machine as it was before the call.
#[test]
fn what_is_broken_off_changes_nothing() {
    if !crate::needs::root() {
        return;
    }
    let system = System::new("trixie");
    let before = system.snapshot();
    // The fifth call fails, and those after it succeed again.
    let failing = |command: &str| {
        let script = format!(
            "#!/bin/sh\necho x >>/calls\n[ $(wc -l </calls) != 5 ] || exit 1\nexec /usr/bin/{command} \"$@\"\n"
        );
        system.wrap(command, &script);
    };
    let asking = Asking::begin(&system);
    failing("ln");
    let output = system.tries_dpkg(&["--install"], &debs()[..1]);
    assert!(!output.status.success(), "{}", text(&output));
    system.unwrap("ln");
    fs::remove_file(system.path("calls")).unwrap();
    assert!(!system.has_our_tools());
    let differences = compare(&before, &system.snapshot(), but_for_the_books);
    assert!(differences.is_empty(), "after a failed installation:\n{}", differences.join("\n"));

    system.dpkg(&["--install"], &debs());
    let installed = system.snapshot();
    failing("mv");
    let output = system.tries_dpkg(&["--remove", "kmod-once"], &[]);
    assert!(!output.status.success(), "{}", text(&output));
    system.unwrap("mv");
    fs::remove_file(system.path("calls")).unwrap();
    assert!(system.has_our_tools() && system.has_our_library());
    system.sound();
    let differences = compare(&installed, &system.snapshot(), |path| !path.starts_with("var/lib/dpkg"));
    assert!(differences.is_empty(), "after a failed removal:\n{}", differences.join("\n"));

    system.dpkg(&["--purge", "kmod-once", "libkmod2-once"], &[]);
    asking.end();
    let differences = compare(&before, &system.snapshot(), |_| true);
    assert!(differences.is_empty(), "after purging:\n{}", differences.join("\n"));
}

/// Without a merged /usr our /usr/bin/kmod would not be what /sbin/modprobe leads to: nothing is changed then.
#[test]
fn without_a_merged_usr_nothing_is_unpacked() {
    if !crate::needs::root() {
        return;
    }
    let system = System::new("bookworm");
    fs::remove_file(system.path("bin")).unwrap();
    crate::said(
        std::process::Command::new("cp").arg("-a").arg(system.path("usr/bin")).arg(system.path("bin")),
    );
    let before = system.snapshot();
    for deb in debs() {
        let output = system.tries_dpkg(&["--install"], &[deb]);
        assert!(!output.status.success() && text(&output).contains("usrmerge"), "{}", text(&output));
    }
    assert!(!system.has_our_tools());
    let differences = compare(&before, &system.snapshot(), but_for_the_books);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    system.dpkg(&[&["--purge"][..], &NAMES].concat(), &[]);
    assert_eq!(system.run(&["dpkg", "--audit"]), "");
}
