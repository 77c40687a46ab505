//! What the running kernel will do with the modules. Only checked for the modules of the running kernel.

use super::study::Study;
use crate::check::finding::shown;
use crate::check::{Context, Finding};
use crate::formats::compress::{self, Compression};
use crate::formats::{kernel_decoder, kmsg};
use crate::limits;
use crate::system::file::read_attribute;
use crate::system::kmsg::KmsgReader;
use crate::system::roots::{as_path, into_path};
use crate::tree::image;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The content of a small file below /sys, without the newline. `None` also if the modules are those of another kernel.
fn word(context: &Context<'_>, path: &Path) -> Option<Vec<u8>> {
    let mut buffer = [0; 256];
    let text = read_attribute(path, &mut buffer).ok().filter(|_| context.request.running)?;
    Some(text.trim_ascii_end().to_vec())
}

/// Compressed files that this kernel cannot decompress by itself, although it decompresses modules.
pub(super) fn compression(context: &Context<'_>, study: &Study, findings: &mut Vec<Finding>) {
    let own = word(context, &context.roots.kernel_compression());
    let Some(own) = own.and_then(|word| Compression::from_kernel_name(&word)) else { return };
    for (path, _) in study.files() {
        let Ok(contents) = image::contents(path) else { continue };
        // The kernel goes by the content, not by the extension.
        let what = match compress::detect(&contents) {
            Compression::None => continue,
            kind if kind != own => {
                let name = |kind: Compression| shown(kind.kernel_name().unwrap_or_default());
                format!("compressed with {}, and this kernel only decompresses {}", name(kind), name(own))
            }
            _ if kernel_decoder::takes_all_of(&contents, limits::INFLATED) => continue,
            kind => {
                let taken = if kind == Compression::Xz { ": xz --check=crc32 is what it takes" } else { "" };
                format!("compressed in a way that this kernel's decoder refuses{taken}")
            }
        };
        findings.push(Finding::warning(path, what).hint("modprobe decompresses it, at some cost"));
    }
}

/// Unsigned modules, if the kernel requires signatures.
pub(super) fn signatures(context: &Context<'_>, study: &Study, findings: &mut Vec<Finding>) {
    let sys = &context.roots.sys_fs;
    let enforced =
        word(context, &sys.join("module/module/parameters/sig_enforce")).is_some_and(|word| word == b"Y");
    // `none [integrity] confidentiality`: the current mode is in brackets.
    let lockdown = word(context, &sys.join("kernel/security/lockdown")).unwrap_or_default();
    let locked = lockdown.contains(&b'[') && !lockdown.starts_with(b"[none]");
    let why = match (enforced, locked) {
        (true, _) => "module.sig_enforce",
        (false, true) => "lockdown",
        (false, false) => return,
    };
    for (path, _) in study.files().filter(|(_, facts)| facts.trouble.is_none() && !facts.signed) {
        findings.push(Finding::error(path, "not signed, and this kernel takes only what is").hint(why));
    }
}

/// Firmware that a driver requested since boot and that no directory has. The modules' own lists of firmware would say
/// little: each names the firmware of all its devices, and a machine has few of them.
pub(super) fn firmware(context: &Context<'_>, findings: &mut Vec<Finding>) {
    if !context.request.running {
        return;
    }
    let roots = context.roots;
    let Ok(log) = KmsgReader::whole(roots).map(|log| log.read()) else { return };
    let wanted: BTreeSet<String> = kmsg::records(&log)
        .filter_map(|record| kmsg::missing_firmware(&record.text).map(str::to_owned))
        .collect();
    // Where the kernel looks (drivers/base/firmware_loader/main.c).
    let own = word(context, &roots.sys_fs.join("module/firmware_class/parameters/path"));
    let own = own.filter(|path| !path.is_empty()).map(into_path);
    let usual = roots.prefixed("/lib/firmware");
    let release = as_path(context.request.release);
    let dirs =
        [usual.join("updates").join(release), usual.join("updates"), usual.join(release), usual.clone()];
    let dirs: Vec<PathBuf> = own.into_iter().chain(dirs).collect();
    let is_there = |name: &str| {
        let files = ["", ".zst", ".xz"].map(|end| format!("{name}{end}"));
        dirs.iter().any(|dir| files.iter().any(|file| dir.join(file).exists()))
    };
    for name in wanted.iter().filter(|name| !is_there(name)) {
        let what = "a driver asked for this firmware since boot, and no directory has it";
        findings.push(Finding::warning(usual.join(name), what).hint("a package of firmware may have it"));
    }
}
