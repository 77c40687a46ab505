//! SECURITY.md against the code: what it names is there, and its inventory of `unsafe` is complete.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn page() -> String {
    fs::read_to_string(Path::new(ROOT).join("SECURITY.md")).unwrap()
}

/// The rows of the table between the marks of `name`, of those lines that `is_row` picks; each row's cells.
fn table<'p>(page: &'p str, name: &str, is_row: impl Fn(&str) -> bool) -> Vec<Vec<&'p str>> {
    let inside = page.split_once(&format!("<!-- {name} -->")).expect("the first mark").1;
    let inside = inside.split_once(&format!("<!-- /{name} -->")).expect("the second mark").0;
    let cells = |row: &'p str| row.trim_matches('|').split('|').map(str::trim).collect();
    inside.lines().filter(|line| is_row(line)).map(cells).collect()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Blocks, and other uses of the word, in code: neither in comments nor in strings of one line.
fn count(text: &str) -> (usize, usize) {
    let (mut blocks, mut others) = (0, 0);
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or_default();
        let code = code.split('"').step_by(2).collect::<String>().replace('{', " { ");
        let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '{'));
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        for (at, _) in words.iter().enumerate().filter(|(_, word)| **word == "unsafe") {
            if words.get(at + 1).is_some_and(|next| next.starts_with('{')) {
                blocks += 1
            } else {
                others += 1
            }
        }
    }
    (blocks, others)
}

#[test]
fn the_inventory_of_unsafe_is_that_of_the_code() {
    let mut files = Vec::new();
    sources(&Path::new(ROOT).join("src"), &mut files);
    let mut code = BTreeMap::new();
    for path in files {
        let counts = count(&fs::read_to_string(&path).unwrap());
        if counts != (0, 0) {
            code.insert(path.strip_prefix(ROOT).unwrap().display().to_string(), counts);
        }
    }
    let page = page();
    let mut listed = BTreeMap::new();
    for row in table(&page, "unsafe", |line| line.starts_with("| `")) {
        let [file, blocks, others, contract] = row[..] else { panic!("{row:?}") };
        assert!(!contract.is_empty(), "{row:?}");
        listed.insert(file.trim_matches('`').to_owned(), (blocks.parse().unwrap(), others.parse().unwrap()));
    }
    assert_eq!(listed, code, "SECURITY.md is left, the code is right");
}

#[test]
fn what_counts_as_unsafe() {
    assert_eq!(count("unsafe { a() }; unsafe{b()}"), (2, 0));
    assert_eq!(count("#[unsafe(no_mangle)]\npub unsafe extern \"C\" fn f() {}"), (0, 2));
    assert_eq!(count("// unsafe {\nlet x = \"unsafe {\"; allow(unsafe_code)"), (0, 0));
}

#[test]
fn what_the_page_names_is_there() {
    let page = page();
    assert!(page.contains("<!-- fuzz -->") && page.contains("<!-- /fuzz -->"));
    let promises = page.split("## What is promised").nth(1).and_then(|rest| rest.split("\n## ").next());
    let mut tests = 0;
    for row in promises.expect("the table").lines().filter(|line| line.starts_with("| ")).skip(1) {
        let held = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let mut text = String::new();
        let words: Vec<_> = held.split('`').skip(1).step_by(2).collect();
        assert!(!words.is_empty(), "nothing holds this: {row}");
        for word in words {
            if word.contains('/') || word.ends_with(".toml") {
                text =
                    fs::read_to_string(Path::new(ROOT).join(word)).unwrap_or_else(|e| panic!("{word}: {e}"));
                continue;
            }
            let scenarios = fs::read_to_string(Path::new(ROOT).join("tests/lab/scenarios/mod.rs")).unwrap();
            let scenario = scenarios.contains(&format!("Scenario::small(\"{word}\""));
            let there = scenario || word.contains('(') || text.contains(&format!("fn {word}("));
            assert!(there, "no test {word}");
            tests += 1;
        }
    }
    assert!(tests > 10, "{tests} tests were found");
}

#[test]
fn every_fuzz_target_ran_for_ten_minutes_without_a_finding() {
    let checks = fs::read_to_string(Path::new(ROOT).join("tests/mutation/checks/mod.rs")).unwrap();
    let targets: BTreeSet<&str> =
        checks.split("Check { name: \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(targets.len() >= 17, "{targets:?}");
    let page = page();
    let mut listed = BTreeSet::new();
    for row in table(&page, "fuzz", |line| line.contains("make fuzz TARGET=")) {
        let [target, command, time, executions, coverage, crashes] = row[..] else { panic!("{row:?}") };
        assert!(command.contains(&format!("TARGET={target} ")), "{row:?}");
        let seconds: u64 = time.strip_suffix(" s").unwrap().parse().unwrap();
        assert!(seconds >= 600 && executions.parse::<u64>().unwrap() > 0, "{row:?}");
        assert!(coverage.contains("edges") && crashes == "0", "{row:?}");
        listed.insert(target);
    }
    assert_eq!(listed, targets);
}
