//! What the tools print with `--json`: the same as without, in the members that kmod-json(5) names, all of them and no
//! others.

#[path = "common/elf.rs"]
mod elf;

use elf::{KoBuilder, Signature};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

const RELEASE: &str = "6.1.0";

/// A root with two modules and a configuration, and the indexes of both.
fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("lib/modules").join(RELEASE);
    fs::create_dir_all(dir.join("kernel")).unwrap();
    let signature = Signature {
        algo: 1,
        hash: 4,
        id_type: 1,
        signer: b"Somebody".to_vec(),
        key_id: vec![1, 2],
        data: vec![7; 45],
    };
    let one = KoBuilder::new().modinfo("license", "GPL").export("one_get", 1).signature(signature).build();
    let two = KoBuilder::new()
        .modinfo("license", "GPL")
        .modinfo("author", "A")
        .modinfo("author", b"B\xff")
        .alias("pci:v*d1*")
        .parm("speed", "int", "How fast")
        .build_id(vec![0xab; 20])
        .needs("one_get")
        .modinfo("depends", "one")
        .build();
    fs::write(dir.join("kernel/one.ko"), one).unwrap();
    fs::write(dir.join("kernel/two.ko"), two).unwrap();
    fs::write(dir.join("kernel/bad.ko"), "this is no module at all").unwrap();
    fs::write(dir.join("modules.order"), "kernel/one.ko\nkernel/two.ko\n").unwrap();
    fs::write(dir.join("modules.builtin"), "kernel/ext2.ko\n").unwrap();
    fs::write(dir.join("modules.builtin.modinfo"), "ext2.license=GPL\0").unwrap();
    root
}

fn run(tool: &str, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kmod")).arg0(tool).args(words).output().unwrap()
}

