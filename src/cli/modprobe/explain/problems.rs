//! Problems of a step: the kernel will refuse the module, or ignore a parameter.

use super::finder::quoted;
use super::{FileLine, shown};
use crate::cli::modprobe::Session;
use crate::cli::refusal::{self, Refusal};
use crate::config::Kind;
use crate::formats::kernel_args::{self, same_name};
use crate::formats::modinfo;
use crate::load::plan::Step;
use crate::tree::image;

/// The problems of inserting a module.
#[derive(Default)]
pub(super) struct Problems {
    pub refusal: Option<Refusal>,
    pub parameters: Vec<OddParameter>,
    /// The install command that does not apply here, and its line.
    pub passed_over: Option<(String, FileLine)>,
}

/// A parameter that has no effect, or another one than its line says.
pub(super) struct OddParameter {
    pub name: String,
    /// Whether the module has it, and it is given more than once. Otherwise the module does not have it.
    pub repeated: bool,
    /// Where it is given; `None` for modprobe's command line.
    pub places: Vec<Option<FileLine>>,
}

/// The problems of a step that inserts a file. Its parameters come from `lines` of the configuration and, for the target,
/// from the command line.
pub(super) fn about(session: &Session<'_>, step: &Step, lines: &[(String, FileLine)]) -> Problems {
    let name = &step.module.name;
    let own = step.path.as_deref().and_then(|path| image::own_modinfo(path).ok());
    let typed = if step.is_target { &session.request.parameters[..] } else { b"" };
    let install = session.tree.config().first(Kind::Install, name);
    Problems {
        refusal: refusal::look(session.system.roots, name, own.as_deref()),
        parameters: own.map(|own| odd_parameters(&own, lines, typed)).unwrap_or_default(),
        passed_over: install.map(|entry| quoted(session, entry)),
    }
}

fn odd_parameters(own: &[u8], lines: &[(String, FileLine)], typed: &[u8]) -> Vec<OddParameter> {
    let known = modinfo::parameters(modinfo::entries(own)).0;
    let known = || modinfo::IMPLICIT_PARAMETERS.into_iter().chain(known.iter().map(|known| known.name));
    let lines = lines.iter().map(|(text, place)| (text.as_bytes(), Some(place.clone())));
    let mut given: Vec<(&[u8], Vec<Option<FileLine>>)> = Vec::new();
    for (text, place) in lines.chain([(typed, None)]) {
        for (name, _) in kernel_args::parameters(text) {
            match given.iter_mut().find(|(earlier, _)| same_name(earlier, name)) {
                Some((_, places)) => places.push(place.clone()),
                None => given.push((name, vec![place.clone()])),
            }
        }
    }
    let odd = given.into_iter().filter_map(|(name, places)| {
        let is_known = known().any(|known| same_name(known, name));
        let odd = !is_known || places.len() > 1;
        odd.then(|| OddParameter { name: shown(name), repeated: is_known, places })
    });
    odd.collect()
}
