//! The drop-in: hundreds of real modules go in and out through every tool, first kmod's and then ours, and everything a
//! user can see is compared: messages, exit codes, /proc/modules.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::LIMIT;
use crate::guest::{Guest, modules, unload, until};
use crate::tool::Tool;

/// Where modules lie that need no hardware, below a module directory's `kernel`.
pub const PLACES: [&str; 9] = [
    "net/netfilter/",
    "net/sched/",
    "fs/nls/",
    "net/ipv4/",
    "net/ipv6/",
    "crypto/",
    "lib/",
    "net/bridge/",
    "drivers/net/dummy",
];

/// How many modules go through the tools in the whole run, and in the sample of `make test`.
const ALL: usize = 300;
const SAMPLE: usize = 40;

/// The one step in which a difference is excused, and only that of [`left_by_kmod`].
const AFTER_REMOVAL: &str = "/proc/modules after modprobe -r";

/// What one tool did: a line for each command, and the modules after each step.
#[derive(Default)]
struct Transcript(Vec<(String, String)>);

impl Transcript {
    fn add(&mut self, what: impl Into<String>, seen: impl Into<String>) {
        self.0.push((what.into(), seen.into()));
    }
}

/// Theirs, then ours, on the same modules in one boot.
pub fn drop_in(guest: &mut Guest) -> Result<()> {
    let whole = std::env::var_os("LAB_FULL").is_some();
    let names = candidates(if whole { ALL } else { SAMPLE })?;
    let wanted = if whole { ALL } else { SAMPLE };
    guest.check(names.len() == wanted, format!("{} modules to go through the tools", names.len()));
    pin(guest, &names)?;
    let baseline = modules()?;
    let mut transcripts = BTreeMap::new();
    for tool in [Tool::Kmod34, Tool::Ours] {
        guest.tool = tool;
        fs::write("/proc/sys/kernel/modprobe", guest.path("modprobe"))?;
        let mut transcript = Transcript::default();
        through_modprobe(guest, &names, &mut transcript)?;
        unload(&baseline)?;
        through_insmod(guest, &names, &mut transcript)?;
        unload(&baseline)?;
        refusals(guest, &mut transcript)?;
        unload(&baseline)?;
        transcripts.insert(tool.name(), transcript);
    }
    let (Some(theirs), Some(ours)) = (transcripts.remove("kmod-34"), transcripts.remove("kmod-once")) else {
        bail!("a transcript is missing");
    };
    let mut failed = 0;
    let mut excused = Vec::new();
    guest.check(theirs.0.len() == ours.0.len(), format!("{} against {} steps", theirs.0.len(), ours.0.len()));
    for ((what, theirs), (_, ours)) in theirs.0.iter().zip(&ours.0) {
        if what == AFTER_REMOVAL {
            excused = left_by_kmod(theirs, ours, &names)?;
        }
        let same = if what == AFTER_REMOVAL { without(theirs, &excused) == *ours } else { theirs == ours };
        if !same {
            failed += 1;
            guest.check(false, format!("{what}\n  theirs: {theirs}\n  ours:   {ours}"));
        }
    }
    let what = format!("{} modules that kmod leaves, which removes in the order of loading", excused.len());
    guest.say(&serde_json::json!({"t": "note", "what": what, "seen": excused.join(" ")}));
    for (what, seen) in &ours.0 {
        guest.say(&serde_json::json!({"t": "note", "what": what, "seen": seen}));
    }
    let inserted =
        |(what, seen): &&(String, String)| what.starts_with("insmod /lib") && seen.starts_with("0 ");
    let loaded = theirs.0.iter().filter(inserted).count();
    guest.check(loaded * 10 >= wanted * 9, format!("{loaded} modules load, of {wanted} and what they need"));
    guest.check(failed == 0, format!("{failed} of {} steps differ", theirs.0.len()));
    Ok(())
}

/// The modules that kmod left, and ours did not, because `modprobe -r` of kmod takes what a module needed in the order of
/// loading, in which each is still used by the next (`removal-is-the-load-backwards` in tests/compliance/DIFFERENCES.md):
/// nobody uses one, and a module that went through the tools needs both it and another one that needs it.
fn left_by_kmod(theirs: &str, ours: &str, names: &[Candidate]) -> Result<Vec<String>> {
    let dependencies = dependencies()?;
    let needs = |file: &str, name: &str| {
        let line =
            dependencies.lines().find_map(|line| line.split_once(':').filter(|(of, _)| file.ends_with(of)));
        line.is_some_and(|(_, needs)| needs.split_whitespace().any(|file| name_of(file) == name))
    };
    let chained = |name: &str| {
        let middle = |module: &Candidate| module.files.iter().skip(1).any(|file| needs(file, name));
        names.iter().any(middle)
    };
    let left = theirs.split("; ").filter(|line| !ours.split("; ").any(|other| other == *line));
    let unused = left.filter_map(|line| line.strip_suffix(" 0 -"));
    Ok(unused.filter(|name| chained(name)).map(str::to_owned).collect())
}

