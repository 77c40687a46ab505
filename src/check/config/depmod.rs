//! The lines of depmod.d.

use crate::check::finding::shown;
use crate::check::{Context, Finding, similar_in};
use crate::config::lines::{Line, Lines, Words};
use crate::depmod::settings::Settings;
use crate::log::{Kept, bytes};
use crate::name;
use crate::system::file::{EntryType, visit_names};
use crate::system::roots::as_path;
use crate::tree::ConfigPaths;
use crate::tree::config_files::ConfigFiles;
use std::path::Path;

/// Bad lines.
pub(super) fn lines(context: &Context<'_>) -> Vec<Finding> {
    let kept = Kept::default();
    Settings::load(context.system.roots, &ConfigPaths::Default, context.request.release, &kept);
    kept.take_errors()
        .filter_map(|text| {
            // PATH:LINE: WHAT. Other messages are about directory entries, which `unread` checks.
            let text = shown(&text);
            let (place, what) = text.split_once(": ")?;
            let (path, line) = place.rsplit_once(':')?;
            Some(Finding::error(path, what).line(line.parse().ok()?).hint("depmod.d(5)"))
        })
        .collect()
}

/// Modules and directories that a line names and that are not there. A directory may come later, and a line may be for
/// another kernel: only names that are similar to existing ones are reported, and overrides that leave another file in
/// its place.
pub(super) fn names(context: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let dir = context.tree.dir();
    let mut there = Vec::new();
    let _ = visit_names(dir, &mut Vec::new(), &mut |name, kind| {
        if kind != EntryType::Regular {
            there.push(name.to_vec());
        }
    });
    let similar = |word: &[u8]| {
        let is_there = dir.join(as_path(word)).is_dir();
        if is_there { None } else { similar_in(word, there.iter().map(Vec::as_slice)) }
    };
    let mut files = ConfigFiles::default();
    files.add_system(context.system.roots.config_dirs("depmod.d"), context.system.roots);
    files.read(&mut |path, contents| {
        if !context.is_own(path) {
            return;
        }
        let mut lines = Lines::new(contents.unwrap_or_default());
        while let Some((number, line)) = lines.next() {
            let Line::Text(line) = line else { continue };
            let mut words = Words(line);
            let found = match words.next() {
                Some(b"search") => {
                    while let Some(word) = words.next() {
                        if let Some(similar) = similar(word) {
                            let what = format!("there is no directory '{}'", shown(word));
                            findings
                                .push(Finding::error(path, what).line(number).hint(format!("{similar}?")));
                        }
                    }
                    None
                }
                Some(b"override") => match (words.next(), words.next(), words.next()) {
                    (Some(name), Some(pattern), Some(below)) if is_for(context, pattern) => {
                        overriding(context, path, name, below)
                    }
                    _ => None,
                },
                _ => None,
            };
            findings.extend(found.map(|finding| finding.line(number)));
        }
    });
    findings
}

/// Whether a line with this pattern of versions is for the kernel that is checked.
fn is_for(context: &Context<'_>, pattern: &[u8]) -> bool {
    pattern == b"*" || crate::system::regex::matches(pattern, context.request.release) == Some(true)
}

/// What is wrong with an override of the module `name` by its file in the directory `below`.
fn overriding(context: &Context<'_>, path: &Path, name: &[u8], below: &[u8]) -> Option<Finding> {
    let canonical = name::canonical(name);
    if !context.exists(&canonical) {
        let what = format!("no module is called '{}', so nothing is overridden", shown(name));
        let similar = context.similar(&canonical)?;
        return Some(Finding::error(path, what).hint(format!("{similar}?")));
    }
    let dir = context.tree.dir().join(as_path(below));
    // The names of files are compared as they are written.
    let is_there = name::EXTENSIONS.into_iter().any(|end| dir.join(as_path(&bytes![name, end])).exists());
    (!is_there).then(|| {
        let what = format!("no file of '{}' is in '{}', so nothing is overridden", shown(name), shown(below));
        Finding::warning(path, what)
    })
}
