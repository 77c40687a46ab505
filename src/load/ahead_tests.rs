//! Which jobs may begin when, and which a failure leaves to the walk. Mostly without threads, so that the order is fixed.
//! Tests of modprobe with threads are in `cli/tests/parallel.rs`.

use super::*;
use crate::load::plan::{Ignore, plan};
use crate::tree::fixture::Fixture;

/// `a` needs `b` and `c`, which both need `d`; the others need nothing.
fn fixture(softdeps: &str) -> Fixture {
    let fixture = Fixture::new(&[
        "a.ko: b.ko c.ko d.ko",
        "b.ko: d.ko",
        "c.ko: d.ko",
        "d.ko:",
        "e.ko:",
        "p.ko:",
        "q.ko:",
    ]);
    fixture.etc("t.conf", softdeps);
    fixture
}

/// The graph of these requests.
fn graph<'o>(tree: &Tree<'_>, requests: &[&'o str]) -> Graph<'o> {
    let plans = requests.iter().map(|request| {
        let target = tree.lookup(request.as_bytes()).unwrap().remove(0);
        Plan { request: request.as_bytes(), steps: plan(tree, &target, b"", Ignore::default()).unwrap() }
    });
    Graph::new(tree, plans.collect())
}

fn names(graph: &Graph<'_>, chosen: impl Fn(usize) -> bool) -> String {
    let name = |index: usize| String::from_utf8(graph.jobs[index].step.module.name.clone()).unwrap();
    let chosen: Vec<String> = (0..graph.jobs.len()).filter(|&index| chosen(index)).map(name).collect();
    chosen.join(" ")
}

impl Ahead<'_> {
    /// Begins all ready jobs and returns their names.
    fn begin(&self) -> String {
        let mut state = self.lock();
        let begun: Vec<usize> = std::mem::take(&mut state.ready).into_iter().collect();
        for &index in &begun {
            state.progress[index] = Progress::Running;
            state.waiting -= 1;
        }
        names(self.graph, |index| begun.contains(&index))
    }

    fn finish(&self, name: &str, result: Result<Outcome, Errno>) {
        let end = JobResult::Attempted(Attempt { result, messages: Vec::new(), kernel_log: Vec::new() });
        self.lock().end(self.graph, self.graph.by_name[name.as_bytes()], end);
    }

    fn left(&self) -> String {
        let state = self.lock();
        names(self.graph, |index| matches!(state.progress[index], Progress::LeftToWalk))
    }
}

const WELL: Result<Outcome, Errno> = Ok(Outcome::Loaded);

#[test]
fn what_is_needed_comes_first_and_the_rest_together() {
    let fixture = fixture("");
    let tree = fixture.tree();
    let graph = graph(&tree, &["a", "e", "c"]);
    assert_eq!(names(&graph, |_| true), "d c b a e", "a module in several plans is one job");
    let ahead = Ahead::new(&graph);
    assert_eq!(ahead.begin(), "d e");
    ahead.finish("e", WELL);
    assert_eq!(ahead.begin(), "");
    ahead.finish("d", WELL);
    assert_eq!(ahead.begin(), "c b");
    ahead.finish("c", Err(Errno::EEXIST));
    assert_eq!(ahead.begin(), "", "a needs b, too");
    ahead.finish("b", WELL);
    assert_eq!(ahead.begin(), "a");
    assert_eq!((ahead.left().as_str(), ahead.lock().waiting), ("", 0));
}

#[test]
fn softdeps_before_and_after() {
    let fixture = fixture("softdep e pre: p post: q\nsoftdep p pre: d");
    let tree = fixture.tree();
    let graph = graph(&tree, &["e"]);
    let ahead = Ahead::new(&graph);
    for (name, result) in [("d", WELL), ("p", Err(Errno::ENODEV)), ("e", WELL), ("q", WELL)] {
        assert_eq!(ahead.begin(), name);
        ahead.finish(name, result);
    }
    assert_eq!(ahead.left(), "", "a softdep that fails does not matter");
}