/// A transcript's list of modules without those.
fn without(list: &str, names: &[String]) -> String {
    let stays = |line: &&str| !names.iter().any(|name| line.strip_suffix(" 0 -") == Some(name));
    list.split("; ").filter(stays).collect::<Vec<_>>().join("; ")
}

/// Loads everything once and removes what can be removed. Some of the kernel's modules never go again once others were
/// there (its default random number generator), and must look alike to both tools.
fn pin(guest: &mut Guest, names: &[Candidate]) -> Result<()> {
    let before = modules()?;
    guest.tool = Tool::Kmod34;
    let mut words = vec!["-a"];
    words.extend(names.iter().map(|module| module.name.as_str()));
    run(guest, "modprobe", &words)?;
    if let Err(error) = unload(&before) {
        guest.say(&serde_json::json!({"t": "note", "what": "pinned for good", "seen": error.to_string()}));
    }
    Ok(())
}

fn through_modprobe(guest: &Guest, names: &[Candidate], transcript: &mut Transcript) -> Result<()> {
    for module in names {
        transcript.add(format!("modprobe {}", module.name), run(guest, "modprobe", &[&module.name])?);
    }
    transcript.add("/proc/modules after modprobe", proc_modules()?);
    transcript.add("lsmod", listing(guest)?);
    for module in names.iter().rev() {
        let seen = run(guest, "modprobe", &["-r", &module.name])?;
        transcript.add(format!("modprobe -r {}", module.name), seen);
    }
    transcript.add(AFTER_REMOVAL, proc_modules()?);
    Ok(())
}

/// insmod knows no dependencies: each module's come first, in load order.
fn through_insmod(guest: &Guest, names: &[Candidate], transcript: &mut Transcript) -> Result<()> {
    let mut loaded = Vec::new();
    for module in names {
        for file in module.files.iter().rev() {
            if !loaded.contains(file) {
                transcript.add(format!("insmod {file}"), run(guest, "insmod", &[file])?);
                loaded.push(file.clone());
            }
        }
    }
    transcript.add("/proc/modules after insmod", proc_modules()?);
    for file in loaded.iter().rev() {
        let name = name_of(file);
        transcript.add(format!("rmmod {name}"), run(guest, "rmmod", &[&name])?);
    }
    transcript.add("/proc/modules after rmmod", proc_modules()?);
    Ok(())
}

/// Everything that the kernel or the tools refuse.
fn refusals(guest: &Guest, transcript: &mut Transcript) -> Result<()> {
    fs::write("/tmp/garbage.ko", "this is no module, but it is long enough")?;
    let dummy = file_of("dummy")?;
    let udp_tunnel = file_of("udp_tunnel")?;
    let vxlan = file_of("vxlan")?;
    let fixed = [
        "modprobe nosuchmodule",
        "modprobe -a nosuchmodule dummy othermissing",
        "modprobe --first-time dummy",
        "modprobe -r nosuchmodule",
        "modprobe -r --first-time ifb",
        "rmmod ifb",
        "rmmod nosuchmodule",
        "modprobe -r dummy",
        "modprobe dummy numdummies=notanumber",
        "modprobe dummy nosuchparameter=1",
        "modprobe dummy numdummies=2",
        "modprobe vxlan",
        "modprobe -r udp_tunnel",
        "rmmod udp_tunnel",
        "rmmod vxlan",
        "modprobe -r vxlan",
        "rmmod ip6_udp_tunnel",
        "rmmod udp_tunnel",
        "insmod /tmp/garbage.ko",
        "insmod /tmp/missing.ko",
        "insmod /tmp",
        "modprobe /tmp/garbage.ko",
    ];
    let builtin = fs::read_to_string(format!("{}/modules.builtin", directory()))?;
    let builtin = name_of(builtin.lines().next().context("nothing is built in")?);
    let mut lines: Vec<String> = fixed.iter().map(|line| (*line).to_owned()).collect();
    for line in ["modprobe ", "modprobe --first-time ", "modprobe -r ", "rmmod ", "modprobe -n -v -r "] {
        lines.push(format!("{line}{builtin}"));
    }
    // Already there; without what it needs, then with it.
    lines.extend([format!("insmod {dummy}"), format!("insmod {vxlan}"), "modprobe -r dummy".to_owned()]);
    lines.extend([format!("insmod {dummy} numdummies=x"), "modprobe vxlan".to_owned()]);
    lines.extend([format!("insmod {udp_tunnel}"), format!("insmod {vxlan}")]);
    for line in &lines {
        let mut words = line.split(' ');
        let tool = words.next().context("a tool")?;
        let words: Vec<&str> = words.collect();
        transcript.add(line.clone(), run(guest, tool, &words)?);
    }
    for (tool, words) in [
        ("modprobe", &["ifb"][..]),
        ("modprobe", &["-r", "udp_tunnel"]),
        ("rmmod", &["udp_tunnel"]),
        ("insmod", &[&dummy]),
    ] {
        let seen = run_as(guest, tool, words, Some(65534))?;
        transcript.add(format!("as nobody: {tool} {}", words.join(" ")), seen);
    }
    transcript.add("/proc/modules after refusals", proc_modules()?);
    Ok(())
}

