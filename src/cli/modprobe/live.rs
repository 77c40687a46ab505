//! The shortest way: what is asked for is live, so there is nothing to do. Most requests at boot end here: a device of a
//! kind that is there already, a script that makes sure.
//!
//! One open and one read tell that a module is live, and these come first, so that a request for one that is not pays
//! for an open and goes the long way. They do not yet tell that the *request* is done, since kmod asks the configuration what
//! a name stands for before it looks at any module:
//!
//! | what is there | what the request for a live NAME does |
//! |---|---|
//! | `alias PATTERN OTHER` in a file of modprobe.d, PATTERN matches NAME | loads OTHER |
//! | no NAME in `modules.dep` | looks on: commands, aliases of modules; fails where there are none |
//! | a line that makes no sense in such a file, a broken index | is told, `-q` or not |
//! | `install`, `options`, `softdep`, `blacklist` for NAME | nothing: a module that is there is done with |
//!
//! So these files and that index must be read, and nothing else need be: not what depmod found nor the kernel command line,
//! which say the things of the last row only (a complaint about one of *their* lines waits for a request that has
//! something to do). Where any of the first three rows applies, the long way gives the answer and the messages.

use super::args::{JOBS_VARIABLE, Mode, Request, jobs};
use crate::cli::Call;
use crate::gate;
use crate::name;
use crate::tree::Tree;

/// Whether the request is done, because all it names is live. Reads nothing of `tree`, which has nothing to tell yet.
pub(crate) fn suffices(call: &Call<'_>, request: &Request<'_>, tree: &Tree<'_>) -> bool {
    // These print something, or fail, though the module is live.
    let loud = request.resolve || request.depends || request.first_time;
    // A number of jobs that makes no sense is told; one that does changes nothing here.
    let senseless = call.world.host.variable(JOBS_VARIABLE).is_some_and(|text| jobs(&text).is_none());
    if request.mode() != Mode::Insert || loud || senseless {
        return false;
    }
    let count = if request.all { request.operands.len() } else { 1 };
    let mut names = Vec::with_capacity(count);
    for operand in &request.operands[..count] {
        match name::alias(operand) {
            // A colon makes an alias of it, a slash a file; neither is a module's name.
            Some(name) if !name.contains(&b':') && gate::is_live(&call.world.system, &name) => {
                names.push(name)
            }
            _ => return false,
        }
    }
    tree.are_plain(names.iter().map(Vec::as_slice))
}
