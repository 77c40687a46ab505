//! The small module trees that cases are queried against, described in cases/trees.txt: a case file without commands,
//! whose paths are below /lib/modules/RELEASE. Their indexes are made by kmod 34.2's depmod.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::case::{self, Case};
use crate::elf::signature::Message;
use crate::elf::{KoBuilder, Signature, machine};
use crate::root::{Root, copy_tree};
use crate::tools::Tools;

/// The directories made from cases/trees.txt, by name.
pub struct Trees {
    dirs: BTreeMap<String, PathBuf>,
}

impl Trees {
    /// Makes all trees below `dir`.
    ///
    /// # Errors
    /// What is wrong with the description, or what could not be written.
    pub fn new(dir: &Path, theirs: &Tools, release: &str) -> io::Result<Trees> {
        let cases =
            case::parse("trees", include_str!("cases/trees.txt"), release).map_err(io::Error::other)?;
        let mut dirs = BTreeMap::new();
        for case in cases {
            let name = case.name.trim_start_matches("trees/").to_owned();
            let modules = Path::new("lib/modules").join(release);
            let files = case.files.iter().map(|(path, entry)| (modules.join(path), entry.clone())).collect();
            let case = Case { files, ..case };
            let root = Root::new(dir.join(format!("{name}-root")), theirs, &case, None, release)?;
            let tree = dir.join(&name);
            if case.depmod {
                depmod(&root.path, release)?;
            }
            copy_tree(&root.path.join(modules), &tree)?;
            dirs.insert(name, tree);
        }
        Ok(Trees { dirs })
    }

    /// Where a tree is; `none` is no tree.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn path(&self, name: &str) -> Result<Option<PathBuf>, String> {
        if name == "none" {
            return Ok(None);
        }
        self.dirs.get(name).cloned().map(Some).ok_or_else(|| format!("no tree {name}"))
    }
}

/// Runs depmod inside a root and gives the files it left in /lib/modules/RELEASE.
///
/// # Errors
/// It failed.
pub fn depmod(root: &Path, release: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = Command::new("chroot");
    command
        .arg0("chroot")
        .arg(root)
        .args(["/sbin/depmod", release])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = command.output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("depmod: {}", String::from_utf8_lossy(&output.stderr))));
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join("lib/modules").join(release))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("modules.") && entry.file_type()?.is_file() {
            files.push((name, fs::read(entry.path())?));
        }
    }
    Ok(files)
}

/// The softdep lines of a text with all that they say of one module in one line: kmod counts the first line only, ours
/// all of them.
pub fn joined(softdeps: &str) -> String {
    let mut lists: BTreeMap<&str, String> = BTreeMap::new();
    for line in softdeps.lines() {
        if let Some((module, words)) = line.strip_prefix("softdep ").and_then(|rest| rest.split_once(' ')) {
            let list = lists.entry(module).or_default();
            list.push(' ');
            list.push_str(words);
        }
    }
    lists.iter().map(|(module, words)| format!("softdep {module}{words}\n")).collect()
}

/// Makes a module from the words after `ko PATH` in a case file:
///
/// ```text
/// KEY=VALUE               a string of .modinfo
/// export:NAME:CRC         an exported symbol, CRC in hex; crctab:NAME:CRC with the CRC in a section;
///                         string:NAME without CRC
/// need:NAME need:NAME:CRC weak:NAME version:NAME:CRC extended:NAME:CRC
/// id:HEX                  build id
/// sig:SIGNER:KEY:DATA     an X509 signature of these raw bytes; pkcs7:HEX a PKCS#7 one
/// ml-dsa:STRENGTH         a PKCS#7 message with ML-DSA-44, 65 or 87
/// tail:HEX                bytes at the very end
/// section:NAME:TEXT       raw:TEXT, a string of .modinfo that is no KEY=VALUE
/// 32 be nosymtab nomodinfo
/// ```
///
/// The extension of the path says how it is compressed.
///
/// # Errors
/// A word that is none of these.
pub fn module(path: &str, words: &[String]) -> Result<Vec<u8>, String> {
    let mut ko = KoBuilder::new();
    if !words.iter().any(|word| word == "nomodinfo") {
        ko = ko.modinfo_raw("");
    }
    let mut tail = Vec::new();
    for word in words {
        let parts: Vec<&str> = word.split(':').collect();
        let crc = |text: &str| u32::from_str_radix(text, 16).map_err(|error| format!("{word}: {error}"));
        ko = match (parts.as_slice(), word.split_once('=')) {
            (["export", name, value], _) => ko.export(name, crc(value)?),
            (["crctab", name, value], _) => ko.export_in_section(name, crc(value)?),
            (["string", name], _) => ko.ksymtab_string(name),
            (["need", name], _) => ko.needs(name),
            (["need", name, value], _) => ko.needs_version(name, crc(value)?),
            (["weak", name], _) => ko.needs_weak(name),
            (["version", name, value], _) => ko.version(name, u64::from(crc(value)?)),
            (["extended", name, value], _) => ko.extended_version(name, crc(value)?),
            (["id", hex], _) => ko.build_id(bytes(hex)?),
            (["pkcs7", hex], _) => ko.signature(Signature::pkcs7(bytes(hex)?)),
            (["ml-dsa", strength], _) => {
                let message = Message::ml_dsa(strength).ok_or_else(|| format!("no ML-DSA-{strength}"))?;
                ko.signature(Signature::pkcs7(message.der()))
            }
            (["tail", hex], _) => {
                tail.extend(bytes(hex)?);
                ko
            }
            (["sig", signer, key, data], _) => ko.signature(Signature {
                algo: 1,
                hash: 4,
                id_type: 1,
                signer: signer.as_bytes().to_vec(),
                key_id: bytes(key)?,
                data: bytes(data)?,
            }),
            (["raw", text], _) => ko.modinfo_raw([&case::bytes_of(text), &b"\0"[..]].concat()),
            (["section", name, text], _) => ko.section(name, text),
            (["32"], _) => ko.bits32().machine(machine::I386),
            (["be"], _) => ko.big_endian(),
            (["nosymtab"], _) => ko.without_symtab(),
            (["nomodinfo"], _) => ko,
            (_, Some((key, value))) => ko.modinfo(case::bytes_of(key), case::bytes_of(value)),
            _ => return Err(format!("{path}: unknown word {word}")),
        };
    }
    compressed(path, [ko.build(), tail].concat()).map_err(|error| error.to_string())
}

fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let digits = |at: usize| hex.get(at..at + 2).ok_or_else(|| format!("{hex}: half a byte"));
    let byte = |at| u8::from_str_radix(digits(at)?, 16).map_err(|error| format!("{hex}: {error}"));
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn compressed(path: &str, data: Vec<u8>) -> io::Result<Vec<u8>> {
    match path.rsplit('.').next() {
        Some("xz") => {
            // The check that the kernel's own decoder knows, as kernels' modules have it.
            let stream = xz2::stream::Stream::new_easy_encoder(6, xz2::stream::Check::Crc32)?;
            let mut encoder = xz2::write::XzEncoder::new_stream(Vec::new(), stream);
            encoder.write_all(&data)?;
            encoder.finish()
        }
        Some("zst") => zstd::bulk::compress(&data, 3),
        Some("gz") => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(&data)?;
            encoder.finish()
        }
        _ => Ok(data),
    }
}