/// The values that a tool prints, one a line.
fn values(tool: &str, words: &[&str]) -> Vec<Value> {
    let Output { stdout, .. } = run(tool, words);
    let text = String::from_utf8(stdout).expect("JSON is UTF-8");
    assert!(text.ends_with('\n'), "{tool} {words:?}: {text}");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn depmod(root: &Path) -> Value {
    let base = root.to_str().unwrap();
    values("depmod", &["--json", "--no-cache", "-b", base, RELEASE]).remove(0)
}

#[test]
fn depmod_counts_what_it_did() {
    let root = tree();
    let summary = depmod(root.path());
    for (key, count) in [("modules", 3), ("read", 3), ("unreadable", 1), ("symbols", 1)] {
        assert_eq!(summary[key], count, "{key}");
    }
    let dir = root.path().join("lib/modules").join(RELEASE);
    let files = summary["files"].as_array().unwrap();
    assert_eq!(files.len(), 11);
    for file in files {
        let length = fs::metadata(dir.join(file["name"].as_str().unwrap())).unwrap().len();
        assert_eq!(file["bytes"], length, "{file}");
    }
    let base = root.path().to_str().unwrap();
    let idle = values("depmod", &["--json", "-A", "-b", base, RELEASE]).remove(0);
    assert_eq!((&idle["up_to_date"], &idle["modules"]), (&true.into(), &Value::Null));
    assert_eq!(run("depmod", &["--json", "-n", "-b", base, RELEASE]).status.code(), Some(1));
}

#[test]
fn modinfo_says_the_same_as_without() {
    let root = tree();
    depmod(root.path());
    let base = root.path().to_str().unwrap();
    let words = ["-b", base, "-k", RELEASE, "--json", "one", "two", "ext2"];
    let [one, two, builtin]: [Value; 3] = values("modinfo", &words).try_into().unwrap();
    for (module, value) in [("one", &one), ("two", &two), ("ext2", &builtin)] {
        let Output { stdout, .. } = run("modinfo", &["-b", base, "-k", RELEASE, "-0", module]);
        let text = String::from_utf8_lossy(&stdout).into_owned();
        for (key, said) in text.split_terminator('\0').filter_map(|item| item.split_once('=')) {
            let of_signature = key.starts_with("sig") && !value["signature"].is_null();
            if of_signature {
                assert_eq!(value["signature"][key], said.replace("\n\t\t", ""), "{module} {key}");
            } else if key == "build-id" {
                assert_eq!(value["build_id"], said.replace("\n\t\t", ""), "{module}");
            } else if key != "parm" && key != "parmtype" {
                let values = value["fields"][key].as_array().unwrap();
                assert!(values.iter().any(|value| value == said), "{module} {key}: {values:?}");
            }
        }
    }
    assert_eq!(one["signature"]["signer"], "Somebody");
    assert_eq!(two["filename"], format!("{base}/lib/modules/{RELEASE}/kernel/two.ko"));
    assert_eq!(two["fields"]["author"], serde_json::json!(["A", "B\u{fffd}"]));
    assert_eq!(
        two["parameters"],
        serde_json::json!([{"name": "speed", "type": "int", "description": "How fast"}])
    );
    assert_eq!(two["build_id"], ["AB"; 20].join(":"));
    assert_eq!((&builtin["filename"], &builtin["fields"]["license"][0]), (&Value::Null, &"GPL".into()));
    let bad = run("modinfo", &["-b", base, "-k", RELEASE, "--json", "nosuch"]);
    assert_eq!((bad.status.code(), bad.stdout.len()), (Some(1), 0));
    assert_eq!(run("modinfo", &["--json", "-F", "author", "two"]).status.code(), Some(1));
}

/// The names of all members of objects, at any depth; those below `fields` and below stats' `modules` are data.
fn members(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| members(value, found)),
        Value::Object(object) => {
            for (name, value) in object {
                found.insert(name.clone());
                if name != "fields" {
                    members(value, found);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn the_manual_names_every_member() {
    let root = tree();
    let mut found = BTreeSet::new();
    members(&depmod(root.path()), &mut found);
    let base = root.path().to_str().unwrap();
    for value in values("modinfo", &["-b", base, "-k", RELEASE, "--json", "one", "two"]) {
        members(&value, &mut found);
    }
    let config = root.path().join("explain.conf");
    let lines = "options two speed=3 nosuch=1\nblacklist two\nsoftdep two pre: one\ninstall one /bin/true\n\
        install two /sbin/setup\n";
    for lines in [lines, "forbid two\n"] {
        fs::write(&config, lines).unwrap();
        let options =
            ["-d", base, "-S", RELEASE, "-C", config.to_str().unwrap(), "--explain", "--json", "-a"];
        for value in values("modprobe", &[&options[..], &["two", "pci:v0d1", "nosuch"]].concat()) {
            members(&value, &mut found);
        }
    }
    members(&values("kmod", &["check", "--json", "-d", base, "-S", RELEASE])[0], &mut found);
    // What takes a running machine: those of a lock that is held and of a load that failed (the lab has both), of the
    // loaded modules, of the gate's books.
    let elsewhere = [
        "pid",
        "program",
        "since_ms",
        "waiting",
        "errno",
        "text",
        "ago_ms",
        "time_ms",
        "meaning",
        "size",
        "refcount",
        "used_by",
        "total",
        "loads",
        "failures",
        "joined",
        "shared_failures",
        "bounds_passed",
        "fallbacks",
        "bytes_saved",
        "waited_ns",
        "last_errno",
        "kernel",
        "askers",
        "parent",
        "comm",
        "requests",
        "served",
        "call_ns",
        "first_ns",
        "request",
        "dependency",
        "by",
        "devpath",
    ];
    found.extend(elsewhere.map(str::to_owned));
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/man/kmod-json.5")).unwrap();
    let mut named = BTreeSet::new();
    for line in page.lines().filter_map(|line| line.find("Va ").map(|at| &line[at + 3..])) {
        let words = line
            .split([' ', ','])
            .filter(|word| word.len() > 1 && !["No", "and", "of", "each", "line"].contains(word));
        named.extend(words.filter(|word| *word != "Va").map(str::to_owned));
    }
    // A place is an object with file and line.
    named.insert("line".to_owned());
    let missing: Vec<_> = found.difference(&named).collect();
    let extra: Vec<_> = named.difference(&found).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "not in the manual: {missing:?}; only in the manual: {extra:?}"
    );
}
