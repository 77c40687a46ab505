//! Loading ahead: threads load what a walk over several plans is about to need, and the walk takes their answers in
//! its own order.
//!
//! The walk stays what it is without threads: one thread that goes through the plans step by step, and the only one that
//! prints, runs commands and decides. So messages and exit status are those of the serial run because they are made by
//! it; what the threads change is that the answer to a step is often there already.
//!
//! Each module of the plans is one job, in however many plans it stands. A job waits for
//!
//! - the modules that its module needs (hard),
//! - those that its softdep wants before it, and those whose softdep wants it after them (soft).
//!
//! Only jobs that come earlier in the plans are waited for, so no circle of softdeps can stop everything.
//!
//! | what happened to a job | what waits for it |
//! |---|---|
//! | it ended well, or its module was there | may begin |
//! | it failed | hard: is left to the walk; soft: may begin |
//! | it is left to the walk | is left to the walk, too |
//!
//! Left to the walk means: no thread begins it, and the walk does with it what it always did. That happens to what a
//! failure has made pointless, and, once the walk has given up a plan, to what only that plan wanted. A job that has
//! begun by then is not undone: what needs a failed module is never tried, but another dependency of the same target
//! may have been loaded already.

use super::plan::Step;
use crate::error::Errno;
use crate::gate::Outcome;
use crate::log::Message;
use crate::tree::Tree;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The steps of one module that was asked for.
pub(crate) struct Plan<'o> {
    /// The words of the request.
    pub request: &'o [u8],
    /// What [`super::plan::plan`] made; nothing where nothing is to be done.
    pub steps: Vec<Step>,
}

/// One module to be loaded ahead.
pub(crate) struct Job<'o> {
    /// The first step that names it. `is_target`: it is the target of any plan.
    pub step: Step,
    /// Its file.
    pub path: PathBuf,
    /// The request that this step belongs to.
    pub request: &'o [u8],
    /// The number of the last plan that holds it.
    last: usize,
    /// How many others it waits for.
    waits: usize,
    /// Who waits for it.
    before: Vec<(usize, Tie)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tie {
    Hard,
    Soft,
}

/// What is to be loaded ahead, and in which order.
pub(crate) struct Graph<'o> {
    jobs: Vec<Job<'o>>,
    by_name: BTreeMap<Vec<u8>, usize>,
}

impl<'o> Graph<'o> {
    /// The jobs of `plans`, in which no step has a command. Steps without a file, and forbidden ones, are none; the walk
    /// knows what to say.
    pub(crate) fn new(tree: &Tree<'_>, plans: Vec<Plan<'o>>) -> Self {
        let mut graph = Graph { jobs: Vec::new(), by_name: BTreeMap::new() };
        for (number, plan) in plans.into_iter().enumerate() {
            for step in plan.steps {
                let Some(path) = step.path.clone() else { continue };
                if step.forbidden.is_some() || tree.is_builtin(&step.module) {
                    continue;
                }
                match graph.by_name.get(&step.module.name) {
                    Some(&index) => {
                        let job = &mut graph.jobs[index];
                        job.step.is_target |= step.is_target;
                        job.last = number;
                    }
                    None => {
                        graph.by_name.insert(step.module.name.clone(), graph.jobs.len());
                        let (request, last) = (plan.request, number);
                        graph.jobs.push(Job { step, path, request, last, waits: 0, before: Vec::new() });
                    }
                }
            }
        }
        for index in 0..graph.jobs.len() {
            let module = graph.jobs[index].step.module.clone();
            let (before, after) = tree.softdeps(&module);
            for needed in tree.dependencies(&module) {
                graph.tie(graph.by_name.get(&needed.name).copied(), Some(index), Tie::Hard);
            }
            for first in before {
                graph.tie(graph.by_name.get(&first.name).copied(), Some(index), Tie::Soft);
            }
            for then in after {
                graph.tie(Some(index), graph.by_name.get(&then.name).copied(), Tie::Soft);
            }
        }
        graph
    }

    fn tie(&mut self, first: Option<usize>, then: Option<usize>, tie: Tie) {
        if let (Some(first), Some(then)) = (first, then) {
            if first < then {
                self.jobs[first].before.push((then, tie));
                self.jobs[then].waits += 1;
            }
        }
    }

    /// The jobs, in the order of the plans.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = &Job<'o>> {
        self.jobs.iter()
    }

    /// How many jobs there are.
    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }
}

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The module was live before anything was tried.
    There,
    /// It was sent through the gate.
    Tried(Tried),
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tried {
    /// What the loader said.
    pub result: Result<Outcome, Errno>,
    /// What was logged on the way, where that was kept.
    pub said: Vec<Message>,
    /// What the kernel logged meanwhile, where somebody listened, as it is read from /dev/kmsg.
    pub heard: Vec<u8>,
}

impl End {
    /// Whether what needs the module has nothing to hope for. `EEXIST` says that it is there.
    fn failed(&self) -> bool {
        matches!(self, End::Tried(Tried { result: Err(errno), .. }) if *errno != Errno::EEXIST)
    }
}

#[derive(Clone)]
enum Progress {
    Waiting,
    Begun,
    /// To the walk.
    Left,
    /// Ended; the walk has not come to it.
    Fresh(End),
    /// Ended, and the walk knows.
    Told(End),
}

