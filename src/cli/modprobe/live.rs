//! The shortest path: if all requested modules are live, there is nothing to do. Most requests at boot end here: for a
//! device of a kind that is already present, or by a script that makes sure of a module.
//!
//! One open and one read show whether a module is live. They come first, so that a request for one that is not live costs
//! one open more. A live module alone does not end the request: kmod looks up the name in the configuration before it looks
//! at any module.
//!
//! | what is configured | what the request for a live NAME does |
//! |---|---|
//! | `alias PATTERN OTHER` in a file of modprobe.d, PATTERN matches NAME | loads OTHER |
//! | no NAME in `modules.dep` | continues with commands and aliases of modules; fails if there are none |
//! | a bad line in such a file, a broken index | reports it, even with `-q` |
//! | `install`, `options`, `softdep`, `blacklist` for NAME | nothing: the module is loaded |
//!
//! So the files that administrators and packages write, and `modules.dep`, must be read. The other sources need not be:
//! depmod's `modules.softdep` and `modules.weakdep`, and the kernel command line, have lines of the last row only. (Their
//! bad lines are reported by requests that load something.) If one of the first three rows applies, the normal path gives
//! the answer and the messages.

use super::args::{Mode, Request, jobs_variable};
use crate::cli::Call;
use crate::gate;
use crate::name;
use crate::tree::Tree;

/// Whether the request is done because all its modules are live. Uses a configuration of its own, so that `tree` still
/// reports the problems that it finds.
pub(crate) fn all_are_live(call: &Call<'_>, request: &Request<'_>, tree: &Tree<'_>) -> bool {
    // These print something or fail although the module is live.
    let prints = request.resolve || request.depends || request.first_time;
    // A wrong number of jobs is reported; a valid one changes nothing here.
    if request.mode != Mode::Insert || prints || jobs_variable(call).is_err() {
        return false;
    }
    // With a colon it is an alias, with a slash a file; neither is a module's name.
    let live = |name: &Vec<u8>| !name.contains(&b':') && gate::is_live(&call.world.system, name);
    let names: Option<Vec<_>> = request.names.iter().map(|name| name::alias(name).filter(live)).collect();
    names.is_some_and(|names| tree.resolve_to_themselves(names.iter().map(Vec::as_slice)))
}