#[test]
fn a_circle_of_softdeps_waits_for_nobody() {
    let fixture = fixture("softdep e pre: p\nsoftdep p pre: q\nsoftdep q pre: e post: p");
    let tree = fixture.tree();
    let graph = graph(&tree, &["e", "p", "q"]);
    let ahead = Ahead::new(&graph);
    let mut begun = 0;
    while begun < graph.jobs.len() {
        let names = ahead.begin();
        assert_ne!(names, "", "{begun} begun, and nothing may begin");
        for name in names.split(' ') {
            begun += 1;
            ahead.finish(name, WELL);
        }
    }
}

#[test]
fn what_needs_a_failed_module_is_left_to_the_walk() {
    let fixture = fixture("softdep e pre: b");
    let tree = fixture.tree();
    let graph = graph(&tree, &["a", "e", "p"]);
    let ahead = Ahead::new(&graph);
    assert_eq!(ahead.begin(), "d p");
    ahead.finish("d", Err(Errno::ENODEV));
    assert_eq!(ahead.left(), "c b a e", "e waits for what the walk will do with b");
    let step = |name: &str| graph.jobs[graph.by_name[name.as_bytes()]].step.clone();
    assert!(ahead.take(&step("d")).is_some_and(|end| end.failed()));
    assert!(ahead.take(&step("d")).is_some_and(|end| end.failed()), "a failure answers every plan");
    assert_eq!(ahead.take(&step("b")), None);
    assert!(!ahead.holds(b"b") && !ahead.holds(b"d"));
    ahead.finish("p", WELL);
    assert!(ahead.holds(b"p"));
    assert!(ahead.take(&step("p")).is_some());
    assert!(!ahead.holds(b"p"));
    assert_eq!(ahead.take(&step("p")), None, "an answer that is old news: the walk looks for itself");
}

#[test]
fn what_only_a_plan_wanted_that_is_given_up_is_not_begun() {
    let fixture = fixture("");
    let tree = fixture.tree();
    let graph = graph(&tree, &["a", "c", "e"]);
    let ahead = Ahead::new(&graph);
    ahead.plan_is_over();
    assert_eq!(ahead.left(), "b a", "c and d are wanted by the next");
    assert_eq!(ahead.begin(), "d e");
    ahead.plan_is_over();
    assert_eq!(ahead.left(), "c b a");
    drop(CloseOnDrop(&ahead));
    assert_eq!((ahead.begin().as_str(), ahead.lock().waiting), ("", 0));
}

#[test]
fn other_options_are_another_question() {
    let fixture = fixture("alias other e\noptions other x=1");
    let tree = fixture.tree();
    let graph = graph(&tree, &["e", "other"]);
    assert_eq!(graph.jobs.len(), 1);
    let ahead = Ahead::new(&graph);
    ahead.begin();
    ahead.finish("e", WELL);
    let target = tree.lookup(b"other").unwrap().remove(0);
    assert_eq!(ahead.take(&plan(&tree, &target, b"", Ignore::default()).unwrap()[0]), None);
    let target = tree.lookup(b"e").unwrap().remove(0);
    assert!(ahead.take(&plan(&tree, &target, b"", Ignore::default()).unwrap()[0]).is_some());
}

#[test]
fn a_walk_that_ends_early_ends_the_threads() {
    let fixture = fixture("");
    let tree = fixture.tree();
    let graph = graph(&tree, &["a", "e"]);
    let done = Mutex::new(Vec::new());
    let work = |job: &Job<'_>| {
        done.lock().unwrap().push(job.step.module.name.clone());
        JobResult::Attempted(Attempt {
            result: Err(Errno::ENODEV),
            messages: Vec::new(),
            kernel_log: Vec::new(),
        })
    };
    assert_eq!(run(&graph, 3, &work, |_| 7), 7);
    let needs_d = |name: &Vec<u8>| name != b"d" && name != b"e";
    assert!(!done.lock().unwrap().iter().any(needs_d), "{done:?}");
}
