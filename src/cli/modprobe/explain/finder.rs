//! Collects the facts about a query.

use super::problems::{self, Problems};
use super::{Action, Explained, Explanation, FileLine, Found, NoGate, Planned, Presence, Why, shown};
use crate::cli::modprobe::Session;
use crate::cli::modprobe::insert::find;
use crate::cli::modprobe::kernel_messages::messages_about;
use crate::config::{Entry, Kind, Origin};
use crate::formats::pattern::fnmatch;
use crate::gate;
use crate::gate::dir::GateDir;
use crate::gate::holder::lock_state;
use crate::gate::settings::Settings;
use crate::limits;
use crate::load::plan::{Step, plan};
use crate::name::{self, ModuleName};
use crate::system::Roots;
use crate::system::file::read_whole;
use crate::system::kmsg::KmsgReader;
use crate::system::sysfs::State;
use crate::tree::{Forbidden, Module};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;

/// Explains one query.
pub(super) fn explain(session: &Session<'_>, operand: &[u8]) -> Explanation {
    let tree = session.tree;
    let directory = tree.dir().display().to_string();
    let (modules, problem) = match find(session, tree, operand) {
        Ok(modules) if modules.is_empty() && !tree.dir().join("modules.dep").exists() => {
            (modules, Some(format!("{directory} has no modules.dep: run depmod")))
        }
        Ok(modules) => (modules, None),
        Err(errno) => (Vec::new(), Some(errno.to_string())),
    };
    let folded = name::alias(operand).unwrap_or_else(|| operand.to_vec());
    let modules = modules.iter().map(|module| self::module(session, module, &folded)).collect();
    Explanation { query: shown(operand), directory, modules, problem }
}

fn module(session: &Session<'_>, module: &Module, query: &[u8]) -> Explained {
    let (tree, request, system) = (session.tree, session.request, &session.system);
    let state = presence(session, module);
    let counts = request.blacklist || module.alias.is_some();
    let blacklist = tree.config().named(Kind::Blacklist, &module.name);
    let blacklist = blacklist.map(|entry| (place(session, entry.origin), counts));
    let done = matches!(state, Presence::Builtin | Presence::Live) && !request.depends;
    let planned = (!done).then(|| plan(tree, module, &request.parameters, request.ignore()).ok()).flatten();
    let steps = planned.map(|planned| steps(session, &planned, module)).unwrap_or_default();
    let unwanted = counts && blacklist.is_some();
    let (steps, by_name) = if unwanted { (Vec::new(), steps) } else { (steps, Vec::new()) };
    let gate = ModuleName::new(&module.name).map(|name| lock_state(system, &name)).unwrap_or_default();
    let now = system.clock.boottime();
    let ended = gate.last.as_ref().and_then(|record| record.end);
    // Messages from loading a module that is loaded explain nothing.
    let kernel = (!done).then(|| KmsgReader::whole(system.roots).ok()).flatten();
    Explained {
        name: shown(&module.name),
        found: found(session, module, query),
        path: tree.path(module).map(|path| path.display().to_string()),
        state,
        blacklist,
        steps,
        by_name,
        failure: ended.and_then(|end| Some((end.failure?.errno, now.saturating_sub(end.at)))),
        gate,
        no_gate: no_gate(system.roots),
        kernel: kernel.map(|log| messages_about(&log.read(), tree, &module.name)).unwrap_or_default(),
        now,
    }
}

fn presence(session: &Session<'_>, module: &Module) -> Presence {
    if session.tree.is_builtin(module) {
        return Presence::Builtin;
    }
    if ModuleName::new(&module.name).is_none() {
        return Presence::Absent;
    }
    match gate::look::state(&session.system, &module.name) {
        Ok(State::Live) => Presence::Live,
        Ok(State::Coming) => Presence::Coming,
        Ok(State::Going) => Presence::Going,
        Ok(State::Nascent | State::Absent) => Presence::Absent,
        Err(_) => Presence::Unknown,
    }
}

fn place(session: &Session<'_>, origin: Origin) -> FileLine {
    let file = session.tree.config().file(origin).display().to_string();
    FileLine { file, line: (origin.line > 0).then_some(origin.line) }
}

/// The value of an entry, and its place.
pub(super) fn quoted(session: &Session<'_>, entry: Entry<'_>) -> (String, FileLine) {
    (shown(entry.value), place(session, entry.origin))
}

/// Which source of `Tree::lookup` knew the query.
fn found(session: &Session<'_>, module: &Module, query: &[u8]) -> Found {
    let (tree, config) = (session.tree, session.tree.config());
    let by = |by, pattern: Option<&[u8]>, place| Found { by, pattern: pattern.map(shown), place };
    let at = |entry: Entry<'_>| place(session, entry.origin);
    let Some(alias) = &module.alias else {
        return match module {
            Module { file: Some(_), .. } => by("path", None, None),
            Module { command: Some(_), .. } => {
                let entry = config.named(Kind::Install, query).or_else(|| config.named(Kind::Remove, query));
                by("command", None, entry.map(at))
            }
            Module { builtin: true, .. } => by("builtin", None, line(session, "modules.builtin", |_| false)),
            _ => by("name", None, None),
        };
    };
    let configured = |entry: &Entry<'_>| entry.key == &alias[..] && entry.value == &module.name[..];
    if let Some(entry) = config.matching(Kind::Alias, query).find(configured) {
        return by("config-alias", Some(alias), Some(at(entry)));
    }
    if module.builtin {
        let file = tree.dir().join("modules.builtin.alias.bin").display().to_string();
        return by("builtin-alias", Some(query), Some(FileLine { file, line: None }));
    }
    let is_symbol = query.starts_with(b"symbol:");
    let (what, file) = if is_symbol { ("symbol", "modules.symbols") } else { ("alias", "modules.alias") };
    let pattern_of = |line: &[u8]| {
        let rest = line.strip_prefix(b"alias ")?;
        let (pattern, name) = rest.split_at(rest.iter().rposition(|&byte| byte == b' ')?);
        let fits = name::canonical(&name[1..]) == module.name && fnmatch(&name::alias(pattern)?, query);
        fits.then(|| pattern.to_vec())
    };
    let mut pattern = None;
    let place = line(session, file, |line| {
        pattern = pattern_of(line);
        pattern.is_some()
    });
    by(what, Some(pattern.as_deref().unwrap_or(query)), place)
}

