//! Parameters that a module does not have, or values that a parameter does not take.

use super::own;
use crate::check::finding::shown;
use crate::check::{Context, Finding, Severity, similar_in};
use crate::config::Kind;
use crate::formats::kernel_args::{self, same_name};
use crate::formats::modinfo::{self, IMPLICIT_PARAMETERS};
use crate::formats::parameter;
use crate::tree::image;
use std::collections::BTreeMap;

/// The options of each module, in any file: a module that refuses a value is not loaded.
pub(super) fn parameters(context: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut known: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
    for entry in context.config().entries(Kind::Options) {
        let modules = context.tree.lookup(entry.key).unwrap_or_default();
        for module in modules {
            let own = known.entry(module.name.clone()).or_insert_with(|| {
                let file = if context.tree.is_builtin(&module) { None } else { context.tree.path(&module) };
                image::own_modinfo(&file?).ok()
            });
            let Some(own) = own else { continue };
            let known = modinfo::parameters(modinfo::entries(own)).0;
            let name = shown(&module.name);
            // Comments are reported by another check.
            let given = kernel_args::parameters(entry.value).take_while(|(name, _)| !name.starts_with(b"#"));
            for (parameter, value) in given {
                if IMPLICIT_PARAMETERS.into_iter().any(|implicit| same_name(implicit, parameter)) {
                    continue;
                }
                let Some(known) = known.iter().find(|known| same_name(known.name, parameter)) else {
                    let what = format!("{name} has no parameter '{}'", shown(parameter));
                    let finding = context.at(&entry, Severity::Error, what);
                    let similar = similar_in(parameter, known.iter().map(|known| known.name));
                    findings.push(match similar {
                        Some(similar) => finding.hint(format!("{similar}?")),
                        None => finding.hint(format!("modinfo -p {name}")),
                    });
                    continue;
                };
                let kind = known.kind.unwrap_or_default();
                if !parameter::takes(kind, value) {
                    let parameter = shown(parameter);
                    let what = match value {
                        Some(value) => {
                            format!("{name} takes no '{}' for its parameter {parameter}", shown(value))
                        }
                        None => format!("{name} takes no parameter {parameter} without a value"),
                    };
                    findings.push(context.at(&entry, Severity::Error, what).hint(shown(kind)));
                }
            }
        }
    }
    findings
}

/// Options of built-in modules, which modprobe never applies.
pub(super) fn builtin(context: &Context<'_>) -> Vec<Finding> {
    let options =
        own(context, Kind::Options).filter(|entry| entry.origin.line > 0 && context.is_builtin(entry.key));
    options
        .map(|entry| {
            let name = shown(entry.key);
            let what =
                format!("{name} is built in, and has its parameters from the kernel command line only");
            let hint = format!("{name}.{}", shown(entry.value.trim_ascii()));
            context.at(&entry, Severity::Warning, what).hint(hint)
        })
        .collect()
}