struct State {
    progress: Vec<Progress>,
    /// How many others each still waits for.
    waits: Vec<usize>,
    /// Those that wait for nobody, in the order of the plans.
    ready: BTreeSet<usize>,
    /// How many are `Waiting`.
    waiting: usize,
    /// How many plans the walk is through with.
    over: usize,
    closed: bool,
}

/// The jobs under way, as the walk sees them.
pub(crate) struct Ahead<'g> {
    graph: &'g Graph<'g>,
    state: Mutex<State>,
    moved: Condvar,
}

/// Runs `walk` while up to `threads` threads do the jobs of `graph` with `work`. Returns when the walk and every job that
/// was begun are at their end. Where no thread can be had, the walk is alone.
pub(crate) fn run<'g, R>(
    graph: &'g Graph<'g>,
    threads: usize,
    work: &(dyn Fn(&Job<'_>) -> End + Sync),
    walk: impl FnOnce(&Ahead<'g>) -> R,
) -> R {
    let ahead = Ahead::new(graph);
    std::thread::scope(|scope| {
        let closing = Closing(&ahead);
        let wanted = threads.min(graph.len());
        let spawn = |_: &usize| std::thread::Builder::new().spawn_scoped(scope, || ahead.work(work)).is_ok();
        if (0..wanted).take_while(spawn).count() == 0 {
            drop(closing);
            return walk(&ahead);
        }
        walk(&ahead)
    })
}

/// Lets nothing begin any more once it goes, however the walk ended.
struct Closing<'c, 'g>(&'c Ahead<'g>);

impl Drop for Closing<'_, '_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<'g> Ahead<'g> {
    fn new(graph: &'g Graph<'g>) -> Self {
        let waits: Vec<usize> = graph.jobs.iter().map(|job| job.waits).collect();
        let ready = (0..waits.len()).filter(|&index| waits[index] == 0).collect();
        let (waiting, progress) = (waits.len(), vec![Progress::Waiting; waits.len()]);
        let state = State { progress, waits, ready, waiting, over: 0, closed: false };
        Ahead { graph, state: Mutex::new(state), moved: Condvar::new() }
    }

    /// Whether there is a job for this module whose end the walk has not taken: if the module is live by now, then
    /// through us, and where the walk stands it was not there yet.
    pub(crate) fn holds(&self, name: &[u8]) -> bool {
        let Some(&index) = self.graph.by_name.get(name) else { return false };
        matches!(self.lock().progress[index], Progress::Waiting | Progress::Begun | Progress::Fresh(_))
    }

    /// The end of the job for this step, waited for if need be. `None`: it is the walk's own to do. A failure answers
    /// every plan that holds the module, as it would answer every process that had asked at the same time.
    pub(crate) fn take(&self, step: &Step) -> Option<End> {
        let &index = self.graph.by_name.get(&step.module.name)?;
        let job = &self.graph.jobs[index].step;
        // Found by an alias that has options of its own, for example.
        if job.module.file != step.module.file || job.path != step.path || job.options != step.options {
            return None;
        }
        let mut state = self.lock();
        loop {
            match &state.progress[index] {
                Progress::Waiting | Progress::Begun => {
                    state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Progress::Left => return None,
                Progress::Fresh(end) => {
                    let end = end.clone();
                    state.progress[index] = Progress::Told(end.clone());
                    return Some(end);
                }
                Progress::Told(end) => return end.failed().then(|| end.clone()),
            }
        }
    }

    /// The walk is through with one more plan, or has given it up: what nobody else wants is not begun any more.
    pub(crate) fn plan_is_over(&self) {
        let mut state = self.lock();
        let over = state.over;
        state.over += 1;
        for (index, _) in self.graph.jobs.iter().enumerate().filter(|(_, job)| job.last == over) {
            state.leave(self.graph, index);
        }
        self.moved.notify_all();
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for index in 0..self.graph.len() {
            state.leave(self.graph, index);
        }
        self.moved.notify_all();
    }

    /// The life of one thread.
    fn work(&self, work: &(dyn Fn(&Job<'_>) -> End + Sync)) {
        let mut state = self.lock();
        while !state.closed && state.waiting > 0 {
            let Some(index) = state.ready.pop_first() else {
                state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.progress[index] = Progress::Begun;
            state.waiting -= 1;
            drop(state);
            let end = work(&self.graph.jobs[index]);
            state = self.lock();
            state.end(self.graph, index, end);
            self.moved.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self, graph: &Graph<'_>, index: usize, end: End) {
        let failed = end.failed();
        self.progress[index] = Progress::Fresh(end);
        for &(then, tie) in &graph.jobs[index].before {
            if failed && tie == Tie::Hard {
                self.leave(graph, then);
            } else {
                self.waits[then] -= 1;
                if self.waits[then] == 0 && matches!(self.progress[then], Progress::Waiting) {
                    self.ready.insert(then);
                }
            }
        }
    }

    /// Leaves a job that has not begun to the walk, and with it all that waits for it.
    fn leave(&mut self, graph: &Graph<'_>, index: usize) {
        let mut leaving = vec![index];
        while let Some(index) = leaving.pop() {
            if matches!(self.progress[index], Progress::Waiting) {
                self.progress[index] = Progress::Left;
                self.ready.remove(&index);
                self.waiting -= 1;
                leaving.extend(graph.jobs[index].before.iter().map(|&(then, _)| then));
            }
        }
    }
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
