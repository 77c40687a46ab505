//! Every function that C calls has its whole body inside a guard that catches panics (`src/capi/abi.rs`), directly or
//! through a function that does nothing else. Read from the source.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The guards.
const GUARDS: [&str; 4] = ["answer", "number", "pointer", "string"];

/// Whether none is left out.
///
/// # Errors
/// Those that are.
pub fn check() -> Result<(), String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/capi");
    let (mut bodies, mut called_by_c) = (BTreeMap::new(), Vec::new());
    for entry in fs::read_dir(&dir).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
            read(&text, &mut bodies, &mut called_by_c)?;
        }
    }
    // 75 names, some of them made by macros.
    if called_by_c.len() < 60 {
        return Err(format!("only {} functions in {}", called_by_c.len(), dir.display()));
    }
    let bare: Vec<&(String, String)> =
        called_by_c.iter().filter(|(_, body)| !is_guarded(body, &bodies, 3)).collect();
    if !bare.is_empty() {
        return Err(format!("without a guard: {bare:#?}"));
    }
    println!("{} functions are guarded", called_by_c.len());
    // And a body that is not would be found.
    for body in ["drop(x);", "let x = y.unwrap(); number(|| x)", "number(|| x).max(y())", "unsafe { f() }"] {
        if is_guarded(body, &bodies, 3) {
            return Err(format!("taken for a guarded body: {body}"));
        }
    }
    Ok(())
}

/// The functions of a source file: name and body of each, comments left out.
fn read(
    text: &str,
    bodies: &mut BTreeMap<String, String>,
    called_by_c: &mut Vec<(String, String)>,
) -> Result<(), String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let head = line.trim_start();
        let name = ["pub extern \"C\" fn ", "pub unsafe fn ", "pub fn ", "fn "]
            .iter()
            .find_map(|lead| head.strip_prefix(lead))
            .and_then(|rest| rest.split(['(', '<']).next());
        let Some(name) = name else {
            at += 1;
            continue;
        };
        let end = format!("{}}}", &line[..line.len() - head.len()]);
        let count = lines[at..].iter().position(|line| *line == end);
        let count = count.ok_or_else(|| format!("{name} has no end"))?;
        let whole: Vec<&str> = lines[at..at + count]
            .iter()
            .map(|line| line.trim())
            .filter(|line| !line.starts_with("//"))
            .collect();
        let whole = whole.join(" ");
        // The parameters may stand on lines of their own, and have no braces.
        let body = whole.split_once('{').map_or("", |(_, body)| body).trim().to_owned();
        if head.starts_with("pub extern") {
            called_by_c.push((name.to_owned(), body.clone()));
        }
        bodies.insert(name.to_owned(), body);
        at += count;
    }
    Ok(())
}

/// Whether a body is one call of a guard, or of a function whose body is (so many steps away at most), and nothing else
/// but a number.
fn is_guarded(body: &str, bodies: &BTreeMap<String, String>, steps: usize) -> bool {
    let call = match body.strip_prefix("unsafe {") {
        Some(inner) => inner.trim(),
        None => body,
    };
    let Some((path, rest)) = call.split_once('(') else { return false };
    let mut depth = 1;
    let close = rest.bytes().position(|byte| {
        depth += i32::from(byte == b'(') - i32::from(byte == b')');
        depth == 0
    });
    let Some(close) = close else { return false };
    if rest[close + 1..].contains(|c: char| !" ;}0".contains(c)) {
        return false;
    }
    let name = path.rsplit("::").find(|part| !part.starts_with('<')).unwrap_or_default();
    GUARDS.contains(&name)
        || steps > 0 && bodies.get(name).is_some_and(|body| is_guarded(body, bodies, steps - 1))
}
