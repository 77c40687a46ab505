//! Inserting and removing. The plan is walked through the gate, so that a module that several processes request at one
//! moment reaches the kernel once.

use super::abi::{Handle, Text, c_string, exports};
use super::context::Context;
use super::module::Module;
use crate::error::Errno;
use crate::gate::{self, Gate, Outcome, WaitBudget, trace::Origin};
use crate::load::insert::{Force, Insertion, Loader};
use crate::load::plan::{Ignore, Step, plan};
use crate::load::remove::delete_module;
use crate::load::walk::{self, WalkMode};
use crate::log::{Priority, Sink, bytes};
use crate::name::ModuleName;
use crate::system::command::{Caller, run_shell};
use crate::system::roots::as_path;
use crate::system::sysfs::State;
use std::ffi::{OsStr, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::sync::Arc;

/// `KMOD_PROBE_*`; the two lowest bits are `KMOD_INSERT_*`, too.
const FORCE_VERMAGIC: c_uint = 0x1;
const FORCE_MODVERSION: c_uint = 0x2;
const IGNORE_COMMAND: c_uint = 0x4;
const IGNORE_LOADED: c_uint = 0x8;
const DRY_RUN: c_uint = 0x10;
const FAIL_ON_LOADED: c_uint = 0x20;
const APPLY_BLACKLIST_ALL: c_int = 0x10000;
const APPLY_BLACKLIST: c_int = 0x20000;
const APPLY_BLACKLIST_ALIAS_ONLY: c_int = 0x40000;

/// `KMOD_REMOVE_*`
const REMOVE_FORCE: c_uint = nix::libc::O_TRUNC as c_uint;
const REMOVE_NOLOG: c_uint = 1;

/// The host's function that runs an install command.
type RunInstall = Option<unsafe extern "C" fn(*mut Module, *const c_char, *mut c_void) -> c_int>;
/// The host's function that is called before each step.
type PrintAction = Option<unsafe extern "C" fn(*mut Module, bool, *const c_char)>;

impl Context {
    /// Whether a module of this name is live.
    fn is_live(&self, name: &[u8]) -> bool {
        ModuleName::new(name).is_some() && gate::look::look_once(&self.system(), name) == State::Live
    }
}

impl Module {
    /// Whether it is built in or live.
    fn is_there(&self) -> bool {
        self.is_builtin() || self.ctx.is_live(self.name.as_bytes())
    }

    fn is_blacklisted(&self) -> bool {
        self.tree().blacklisted(&self.found())
    }

    /// The gate, opened for one call.
    fn gate(&self) -> Gate<'_> {
        Gate::new(self.ctx.system(), &*self.ctx.log, Origin::default(), Arc::clone(&self.ctx.known))
    }

    /// A request for this module by its name, with the flags of `KMOD_INSERT_*`.
    fn request<'r>(&'r self, gate: &'r Gate<'r>, flags: c_uint) -> Request<'r> {
        Request {
            loader: Loader::new(self.ctx.system(), gate, &*self.ctx.log),
            force: Force {
                vermagic: flags & FORCE_VERMAGIC != 0,
                modversions: flags & FORCE_MODVERSION != 0,
            },
            budget: WaitBudget::new(&self.ctx.system()),
            remember: false,
            words: self.name.as_bytes(),
        }
    }

    /// Inserts this module alone.
    fn insert(&self, request: &Request<'_>, parameters: &[u8], dependency: bool) -> Result<Outcome, Errno> {
        let name = self.name.as_bytes();
        let Some(path) = self.path() else {
            self.ctx.log.error(&bytes!["could not find module by name='", name, "'"]);
            return Err(Errno::ENOENT);
        };
        let insertion = Insertion {
            path: as_path(path.as_bytes()),
            // A file given by path may hold a module of another name; the gate then reads the name from the file.
            name: self.found().file.is_none().then_some(name),
            parameters,
            force: request.force,
            budget: &request.budget,
            dependency,
            remember: request.remember,
            request: request.words,
        };
        request.loader.insert(&insertion).map_err(|error| error.errno())
    }
}

/// What all modules of one request share.
struct Request<'r> {
    loader: Loader<'r>,
    force: Force,
    budget: WaitBudget,
    remember: bool,
    words: &'r [u8],
}

/// One call of [`kmod_module_probe_insert_module`].
struct Probe<'p> {
    request: Request<'p>,
    flags: c_uint,
    run_install: RunInstall,
    data: *const c_void,
    print_action: PrintAction,
    /// The object of each step. All are referenced from start to end: the host's functions may keep the pointers that they get.
    objects: Vec<Rc<Module>>,
}

