//! Others who ask for modules while packages come and go: at no moment may there be no modprobe and no library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::system::{LIBRARY, System};

/// Threads that ask until they are told to stop.
pub struct Asking {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<(usize, Vec<String>)>>,
}

impl Asking {
    /// Begins to call `modprobe -n -q loop` in the system, one call after the other, and to look for the files.
    pub fn begin(system: &System) -> Asking {
        let stop = Arc::new(AtomicBool::new(false));
        let (calls, looks) = (system.root().to_owned(), system.root().to_owned());
        let threads = vec![
            repeat(&stop, move || {
                // dpkg needs a CPU as well.
                thread::sleep(Duration::from_millis(5));
                modprobe_fails(&calls)
            }),
            repeat(&stop, move || {
                thread::sleep(Duration::from_micros(20));
                ["usr/bin/kmod", LIBRARY].into_iter().find(|path| !is_there(&looks, path)).map(str::to_owned)
            }),
        ];
        Asking { stop, threads }
    }

    /// Ends it; nothing may have failed.
    pub fn end(self) {
        let failures = self.failures();
        assert!(failures.is_empty(), "{} times, first: {}", failures.len(), failures[0]);
    }

    /// Ends it; what failed.
    pub fn failures(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for thread in self.threads {
            let (count, failures) = thread.join().unwrap();
            assert!(count > 3, "only {count} times");
            all.extend(failures);
        }
        all
    }
}

/// Does it again and again; how often, and what went wrong.
fn repeat(
    stop: &Arc<AtomicBool>,
    mut once: impl FnMut() -> Option<String> + Send + 'static,
) -> JoinHandle<(usize, Vec<String>)> {
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        let (mut count, mut failures) = (0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            count += 1;
            failures.extend(once());
        }
        (count, failures)
    })
}

fn modprobe_fails(root: &Path) -> Option<String> {
    let output = Command::new("chroot").arg(root).args(["modprobe", "-n", "-q", "loop"]).output().unwrap();
    (!output.status.success()).then(|| format!("modprobe: {}: {}", output.status, crate::text(&output)))
}

/// Whether something is behind a path inside a root.
fn is_there(root: &Path, path: &str) -> bool {
    let link = || fs::read_link(root.join(path)).ok().filter(|to| to.is_absolute());
    match link() {
        // It may be replaced, and what it led to deleted, before it is followed.
        Some(to) => inside(root, &to).exists() || link() != Some(to) && is_there(root, path),
        None => root.join(path).exists(),
    }
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

#[test]
fn what_is_missing_is_noticed() {
    if !crate::needs::root() {
        return;
    }
    let system = System::new("trixie");
    for path in ["usr/bin/kmod", LIBRARY] {
        let (full, aside) = (system.path(path), system.path("usr/aside"));
        let asking = Asking::begin(&system);
        thread::sleep(Duration::from_secs(1));
        fs::rename(&full, &aside).unwrap();
        thread::sleep(Duration::from_millis(100));
        fs::rename(&aside, &full).unwrap();
        let failures = asking.failures();
        assert!(failures.iter().any(|failure| failure == path), "{failures:?}");
    }
}
