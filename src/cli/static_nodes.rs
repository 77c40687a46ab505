//! `kmod static-nodes`: device nodes to make at boot before their modules are loaded. Opening such a node loads its module.
//!
//! They come from `/lib/modules/RELEASE/modules.devname`, one per line: `MODULE NODE TMAJOR:MINOR`, T being `c` or `b`.
//! Lines that begin with `#` are comments. Fields are separated by any white space; text after them is ignored.

use super::getopt::{Opt, opt};
use super::usage::Usage;
use super::{Call, Exit, ToolResult};
use crate::error::Errno;
use crate::formats::is_space;
use crate::limits;
use crate::log::bytes;
use crate::system::file::read_whole;
use crate::system::roots::as_path;
use crate::system::start::ignore_write_signals;
use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;

const OPTIONS: &[Opt] = &[
    opt(b'o', "output", "write to FILE, and make the directories above it").takes("FILE"),
    opt(b'f', "format", "how to print them, see below").takes("FORMAT"),
    opt(b'h', "help", "print this text"),
];

pub(crate) const USAGE: Usage = Usage {
    forms: &["static-nodes [options]"],
    groups: &["Options"],
    options: OPTIONS,
    notes: "\nFormats:\n\
            \thuman     for people; may change (default)\n\
            \ttmpfiles  tmpfiles.d(5), for systemd-tmpfiles\n\
            \tdevname   as in modules.devname\n",
};

#[derive(Clone, Copy)]
enum Format {
    Human,
    Tmpfiles,
    Devname,
}

pub(crate) fn run(call: &Call<'_>) -> ToolResult {
    let mut format = Format::Human;
    let mut output = None;
    call.options(&USAGE, |found| {
        match (found.id, found.value.unwrap_or_default()) {
            (b'f', b"human") => format = Format::Human,
            (b'f', b"tmpfiles") => format = Format::Tmpfiles,
            (b'f', b"devname") => format = Format::Devname,
            (b'f', other) => {
                let end = call.end(&bytes!["Unknown format: '", other, "'."]);
                call.help(&USAGE);
                return Err(end);
            }
            (_, file) => output = Some(file),
        }
        Ok(())
    })?;

    let no_release = |errno: Errno| call.end(&bytes!["Error: uname failed - ", errno.to_string()]);
    let release = call.world.host.release().map_err(no_release)?;
    let path = call.world.system.roots.module_dir(&release).join("modules.devname");
    let shown = path.as_os_str().as_bytes();
    let text = match read_whole(&path, limits::TEXT_FILE).map_err(|error| error.errno()) {
        Ok(text) => text,
        Err(Errno::ENOENT) => {
            call.world.streams.complain(&bytes!["Warning: ", shown, " not found - ignoring"]);
            return Ok(0);
        }
        Err(errno) => return Err(cannot(call, "open", shown, errno, "")),
    };
    let file = output.map(|name| create(call, name)).transpose()?;
    let mut status = 0;
    let mut printed = Vec::new();
    let lines = text.split_inclusive(|&b| b == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line));
    for line in lines.filter(|line| !line.starts_with(b"#")) {
        match entry(line, format) {
            Some(entry) => printed.extend(entry),
            None => {
                call.world.streams.complain(&bytes!["Error: invalid devname entry: ", line]);
                status = 1;
            }
        }
    }
    match file.zip(output) {
        None => call.print(&printed),
        Some((mut file, name)) => {
            let written = file.write_all(&printed);
            written.map_err(|error| cannot(call, "write", name, Errno::of(&error), ""))?;
        }
    }
    Ok(status)
}

/// Makes the directories above the file and opens it for writing.
fn create(call: &Call<'_>, name: &[u8]) -> Result<File, Exit> {
    let path = as_path(name);
    if let Some(parent) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(parent);
        let what = "create parent directory for";
        made.map_err(|error| cannot(call, what, name, Errno::of(&error), "."))?;
    }
    // The file may be a pipe.
    ignore_write_signals();
    File::create(path).map_err(|error| cannot(call, "create", name, Errno::of(&error), ""))
}

fn cannot(call: &Call<'_>, what: &str, name: &[u8], errno: Errno, end: &str) -> Exit {
    call.end(&bytes!["Error: could not ", what, " ", name, " - ", errno.to_string(), end])
}

/// A line of modules.devname in a format; `None` if it is no entry.
fn entry(line: &[u8], format: Format) -> Option<Vec<u8>> {
    let (module, rest) = word(line)?;
    let (path, rest) = word(rest)?;
    let (kind, rest) = without_space(rest).split_first().filter(|(kind, _)| b"bc".contains(kind))?;
    let (major, rest) = number(rest)?;
    let (minor, _) = number(rest.strip_prefix(b":")?)?;
    Some(match format {
        Format::Human => {
            let kind = if *kind == b'b' { "block" } else { "character" };
            let rest = format!("\n\t\tType: {kind} device\n\t\tMajor: {major}\n\t\tMinor: {minor}\n");
            bytes!["Module: ", module, "\n\tDevice node: /dev/", path, rest]
        }
        Format::Devname => bytes![module, " ", path, " ", [*kind], format!("{major}:{minor}\n")],
        Format::Tmpfiles => {
            let slash = path.iter().rposition(|&b| b == b'/');
            let parent = slash.map(|slash| bytes!["d /dev/", path[..slash], " 0755 - - -\n"]);
            let node = bytes![[*kind], "! /dev/", path, format!(" 0600 - - - {major}:{minor}\n")];
            bytes![parent.unwrap_or_default(), node]
        }
    })
}

/// `text` without the white space before it.
fn without_space(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|&&b| is_space(b)).count()..]
}

/// The first word of `text`, and what follows it.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = without_space(text);
    let end = text.iter().position(|&b| is_space(b)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// The decimal number at the start of `text`, after white space, and the rest of the text. `None` if there is none or it
/// does not fit.
fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let text = without_space(text);
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let end = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let digits = std::str::from_utf8(&text[..end]).ok()?;
    Some((digits.parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(line: &str, format: Format) -> Option<String> {
        entry(line.as_bytes(), format).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn the_three_formats() {
        let line = "snd_seq snd/seq c116:1";
        assert_eq!(printed(line, Format::Devname).unwrap(), "snd_seq snd/seq c116:1\n");
        assert_eq!(
            printed(line, Format::Tmpfiles).unwrap(),
            "d /dev/snd 0755 - - -\nc! /dev/snd/seq 0600 - - - 116:1\n"
        );
        assert_eq!(
            printed("loop\ta/b/loop-control   b 10:237 more", Format::Human).unwrap(),
            "Module: loop\n\tDevice node: /dev/a/b/loop-control\n\t\tType: block device\n\t\tMajor: 10\n\t\tMinor: 237\n"
        );
        assert_eq!(printed("a b b7:0", Format::Tmpfiles).unwrap(), "b! /dev/b 0600 - - - 7:0\n");
        assert_eq!(printed("\x0ba\x0bb\x0cc\r1:\x0b+2", Format::Devname).unwrap(), "a b c1:2\n");
    }

    #[test]
    fn lines_that_are_no_entries() {
        for line in
            ["", "bad line", "x y d1:2", "x y c0x10:3", "x y c1", "x y c1:", "x y c:1", "x y c99999999999:1"]
        {
            assert_eq!(printed(line, Format::Devname), None, "{line}");
        }
    }
}
