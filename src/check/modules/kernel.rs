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

/// The content of a small file below /sys, without the newline.
fn word(path: &Path) -> Option<Vec<u8>> {
    let mut buffer = [0; 256];
    Some(read_attribute(path, &mut buffer).ok()?.trim_ascii_end().to_vec())
}

/// Compressed files that this kernel cannot decompress by itself, although it decompresses modules.
pub(super) fn compression(context: &Context<'_>, study: &Study) -> Vec<Finding> {
    if !context.request.running {
        return Vec::new();
    }
    let own = word(&context.system.roots.kernel_compression());
    let Some(own) = own.and_then(|word| Compression::from_kernel_name(&word)) else { return Vec::new() };
    let findings = (0..study.modules.len()).filter_map(|place| {
        let path = study.path(place);
        let contents = image::contents(&path).ok()?;
        let what = match compress::detect(&contents) {
            // The kernel goes by the content, not by the extension.
            Compression::None => return None,
            kind if kind != own => {
                let name = |kind: Compression| shown(kind.kernel_name().unwrap_or_default());
                format!("compressed with {}, and this kernel only decompresses {}", name(kind), name(own))
            }
            _ if kernel_decoder::takes_all_of(&contents, limits::INFLATED) => return None,
            Compression::Xz => {
                "compressed in a way that this kernel's decoder refuses: xz --check=crc32 is what it takes"
                    .to_owned()
            }
            _ => "compressed in a way that this kernel's decoder refuses".to_owned(),
        };
        Some(Finding::warning(path, what).hint("modprobe decompresses it, at some cost"))
    });
    findings.collect()
}

/// Unsigned modules, if the kernel requires signatures.
pub(super) fn signatures(context: &Context<'_>, study: &Study) -> Vec<Finding> {
    if !context.request.running {
        return Vec::new();
    }
    let sys = &context.system.roots.sys_fs;
    let enforced = word(&sys.join("module/module/parameters/sig_enforce")).is_some_and(|word| word == b"Y");
    // `none [integrity] confidentiality`: the current mode is in brackets.
    let lockdown = word(&sys.join("kernel/security/lockdown")).unwrap_or_default();
    let locked = lockdown.contains(&b'[') && !lockdown.starts_with(b"[none]");
    let why = match (enforced, locked) {
        (true, _) => "module.sig_enforce",
        (false, true) => "lockdown",
        (false, false) => return Vec::new(),
    };
    let unsigned =
        study.facts.iter().enumerate().filter(|(_, facts)| facts.trouble.is_none() && !facts.signed);
    let findings = unsigned.map(|(place, _)| {
        Finding::error(study.path(place), "not signed, and this kernel takes only what is").hint(why)
    });
    findings.collect()
}

/// Firmware that a driver requested since boot and that no directory has. The modules' own lists of firmware would say
/// little: each names the firmware of all its devices, and a machine has few of them.
pub(super) fn firmware(context: &Context<'_>) -> Vec<Finding> {
    if !context.request.running {
        return Vec::new();
    }
    let Ok(log) = KmsgReader::whole(context.system.roots) else { return Vec::new() };
    let log = log.read();
    let wanted: BTreeSet<String> = kmsg::records(&log)
        .filter_map(|record| kmsg::missing_firmware(&record.text).map(str::to_owned))
        .collect();
    let places = places(context);
    let is_there = |name: &str| {
        places
            .iter()
            .any(|dir| ["", ".zst", ".xz"].iter().any(|end| dir.join(format!("{name}{end}")).exists()))
    };
    let missing = wanted.iter().filter(|name| !is_there(name));
    missing
        .map(|name| {
            let file = context.system.roots.prefixed("/lib/firmware").join(name);
            Finding::warning(file, "a driver asked for this firmware since boot, and no directory has it")
                .hint("a package of firmware may have it")
        })
        .collect()
}

/// The directories in which the kernel looks for firmware (drivers/base/firmware_loader/main.c).
fn places(context: &Context<'_>) -> Vec<PathBuf> {
    let roots = context.system.roots;
    let release = as_path(context.request.release);
    let own =
        word(&roots.sys_fs.join("module/firmware_class/parameters/path")).filter(|path| !path.is_empty());
    let own = own.map(into_path);
    let usual = roots.prefixed("/lib/firmware");
    let dirs =
        [usual.join("updates").join(release), usual.join("updates"), usual.join(release), usual.clone()];
    own.into_iter().chain(dirs).collect()
}
