//! Inserting: each operand becomes modules, each module a plan, and the plan is walked. What `-D` and `-v` print is
//! that plan; running does nothing else.

use super::explain::Witness;
use super::{Session, command, insert_reason};
use crate::bytes;
use crate::cli::{Outcome, parameters};
use crate::error::{Errno, strerror};
use crate::gate;
use crate::load::insert::Insertion;
use crate::load::plan::{Step, plan};
use crate::log::{Priority, Sink};
use crate::tree::Module;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Inserts what the operands name.
pub fn run(session: &Session<'_>) -> Outcome {
    let operands = &session.request.operands;
    let (names, words) =
        if session.request.all { operands.split_at(operands.len()) } else { operands.split_at(1) };
    let parameters = parameters::join(words);
    let mut status = 0;
    for name in names {
        // An operand that fails does not keep the next from its turn.
        status |= operand(session, name, &parameters)?;
    }
    Ok(status)
}

/// All modules that one operand stands for. The status is that of the last: of the drivers that share an alias the
/// first may decline and the second take over.
fn operand(session: &Session<'_>, operand: &[u8], parameters: &[u8]) -> Outcome {
    let request = Insert {
        session,
        operand,
        parameters,
        // Noted before the first look at any module: an attempt by somebody else that ended before this moment is no
        // answer for us.
        arrival: session.call.world.system.clock.boottime(),
    };
    let mut status = 0;
    let modules = if operand.starts_with(b"/") || operand.starts_with(b"./") {
        let path = session.call.absolute(operand);
        match path.and_then(|path| session.tree.module_from_path(path.as_os_str().as_bytes())) {
            Ok(module) => vec![module],
            Err(errno) => {
                let reason = strerror(errno);
                return session.fail(&bytes!["Failed to get module from path ", operand, ": ", reason]);
            }
        }
    } else {
        session.tree.lookup(operand).unwrap_or_default()
    };
    if modules.is_empty() {
        let dir = session.tree.dir().as_os_str().as_bytes();
        return session.fail(&bytes!["Module ", operand, " not found in directory ", dir]);
    }
    for module in &modules {
        status = if session.request.resolve {
            session.call.print(&bytes![module.name, "\n"]);
            0
        } else {
            request.module(module)?
        };
    }
    Ok(status)
}

/// What one operand asks for.
struct Insert<'i, 's> {
    session: &'i Session<'s>,
    operand: &'i [u8],
    parameters: &'i [u8],
    arrival: Duration,
}

impl Insert<'_, '_> {
    /// One module with everything it needs.
    fn module(&self, module: &Module) -> Outcome {
        let (tree, request) = (self.session.tree, self.session.request);
        let result = if !request.depends && self.session.is_there(module) {
            if request.first_time { Err(Errno::EEXIST) } else { Ok(()) }
        } else if (request.blacklist || module.alias.is_some()) && tree.blacklisted(module) {
            Ok(())
        } else {
            plan(tree, module, self.parameters, request.bare)
                .map_err(|error| {
                    self.session.log.error(error.to_string().as_bytes());
                    error.errno()
                })
                .and_then(|steps| self.walk(&steps))
        };
        match result {
            Ok(()) => Ok(0),
            Err(errno) => {
                // Whichever step failed, it is the module asked for that is not there.
                let reason = insert_reason(errno);
                self.session.log.error(&bytes!["could not insert '", module.name, "': ", reason]);
                Ok(1)
            }
        }
    }

    fn walk(&self, steps: &[Step]) -> Result<(), Errno> {
        let first_time = self.session.request.first_time;
        // The target itself was looked at just now; only a step before it can have changed that.
        let mut changed = false;
        for step in steps {
            let known = step.is_target && !changed;
            if !known && !self.session.request.depends && self.session.is_there(&step.module) {
                if step.is_target && first_time {
                    return Err(Errno::EEXIST);
                }
                continue;
            }
            changed = !self.session.request.dry;
            match self.step(step) {
                Err(Errno::EEXIST) if step.is_target && first_time => return Err(Errno::EEXIST),
                Err(errno) if errno != Errno::EEXIST && step.required => return Err(errno),
                _ => {}
            }
        }
        Ok(())
    }

    fn step(&self, step: &Step) -> Result<(), Errno> {
        let request = self.session.request;
        if let Some(command) = &step.command {
            self.session.action(&[b"install ", command, b" ", &step.options]);
            return if request.dry { Ok(()) } else { self.command(step, command) };
        }
        match &step.path {
            Some(path) => {
                self.session.action(&[b"insmod ", path.as_os_str().as_bytes(), b" ", &step.options])
            }
            None if self.session.tree.is_builtin(&step.module) => {
                self.session.action(&[b"builtin ", &step.module.name])
            }
            None => {}
        }
        if request.dry { Ok(()) } else { self.insert(step) }
    }

    fn insert(&self, step: &Step) -> Result<(), Errno> {
        let request = self.session.request;
        let Some(path) = &step.path else {
            self.session.log.error(&bytes!["could not find module by name='", step.module.name, "'"]);
            return Err(Errno::ENOENT);
        };
        let insertion = Insertion {
            path,
            // A file that somebody named may hold a module of another name, and it is that one which must be loaded once.
            name: step.module.file.is_none().then_some(&step.module.name[..]),
            parameters: &step.options,
            // For what the target needs, too, as the manual has always said.
            force: request.force,
            arrival: self.arrival,
            dependency: !step.is_target,
            remember: (request.quiet || request.blacklist) && self.parameters.is_empty(),
            request: self.operand,
        };
        let witness = request.actions.then(|| Witness::new(self.session.call));
        match self.session.loader().insert(&insertion) {
            Ok(gate::Outcome::Joined) => Err(Errno::EEXIST),
            Ok(_) => Ok(()),
            Err(error) => {
                for line in
                    witness.map(|heard| heard.lines(self.session.tree, &step.module.name)).unwrap_or_default()
                {
                    self.session.log.log(Priority::Notice, &line);
                }
                Err(error.errno())
            }
        }
    }

    fn command(&self, step: &Step, text: &[u8]) -> Result<(), Errno> {
        let filled = command::fill_in(text, &step.options);
        let name = &step.module.name;
        let problem = match command::run(self.session, name, &filled) {
            Ok(0) => return Ok(()),
            Ok(code) => bytes!["retcode ", code.to_string()],
            Err(Errno::ELOOP) => b"install and remove commands start each other without end".to_vec(),
            Err(errno) => strerror(errno).into_bytes(),
        };
        let text = bytes!["Error running install command '", filled, "' for module ", name, ": ", problem];
        self.session.log.error(&text);
        Err(Errno::EINVAL)
    }
}
