//! `modinfo`: prints the information in module files.
//!
//! In full: `KEY:` and blanks up to column 16, then the value, in this order: name (built-in modules), filename, the
//! strings of `.modinfo` as they are, the build id, the signature, and the parameters, which are put together from two
//! strings each and come in reverse order. With `-F` only the values of one key.

mod content;

use super::getopt::{Opt, opt};
use super::message::Log;
use super::usage::Usage;
use super::{Call, ToolResult};
use crate::error::{Errno, Result};
use crate::formats::index::Reader;
use crate::formats::modinfo::{self, Entry, Parameter, builtin_info, parameters};
use crate::log::bytes;
use crate::system::map::{self, Contents};
use crate::system::module_file::STDIN;
use crate::system::roots::as_path;
use crate::tree::{ConfigPaths, Module, Tree};
use crate::{limits, name};
use content::{Content, ReadAhead};
use serde_json::{Value, json};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

const JSON: u8 = 200;

const OPTIONS: &[Opt] = &[
    opt(b'a', "author", "print only the authors"),
    opt(b'd', "description", "print only the description"),
    opt(b'l', "license", "print only the licence"),
    opt(b'p', "parameters", "print only the parameters"),
    opt(b'n', "filename", "print only the file's path"),
    opt(b'0', "null", "end each item with a NUL, not with a newline"),
    opt(b'm', "modname", "NAME is a module, neither an alias nor a file"),
    opt(b'F', "field", "print only the values of FIELD").takes("FIELD"),
    opt(b'k', "set-version", "use the modules of VERSION, not of the running kernel").takes("VERSION"),
    opt(b'b', "basedir", "look for /lib/modules below DIR").takes("DIR"),
    opt(JSON, "json", "print everything as JSON, a module a line, for programs").whole(),
    opt(b'V', "version", "print the version"),
    opt(b'h', "help", "print this text"),
];

const NOTES: &str = "\nFILE ends in .ko, .ko.gz, .ko.xz or .ko.zst, or is a pipe; - is standard input.\n";

pub(crate) const USAGE: Usage =
    Usage { forms: &["[options] NAME|FILE..."], groups: &["Options"], options: OPTIONS, notes: NOTES };

/// The command line as given.
#[derive(Default)]
struct Request<'a> {
    field: Option<&'a [u8]>,
    null: bool,
    json: bool,
    by_name: bool,
    root: Option<&'a [u8]>,
    release: Option<&'a [u8]>,
}

pub(crate) fn run(call: &Call<'_>) -> ToolResult {
    let log = call.log();
    let mut request = Request::default();
    let operands = call.options(&USAGE, |found| {
        match found.id {
            b'a' => request.field = Some(b"author"),
            b'd' => request.field = Some(b"description"),
            b'l' => request.field = Some(b"license"),
            b'p' => request.field = Some(b"parm"),
            b'n' => request.field = Some(b"filename"),
            b'F' => request.field = found.value,
            b'0' => request.null = true,
            JSON => request.json = true,
            b'm' => request.by_name = true,
            b'k' => request.release = found.value,
            b'b' => request.root = found.value,
            _ => {}
        }
        Ok(())
    })?;
    if operands.is_empty() {
        return Err(log.end(b"missing module or filename."));
    }
    if request.json && (request.null || request.field.is_some()) {
        return Err(log.end(b"--json does not go with -0 or the choice of a field."));
    }
    let dir = call.module_directory(&log, request.root, request.release)?;
    let tree = Tree::open(call.world.system.roots, dir, ConfigPaths::List(Vec::new()), &log);
    tree.reader.set(Reader::Streamed);
    let tool = Tool { call, log: &log, tree: &tree, request: &request, builtin: OnceCell::new() };
    // All operands are looked up first, so that the files can be read ahead.
    let found: Vec<Found> = operands.into_iter().flat_map(|operand| tool.find(operand)).collect();
    let files: Vec<PathBuf> = found.iter().flatten().filter_map(Shown::file).collect();
    Ok(content::read(request.field, &files, |files| tool.everything(found, files)))
}

/// A module to print.
struct Shown {
    name: Vec<u8>,
    /// Its file; `None` for one that is built in.
    path: Option<PathBuf>,
    /// Whether its information comes from that file. A module can have a file and be built in as well; then the information
    /// of the built-in one is printed.
    in_file: bool,
}

