//! Collects the facts about a query.

use super::problems::{self, Problems};
use super::{Action, Explained, Explanation, FileLine, Found, NoGate, Planned, Presence, Why, shown};
use crate::cli::Call;
use crate::cli::modprobe::Session;
use crate::cli::modprobe::insert::find;
use crate::cli::modprobe::kernel_messages::{KernelMessage, messages_about};
use crate::config::{self, Entry, Kind};
use crate::formats::pattern::fnmatch;
use crate::gate;
use crate::gate::dir::GateDir;
use crate::gate::holder;
use crate::gate::settings::Settings;
use crate::limits;
use crate::load::plan::{Step, plan};
use crate::name::{self, ModuleName};
use crate::system::Roots;
use crate::system::file::read_whole;
use crate::system::kmsg::KmsgReader;
use crate::system::sysfs::State;
use crate::tree::{Forbidden, Module, Tree};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

/// Explains the queries of one request.
pub(super) struct Explainer<'e, 's> {
    pub(super) session: &'e Session<'s>,
    pub(super) parameters: &'e [u8],
}

impl Explainer<'_, '_> {
    fn tree(&self) -> &Tree<'_> {
        self.session.tree
    }

    fn call(&self) -> &Call<'_> {
        self.session.call
    }

    pub(super) fn explain(&self, operand: &[u8]) -> Explanation {
        let tree = self.tree();
        let (modules, mut problem) = match find(self.session, tree, operand) {
            Ok(modules) => (modules, None),
            Err(errno) => (Vec::new(), Some(errno.to_string())),
        };
        let directory = shown(tree.dir().as_os_str().as_bytes());
        if modules.is_empty() && problem.is_none() && !tree.dir().join("modules.dep").exists() {
            problem = Some(format!("{directory} has no modules.dep: run depmod"));
        }
        let folded = name::alias(operand).unwrap_or_else(|| operand.to_vec());
        let modules = modules.iter().map(|module| self.module(module, &folded)).collect();
        Explanation { query: shown(operand), directory, modules, problem }
    }

    fn module(&self, module: &Module, query: &[u8]) -> Explained {
        let (tree, system) = (self.tree(), &self.call().world.system);
        let state = self.presence(module);
        let alias = module.alias.is_some();
        let blacklist = tree.config().named(Kind::Blacklist, &module.name);
        let counts = self.session.request.blacklist || alias;
        let blacklist = blacklist.map(|entry| (self.place(entry.origin), counts));
        let done = matches!(state, Presence::Builtin | Presence::Live) && !self.session.request.depends;
        let steps = match done {
            true => Vec::new(),
            false => plan(tree, module, self.parameters, self.session.request.ignore())
                .map(|steps| self.steps(&steps, module))
                .unwrap_or_default(),
        };
        let (steps, by_name) = match &blacklist {
            Some((_, true)) => (Vec::new(), steps),
            _ => (steps, Vec::new()),
        };
        let gate =
            ModuleName::new(&module.name).map(|name| holder::lock_state(system, &name)).unwrap_or_default();
        let now = system.clock.boottime();
        let ended = gate.last.as_ref().and_then(|record| record.end);
        let failure = ended.and_then(|end| Some((end.failure?.errno, now.saturating_sub(end.at))));
        Explained {
            name: shown(&module.name),
            found: self.found(module, query),
            path: tree.path(module).map(|path| shown(path.as_os_str().as_bytes())),
            state,
            blacklist,
            steps,
            by_name,
            failure,
            gate,
            no_gate: no_gate(system.roots),
            // Messages from loading a module that is loaded explain nothing.
            kernel: if done { Vec::new() } else { self.kernel(module) },
            now,
        }
    }

    fn presence(&self, module: &Module) -> Presence {
        if self.tree().is_builtin(module) {
            return Presence::Builtin;
        }
        if ModuleName::new(&module.name).is_none() {
            return Presence::Absent;
        }
        match gate::look::state(&self.call().world.system, &module.name) {
            Ok(State::Live) => Presence::Live,
            Ok(State::Coming) => Presence::Coming,
            Ok(State::Going) => Presence::Going,
            Ok(State::Nascent | State::Absent) => Presence::Absent,
            Err(_) => Presence::Unknown,
        }
    }

    fn place(&self, origin: config::Origin) -> FileLine {
        let file = shown(self.tree().config().file(origin).as_os_str().as_bytes());
        FileLine { file, line: (origin.line > 0).then_some(origin.line) }
    }

    /// Which source of [`Tree::lookup`] knew the query.
    fn found(&self, module: &Module, query: &[u8]) -> Found {
        let tree = self.tree();
        let by = |by, pattern: Option<&[u8]>, place| Found { by, pattern: pattern.map(shown), place };
        let Some(alias) = &module.alias else {
            return match module {
                Module { file: Some(_), .. } => by("path", None, None),
                Module { command: Some(_), .. } => {
                    let own = |kind| tree.config().named(kind, query);
                    let place = own(Kind::Install).or_else(|| own(Kind::Remove));
                    by("command", None, place.map(|entry| self.place(entry.origin)))
                }
                Module { builtin: true, .. } => by("builtin", None, self.line("modules.builtin", |_| false)),
                _ => by("name", None, None),
            };
        };
        let configured = |entry: &Entry<'_>| entry.key == &alias[..] && entry.value == &module.name[..];
        if let Some(entry) = tree.config().matching(Kind::Alias, query).find(configured) {
            return by("config-alias", Some(alias), Some(self.place(entry.origin)));
        }
        if module.builtin {
            let file = shown(tree.dir().join("modules.builtin.alias.bin").as_os_str().as_bytes());
            return by("builtin-alias", Some(query), Some(FileLine { file, line: None }));
        }
        let (what, file) = if query.starts_with(b"symbol:") {
            ("symbol", "modules.symbols")
        } else {
            ("alias", "modules.alias")
        };
        let mut pattern = None;
        let place = self.line(file, |line| {
            let Some(rest) = line.strip_prefix(b"alias ") else { return false };
            let Some(blank) = rest.iter().rposition(|&byte| byte == b' ') else { return false };
            let fits = name::canonical(&rest[blank + 1..]) == module.name
                && name::alias(&rest[..blank]).is_some_and(|folded| fnmatch(&folded, query));
            if fits {
                pattern = Some(rest[..blank].to_vec());
            }
            fits
        });
        by(what, Some(pattern.as_deref().unwrap_or(query)), place)
    }

    /// The first line of a text file of the module directory for which `fits` holds; without a number if there is none.
    fn line(&self, file: &str, mut fits: impl FnMut(&[u8]) -> bool) -> Option<FileLine> {
        let path = self.tree().dir().join(file);
        let text = read_whole(&path, limits::TEXT_FILE).ok()?;
        let line = text.split(|&byte| byte == b'\n').position(&mut fits);
        let line = line.and_then(|line| u32::try_from(line + 1).ok());
        Some(FileLine { file: shown(path.as_os_str().as_bytes()), line })
    }

    fn steps(&self, steps: &[Step], target: &Module) -> Vec<Planned> {
        let reasons = Reasons::new(self, steps, target);
        let mut seen: Vec<&[u8]> = Vec::new();
        let mut planned = Vec::new();
        for step in steps {
            // A module can be in a plan several times; its later steps do nothing.
            if seen.contains(&&step.module.name[..]) {
                continue;
            }
            seen.push(&step.module.name);
            let (action, origins) = (self.action(step), self.options(step));
            if matches!(action, Action::Insert(_)) {
                planned.extend(self.missing_dependency(step));
            }
            let typed = if step.is_target { self.parameters } else { b"" };
            let (mut problems, mut passed_over) = (Problems::default(), None);
            if let Action::Insert(_) = action {
                problems = problems::about(self.call().world.system.roots, step, &origins, typed);
                let install = self.tree().config().first(Kind::Install, &step.module.name);
                passed_over = install.map(|entry| (shown(entry.value), self.place(entry.origin)));
            }
            planned.push(Planned {
                module: shown(&step.module.name),
                action,
                options: shown(&step.options).trim_end().to_owned(),
                origins,
                why: reasons.of(step),
                required: step.required,
                problems,
                passed_over,
            });
        }
        // A refused request loads nothing.
        let ends = |step: &Planned| step.required && matches!(step.action, Action::Refuse { .. });
        if planned.iter().any(ends) {
            planned.retain(ends);
        }
        planned
    }

    /// The dependency of a step whose file is not there. The plan has no dependencies then.
    fn missing_dependency(&self, step: &Step) -> Option<Planned> {
        let (path, _) = self.tree().needed(&step.module).err()?;
        let path = path.as_os_str().as_bytes();
        Some(Planned {
            module: shown(&name::from_path(path)?),
            action: Action::Missing(Some(shown(path))),
            options: String::new(),
            origins: Vec::new(),
            why: Why::NeededBy(shown(&step.module.name)),
            required: step.required,
            problems: Problems::default(),
            passed_over: None,
        })
    }

    fn action(&self, step: &Step) -> Action {
        let presence = self.presence(&step.module);
        if !self.session.request.depends && matches!(presence, Presence::Builtin | Presence::Live) {
            return Action::Skip(presence);
        }
        if let Some(Forbidden { module, own_name, origin }) = &step.forbidden {
            let own_name = own_name.as_deref().map(shown);
            return Action::Refuse { module: shown(module), own_name, place: self.place(*origin) };
        }
        if let Some(command) = &step.command {
            let entry = self.tree().config().first(Kind::Install, &step.module.name);
            return Action::Run(shown(command), entry.map(|entry| self.place(entry.origin)));
        }
        match &step.path {
            Some(path) => {
                let shown = shown(path.as_os_str().as_bytes());
                if path.exists() { Action::Insert(shown) } else { Action::Missing(Some(shown)) }
            }
            None if presence == Presence::Builtin => Action::Skip(presence),
            None => Action::Missing(None),
        }
    }

    /// The lines that the options of a step come from.
    fn options(&self, step: &Step) -> Vec<(String, FileLine)> {
        let config = self.tree().config();
        let of_it = |entry: &Entry<'_>| {
            !entry.value.is_empty()
                && (entry.key == &step.module.name[..] || Some(entry.key) == step.module.alias.as_deref())
        };
        let entries = config.entries(Kind::Options).filter(of_it);
        entries.map(|entry| (shown(entry.value), self.place(entry.origin))).collect()
    }

    fn kernel(&self, module: &Module) -> Vec<KernelMessage> {
        let Ok(log) = KmsgReader::whole(self.call().world.system.roots) else { return Vec::new() };
        messages_about(&log.read(), self.tree(), &module.name)
    }
}

