//! Parameters that a module does not have, or values that a parameter does not take.

use super::{given, own};
use crate::check::finding::shown;
use crate::check::{Context, Finding, Severity, similar_in};
use crate::config::Kind;
use crate::formats::kernel_args::same_name;
use crate::formats::{modinfo, parameter};
use crate::tree::image;
use std::collections::BTreeMap;

/// The options of each module, in any file: a module that refuses a value is not loaded.
pub(super) fn parameters(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let mut known: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
    for entry in context.config().entries(Kind::Options) {
        for module in context.tree.lookup(entry.key).unwrap_or_default() {
            let own = known.entry(module.name.clone()).or_insert_with(|| {
                let file = if context.tree.is_builtin(&module) { None } else { context.tree.path(&module) };
                image::own_modinfo(&file?).ok()
            });
            let Some(own) = own else { continue };
            let known = modinfo::parameters(modinfo::entries(own)).0;
            let module = shown(&module.name);
            let error = |what: String| context.at(&entry, Severity::Error, what);
            // Comments are reported by another check.
            for (name, value) in given(entry).take_while(|(name, _)| !name.starts_with(b"#")) {
                let parameter = shown(name);
                let Some(known) = known.iter().find(|known| same_name(known.name, name)) else {
                    let similar = similar_in(name, known.iter().map(|known| known.name));
                    let hint =
                        similar.map_or(format!("modinfo -p {module}"), |similar| format!("{similar}?"));
                    findings.push(error(format!("{module} has no parameter '{parameter}'")).hint(hint));
                    continue;
                };
                let kind = known.kind.unwrap_or_default();
                if !parameter::takes(kind, value) {
                    let what = match value.map(shown) {
                        Some(value) => format!("{module} takes no '{value}' for its parameter {parameter}"),
                        None => format!("{module} takes no parameter {parameter} without a value"),
                    };
                    findings.push(error(what).hint(shown(kind)));
                }
            }
        }
    }
}

/// Options of built-in modules, which modprobe never applies.
pub(super) fn builtin(context: &Context<'_>, findings: &mut Vec<Finding>) {
    for entry in own(context, Kind::Options) {
        if entry.origin.line > 0 && context.is_builtin(entry.key) {
            let name = shown(entry.key);
            let what =
                format!("{name} is built in, and has its parameters from the kernel command line only");
            let hint = format!("{name}.{}", shown(entry.value.trim_ascii()));
            findings.push(context.at(&entry, Severity::Warning, what).hint(hint));
        }
    }
}
