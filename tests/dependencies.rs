//! What the project is built from: known licences, one registry, no crate in two versions.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Licences that go with MIT OR Apache-2.0, as crates spell them.
const LICENCES: [&str; 10] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "0BSD",
    "Zlib",
    "ISC",
    "Unlicense",
    "Unicode-3.0",
];

/// What it is built for: Debian's architectures, and the other C library.
const TARGETS: [&str; 8] = [
    "x86_64-unknown-linux-gnu",
    "i686-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "armv7-unknown-linux-gnueabihf",
    "riscv64gc-unknown-linux-gnu",
    "powerpc64le-unknown-linux-gnu",
    "s390x-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
];

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(TARGETS.iter().flat_map(|target| ["--filter-platform", target]))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let used: Vec<_> =
        all["resolve"]["nodes"].as_array().expect("nodes").iter().map(|n| n["id"].clone()).collect();
    let packages = all["packages"].as_array().expect("packages");
    packages.iter().filter(|p| used.contains(&p["id"])).cloned().collect()
}

/// Whether an SPDX expression can be met with known licences: one side of an OR, both sides of an AND.
fn allowed(expression: &str) -> bool {
    let expression = expression.trim();
    for (operator, enough) in [(" OR ", 1), (" AND ", usize::MAX)] {
        let parts = split(expression, operator);
        if parts.len() > 1 {
            return parts.iter().filter(|p| allowed(p)).count() >= enough.min(parts.len());
        }
    }
    match expression.strip_prefix('(').and_then(|e| e.strip_suffix(')')) {
        Some(inside) => allowed(inside),
        None => LICENCES.contains(&expression),
    }
}

/// The parts between operators that stand outside parentheses.
fn split<'a>(expression: &'a str, operator: &str) -> Vec<&'a str> {
    let (mut depth, mut begin, mut parts) = (0, 0, Vec::new());
    for (at, c) in expression.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ' ' if depth == 0 && at >= begin && expression[at..].starts_with(operator) => {
                parts.push(&expression[begin..at]);
                begin = at + operator.len();
            }
            _ => {}
        }
    }
    parts.push(&expression[begin..]);
    parts
}

#[test]
fn every_dependency_has_a_licence_that_goes_with_ours() {
    for package in packages() {
        // Before SPDX, a slash meant OR.
        let licence = package["license"].as_str().unwrap_or("none").replace('/', " OR ");
        assert!(allowed(&licence), "{} has the licence {licence}", package["name"]);
    }
}

#[test]
fn licence_expressions_are_read_with_their_precedence() {
    assert!(allowed("MIT"));
    assert!(allowed("GPL-3.0 OR MIT"));
    assert!(allowed("(MIT OR GPL-3.0) AND Unicode-3.0"));
    assert!(allowed("GPL-3.0 AND MIT OR Apache-2.0"));
    assert!(!allowed("MIT AND GPL-3.0"));
    assert!(!allowed("(MIT OR Apache-2.0) AND GPL-3.0"));
    assert!(!allowed(""));
}

#[test]
fn every_dependency_comes_from_the_registry() {
    for package in packages() {
        let source = package["source"].as_str();
        let own = package["name"] == env!("CARGO_PKG_NAME");
        assert!(
            own || source.is_some_and(|s| s.contains("crates.io-index")),
            "{} comes from {source:?}",
            package["name"]
        );
    }
}

#[test]
fn no_dependency_is_there_in_two_versions() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages() {
        versions.entry(package["name"].to_string()).or_default().push(package["version"].to_string());
    }
    let twice: Vec<_> = versions.iter().filter(|(_, v)| v.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