/// Which module needs which of a plan, and the line that says so.
struct Reasons<'r> {
    target: &'r Module,
    needed: BTreeMap<Vec<u8>, Vec<u8>>,
    softdeps: BTreeMap<Vec<u8>, (bool, Vec<u8>, Option<FileLine>)>,
}

impl<'r> Reasons<'r> {
    fn new(explainer: &Explainer<'_, '_>, steps: &[Step], target: &'r Module) -> Self {
        let tree = explainer.tree();
        let (mut needed, mut softdeps) = (BTreeMap::new(), BTreeMap::new());
        let mut note = |module: &Module| {
            // The plan has told of a file that is not there.
            for other in tree.needed(module).unwrap_or_default() {
                needed.entry(other.name).or_insert_with(|| module.name.clone());
            }
            for (origin, before, after) in tree.softdep_lines(module) {
                for (first, others) in [(true, before), (false, after)] {
                    for other in others {
                        let reason = || (first, module.name.clone(), Some(explainer.place(origin)));
                        softdeps.entry(other.name).or_insert_with(reason);
                    }
                }
            }
        };
        // Reasons of the target come before those of other modules.
        note(target);
        let mut seen = vec![&target.name];
        for step in steps {
            if !seen.contains(&&step.module.name) {
                seen.push(&step.module.name);
                note(&step.module);
            }
        }
        Reasons { target, needed, softdeps }
    }

    fn of(&self, step: &Step) -> Why {
        let name = &step.module.name;
        if step.is_target || *name == self.target.name {
            return Why::Asked;
        }
        match (self.needed.get(name), self.softdeps.get(name)) {
            (Some(by), None) => Why::NeededBy(shown(by)),
            (Some(by), Some(_)) if *by == self.target.name => Why::NeededBy(shown(by)),
            (_, Some((true, by, place))) => Why::Before(shown(by), place.clone()),
            (_, Some((false, by, place))) => Why::After(shown(by), place.clone()),
            (None, None) => Why::NeededBy(shown(&self.target.name)),
        }
    }
}

/// Why a load by this process would not use the gate. `None` unless it runs as root: no one else can load modules.
fn no_gate(roots: &Roots) -> Option<NoGate> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let cmdline = read_whole(&roots.cmdline(), limits::CMDLINE_FILE).unwrap_or_default();
    if !Settings::from_cmdline(&cmdline).enabled {
        return Some(NoGate::Off);
    }
    GateDir::verify(roots).err().map(|trouble| NoGate::Directory(trouble.to_string()))
}
