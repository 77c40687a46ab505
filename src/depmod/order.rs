//! The order of the modules. Every output file has it, and in the indexes it is their priority. First those of
//! `modules.order`, in its order, then the rest in the order of kmod's hash table.

use super::Failure;
use super::hash;
use super::scan::Module;
use crate::error::Errno;
use crate::limits;
use crate::log::{Priority, Sink, bytes};
use std::collections::HashMap;

/// So many modules kmod cannot number.
const TOO_MANY: usize = 65535;

/// Sorts the modules of `dir` by the contents of its `modules.order` (`None` if there is no such file).
///
/// # Errors
/// If there are more modules than can be numbered.
pub fn sort(modules: &mut [Module], dir: &[u8], text: Option<&[u8]>, sink: &dyn Sink) -> Result<(), Failure> {
    if modules.len() >= TOO_MANY {
        return Err(Failure::Fatal(bytes!["could not build module array: ", Errno::ERANGE.to_string()]));
    }
    let lines = text.and_then(|text| lines(text, dir, sink)).unwrap_or_default();
    modules.sort_by_cached_key(|module| {
        let line = lines.get(module.uncompressed(dir)).copied().unwrap_or(usize::MAX);
        let (bucket, name) = hash::place(&module.name, hash::MODULES);
        (line, bucket, name.to_vec())
    });
    Ok(())
}

/// The lines of `modules.order` with the number of their first occurrence; `None` for a damaged file, which is ignored.
fn lines<'t>(text: &'t [u8], dir: &[u8], sink: &dyn Sink) -> Option<HashMap<&'t [u8], usize>> {
    let mut found = HashMap::new();
    for (index, line) in text.split_inclusive(|&b| b == b'\n').enumerate() {
        let Some(path) = line.strip_suffix(b"\n").filter(|path| path.len() < limits::QUERY) else {
            let number = (index + 1).to_string();
            sink.log(Priority::Err, &bytes![dir, "/modules.order:", number, " corrupted line misses '\\n'"]);
            return None;
        };
        found.entry(path).or_insert(index);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Kept;

    /// The three modules as the hash table has them, which depends on the machine's order of bytes.
    const TABLE: [&str; 3] =
        if cfg!(target_endian = "big") { ["mod_a", "c", "mod_b"] } else { ["mod_b", "c", "mod_a"] };

    fn order(text: Option<&str>) -> (Vec<String>, usize) {
        let meta = std::fs::metadata("/").unwrap();
        let name = |path: &str| crate::name::from_path(path.as_bytes()).unwrap();
        let module = |path: &str| Module::new(format!("/d/{path}").into_bytes(), name(path), &meta);
        let mut modules = ["k/mod-a.ko.xz", "k/mod_b.ko", "c.ko"].map(module);
        let sink = Kept::default();
        sort(&mut modules, b"/d", text.map(str::as_bytes), &sink).ok().unwrap();
        let names = modules.iter().map(|m| String::from_utf8(m.name.clone()).unwrap()).collect();
        (names, sink.take().len())
    }

    #[test]
    fn named_ones_first_then_the_hash_order() {
        let names = |text| order(text).0;
        assert_eq!(names(None), TABLE);
        assert_eq!(names(Some("k/mod-a.ko\nk/mod_b.ko\nc.ko\n")), ["mod_a", "mod_b", "c"]);
        assert_eq!(names(Some("\nc.ko\nother.ko\nk/mod-a.ko.xz\n")), ["c", TABLE[0], TABLE[2]]);
        assert_eq!(names(Some("c.ko\nk/mod-a.ko\nc.ko\n")), ["c", "mod_a", "mod_b"]);
    }

    #[test]
    fn a_damaged_file_counts_for_nothing_and_is_told() {
        assert_eq!(order(Some("c.ko\nk/mod-a.ko")), (TABLE.map(str::to_owned).to_vec(), 1));
        let long = format!("c.ko\n{}\n", "x".repeat(4095));
        assert_eq!(order(Some(&long)).1, 1);
        assert_eq!(order(Some(&long.replacen('x', "", 1))).1, 0);
    }
}
