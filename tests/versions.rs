//! What the tests compare with and boot is what tests/versions says, or they say that it is not.

#[path = "common/versions.rs"]
#[allow(dead_code)]
mod versions;

use std::fs;

/// A file with a package's name and a byte in it: what is said of it.
fn said(suite: Option<&str>, name: &str) -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let deb = dir.path().join(name);
    fs::write(&deb, "x").unwrap();
    versions::check(suite, &deb).map_err(|error| error.to_string())
}

#[test]
fn the_file_names_the_tools_and_each_kernel_once() {
    let names: Vec<&str> = versions::all().map(|line| line.package).collect();
    let starts = [
        "linux-image-5.10.",
        "linux-image-6.1.",
        "linux-image-6.12.",
        "linux-modules-",
        "linux-binary-unsigned-",
    ];
    for start in starts {
        assert_eq!(names.iter().filter(|name| name.starts_with(start)).count(), 1, "{start}");
    }
    for suite in ["bookworm", "trixie"] {
        for tool in ["kmod", "libkmod2", "udev"] {
            assert!(versions::of(Some(suite), tool).is_some(), "{tool} of {suite}");
        }
    }
    // No line is left out for being short of a word.
    let lines = include_str!("versions").lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.count(), names.len());
}

#[test]
fn another_file_under_the_recorded_version_is_an_error() {
    let kmod = versions::of(Some("trixie"), "kmod").unwrap();
    let error = said(Some("trixie"), &format!("kmod_{}_amd64.deb", kmod.version)).unwrap_err();
    assert!(error.contains("SHA-256") && error.contains("tests/versions"), "{error}");
}

#[test]
fn another_version_is_used_and_said_with_the_line_to_commit() {
    // sha256sum of one x.
    let hash = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    for (suite, name, line) in [
        (Some("trixie"), "kmod_99%3a1-1_amd64.deb", "trixie kmod 99:1-1"),
        (
            None,
            "linux-modules-99.1.2+deb13-amd64_99.1.2-1_amd64.deb",
            "- linux-modules-99.1.2+deb13-amd64 99.1.2-1",
        ),
    ] {
        let text = said(suite, name).unwrap();
        assert!(text.starts_with(versions::LOUD) && text.ends_with(&format!("{line} {hash}\n")), "{text}");
    }
}

#[test]
fn of_other_packages_and_of_sid_nothing_is_said() {
    assert_eq!(said(Some("trixie"), "dash_99-1_amd64.deb"), Ok(String::new()));
    assert_eq!(said(Some("sid"), "udev_999-1_amd64.deb"), Ok(String::new()));
}