/// The first line of a text file of the module directory for which `fits` holds; without a number if there is none.
fn line(session: &Session<'_>, file: &str, fits: impl FnMut(&[u8]) -> bool) -> Option<FileLine> {
    let path = session.tree.dir().join(file);
    let text = read_whole(&path, limits::TEXT_FILE).ok()?;
    let line = text.split(|&byte| byte == b'\n').position(fits);
    let line = line.and_then(|line| u32::try_from(line + 1).ok());
    Some(FileLine { file: path.display().to_string(), line })
}

fn steps(session: &Session<'_>, steps: &[Step], target: &Module) -> Vec<Planned> {
    // A module can be in a plan several times; its later steps do nothing.
    let mut seen = BTreeSet::new();
    let steps: Vec<&Step> = steps.iter().filter(|step| seen.insert(&step.module.name)).collect();
    let why = reasons(session, &steps, target);
    let mut planned = Vec::new();
    for step in &steps {
        let (action, origins) = (action(session, step), options(session, step));
        let mut problems = Problems::default();
        if let Action::Insert(_) = action {
            planned.extend(missing_dependency(session, step));
            problems = problems::about(session, step, &origins);
        }
        planned.push(Planned {
            module: shown(&step.module.name),
            action,
            options: shown(&step.options).trim_end().to_owned(),
            origins,
            why: why(step),
            required: step.required,
            problems,
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
fn missing_dependency(session: &Session<'_>, step: &Step) -> Option<Planned> {
    let (path, _) = session.tree.needed(&step.module).err()?;
    Some(Planned {
        module: shown(&name::from_path(path.as_os_str().as_bytes())?),
        action: Action::Missing(Some(path.display().to_string())),
        options: String::new(),
        origins: Vec::new(),
        why: Why::NeededBy(shown(&step.module.name)),
        required: step.required,
        problems: Problems::default(),
    })
}

fn action(session: &Session<'_>, step: &Step) -> Action {
    let presence = presence(session, &step.module);
    if !session.request.depends && matches!(presence, Presence::Builtin | Presence::Live) {
        return Action::Skip(presence);
    }
    if let Some(Forbidden { module, own_name, origin }) = &step.forbidden {
        let own_name = own_name.as_deref().map(shown);
        return Action::Refuse { module: shown(module), own_name, place: place(session, *origin) };
    }
    if let Some(command) = &step.command {
        // The entry that `Tree::install_command` takes.
        let (config, name) = (session.tree.config(), &step.module.name);
        let own = step.module.command.as_ref().and_then(|_| config.named(Kind::Install, name));
        let entry = own.or_else(|| config.first(Kind::Install, name));
        return Action::Run(shown(command), entry.map(|entry| place(session, entry.origin)));
    }
    match &step.path {
        Some(path) if path.exists() => Action::Insert(path.display().to_string()),
        None if presence == Presence::Builtin => Action::Skip(presence),
        path => Action::Missing(path.as_ref().map(|path| path.display().to_string())),
    }
}

/// The lines that the options of a step come from.
fn options(session: &Session<'_>, step: &Step) -> Vec<(String, FileLine)> {
    let of_it = |entry: &Entry<'_>| {
        !entry.value.is_empty()
            && (entry.key == &step.module.name[..] || Some(entry.key) == step.module.alias.as_deref())
    };
    let entries = session.tree.config().entries(Kind::Options).filter(of_it);
    entries.map(|entry| quoted(session, entry)).collect()
}

/// Why each of the steps is in the plan.
fn reasons<'r>(session: &Session<'_>, steps: &[&'r Step], target: &'r Module) -> impl Fn(&Step) -> Why {
    let (mut needed, mut softdeps) = (BTreeMap::new(), BTreeMap::new());
    // Reasons of the target come before those of other modules.
    let others = steps.iter().map(|step| &step.module).filter(|module| module.name != target.name);
    for module in [target].into_iter().chain(others) {
        // The plan has told of a file that is not there.
        for other in session.tree.needed(module).unwrap_or_default() {
            needed.entry(other.name).or_insert(&module.name);
        }
        for (origin, before, after) in session.tree.softdep_lines(module) {
            let (by, place) = (shown(&module.name), place(session, origin));
            for other in before {
                softdeps.entry(other.name).or_insert_with(|| Why::Before(by.clone(), place.clone()));
            }
            for other in after {
                softdeps.entry(other.name).or_insert_with(|| Why::After(by.clone(), place.clone()));
            }
        }
    }
    move |step| {
        let (name, target) = (&step.module.name, &target.name);
        if step.is_target || name == target {
            return Why::Asked;
        }
        let by = needed.get(name).copied();
        match softdeps.get(name).filter(|_| by != Some(target)) {
            Some(softdep) => softdep.clone(),
            None => Why::NeededBy(shown(by.unwrap_or(target))),
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
        let why = "kmod.gate= on the kernel command line has switched it off".to_owned();
        return Some(NoGate { locks_file: false, why });
    }
    GateDir::verify(roots).err().map(|error| NoGate { locks_file: true, why: error.to_string() })
}