fn run(guest: &Guest, tool: &str, words: &[&str]) -> Result<String> {
    run_as(guest, tool, words, None)
}

/// Exit code, stdout and stderr of a command in one line.
fn run_as(guest: &Guest, tool: &str, words: &[&str], user: Option<u32>) -> Result<String> {
    let mut command = Command::new(guest.path(tool));
    command.arg0(tool).args(words);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let output = command.output().with_context(|| tool.to_owned())?;
    let code = output.status.code().map_or_else(|| format!("{}", output.status), |code| code.to_string());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().replace('\n', " | ");
    Ok(format!("{code} [{}] [{}]", text(&output.stdout), text(&output.stderr)))
}

/// [`module_lines`], once it stays as it is: the kernel tests an algorithm in the background after its module was loaded, and
/// uses other modules meanwhile.
fn proc_modules() -> Result<String> {
    let is_test = |pid: &fs::DirEntry| {
        fs::read_to_string(pid.path().join("comm")).is_ok_and(|comm| comm.starts_with("cryptomgr_"))
    };
    let mut before = String::new();
    until("a list of modules that stays", LIMIT, || {
        let tests = fs::read_dir("/proc").is_ok_and(|pids| pids.flatten().any(|pid| is_test(&pid)));
        let now = module_lines().unwrap_or_default();
        let stays = !tests && now == before;
        before = now;
        if !stays {
            std::thread::sleep(Duration::from_millis(300));
        }
        stays
    })?;
    Ok(before)
}

/// Names, use counts and users of the loaded modules, sorted: sizes and addresses are left out, which differ from load to
/// load.
fn module_lines() -> Result<String> {
    let text = fs::read_to_string("/proc/modules")?;
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let mut users: Vec<&str> = words.get(3).unwrap_or(&"").split(',').collect();
            users.sort_unstable();
            format!("{} {} {}", words.first().unwrap_or(&"?"), words.get(2).unwrap_or(&"?"), users.join(","))
        })
        .collect();
    lines.sort();
    Ok(lines.join("; "))
}

/// lsmod's lines, sorted, with the users in order.
fn listing(guest: &Guest) -> Result<String> {
    let output = Command::new(guest.path("lsmod")).arg0("lsmod").output()?;
    let text = String::from_utf8(output.stdout)?;
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| match line.rsplit_once(' ') {
            Some((head, users)) if users.contains(',') => {
                let mut users: Vec<&str> = users.split(',').collect();
                users.sort_unstable();
                format!("{head} {}", users.join(","))
            }
            _ => line.to_owned(),
        })
        .collect();
    lines.sort();
    Ok(lines.join("; "))
}

/// A module that goes through the tools: its name, and the files of it and all it needs, itself first.
struct Candidate {
    name: String,
    files: Vec<String>,
}

fn candidates(count: usize) -> Result<Vec<Candidate>> {
    let mut found = Vec::new();
    for line in dependencies()?.lines() {
        let Some((file, needs)) = line.split_once(':') else { continue };
        if chosen(file) && found.len() < count {
            let files = std::iter::once(file).chain(needs.split_whitespace());
            let files = files.map(|file| format!("{}/{file}", directory())).collect();
            found.push(Candidate { name: name_of(file), files });
        }
    }
    Ok(found)
}

/// Whether a file of `modules.dep` is one of those that the image carries for this scenario. Left out is what tests
/// itself on loading, which takes seconds or fails by design.
pub fn chosen(file: &str) -> bool {
    let below = file.strip_prefix("kernel/").unwrap_or(file);
    let slow =
        ["test", "tcrypt", "xt_RATEEST", "crypto_engine", "netdevsim", "torture", "ansi_cprng", "speed"];
    PLACES.iter().any(|place| below.starts_with(place)) && !slow.iter().any(|word| below.contains(word))
}

fn directory() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("/lib/modules/{}", release.trim())
}

fn dependencies() -> Result<String> {
    let path = format!("{}/modules.dep", directory());
    fs::read_to_string(&path).with_context(|| path)
}

fn file_of(name: &str) -> Result<String> {
    let text = dependencies()?;
    let files = text.lines().filter_map(|line| line.split(':').next());
    let file = files.into_iter().find(|file| name_of(file) == name).with_context(|| format!("no {name}"))?;
    Ok(format!("{}/{file}", directory()))
}

fn name_of(file: &str) -> String {
    let base =
        Path::new(file).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    base.split('.').next().unwrap_or_default().replace('-', "_")
}
