//! What modprobe prints without loading: the configuration with the indexes, and the symbols of one module.

use super::Session;
use crate::cli::ToolResult;
use crate::config::Kind;
use crate::error::{Errno, Error, Result};
use crate::formats::elf::{Elf, exports as exported, versions};
use crate::log::bytes;
use crate::name;
use crate::system::module_file::STDIN;
use crate::system::roots::as_path;
use crate::tree::Which;
use crate::tree::image::Image;
use std::path::PathBuf;

/// `-c`: each entry as it is stored, kind by kind; then the aliases and symbols of the indexes.
pub(crate) fn config(session: &Session<'_>) -> ToolResult {
    let print = |parts: &[&[u8]]| session.call.print(&[&parts.concat(), &b"\n"[..]].concat());
    let config = session.tree.config();
    let lists: [(Kind, &[u8]); 3] =
        [(Kind::Blacklist, b"blacklist "), (Kind::Forbid, b"forbid "), (Kind::Permit, b"permit ")];
    for (kind, word) in lists {
        config.entries(kind).for_each(|entry| print(&[word, entry.key]));
    }
    let pairs: [(Kind, &[u8]); 6] = [
        (Kind::Install, b"install "),
        (Kind::Remove, b"remove "),
        (Kind::Alias, b"alias "),
        (Kind::Options, b"options "),
        (Kind::Softdep, b"softdep "),
        (Kind::Weakdep, b"weakdep "),
    ];
    for (kind, word) in pairs {
        for entry in config.entries(kind) {
            print(&[word, entry.key, b" ", &entry.shown(kind)]);
        }
    }
    session.call.print(b"\n# End of configuration files. Dumping indexes now:\n\n");
    for which in [Which::Alias, Which::Symbols] {
        session.tree.dump(which, &mut |key, value| print(&[b"alias ", key, b" ", value]));
    }
    Ok(0)
}

/// `--show-modversions`: the symbols that a module needs, with the versions it was built against.
pub(crate) fn modversions(session: &Session<'_>) -> ToolResult {
    symbols(session, "modversions", |elf| {
        // PowerPC's names begin with a dot in this section and nowhere else.
        let bare = |name: &[u8]| name.strip_prefix(b".").unwrap_or(name).to_vec();
        Ok(versions(elf)?.into_iter().map(|version| (version.crc, bare(version.name))).collect())
    })
}

/// `--show-exports`: the symbols that a module exports.
pub(crate) fn exports(session: &Session<'_>) -> ToolResult {
    symbols(session, "symbols", |elf| {
        Ok(exported(elf)?.into_iter().map(|export| (export.crc, export.name.to_vec())).collect())
    })
}

type Listed = Vec<(u64, Vec<u8>)>;

fn symbols(session: &Session<'_>, what: &str, list: impl Fn(&Elf<'_>) -> Result<Listed>) -> ToolResult {
    let operand = session.request.names[0];
    let files = files(session, operand);
    if files.is_empty() {
        return session.fail(&bytes!["Module ", operand, " not found."]);
    }
    let mut status = 0;
    for (name, path) in files {
        let read = || {
            let path = path.ok_or_else(|| Error::os(Errno::ENOENT))?;
            let image = Image::read(&path).inspect_err(|error| session.log.detail(error))?;
            list(&Elf::parse(&image)?)
        };
        status = match read() {
            Ok(symbols) => {
                for (crc, name) in symbols {
                    session.call.print(&bytes![format!("{crc:#010x}\t"), name, "\n"]);
                }
                0
            }
            Err(error) => {
                let reason = error.errno().to_string();
                session.fail(&bytes!["could not get ", what, " of ", name, ": ", reason])?
            }
        };
    }
    Ok(status)
}

/// The files of an operand, each with its name in messages. An operand is a file if it has a `/`, or the extension of a
/// module file and exists; else it is a module name or alias, whatever the working directory has. A built-in module has no
/// file.
fn files(session: &Session<'_>, operand: &[u8]) -> Vec<(Vec<u8>, Option<PathBuf>)> {
    let path = operand.contains(&b'/');
    let called = path || name::is_module_file(operand);
    if operand == STDIN.as_bytes() || (called && std::fs::metadata(as_path(operand)).is_ok()) {
        return vec![(operand.to_vec(), Some(as_path(operand).to_path_buf()))];
    }
    if path {
        return Vec::new();
    }
    let modules = session.tree.lookup(operand).unwrap_or_default();
    modules.into_iter().map(|module| (module.name.clone(), session.tree.path(&module))).collect()
}
