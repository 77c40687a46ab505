//! The module files themselves.

use super::study::Study;
use crate::check::finding::{abbreviated, shown};
use crate::check::{Context, Finding};
use crate::depmod::facts::Facts;
use crate::formats::index::unfit;
use crate::formats::modinfo;
use crate::name;
use crate::system::roots::as_path;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

/// Files that cannot be read as modules.
pub(super) fn unreadable(_: &Context<'_>, study: &Study, findings: &mut Vec<Finding>) {
    for (path, facts) in study.files() {
        if let Some(trouble) = &facts.trouble {
            let why = trouble.decoder.clone().unwrap_or_else(|| trouble.errno.to_string());
            findings.push(Finding::error(path, format!("cannot be read as a module: {why}")));
        }
    }
}

/// Files and directories that depmod passes over, of which the indexes have nothing.
pub(super) fn passed_over(context: &Context<'_>, study: &Study, findings: &mut Vec<Finding>) {
    for text in study.passed_over.iter().map(|text| shown(text)) {
        // `PATH: WHY`, or `WHY PATH`.
        findings.push(match text.split_once(": ").filter(|(path, _)| path.starts_with('/')) {
            Some((path, why)) => Finding::error(path, format!("depmod passes over it: {why}")),
            None => Finding::error(context.tree.dir(), format!("depmod passes over a part: {text}")),
        });
    }
}

/// Aliases that the indexes cannot hold.
pub(super) fn aliases(_: &Context<'_>, study: &Study, findings: &mut Vec<Finding>) {
    for (path, facts) in study.files() {
        for alias in info(facts, b"alias") {
            let why = match name::alias(alias) {
                Some(key) if unfit(&key).is_none() => continue,
                Some(_) => "has a byte that is not ASCII",
                None => "is too long, or its brackets do not pair up",
            };
            let what = format!("its alias '{}' {why}, so nothing finds it by that", shown(alias));
            findings.push(Finding::error(path, what));
        }
    }
}

/// Files whose module name another file has, too, and which one is used.
pub(super) fn duplicates(context: &Context<'_>, study: &Study, findings: &mut Vec<Finding>) {
    let dir = context.tree.dir().as_os_str().as_bytes();
    let winners: BTreeMap<&[u8], &[u8]> =
        study.modules.iter().map(|module| (&module.name[..], module.relative(dir))).collect();
    for module in &study.shadowed {
        let winner = winners.get(&module.name[..]).map(|path| shown(path)).unwrap_or_default();
        let finding = Finding::warning(as_path(&module.path), format!("{winner} is preferred to it"));
        findings.push(finding.hint("search and override of depmod.d(5)"));
    }
}

/// Module files of built-in modules, which are never loaded.
pub(super) fn builtin_too(context: &Context<'_>, study: &Study, findings: &mut Vec<Finding>) {
    for module in study.modules.iter().filter(|module| context.is_builtin(&module.name)) {
        let what = format!("{} is built in, so nothing loads this", shown(&module.name));
        findings.push(Finding::warning(as_path(&module.path), what));
    }
}

/// Dependency cycles.
pub(super) fn cycles(context: &Context<'_>, study: &Study, findings: &mut Vec<Finding>) {
    for ring in &study.cycles {
        let names: Vec<String> = ring.iter().chain(ring.first()).map(|name| shown(name)).collect();
        let what = format!("modules need each other: {}", names.join(" -> "));
        findings.push(Finding::error(context.tree.dir(), what).hint("depmod writes nothing"));
    }
}

/// Modules that were built for another kernel. The kernel compares the version magic; its first word, the release, only for
/// a module without symbol versions, whatever its version magic says of them. The usual magic of the directory stands for
/// that of the kernel.
pub(super) fn vermagic(context: &Context<'_>, study: &Study, findings: &mut Vec<Finding>) {
    // The release, and the rest of the magic.
    let magic = |facts| {
        let magic = info(facts, b"vermagic").next()?.trim_ascii_end();
        let blank = magic.iter().position(|&b| b == b' ');
        Some(blank.map_or((magic, &[][..]), |blank| (&magic[..blank], &magic[blank + 1..])))
    };
    let mut counts: BTreeMap<&[u8], usize> = BTreeMap::new();
    for (_, rest) in study.facts.iter().filter_map(magic) {
        *counts.entry(rest).or_default() += 1;
    }
    let usual = counts.into_iter().max_by_key(|(_, count)| *count).map(|(rest, _)| rest).unwrap_or_default();
    for (path, facts) in study.files() {
        let Some((release, rest)) = magic(facts) else { continue };
        // check_modinfo and same_magic of kernel/module/main.c go by the section of the versions.
        let has_versions = facts.symbols.need_crcs.iter().any(|(crc, _)| *crc != 0);
        let what = if !has_versions && release != context.request.release {
            format!("built for the kernel {}", shown(release))
        } else if rest != usual {
            format!("built for a kernel with '{}', and this one has '{}'", shown(rest), shown(usual))
        } else {
            continue;
        };
        findings.push(Finding::error(path, what).hint("build it anew"));
    }
}

/// Modules that need unknown symbols.
pub(super) fn symbols(_: &Context<'_>, study: &Study, findings: &mut Vec<Finding>) {
    by_module(study, &study.missing, "needs what neither the kernel nor a module has", findings);
}

/// Modules that were built against other versions of symbols.
pub(super) fn versions(_: &Context<'_>, study: &Study, findings: &mut Vec<Finding>) {
    by_module(study, &study.disagreeing, "built against other versions of symbols", findings);
}

/// A finding for each module, by its place, with the names of its symbols.
fn by_module(study: &Study, symbols: &[(usize, Vec<u8>)], what: &str, findings: &mut Vec<Finding>) {
    for symbols in symbols.chunk_by(|(one, _), (other, _)| one == other) {
        let names: Vec<String> = symbols.iter().map(|(_, name)| shown(name)).collect();
        let path = as_path(&study.modules[symbols[0].0].path);
        findings.push(Finding::error(path, format!("{what}: {}", abbreviated(&names))));
    }
}

/// The values of a key of a module's `.modinfo`.
fn info<'f>(facts: &'f Facts, key: &'f [u8]) -> impl Iterator<Item = &'f [u8]> {
    modinfo::entries(&facts.modinfo).filter(move |(found, _)| *found == key).map(|(_, value)| value)
}
