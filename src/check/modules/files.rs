//! The module files themselves.

use super::study::Study;
use crate::check::finding::{abbreviated, shown};
use crate::check::{Context, Finding};
use crate::formats::index::unfit;
use crate::name;
use crate::system::roots::as_path;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

/// Files that cannot be read as modules.
pub(super) fn unreadable(_: &Context<'_>, study: &Study) -> Vec<Finding> {
    let broken =
        study.facts.iter().enumerate().filter_map(|(place, facts)| Some((place, facts.trouble.as_ref()?)));
    let findings = broken.map(|(place, trouble)| {
        let why = trouble.decoder.clone().unwrap_or_else(|| trouble.errno.to_string());
        Finding::error(study.path(place), format!("cannot be read as a module: {why}"))
    });
    findings.collect()
}

/// Files and directories that depmod passes over, of which the indexes have nothing.
pub(super) fn passed_over(context: &Context<'_>, study: &Study) -> Vec<Finding> {
    let dir = context.tree.dir();
    let findings = study.passed_over.iter().map(|text| {
        let text = shown(text);
        // `PATH: WHY`, or `WHY PATH`.
        match text.split_once(": ").filter(|(path, _)| path.starts_with('/')) {
            Some((path, why)) => Finding::error(path, format!("depmod passes over it: {why}")),
            None => Finding::error(dir, format!("depmod passes over a part: {text}")),
        }
    });
    findings.collect()
}

/// Aliases that the indexes cannot hold.
pub(super) fn aliases(_: &Context<'_>, study: &Study) -> Vec<Finding> {
    let mut findings = Vec::new();
    for place in 0..study.modules.len() {
        for alias in study.info(place, b"alias") {
            let why = match name::alias(alias) {
                Some(key) if unfit(&key).is_none() => continue,
                Some(_) => "has a byte that is not ASCII",
                None => "is too long, or its brackets do not pair up",
            };
            let what = format!("its alias '{}' {why}, so nothing finds it by that", shown(alias));
            findings.push(Finding::error(study.path(place), what));
        }
    }
    findings
}

/// Files whose module name another file has, too, and which one is used.
pub(super) fn duplicates(context: &Context<'_>, study: &Study) -> Vec<Finding> {
    let dir = context.tree.dir().as_os_str().as_bytes();
    let winners: BTreeMap<&[u8], &[u8]> =
        study.modules.iter().map(|module| (&module.name[..], module.relative(dir))).collect();
    let findings = study.shadowed.iter().map(|module| {
        let winner = winners.get(&module.name[..]).map(|path| shown(path)).unwrap_or_default();
        Finding::warning(as_path(&module.path), format!("{winner} is preferred to it"))
            .hint("search and override of depmod.d(5)")
    });
    findings.collect()
}

/// Module files of built-in modules, which are never loaded.
pub(super) fn builtin_too(context: &Context<'_>, study: &Study) -> Vec<Finding> {
    let both = study.modules.iter().filter(|module| context.is_builtin(&module.name));
    let findings = both.map(|module| {
        let what = format!("{} is built in, so nothing loads this", shown(&module.name));
        Finding::warning(as_path(&module.path), what)
    });
    findings.collect()
}

/// Dependency cycles.
pub(super) fn cycles(context: &Context<'_>, study: &Study) -> Vec<Finding> {
    let findings = study.resolved.cycles.iter().map(|ring| {
        let names: Vec<String> = ring.iter().chain(ring.first()).map(|name| shown(name)).collect();
        let what = format!("modules need each other: {}", names.join(" -> "));
        Finding::error(context.tree.dir(), what).hint("depmod writes nothing")
    });
    findings.collect()
}

/// Modules that were built for another kernel. The kernel compares the version magic; its first word, the release, only for
/// a module without symbol versions, whatever its version magic says of them. The usual magic of the directory stands for that of the kernel.
pub(super) fn vermagic(context: &Context<'_>, study: &Study) -> Vec<Finding> {
    let magic = |place: usize| study.info(place, b"vermagic").next().map(<[u8]>::trim_ascii_end);
    let rest = |magic: &[u8]| magic.splitn(2, |&b| b == b' ').nth(1).unwrap_or_default().to_vec();
    let mut counts: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for magic in (0..study.modules.len()).filter_map(magic) {
        *counts.entry(rest(magic)).or_default() += 1;
    }
    let Some(usual) = counts.iter().max_by_key(|(_, count)| **count).map(|(rest, _)| rest) else {
        return Vec::new();
    };
    let findings = (0..study.modules.len()).filter_map(|place| {
        let magic = magic(place)?;
        let release = magic.split(|&b| b == b' ').next().unwrap_or_default();
        // check_modinfo and same_magic of kernel/module/main.c go by the section of the versions.
        let has_versions = study.facts[place].symbols.need_crcs.iter().any(|(crc, _)| *crc != 0);
        let what = if !has_versions && release != context.request.release {
            format!("built for the kernel {}", shown(release))
        } else if rest(magic) != *usual {
            format!("built for a kernel with '{}', and this one has '{}'", shown(&rest(magic)), shown(usual))
        } else {
            return None;
        };
        Some(Finding::error(study.path(place), what).hint("build it anew"))
    });
    findings.collect()
}

/// Modules that need unknown symbols.
pub(super) fn symbols(_: &Context<'_>, study: &Study) -> Vec<Finding> {
    by_module(study, &study.resolved.missing, "needs what neither the kernel nor a module has")
}

/// Modules that were built against other versions of symbols.
pub(super) fn versions(_: &Context<'_>, study: &Study) -> Vec<Finding> {
    by_module(study, &study.resolved.disagreeing, "built against other versions of symbols")
}

fn by_module(study: &Study, symbols: &[(usize, Vec<u8>)], what: &str) -> Vec<Finding> {
    let mut names: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (place, name) in symbols {
        names.entry(*place).or_default().push(shown(name));
    }
    let findings = names
        .iter()
        .map(|(&place, names)| Finding::error(study.path(place), format!("{what}: {}", abbreviated(names))));
    findings.collect()
}
