//! The data about a module: section `.modinfo` of its file, its records in `modules.builtin.modinfo`, its own name and its
//! build id.
//!
//! ```text
//! .modinfo                  KEY=VALUE NUL KEY=VALUE NUL ...   further NULs are padding; the last NUL may be missing
//! modules.builtin.modinfo   NAME.KEY=VALUE NUL ...            the strings of one module follow each other
//! .note.gnu.build-id        length of the name (4), length of the id (4), type 3 (4), "GNU" NUL, the id
//! ```

use super::elf::Elf;
use super::split_once;
use crate::error::{Errno, Error, Result};

/// A key and its value.
pub(crate) type Entry<'a> = (&'a [u8], &'a [u8]);

/// The strings of a `.modinfo` section with their offsets; empty ones are skipped.
pub(crate) fn strings(section: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut offset = 0;
    section.split(|&b| b == 0).filter_map(move |string| {
        let start = offset;
        offset += string.len() + 1;
        (!string.is_empty()).then_some((start, string))
    })
}

/// The entries of a `.modinfo` section, in order.
pub(crate) fn entries(section: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    strings(section).map(|(_, string)| entry(string))
}

/// A string split at its first `=`. A string without `=` is a key.
pub(crate) fn entry(string: &[u8]) -> Entry<'_> {
    split_once(string, b'=').unwrap_or((string, &[]))
}

/// The entries of the module's `.modinfo`.
///
/// # Errors
/// `ENODATA` if the module has no such section.
pub fn info<'a>(elf: &Elf<'a>) -> Result<Vec<Entry<'a>>> {
    Ok(entries(section(elf)?).collect())
}

/// The content of the module's `.modinfo`; `ENODATA` if it has none.
pub(crate) fn section<'a>(elf: &Elf<'a>) -> Result<&'a [u8]> {
    elf.data(".modinfo")
}

/// The build id, which the linker writes; `None` if there is none.
pub fn build_id<'a>(elf: &Elf<'a>) -> Option<&'a [u8]> {
    elf.note(elf.section(b".note.gnu.build-id")?.data, 3, b"GNU\0")
}

/// The name inside the file, which the kernel uses for the loaded module, independent of the file's name.
///
/// It is the array `name` of the `struct module` in `.gnu.linkonce.this_module` (include/linux/module.h): 56 bytes at
/// offset 24, in a 32-bit module 60 bytes at offset 12, after the state and a list head. Without it, the `name=` string of
/// `.modinfo`. All modules of Debian's kernels 6.1 (amd64, i386, armhf, s390x) and 6.12 (amd64) have this layout.
pub fn module_name<'a>(elf: &Elf<'a>) -> Option<&'a [u8]> {
    let (start, room) = if elf.is_64() { (24, 56) } else { (12, 60) };
    let from_struct = elf.section(b".gnu.linkonce.this_module").and_then(|section| {
        let (name, _) = split_once(section.data.get(start..start + room)?, 0)?;
        Some(name).filter(|name| !name.is_empty())
    });
    let from_info = || entries(elf.section(b".modinfo")?.data).find(|(key, _)| *key == b"name");
    from_struct.or_else(|| Some(from_info()?.1).filter(|name| !name.is_empty()))
}

/// One record of `modules.builtin.modinfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builtin<'a> {
    /// The module, as written.
    pub name: &'a [u8],
    pub key: &'a [u8],
    /// May be empty.
    pub value: &'a [u8],
}

/// The records of the file `modules.builtin.modinfo`. Records without a name, a dot or a `=` are skipped, and so is a
/// last record without NUL, since it was cut off.
pub fn builtin(file: &[u8]) -> impl Iterator<Item = Builtin<'_>> {
    let whole = file.iter().rposition(|&b| b == 0).map_or(&[][..], |last| &file[..last]);
    whole.split(|&b| b == 0).filter_map(|record| {
        let (name, string) = split_once(record, b'.').filter(|(name, _)| !name.is_empty())?;
        let (key, value) = split_once(string, b'=')?;
        Some(Builtin { name, key, value })
    })
}

/// The entries of the built-in module `name` in the file `modules.builtin.modinfo`: its first run of records. Empty if it
/// has none.
///
/// # Errors
/// `EINVAL` for a record without a dot before that run or directly after it.
pub fn builtin_info<'a>(file: &'a [u8], name: &[u8]) -> Result<Vec<Entry<'a>>> {
    let mut found = Vec::new();
    for record in file.split_inclusive(|&b| b == 0) {
        let record = record.strip_suffix(b"\0").unwrap_or(record);
        match record.strip_prefix(name).and_then(|rest| rest.strip_prefix(b".")) {
            Some(string) => found.push(entry(string)),
            None if !record.contains(&b'.') => {
                return Err(Error::new(Errno::EINVAL, "record without a module's name"));
            }
            None if found.is_empty() => {}
            None => break,
        }
    }
    Ok(found)
}

/// Parameters that the kernel takes for every module, without an entry in `.modinfo`: of dynamic debug and of asynchronous
/// probing (kernel/module/main.c).
pub(crate) const IMPLICIT_PARAMETERS: [&[u8]; 2] = [b"dyndbg", b"async_probe"];

/// A parameter of a module, from its `parm` and `parmtype` entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter<'a> {
    pub name: &'a [u8],
    /// The description, from `parm=NAME:...`.
    pub text: Option<&'a [u8]>,
    /// The type, from `parmtype=NAME:...`.
    pub kind: Option<&'a [u8]>,
}

