//! `--jobs`: several threads load the modules of several operands, and the dependencies of one module.
//!
//! The operands are processed in batches. For each batch the plans are made first, and threads load their modules
//! (`load::ahead` defines the order). The serial walk visits the same operands as without threads and takes the threads'
//! results. So the output, its order and the exit status are those of the serial walk.
//!
//! An install command may do anything: load modules, ask what is loaded, write to the terminal. So a batch ends before an
//! operand that would run one. That operand is walked alone, after all operands before it and before any operand after it.

use super::Session;
use super::args::jobs_variable;
use super::insert::{Loads, find, steps, walk};
use crate::cli::ToolResult;
use crate::gate::{WaitBudget, is_live};
use crate::load::ahead::{self, Attempt, Graph, Job, JobResult, Plan};
use crate::load::plan::Step;
use crate::log::Silent;
use crate::tree::Tree;

/// How many modules may be loaded at the same time; 1 for a run that loads nothing. A wrong value in the variable is
/// reported and ignored: it must not keep a machine from loading modules.
pub(crate) fn jobs(session: &Session<'_>) -> usize {
    let request = session.request;
    if request.dry || request.resolve {
        return 1;
    }
    let variable = || jobs_variable(session.call).inspect_err(|text| session.log.warning(text));
    request.jobs.unwrap_or_else(|| variable().unwrap_or(1))
}

/// Inserts the modules of all operands, up to `jobs` at the same time.
pub(crate) fn run(session: &Session<'_>, jobs: usize) -> ToolResult {
    let (log, system) = (session.log, session.system);
    let tree = session.tree.reopened(&Silent);
    let mut status = 0;
    let mut rest = &session.request.names[..];
    while !rest.is_empty() {
        let budget = WaitBudget::new(&system);
        let planned: Vec<_> = rest.iter().map_while(|name| plan_ahead(session, &tree, name)).collect();
        // If the first has a command, it is walked alone.
        let (operands, after) = rest.split_at(planned.len().max(1));
        rest = after;
        let graph = Graph::new(&tree, planned.into_iter().flatten().collect());
        if graph.jobs.len() < 2 {
            status |= walk(session, operands, None)?;
            continue;
        }
        let loads = Loads::new(session);
        let compressed = graph.jobs.iter().any(|job| job.path.extension().is_none_or(|end| end != "ko"));
        session.gate_messages.borrow_mut().extend(log.capture(|| session.loader().prepare(compressed)).1);
        let work = |job: &Job<'_>| {
            if is_live(&system, &job.step.module.name) {
                return JobResult::AlreadyLive;
            }
            let (tried, messages) = log.capture(|| loads.load(&job.step, &job.path, &budget, job.request));
            JobResult::Attempted(Attempt { messages, ..tried })
        };
        status |= ahead::run(&graph, jobs, &work, |ahead| walk(session, operands, Some(ahead)))?;
    }
    Ok(status)
}

/// The plans of one operand, one for each of its modules, as the walk will make them. `None` if one of them runs a command.
fn plan_ahead<'o>(session: &Session<'_>, tree: &Tree<'_>, operand: &'o [u8]) -> Option<Vec<Plan<'o>>> {
    let live = |step: &Step| is_live(&session.system, &step.module.name);
    let refused = |step: &Step| step.required && step.forbidden.is_some() && !live(step);
    let plans = find(session, tree, operand).unwrap_or_default().into_iter().map(|module| {
        let mut steps = match session.is_there(tree, &module) {
            true => Vec::new(),
            false => steps(session.request, tree, &module).unwrap_or_default(),
        };
        if steps.iter().any(refused) {
            steps.clear();
        }
        steps.iter().all(|step| step.command.is_none()).then_some(Plan { request: operand, steps })
    });
    plans.collect()
}
