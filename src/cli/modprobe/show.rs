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
    let (call, config) = (session.call, session.tree.config());
    // What stands before a key, and between it and its value.
    let kinds: [(Kind, &[u8], &[u8]); 9] = [
        (Kind::Blacklist, b"blacklist ", b""),
        (Kind::Forbid, b"forbid ", b""),
        (Kind::Permit, b"permit ", b""),
        (Kind::Install, b"install ", b" "),
        (Kind::Remove, b"remove ", b" "),
        (Kind::Alias, b"alias ", b" "),
        (Kind::Options, b"options ", b" "),
        (Kind::Softdep, b"softdep ", b" "),
        (Kind::Weakdep, b"weakdep ", b" "),
    ];
    for (kind, word, blank) in kinds {
        for entry in config.entries(kind) {
            call.print(&[word, entry.key, blank, &entry.shown(kind), b"\n"].concat());
        }
    }
    call.print(b"\n# End of configuration files. Dumping indexes now:\n\n");
    for which in [Which::Alias, Which::Symbols] {
        session.tree.dump(which, &mut |key, value| call.print(&bytes!["alias ", key, " ", value, "\n"]));
    }
    Ok(0)
}

/// `--show-modversions`: the symbols that a module needs, with the versions it was built against.
pub(crate) fn modversions(session: &Session<'_>) -> ToolResult {
    symbols(session, "modversions", |elf| {
        Ok(versions(elf)?.into_iter().map(|version| (version.crc, version.name.to_vec())).collect())
    })
}

/// `--show-exports`: the symbols that a module exports.
pub(crate) fn exports(session: &Session<'_>) -> ToolResult {
    symbols(session, "symbols", |elf| {
        Ok(exported(elf)?.into_iter().map(|export| (export.crc, export.name.to_vec())).collect())
    })
}

/// Symbols with their CRCs.
type Listed = Vec<(u64, Vec<u8>)>;

fn symbols(session: &Session<'_>, what: &str, list: fn(&Elf<'_>) -> Result<Listed>) -> ToolResult {
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
    let modules = if path { Vec::new() } else { session.tree.lookup(operand).unwrap_or_default() };
    modules.into_iter().map(|module| (module.name.clone(), session.tree.path(&module))).collect()
}