impl Shown {
    /// The file to read for it.
    fn file(&self) -> Option<PathBuf> {
        self.path.clone().filter(|_| self.in_file)
    }
}

/// A module to print, or the message about an operand that names none.
type Found = Result<Shown, Vec<u8>>;

/// Whether an operand is a file: one named like a module, a pipe, or one that an open descriptor of this process leads to
/// (`/dev/stdin`). Everything else is a name, even if the working directory has such a file.
fn is_file(operand: &[u8]) -> bool {
    let called = name::is_module_file(operand);
    if !called && !operand.contains(&b'/') {
        return false;
    }
    let open = operand.starts_with(b"/dev/") || operand.starts_with(b"/proc/");
    std::fs::metadata(as_path(operand)).is_ok_and(|meta| {
        let kind = meta.file_type();
        kind.is_fifo() || kind.is_socket() || (kind.is_file() && (called || open))
    })
}

struct Tool<'t> {
    call: &'t Call<'t>,
    log: &'t Log<'t>,
    tree: &'t Tree<'t>,
    request: &'t Request<'t>,
    /// `modules.builtin.modinfo`, read when it is first needed; `None` if there is none.
    builtin: OnceCell<Result<Option<Contents>>>,
}

impl Tool<'_> {
    /// The modules of an operand, with their files.
    fn find(&self, operand: &[u8]) -> Vec<Found> {
        let shown = |module: Module| {
            let path = self.tree.path(&module);
            let unread = self.request.field == Some(b"filename") || self.tree.is_builtin(&module);
            Ok(Shown { in_file: path.is_some() && !unread, path, name: module.name })
        };
        match self.lookup(operand) {
            Ok(modules) => modules.into_iter().map(shown).collect(),
            Err(text) => vec![Err(text)],
        }
    }

    fn lookup(&self, operand: &[u8]) -> Result<Vec<Module>, Vec<u8>> {
        let missing = |what: &str| bytes!["Module ", what, operand, " not found."];
        if self.request.by_name {
            return self.tree.lookup_name(operand).map(|module| vec![module]).ok_or_else(|| missing("name "));
        }
        if operand == STDIN.as_bytes() {
            return Ok(vec![Module { file: Some(as_path(operand).to_path_buf()), ..Module::named(operand) }]);
        }
        if is_file(operand) {
            let path = self.call.absolute(operand);
            let module = path.and_then(|path| self.tree.module_from_path(path.as_os_str().as_bytes()));
            return module.map(|module| vec![module]).map_err(|_| missing("file "));
        }
        match self.tree.lookup_plain(operand) {
            Err(_) => Err(missing("alias ")),
            Ok(found) if found.is_empty() => Err(missing("")),
            Ok(found) => Ok(found),
        }
    }

    /// Prints all modules in order and returns the exit status. `files` has the contents of their files.
    fn everything(&self, found: Vec<Found>, files: &mut ReadAhead<'_>) -> u8 {
        let mut status = 0;
        for found in found {
            let text = match found {
                Ok(module) => {
                    let Err(error) = self.module(&module, files) else { continue };
                    let reason = error.errno().to_string();
                    let mut text = bytes!["could not get modinfo from '", module.name, "': ", reason];
                    // A limit of this program: the errno alone does not explain it.
                    if error.errno() == Errno::EFBIG {
                        text.extend(format!(" ({error})").bytes());
                    }
                    text
                }
                Err(text) => text,
            };
            self.log.error(&text);
            status = 1;
        }
        status
    }

    /// Prints one module.
    fn module(&self, module: &Shown, files: &mut ReadAhead<'_>) -> Result<()> {
        let path = module.path.as_ref().map(|path| path.as_os_str().as_bytes());
        // A module without a file is taken for a built-in one, whatever the indexes have.
        let filename = path.unwrap_or(b"(builtin)");
        match self.request.field {
            Some(b"filename") => {
                self.item(filename);
                return Ok(());
            }
            Some(b"name") if path.is_none() => {
                self.item(&module.name);
                return Ok(());
            }
            None if !self.request.json => {
                if path.is_none() {
                    self.padded(b"name", &module.name);
                }
                self.padded(b"filename", filename);
            }
            _ => {}
        }
        let content = if module.in_file { files.next() } else { Ok(Content::default()) };
        let content = content.inspect_err(|error| {
            // It is about the file, not about what the file holds.
            if error.path().is_some() {
                self.log.detail(error);
            }
        })?;
        let entries = match module.in_file {
            true => modinfo::entries(&content.modinfo).collect(),
            false => self.builtin(&module.name)?,
        };
        if self.request.json {
            self.print_json(module, entries, &content);
        } else {
            self.entries(entries, &content);
        }
        Ok(())
    }

    /// Prints one module as an object on a line: `{"name", "filename", "fields", "parameters", "build_id", "signature"}`.
    /// Invalid UTF-8 becomes U+FFFD.
    fn print_json(&self, module: &Shown, entries: Vec<Entry<'_>>, content: &Content) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let part = |(key, value): &(&[u8], Vec<u8>)| (text(key), text(value).replace("\n\t\t", ""));
        let signature: BTreeMap<String, String> = content.signature.iter().map(part).collect();
        let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in entries.iter().filter(|(key, _)| *key != b"parm" && *key != b"parmtype") {
            fields.entry(text(key)).or_default().push(text(value));
        }
        let parameter = |parameter: &Parameter<'_>| {
            json!({
                "name": text(parameter.name),
                "description": parameter.text.map(text),
                "type": parameter.kind.map(text),
            })
        };
        let object = json!({
            "name": text(&module.name),
            "filename": module.path.as_ref().map(|path| text(path.as_os_str().as_bytes())),
            "fields": fields,
            "parameters": parameters(entries).0.iter().map(parameter).collect::<Value>(),
            "build_id": content.build_id.as_deref().map(text),
            "signature": Some(signature).filter(|parts| !parts.is_empty()),
        });
        self.call.print(format!("{object}\n").as_bytes());
    }

    /// Prints the entries, then build id and signature, the parameters last.
    fn entries(&self, entries: Vec<Entry<'_>>, content: &Content) {
        let field = self.request.field;
        let build_id = content.build_id.iter().map(|id| (&b"build-id"[..], &id[..]));
        let signature = content.signature.iter().map(|(key, value)| (*key, &value[..]));
        for (key, value) in entries.iter().copied().chain(build_id).chain(signature) {
            match field {
                Some(field) if field != key || field == b"parm" => {}
                Some(_) => self.item(value),
                None if key == b"parm" || key == b"parmtype" => {}
                None if self.request.null => self.item(&bytes![key, "=", value]),
                None => self.padded(key, value),
            }
        }
        if matches!(field, None | Some(b"parm")) {
            let (known, bad) = parameters(entries);
            for (key, value) in bad {
                self.log.error(&bytes!["Found invalid \"", key, "=", value, "\": missing ':'"]);
            }
            known.iter().for_each(|parameter| self.parameter(parameter));
        }
    }

    fn parameter(&self, parameter: &Parameter<'_>) {
        let all = self.request.field.is_none();
        let text = match (parameter.text, parameter.kind) {
            (Some(text), Some(kind)) => bytes![parameter.name, ":", text, " (", kind, ")"],
            (Some(text), None) => bytes![parameter.name, ":", text],
            (None, Some(kind)) if all => bytes![parameter.name, ":", kind],
            (None, kind) => bytes![parameter.name, ": (", kind.unwrap_or_default(), ")"],
        };
        if all { self.padded(b"parm", &text) } else { self.item(&text) }
    }

    fn padded(&self, key: &[u8], value: &[u8]) {
        const COLUMN: usize = 16;
        let blanks = vec![b' '; COLUMN.saturating_sub(key.len() + 1)];
        self.item(&bytes![key, ":", blanks, value]);
    }

    fn item(&self, text: &[u8]) {
        self.call.print(text);
        self.call.print(if self.request.null { b"\0" } else { b"\n" });
    }

    /// The entries of a built-in module; none if there is no `modules.builtin.modinfo`.
    fn builtin(&self, name: &[u8]) -> Result<Vec<Entry<'_>>> {
        let path = self.tree.dir().join("modules.builtin.modinfo");
        let read = || match map::open(&path, limits::TEXT_FILE) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            read => read.map(Some),
        };
        let entries = match self.builtin.get_or_init(read) {
            Ok(Some(file)) => builtin_info(file, name).map_err(|error| error.at(&path)),
            Ok(None) => Ok(Vec::new()),
            Err(error) => Err(error.clone()),
        };
        entries.inspect_err(|error| self.log.error(error.to_string().as_bytes()))
    }
}
