//! The lines of depmod.d.

use crate::check::finding::shown;
use crate::check::{Context, Finding, similar_in};
use crate::depmod::settings::{Directive, parse};
use crate::log::bytes;
use crate::name;
use crate::system::file::{EntryType, visit_names};
use crate::system::regex;
use crate::system::roots::as_path;
use crate::tree::config_files::ConfigFiles;
use std::path::Path;

/// Bad lines, and in this machine's own files modules and directories that are not there. A directory may come later, and a
/// line may be for another kernel: only names that are similar to existing ones are reported, and overrides that leave
/// another file in its place.
pub(super) fn lines(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let dir = context.tree.dir();
    let mut there = Vec::new();
    let _ = visit_names(dir, &mut Vec::new(), &mut |name, kind| {
        if kind != EntryType::Regular {
            there.push(name.to_vec());
        }
    });
    let is_for =
        |kernel: &[u8]| kernel == b"*" || regex::matches(kernel, context.request.release) == Some(true);
    let mut files = ConfigFiles::default();
    files.add_system(context.roots.config_dirs("depmod.d"), context.roots);
    files.read(&mut |path, contents| {
        let is_own = context.is_own(path);
        // Files that cannot be read are reported by `unread`.
        parse(contents.unwrap_or_default(), &mut |number, directive| match directive {
            Directive::Bad(what) => {
                findings.push(Finding::error(path, shown(&what)).line(number).hint("depmod.d(5)"));
            }
            Directive::Search(words) if is_own => {
                for word in words.iter().filter(|word| !dir.join(as_path(word)).is_dir()) {
                    if let Some(similar) = similar_in(word, there.iter().map(Vec::as_slice)) {
                        let what = format!("there is no directory '{}'", shown(word));
                        findings.push(Finding::error(path, what).line(number).hint(format!("{similar}?")));
                    }
                }
            }
            Directive::Override { name, kernel, subdir } if is_own && is_for(kernel) => {
                let finding = overriding(context, path, name, subdir);
                findings.extend(finding.map(|finding| finding.line(number)));
            }
            _ => {}
        });
    });
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
    let what = format!("no file of '{}' is in '{}', so nothing is overridden", shown(name), shown(below));
    (!is_there).then(|| Finding::warning(path, what))
}