impl Probe<'_> {
    fn has(&self, flag: c_uint) -> bool {
        self.flags & flag != 0
    }

    fn run(mut self, module: &Rc<Module>, extra: &[u8]) -> Result<c_int, Errno> {
        if !self.has(IGNORE_LOADED) && module.is_there() {
            return if self.has(FAIL_ON_LOADED) { Err(Errno::EEXIST) } else { Ok(0) };
        }
        if module.is_blacklisted() {
            let aliased = module.found().alias.is_some();
            let verdicts =
                [(APPLY_BLACKLIST_ALIAS_ONLY, aliased), (APPLY_BLACKLIST_ALL, true), (APPLY_BLACKLIST, true)];
            let verdict = verdicts.into_iter().find(|(flag, counts)| *counts && self.has(*flag as c_uint));
            if let Some((flag, _)) = verdict {
                return Ok(flag);
            }
        }
        // A dry run that ignores what is loaded lists the modules of an image, forbidden or not, as `modprobe -D` does.
        let shown = self.has(DRY_RUN) && self.has(IGNORE_LOADED);
        let ignore = Ignore { install: self.has(IGNORE_COMMAND), forbid: shown };
        let steps = plan(&module.tree(), &module.found(), extra, ignore);
        let mut kept = Vec::new();
        for step in steps.map_err(|error| module.complain(&error))? {
            let sibling = || Module::of(&module.ctx, step.module.clone());
            let object = if step.is_target { Rc::clone(module) } else { sibling() };
            if !(self.has(APPLY_BLACKLIST_ALL as c_uint) && object.is_blacklisted()) {
                self.objects.push(object);
                kept.push(step);
            }
        }
        if kept.is_empty() {
            return Ok(APPLY_BLACKLIST_ALL);
        }
        let mode = WalkMode { dry: self.has(DRY_RUN), first_time: self.has(FAIL_ON_LOADED) };
        walk::walk(kept.iter(), mode, &mut self)
    }

    fn run_command(&self, module: &Rc<Module>, command: &[u8]) -> Result<c_int, Errno> {
        if let Some(run) = self.run_install {
            let text = c_string(command);
            // SAFETY: the host's function and data, with an object that is held and a string that outlives the call.
            let result = unsafe { run(Rc::as_ptr(module).cast_mut(), text.as_ptr(), self.data.cast_mut()) };
            return if result < 0 { Err(Errno::new(result)) } else { Ok(result) };
        }
        let name = module.name.as_bytes();
        let changes = [("MODPROBE_MODULE".into(), OsStr::from_bytes(name).to_owned())];
        let problem = match run_shell(command, &changes, Caller::Library) {
            Ok(0) => return Ok(0),
            Ok(code) => bytes!["retcode ", code.to_string()],
            Err(errno) => errno.to_string().into_bytes(),
        };
        let text = bytes!["Error running install command '", command, "' for module ", name, ": ", problem];
        module.ctx.log.error(&text);
        Err(Errno::EINVAL)
    }
}

impl walk::StepHandler for Probe<'_> {
    fn is_there(&mut self, index: usize, step: &Step) -> bool {
        let module = &self.objects[index];
        let own_name_is_live = || step.own_name.as_deref().is_some_and(|name| module.ctx.is_live(name));
        !self.has(IGNORE_LOADED) && (module.is_there() || own_name_is_live())
    }

    fn begin(&mut self, index: usize, step: &Step) {
        if let Some(print) = self.print_action {
            let (object, options) = (Rc::as_ptr(&self.objects[index]).cast_mut(), c_string(&step.options));
            // SAFETY: the host's function, with an object that is held and a string that outlives the call.
            unsafe { print(object, step.command.is_some(), options.as_ptr()) };
        }
    }

    fn refuse(&mut self, index: usize, step: &Step) {
        if let Some(forbidden) = &step.forbidden {
            let (module, name) = (&self.objects[index], &step.module.name);
            let why = module.tree().forbidden_by(name, forbidden);
            // At priority info, as other failures: a host that requests a module for every device would log it for every
            // device.
            module.ctx.log.log(Priority::Info, &bytes!["module '", name, "' is not loaded: ", why]);
        }
    }

    fn insert(&mut self, index: usize, step: &Step) -> Result<Outcome, Errno> {
        self.objects[index].insert(&self.request, &step.options, !step.is_target)
    }

    fn command(&mut self, index: usize, _: &Step, command: &[u8]) -> Result<i32, Errno> {
        let module = &self.objects[index];
        self.request.budget.work(&module.ctx.system(), || self.run_command(module, command))
    }
}

exports! {
    /// Inserts one module: no dependencies, no configuration.
    fn kmod_module_insert_module(module: Handle<Module>, flags: c_uint, options: Text) -> c_int {
        let module = module.get()?;
        let gate = module.gate();
        match module.insert(&module.request(&gate, flags), options.bytes().unwrap_or_default(), false)? {
            Outcome::Joined => Err(Errno::EEXIST),
            Outcome::Loaded | Outcome::StillComing => Ok(0),
        }
    }

    /// Inserts a module with its dependencies and soft dependencies.
    fn kmod_module_probe_insert_module(
        module: Handle<Module>,
        flags: c_uint,
        extra_options: Text,
        run_install: RunInstall,
        data: *const c_void,
        print_action: PrintAction,
    ) -> c_int {
        let module = module.share()?;
        let extra = extra_options.bytes().unwrap_or_default();
        let words = module.found().alias.clone();
        let gate = module.gate();
        let request = Request {
            remember: flags & APPLY_BLACKLIST as c_uint != 0 && extra.is_empty(),
            words: words.as_deref().unwrap_or(module.name.as_bytes()),
            ..module.request(&gate, flags)
        };
        Probe { request, flags, run_install, data, print_action, objects: Vec::new() }.run(&module, extra)
    }

    /// Removes one module, if nothing uses it or it is forced.
    fn kmod_module_remove_module(module: Handle<Module>, flags: c_uint) -> c_int {
        let module = module.get()?;
        let (ctx, name) = (&module.ctx, module.name.as_bytes());
        let gate = module.gate();
        let budget = WaitBudget::new(&ctx.system());
        let allowed = || Ok::<(), Errno>(());
        let removed = delete_module(&ctx.system(), &gate, name, flags & REMOVE_FORCE != 0, &budget, allowed)?;
        removed.map(|()| 0).map_err(|error| {
            if flags & REMOVE_NOLOG == 0 {
                ctx.log.error(&bytes!["could not remove '", name, "': ", error.errno().to_string()]);
            }
            error.errno()
        })
    }
}
