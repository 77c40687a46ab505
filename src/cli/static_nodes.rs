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
use std::path::Path;

const OPTIONS: &[Opt] = &[
    opt(b'o', "output", "write to FILE, and make the directories above it").takes("FILE"),
    opt(b'f', "format", "how to print them, see below").takes("FORMAT"),
    opt(b'h', "help", "print this text"),
];

/// The help text, with the options.
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

/// Prints the nodes.
pub(crate) fn run(call: &Call<'_>) -> ToolResult {
    let mut format = Format::Human;
    let mut output = None;
    call.options(&USAGE, |found| {
        match (found.id, found.value.unwrap_or_default()) {
            (b'f', b"human") => format = Format::Human,
            (b'f', b"tmpfiles") => format = Format::Tmpfiles,
            (b'f', b"devname") => format = Format::Devname,
            (b'f', other) => {
                call.world.streams.complain(&bytes!["Unknown format: '", other, "'."]);
                call.help(&USAGE);
                return Err(Exit(1));
            }
            (b'o', file) => output = Some(file),
            _ => return Err(call.help(&USAGE)),
        }
        Ok(())
    })?;

    let Some(text) = read(call)? else { return Ok(0) };
    let file = output.map(|file| create(call, file)).transpose()?;
    let mut status = 0;
    let mut printed = Vec::new();
    for line in lines(&text) {
        match Node::parse(line) {
            Some(node) => node.print(format, &mut printed),
            None => {
                call.world.streams.complain(&bytes!["Error: invalid devname entry: ", line]);
                status = 1;
            }
        }
    }
    match file {
        None => call.print(&printed),
        Some((mut file, name)) => {
            file.write_all(&printed).map_err(|error| cannot(call, "write ", name, "", &error))?
        }
    }
    Ok(status)
}

/// The lines that are not comments. The last one may lack its newline.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&b| b == b'\n')
        .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
        .filter(|line| !line.starts_with(b"#"))
}

/// The contents of modules.devname; `None` if there is no such file, which has been reported.
fn read(call: &Call<'_>) -> Result<Option<Vec<u8>>, Exit> {
    let say = |line: &[u8]| call.world.streams.complain(line);
    let release = call.world.host.release().map_err(|errno| {
        say(&bytes!["Error: uname failed - ", errno.to_string()]);
        Exit(1)
    })?;
    let path = call.world.system.roots.module_dir(&release).join("modules.devname");
    let shown = path.as_os_str().as_bytes();
    match read_whole(&path, limits::TEXT_FILE) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.errno() == Errno::ENOENT => {
            say(&bytes!["Warning: ", shown, " not found - ignoring"]);
            Ok(None)
        }
        Err(error) => {
            say(&bytes!["Error: could not open ", shown, " - ", error.errno().to_string()]);
            Err(Exit(1))
        }
    }
}

/// Makes the directories above the file and opens it for writing.
fn create<'a>(call: &Call<'_>, name: &'a [u8]) -> Result<(File, &'a [u8]), Exit> {
    let path = as_path(name);
    if let Some(parent) = path.parent().filter(|parent| *parent != Path::new("")) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)
            .map_err(|error| cannot(call, "create parent directory for ", name, ".", &error))?;
    }
    // The file may be a pipe.
    ignore_write_signals();
    match File::create(path) {
        Ok(file) => Ok((file, name)),
        Err(error) => Err(cannot(call, "create ", name, "", &error)),
    }
}

fn cannot(call: &Call<'_>, what: &str, name: &[u8], end: &str, error: &std::io::Error) -> Exit {
    let reason = Errno::of(error).to_string();
    call.world.streams.complain(&bytes!["Error: could not ", what, name, " - ", reason, end]);
    Exit(1)
}

/// One line of modules.devname.
struct Node<'a> {
    module: &'a [u8],
    path: &'a [u8],
    block: bool,
    major: u32,
    minor: u32,
}

impl<'a> Node<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let (module, rest) = word(line)?;
        let (path, rest) = word(rest)?;
        let (kind, rest) = without_space(rest).split_first()?;
        let block = match kind {
            b'b' => true,
            b'c' => false,
            _ => return None,
        };
        let (major, rest) = number(rest)?;
        let (minor, _) = number(rest.strip_prefix(b":")?)?;
        Some(Node { module, path, block, major, minor })
    }

    fn print(&self, format: Format, out: &mut Vec<u8>) {
        let kind = if self.block { "b" } else { "c" };
        let (major, minor) = (self.major.to_string(), self.minor.to_string());
        let lines = match format {
            Format::Human => {
                let kind = if self.block { "block" } else { "character" };
                let rest = format!("\n\t\tType: {kind} device\n\t\tMajor: {major}\n\t\tMinor: {minor}\n");
                bytes!["Module: ", self.module, "\n\tDevice node: /dev/", self.path, rest]
            }
            Format::Devname => bytes![self.module, " ", self.path, " ", kind, major, ":", minor, "\n"],
            Format::Tmpfiles => {
                let mut lines = Vec::new();
                if let Some(slash) = self.path.iter().rposition(|&b| b == b'/') {
                    lines = bytes!["d /dev/", self.path[..slash], " 0755 - - -\n"];
                }
                lines.extend(bytes![kind, "! /dev/", self.path, " 0600 - - - ", major, ":", minor, "\n"]);
                lines
            }
        };
        out.extend_from_slice(&lines);
    }
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
        let mut out = Vec::new();
        Node::parse(line.as_bytes())?.print(format, &mut out);
        Some(String::from_utf8(out).unwrap())
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
