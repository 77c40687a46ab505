//! A scripted kernel for unit tests. It changes a fixture's /sys as the kernel would. `tests/lab` runs real kernels.

use super::kernel::Kernel;
use super::roots::Roots;
use super::sysfs::{self, State};
use crate::error::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// finit_module: the module's name, the parameters, the flags.
    Finit(String, Vec<u8>, u32),
    /// init_module: the length of the image, the parameters.
    Init(usize, Vec<u8>),
    /// delete_module: the name, and whether by force.
    Delete(String, bool),
}

/// A kernel that follows a script.
#[derive(Default)]
pub struct FakeKernel {
    roots: Roots,
    /// How long an init function runs.
    pub init_takes: Duration,
    /// The results of the next calls, in order; further calls succeed.
    pub answers: Mutex<Vec<Option<Errno>>>,
    /// All calls so far.
    pub calls: Mutex<Vec<Call>>,
    /// The name of the module that init_module loads, since the fake does not read the image.
    pub image_name: Mutex<String>,
    /// Modules whose init fails, for calls in no fixed order.
    pub refuses: Mutex<BTreeMap<String, Errno>>,
    /// The modules that a module needs. While one of them is not live, the load fails with `ENOENT`.
    pub needs: Mutex<BTreeMap<String, Vec<String>>>,
    /// Modules whose inits wait until all of them run at the same time.
    pub meet: Mutex<BTreeSet<String>>,
    met: (Mutex<BTreeSet<String>>, Condvar),
    busy: AtomicBool,
    overlapped: AtomicBool,
}

impl FakeKernel {
    /// A kernel on the fixture below `roots`. Creates `/sys/module` there.
    pub fn new(roots: &Roots) -> Self {
        let _ = std::fs::create_dir_all(roots.sys_module_dir());
        FakeKernel { roots: roots.clone(), ..FakeKernel::default() }
    }

    /// Whether two calls ever ran at the same time.
    pub fn overlapped(&self) -> bool {
        self.overlapped.load(Ordering::SeqCst)
    }

    /// Sets a module's `initstate` in sysfs.
    pub fn set_state(&self, name: &str, state: &str) {
        let dir = self.roots.sys_module_dir().join(name);
        let _ = std::fs::create_dir_all(dir.join("holders"));
        let _ = std::fs::write(dir.join("refcnt"), "0\n");
        // A plain write would show an empty file for a moment, which sysfs never does.
        let _ = std::fs::write(dir.join("initstate.new"), format!("{state}\n"));
        let _ = std::fs::rename(dir.join("initstate.new"), dir.join("initstate"));
    }

    /// Makes `holder` a holder of `used`, whose use count grows.
    pub fn hold(&self, used: &str, holder: &str) {
        let _ = std::fs::create_dir_all(self.roots.sys_module_dir().join(used).join("holders").join(holder));
        self.count(used, 1);
    }

    /// Removes a module from sysfs, also as a holder of others.
    pub fn remove(&self, name: &str) {
        let dir = self.roots.sys_module_dir();
        let _ = std::fs::remove_dir_all(dir.join(name));
        for other in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if std::fs::remove_dir(other.path().join("holders").join(name)).is_ok() {
                self.count(&other.file_name().to_string_lossy(), -1);
            }
        }
    }

    fn count(&self, name: &str, more: i64) {
        let path = self.roots.sys_module(name.as_bytes(), "refcnt");
        let count = sysfs::refcount(&self.roots, name.as_bytes()).unwrap_or(0) + more;
        let _ = std::fs::write(path, format!("{count}\n"));
    }

    /// The errno that the init of `name` fails with: `ETIME` if the other inits of `meet` do not run within 30 s.
    fn refusal(&self, name: &str) -> Option<Errno> {
        if let Some(needs) = lock(&self.needs).get(name) {
            let live = |name: &String| sysfs::state(&self.roots, name.as_bytes()) == Ok(State::Live);
            if !needs.iter().all(live) {
                return Some(Errno::ENOENT);
            }
        }
        let wanted = lock(&self.meet).clone();
        if wanted.contains(name) {
            let (inside, moved) = &self.met;
            let mut inside = lock(inside);
            inside.insert(name.to_string());
            moved.notify_all();
            let apart = |inside: &mut BTreeSet<String>| *inside != wanted;
            let (inside, waited) = moved
                .wait_timeout_while(inside, Duration::from_secs(30), apart)
                .unwrap_or_else(PoisonError::into_inner);
            drop(inside);
            if waited.timed_out() {
                return Some(Errno::ETIME);
            }
        }
        lock(&self.refuses).get(name).copied()
    }

    fn run(&self, call: Call, name: &str, loading: bool) -> Result<(), Errno> {
        lock(&self.calls).push(call);
        if self.busy.swap(true, Ordering::SeqCst) {
            self.overlapped.store(true, Ordering::SeqCst);
        }
        let answer = {
            let mut answers = lock(&self.answers);
            if answers.is_empty() { None } else { answers.remove(0) }
        };
        let answer = answer.or_else(|| if loading { self.refusal(name) } else { None });
        if loading && !self.init_takes.is_zero() {
            self.set_state(name, "coming");
            std::thread::sleep(self.init_takes);
        }
        match (loading, answer) {
            (true, None) => self.set_state(name, "live"),
            (true, Some(_)) | (false, None) => self.remove(name),
            (false, Some(_)) => {}
        }
        self.busy.store(false, Ordering::SeqCst);
        answer.map_or(Ok(()), Err)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kernel for FakeKernel {
    fn finit_module(&self, file: BorrowedFd<'_>, parameters: &CStr, flags: u32) -> Result<(), Errno> {
        let link = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        let path = std::fs::read_link(link).unwrap_or_default();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = name.split('.').next().unwrap_or_default().replace('-', "_");
        self.run(Call::Finit(name.clone(), parameters.to_bytes().to_vec(), flags), &name, true)
    }

    fn init_module(&self, image: &[u8], parameters: &CStr) -> Result<(), Errno> {
        let name = lock(&self.image_name).clone();
        self.run(Call::Init(image.len(), parameters.to_bytes().to_vec()), &name, true)
    }

    fn delete_module(&self, name: &CStr, force: bool) -> Result<(), Errno> {
        let name = name.to_string_lossy().into_owned();
        self.run(Call::Delete(name.clone(), force), &name, false)
    }
}
