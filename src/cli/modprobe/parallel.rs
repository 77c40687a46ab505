//! `--jobs`: several threads load the modules of several operands, and the dependencies of one module.
//!
//! The operands are processed in batches. For each batch the plans are made first, and threads load their modules
//! (`load::ahead` defines the order). The serial walk visits the same operands as without threads and takes the threads'
//! results. So the output, its order and the exit status are those of the serial walk.
//!
//! An install command may do anything: load modules, ask what is loaded, write to the terminal. So a batch ends before an
//! operand that would run one. That operand is walked alone, after all operands before it and before any operand after it.

use super::Session;
use super::args::{JOBS_VARIABLE, jobs as number, unexpected_jobs};
use super::batch::Batch;
use super::insert::{Loads, find, walk};
use crate::cli::ToolResult;
use crate::gate::{WaitBudget, is_live};
use crate::load::ahead::{self, Ahead, Attempt, Graph, Job, JobResult, Plan};
use crate::load::plan::{Step, plan};
use crate::log::Silent;
use crate::tree::Tree;
use std::cell::RefCell;
use std::ops::ControlFlow;

/// How many modules may be loaded at the same time; 1 for a run that loads nothing. A wrong value in the variable is
/// reported and ignored: it must not keep a machine from loading modules.
pub(crate) fn jobs(session: &Session<'_>) -> usize {
    let request = session.request;
    if request.dry || request.resolve {
        return 1;
    }
    request.jobs.unwrap_or_else(|| match session.call.world.host.variable(JOBS_VARIABLE) {
        None => 1,
        Some(text) => number(&text).unwrap_or_else(|| {
            session.log.warning(&unexpected_jobs(JOBS_VARIABLE, &text));
            1
        }),
    })
}

/// Inserts the modules of `names`, up to `jobs` at the same time.
pub(crate) fn run(session: &Session<'_>, names: &[&[u8]], parameters: &[u8], jobs: usize) -> ToolResult {
    let tree = session.tree.reopened(&Silent);
    let gate_messages = RefCell::default();
    let mut status = 0;
    let mut rest = names;
    while !rest.is_empty() {
        let budget = WaitBudget::new(&session.call.world.system);
        let mut plans = Vec::new();
        let counted =
            rest.iter().try_fold(0, |count, name| match plan_ahead(session, &tree, name, parameters) {
                Some(more) => {
                    plans.extend(more);
                    ControlFlow::Continue(count + 1)
                }
                None => ControlFlow::Break(count),
            });
        let (ControlFlow::Continue(count) | ControlFlow::Break(count)) = counted;
        let (operands, after) = rest.split_at(count.max(1));
        rest = after;
        let graph = Graph::new(&tree, plans);
        let walk = |ahead: Option<&Ahead<'_>>| {
            walk(
                session,
                operands,
                parameters,
                Some(&Batch { ahead, gate_messages: &gate_messages, log: session.log }),
            )
        };
        if graph.len() < 2 {
            status |= walk(None)?;
            continue;
        }
        let (log, system) = (session.log, session.call.world.system);
        let loads = Loads::new(session, parameters);
        let compressed = graph.jobs().any(|job| job.path.extension().is_none_or(|end| end != "ko"));
        gate_messages.borrow_mut().extend(log.capture(|| session.loader().prepare(compressed)).1);
        let work = |job: &Job<'_>| {
            if is_live(&system, &job.step.module.name) {
                return JobResult::AlreadyLive;
            }
            let (tried, messages) = log.capture(|| loads.load(&job.step, &job.path, &budget, job.request));
            JobResult::Attempted(Attempt { messages, ..tried })
        };
        status |= ahead::run(&graph, jobs, &work, |ahead| walk(Some(ahead)))?;
    }
    Ok(status)
}

/// The plans of one operand, one for each of its modules, as the walk will make them. `None` if one of them runs a command.
fn plan_ahead<'o>(
    session: &Session<'_>,
    tree: &Tree<'_>,
    operand: &'o [u8],
    parameters: &[u8],
) -> Option<Vec<Plan<'o>>> {
    let request = session.request;
    let modules = find(session, tree, operand).unwrap_or_default();
    let plans = modules.iter().map(|module| {
        let there = is_live(&session.call.world.system, &module.name) || tree.is_builtin(module);
        let unwanted = (request.blacklist || module.alias.is_some()) && tree.blacklisted(module);
        let steps = if there || unwanted {
            Vec::new()
        } else {
            plan(tree, module, parameters, request.ignore()).unwrap_or_default()
        };
        let live = |step: &Step| is_live(&session.call.world.system, &step.module.name);
        let refused = |step: &Step| step.required && step.forbidden.is_some() && !live(step);
        let steps = if steps.iter().any(refused) { Vec::new() } else { steps };
        let commands = steps.iter().any(|step| step.command.is_some());
        (!commands).then_some(Plan { request: operand, steps })
    });
    plans.collect()
}
