//! The house rules that a compiler does not check: imports run downward only, and `unsafe` stays in its room.

use std::path::{Path, PathBuf};

/// The modules of the crate from the bottom up; a module may use those of a lower floor, and those named beside it.
const FLOORS: [&[&str]; 7] = [
    &["errno", "limits"],
    &["error", "log", "name"],
    &["formats", "system"],
    &["config", "gate"],
    &["tree"],
    &["depmod", "load"],
    &["check"],
];
const TOP: [&str; 2] = ["capi", "cli"];

fn floor(module: &str) -> usize {
    let found = FLOORS.iter().position(|floor| floor.contains(&module));
    found.unwrap_or_else(|| {
        assert!(TOP.contains(&module), "src/{module} has no floor: give it one here");
        FLOORS.len()
    })
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Each source file with its top-level module and its text.
fn crate_files() -> Vec<(PathBuf, String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 20, "the sources were not found");
    files
        .into_iter()
        .map(|path| {
            let first = path.strip_prefix(&src).unwrap().components().next().unwrap();
            let module = Path::new(first.as_os_str()).file_stem().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            (path, module, text)
        })
        .collect()
}

/// The top-level modules that a text names after `crate::`, also in a list (`use crate::{a::B, c}`).
fn used(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        // What a macro names for the crate that uses it.
        if text[..at].ends_with('$') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            let mut first = true;
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        names.push(std::mem::take(&mut word));
                        first = true;
                        continue;
                    }
                    ':' => first = false,
                    c if depth == 0 && first && (c.is_alphanumeric() || c == '_') => word.push(c),
                    _ => {}
                }
            }
            names.push(word);
        } else {
            names.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn imports_run_downward_only() {
    let mut wrong = Vec::new();
    for (path, module, text) in crate_files() {
        if matches!(&module[..], "lib" | "main" | "internals") {
            continue;
        }
        for name in used(&text) {
            if name != module && floor(&name) >= floor(&module) {
                wrong.push(format!("{}: {module} uses {name}", path.display()));
            }
            let pure = module == "config" || module == "formats";
            if pure && (name == "system" || text.contains("std::fs::")) {
                wrong.push(format!("{}: {module} is pure and must not do I/O", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_stays_in_its_room() {
    let mut wrong = Vec::new();
    for (path, module, text) in crate_files() {
        if matches!(module.as_str(), "system" | "capi") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains("unsafe ") || code.contains("allow(unsafe_code)") {
                wrong.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// std's `read_dir` panics where a directory cannot be closed. depmod, which nothing waits for at boot, may use it; requests
/// read directories by `system::file::names`.
#[test]
fn no_request_reads_directories_by_std() {
    let mut wrong = Vec::new();
    for (path, module, text) in crate_files() {
        let fixture =
            ["tests", "fake.rs", "replace.rs"].iter().any(|part| path.to_string_lossy().contains(part));
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        if module != "depmod" && !fixture && product.contains("read_dir(") {
            wrong.push(path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A FIFO in the place of a file stops a program that opens it by std. `system::file::open_at` never waits. Only
/// src/system/replace.rs needs more than it offers: a new file, and a lock that is opened for writing.
#[test]
fn files_are_opened_where_no_fifo_stops_the_program() {
    const WAITING: [&str; 6] =
        ["File::open(", "OpenOptions", "File::options(", "fs::read(", "fs::read_to_string(", "libc::open("];
    let allowed = ["src/system/replace.rs", "src/system/start.rs"];
    // `ModuleFile::open` is another function.
    let calls = |text: &str, call: &str| {
        text.match_indices(call).any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphanumeric()))
    };
    let mut wrong = Vec::new();
    for (path, _, text) in crate_files() {
        let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string();
        let fixture = ["tests", "fixture", "fake.rs"].iter().any(|part| name.contains(part));
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        if !fixture && !allowed.contains(&&name[..]) && WAITING.iter().any(|call| calls(product, call)) {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A panic must not unwind into C: `exports!` in src/capi/abi.rs catches it, and nothing else of the library gives C a function
/// by name.
#[test]
fn what_c_calls_is_made_by_the_macro_that_catches_panics() {
    let mut found = Vec::new();
    for (path, _, text) in crate_files().into_iter().filter(|(_, module, _)| module == "capi") {
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        let named = ["unsafe(no_mangle", "unsafe(export_name"].map(|name| product.matches(name).count());
        let path = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string();
        found.extend(std::iter::repeat_n(path, named.iter().sum()));
    }
    assert_eq!(found, ["src/capi/abi.rs"]);
}

#[test]
fn the_scan_sees_what_it_is_meant_to_see() {
    assert_eq!(
        used("use crate::{error::{A, B}, name, system::x::Y};\ncrate::log::Z"),
        ["error", "name", "system", "log"]
    );
}
