//! Loading ahead: worker threads load the modules of several plans, while the walk takes their results in plan order.
//!
//! The walk is one thread, which goes through the plans as without workers. Only the walk prints, runs commands and
//! decides, so messages and exit status are those of a serial run. The result of a step is only ready sooner.
//!
//! Each module is one job, even if several plans contain it. A job waits for
//!
//! - the modules that its module needs (hard);
//! - the "pre" softdeps of its module, and the modules that have it as a "post" softdep (soft).
//!
//! A job waits only for jobs that come earlier in the plans, so a cycle of softdeps cannot cause a deadlock.
//!
//! | a job | the jobs that wait for it |
//! |---|---|
//! | succeeded, or its module was live | may begin |
//! | failed | hard: are left to the walk; soft: may begin |
//! | is left to the walk | are left to the walk too |
//!
//! No worker begins a job that is left to the walk; the walk executes it as without workers. Jobs are also left to the walk
//! when it has finished or given up the last plan that contains them. A running job is not cancelled: a module that needs a
//! failed one is never tried, but another dependency of the same target may already be loaded.

use super::plan::Step;
use crate::error::Errno;
use crate::gate::Outcome;
use crate::log::Message;
use crate::tree::{Module, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The steps of one requested module.
pub(crate) struct Plan<'o> {
    /// The argument of the request.
    pub request: &'o [u8],
    /// From [`super::plan::plan`]; empty if there is nothing to do.
    pub steps: Vec<Step>,
}

/// One module to load ahead.
pub(crate) struct Job<'o> {
    /// The first step of the module. `is_target` is set if it is the target of any plan.
    pub step: Step,
    /// The module file.
    pub path: PathBuf,
    /// The request that the step belongs to.
    pub request: &'o [u8],
    /// The number of the last plan that contains it.
    last: usize,
    /// The number of jobs that it waits for.
    waits: usize,
    /// The jobs that wait for it.
    dependents: Vec<(usize, Edge)>,
}

/// How a job depends on an earlier one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    Hard,
    Soft,
}

/// The jobs and their dependencies.
pub(crate) struct Graph<'o> {
    /// In plan order.
    pub jobs: Vec<Job<'o>>,
    by_name: BTreeMap<Vec<u8>, usize>,
}

impl<'o> Graph<'o> {
    /// The jobs of `plans`, in which no step has a command. Steps without a file and forbidden ones are left to the walk.
    pub(crate) fn new(tree: &Tree<'_>, plans: Vec<Plan<'o>>) -> Self {
        let mut graph = Graph { jobs: Vec::new(), by_name: BTreeMap::new() };
        for (number, plan) in plans.into_iter().enumerate() {
            for step in plan.steps {
                let Some(path) = step.path.clone() else { continue };
                if step.forbidden.is_some() || tree.is_builtin(&step.module) {
                    continue;
                }
                let next = graph.jobs.len();
                let index = *graph.by_name.entry(step.module.name.clone()).or_insert(next);
                if let Some(job) = graph.jobs.get_mut(index) {
                    job.step.is_target |= step.is_target;
                    job.last = number;
                } else {
                    let (request, last) = (plan.request, number);
                    graph.jobs.push(Job { step, path, request, last, waits: 0, dependents: Vec::new() });
                }
            }
        }
        for index in 0..graph.jobs.len() {
            let module = graph.jobs[index].step.module.clone();
            let (before, after) = tree.softdeps(&module);
            tree.dependencies(&module).iter().for_each(|needed| graph.add_edge(needed, &module, Edge::Hard));
            before.iter().for_each(|first| graph.add_edge(first, &module, Edge::Soft));
            after.iter().for_each(|then| graph.add_edge(&module, then, Edge::Soft));
        }
        graph
    }