/// The parameters in `entries`, in reverse order of their first entries. A repeated description or type replaces the
/// earlier one. The second value has the entries without a colon.
pub fn parameters<'a>(entries: impl IntoIterator<Item = Entry<'a>>) -> (Vec<Parameter<'a>>, Vec<Entry<'a>>) {
    let (mut known, mut bad): (Vec<Parameter<'a>>, Vec<Entry<'a>>) = (Vec::new(), Vec::new());
    let mut places = std::collections::HashMap::new();
    for (key, value) in entries.into_iter().filter(|(key, _)| matches!(*key, b"parm" | b"parmtype")) {
        let Some((name, rest)) = split_once(value, b':') else {
            bad.push((key, value));
            continue;
        };
        let place = *places.entry(name).or_insert_with(|| {
            known.push(Parameter { name, text: None, kind: None });
            known.len() - 1
        });
        let known = &mut known[place];
        let field = if key == b"parm" { &mut known.text } else { &mut known.kind };
        *field = Some(rest);
    }
    known.reverse();
    (known, bad)
}

/// Bytes as modinfo prints ids and signatures: pairs of upper-case hex digits joined by `:`, with a new line and two tabs
/// after every 20 bytes.
pub fn hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(bytes.len() * 3 + bytes.len() / 20 * 3);
    for (index, byte) in bytes.iter().enumerate() {
        out.extend_from_slice(match index {
            0 => b"",
            _ if index % 20 == 0 => b":\n\t\t",
            _ => b":",
        });
        out.extend([byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_skipped_and_the_last_string_needs_no_nul() {
        let section = b"\0\0license=GPL\0\0alias=\0odd\0=x\0a=b=c";
        let expected: [Entry; 5] =
            [(b"license", b"GPL"), (b"alias", b""), (b"odd", b""), (b"", b"x"), (b"a", b"b=c")];
        assert_eq!(entries(section).collect::<Vec<_>>(), expected);
        let offsets: Vec<_> = strings(section).map(|(at, string)| (at, string.len())).collect();
        assert_eq!(offsets, [(2, 11), (15, 6), (22, 3), (26, 2), (29, 5)]);
        assert_eq!(entries(b"").count(), 0);
        assert_eq!(entries(b"\0").count(), 0);
    }

    #[test]
    fn builtin_records_are_read_one_by_one() {
        let file = b"no_dot\0.empty=x\0a.alias=p\0b.broken\0b.alias=q\0c.d.e=f.g=h\0cut.off=x";
        let records: Vec<_> = builtin(file).map(|r| (r.name, r.key, r.value)).collect();
        let expected: [(&[u8], &[u8], &[u8]); 3] =
            [(b"a", b"alias", b"p"), (b"b", b"alias", b"q"), (b"c", b"d.e", b"f.g=h")];
        assert_eq!(records, expected);
        assert_eq!(builtin(b"").count(), 0);
        assert_eq!(builtin(b"a.b=c").count(), 0);
    }

    #[test]
    fn a_builtin_module_has_its_first_run_of_records() {
        let file = b"aa.license=MIT\0a.license=GPL\0a.file=x/a\0b.license=BSD\0a.late=1\0c.cut=off";
        let expected: [Entry; 2] = [(b"license", b"GPL"), (b"file", b"x/a")];
        assert_eq!(builtin_info(file, b"a").unwrap(), expected);
        let last: [Entry; 1] = [(b"cut", b"off")];
        assert_eq!(builtin_info(file, b"c").unwrap(), last);
        assert_eq!(builtin_info(file, b"nobody").unwrap(), []);
        assert_eq!(builtin_info(b"", b"a").unwrap(), []);
        assert_eq!(builtin_info(b"nodot\0a.x=y\0", b"a").unwrap_err().errno(), Errno::EINVAL);
        assert_eq!(builtin_info(b"a.x=y\0nodot\0", b"a").unwrap_err().errno(), Errno::EINVAL);
        let early: [Entry; 1] = [(b"x", b"y")];
        assert_eq!(builtin_info(b"a.x=y\0b.x=y\0nodot\0", b"a").unwrap(), early);
    }

    #[test]
    fn parameters_are_merged_and_reversed() {
        let section = b"parmtype=p1:int\0parm=p1:desc: more\0parmtype=p2:array of int\0parm=p3:only desc\0license=GPL\0parm=p1:second\0parm=none\0";
        let (known, bad) = parameters(entries(section));
        let parameter = |name, text, kind| Parameter { name, text, kind };
        let expected = [
            parameter(&b"p3"[..], Some(&b"only desc"[..]), None),
            parameter(b"p2", None, Some(b"array of int")),
            parameter(b"p1", Some(b"second"), Some(b"int")),
        ];
        assert_eq!(known, expected);
        let invalid: [Entry; 1] = [(b"parm", b"none")];
        assert_eq!(bad, invalid);
    }

    #[test]
    fn hex_breaks_after_twenty_bytes_if_more_follow() {
        assert_eq!(hex(b""), b"");
        assert_eq!(hex(b"\x00\xab"), b"00:AB");
        let line = ["11"; 20].join(":");
        assert_eq!(hex(&[0x11; 20]), line.as_bytes());
        assert_eq!(hex(&[0x11; 21]), format!("{line}:\n\t\t11").as_bytes());
    }
}
