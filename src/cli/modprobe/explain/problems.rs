//! Problems of a step: the kernel will refuse the module, or ignore a parameter.

use super::{FileLine, shown};
use crate::cli::refusal::{self, Refusal};
use crate::formats::kernel_args::{self, same_name};
use crate::formats::modinfo;
use crate::load::plan::Step;
use crate::system::Roots;
use crate::tree::image;

/// The problems of inserting a module.
#[derive(Default)]
pub(super) struct Problems {
    pub refusal: Option<Refusal>,
    pub parameters: Vec<OddParameter>,
}

/// A parameter that has no effect, or another one than its line says.
pub(super) struct OddParameter {
    pub name: String,
    pub what: ParameterProblem,
    /// Where it is given; `None` for modprobe's command line.
    pub places: Vec<Option<FileLine>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ParameterProblem {
    /// The module does not have it.
    Unknown,
    /// It is given more than once.
    Repeated,
}

impl ParameterProblem {
    /// As a word of the JSON output.
    pub(super) fn word(self) -> &'static str {
        match self {
            ParameterProblem::Unknown => "unknown",
            ParameterProblem::Repeated => "repeated",
        }
    }
}

/// The problems of a step that inserts a file. Its parameters come from `lines` of the configuration and from `typed`, the
/// command line.
pub(super) fn about(roots: &Roots, step: &Step, lines: &[(String, FileLine)], typed: &[u8]) -> Problems {
    let own = step.path.as_deref().and_then(|path| image::own_modinfo(path).ok());
    let parameters = own.as_deref().map(|own| odd_parameters(own, lines, typed)).unwrap_or_default();
    Problems { refusal: refusal::look(roots, &step.module.name, own.as_deref()), parameters }
}

fn odd_parameters(own: &[u8], lines: &[(String, FileLine)], typed: &[u8]) -> Vec<OddParameter> {
    let known = modinfo::parameters(modinfo::entries(own)).0;
    let is_known = |name: &[u8]| {
        modinfo::IMPLICIT_PARAMETERS
            .into_iter()
            .chain(known.iter().map(|known| known.name))
            .any(|known| same_name(known, name))
    };
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
        let what = match is_known(name) {
            false => ParameterProblem::Unknown,
            true if places.len() > 1 => ParameterProblem::Repeated,
            true => return None,
        };
        Some(OddParameter { name: shown(name), what, places })
    });
    odd.collect()
}