    fn add_edge(&mut self, first: &Module, then: &Module, edge: Edge) {
        let job = |module: &Module| self.by_name.get(&module.name).copied();
        let (Some(first), Some(then)) = (job(first), job(then)) else { return };
        if first < then {
            self.jobs[first].dependents.push((then, edge));
            self.jobs[then].waits += 1;
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobResult {
    /// The module was already live.
    AlreadyLive,
    /// The gate was asked to load it.
    Attempted(Attempt),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// The result of the loader.
    pub result: Result<Outcome, Errno>,
    /// The messages that were logged during the attempt, if they were kept.
    pub messages: Vec<Message>,
    /// The records of /dev/kmsg during the attempt, if they were read.
    pub kernel_log: Vec<u8>,
}

impl JobResult {
    /// Whether the modules that need this one cannot be loaded. `EEXIST` means that it is loaded.
    fn failed(&self) -> bool {
        matches!(self, JobResult::Attempted(Attempt { result: Err(errno), .. }) if *errno != Errno::EEXIST)
    }
}

#[derive(Clone)]
enum Progress {
    Waiting,
    Running,
    LeftToWalk,
    /// Ended; the walk has not taken the result.
    Finished(JobResult),
    /// Ended; the walk has taken the result.
    Taken(JobResult),
}

struct State {
    progress: Vec<Progress>,
    /// For each job the number of jobs that it still waits for.
    waits: Vec<usize>,
    /// The jobs that may begin, in plan order.
    ready: BTreeSet<usize>,
    /// The number of jobs that are `Waiting`.
    waiting: usize,
    /// The number of plans that the walk has finished or given up.
    plans_done: usize,
}

/// What the walk and the workers share.
pub(crate) struct Ahead<'g> {
    graph: &'g Graph<'g>,
    state: Mutex<State>,
    changed: Condvar,
}

/// Runs `walk` while up to `threads` workers run the jobs of `graph` with `work`. Returns when the walk and all running jobs
/// have ended. If no thread can be created, the walk runs alone.
pub(crate) fn run<'g, R>(
    graph: &'g Graph<'g>,
    threads: usize,
    work: &(dyn Fn(&Job<'_>) -> JobResult + Sync),
    walk: impl FnOnce(&Ahead<'g>) -> R,
) -> R {
    let ahead = Ahead::new(graph);
    std::thread::scope(|scope| {
        let closing = CloseOnDrop(&ahead);
        let spawn = |_: &usize| std::thread::Builder::new().spawn_scoped(scope, || ahead.work(work)).is_ok();
        if (0..threads.min(graph.jobs.len())).take_while(spawn).count() == 0 {
            drop(closing);
        }
        walk(&ahead)
    })
}

/// When dropped, leaves all waiting jobs to the walk, so that the workers end. Also if the walk panics.
struct CloseOnDrop<'c, 'g>(&'c Ahead<'g>);

impl Drop for CloseOnDrop<'_, '_> {
    fn drop(&mut self) {
        self.0.leave_to_walk(self.0.lock(), |_| true);
    }
}

impl<'g> Ahead<'g> {
    fn new(graph: &'g Graph<'g>) -> Self {
        let waits: Vec<usize> = graph.jobs.iter().map(|job| job.waits).collect();
        let ready = (0..waits.len()).filter(|&index| waits[index] == 0).collect();
        let (waiting, progress) = (waits.len(), vec![Progress::Waiting; waits.len()]);
        let state = State { progress, waits, ready, waiting, plans_done: 0 };
        Ahead { graph, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Whether there is a job for this module whose result the walk has not taken. If the module is live, a worker may have
    /// loaded it, so in a serial run it would not be live yet.
    pub(crate) fn holds(&self, name: &[u8]) -> bool {
        let Some(&index) = self.graph.by_name.get(name) else { return false };
        matches!(self.lock().progress[index], Progress::Waiting | Progress::Running | Progress::Finished(_))
    }

    /// Waits for the result of the job for this step. `None` if the walk has to execute the step. A failure answers all
    /// plans that contain the module, as the gate shares it between concurrent processes.
    pub(crate) fn take(&self, step: &Step) -> Option<JobResult> {
        let &index = self.graph.by_name.get(&step.module.name)?;
        let job = &self.graph.jobs[index].step;
        // The step differs from the job's, for example because an alias has its own options.
        if job.module.file != step.module.file || job.path != step.path || job.options != step.options {
            return None;
        }
        let pending =
            |state: &mut State| matches!(state.progress[index], Progress::Waiting | Progress::Running);
        let waited = self.changed.wait_while(self.lock(), pending);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        match &state.progress[index] {
            Progress::Finished(end) => {
                let end = end.clone();
                state.progress[index] = Progress::Taken(end.clone());
                Some(end)
            }
            Progress::Taken(end) => end.failed().then(|| end.clone()),
            _ => None,
        }
    }

    /// Call this when the walk has finished or given up a plan, in order. Waiting jobs of no later plan are left to the walk.
    pub(crate) fn plan_is_over(&self) {
        let mut state = self.lock();
        let plan = state.plans_done;
        state.plans_done += 1;
        self.leave_to_walk(state, |job| job.last == plan);
    }

    fn leave_to_walk(&self, mut state: MutexGuard<'_, State>, chosen: impl Fn(&Job<'_>) -> bool) {
        for (index, _) in self.graph.jobs.iter().enumerate().filter(|(_, job)| chosen(job)) {
            state.leave_to_walk(self.graph, index);
        }
        self.changed.notify_all();
    }

    /// The loop of one worker.
    fn work(&self, work: &(dyn Fn(&Job<'_>) -> JobResult + Sync)) {
        let mut state = self.lock();
        while state.waiting > 0 {
            let Some(index) = state.ready.pop_first() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.progress[index] = Progress::Running;
            state.waiting -= 1;
            drop(state);
            let end = work(&self.graph.jobs[index]);
            state = self.lock();
            state.end(self.graph, index, end);
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self, graph: &Graph<'_>, index: usize, end: JobResult) {
        let failed = end.failed();
        self.progress[index] = Progress::Finished(end);
        for &(then, edge) in &graph.jobs[index].dependents {
            if failed && edge == Edge::Hard {
                self.leave_to_walk(graph, then);
            } else {
                self.waits[then] -= 1;
                if self.waits[then] == 0 && matches!(self.progress[then], Progress::Waiting) {
                    self.ready.insert(then);
                }
            }
        }
    }

    /// Leaves a waiting job, and all jobs that wait for it, to the walk.
    fn leave_to_walk(&mut self, graph: &Graph<'_>, index: usize) {
        let mut leaving = vec![index];
        while let Some(index) = leaving.pop() {
            if matches!(self.progress[index], Progress::Waiting) {
                self.progress[index] = Progress::LeftToWalk;
                self.ready.remove(&index);
                self.waiting -= 1;
                leaving.extend(graph.jobs[index].dependents.iter().map(|&(then, _)| then));
            }
        }
    }
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
