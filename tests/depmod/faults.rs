//! When things go wrong: each index is the old one or the new one, and whole, whatever happens and whenever, and the one
//! that names the modules' files, `modules.dep.bin`, is never newer than another. What fails before the first is replaced
//! leaves all as they were; the exit status says so, and the message names the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::stage::{self, Body, OUTPUTS, Stage, Stages, Who};
use crate::trace::Traced;
use crate::tree::{DIR, Tree, VERSION, ko};

type Set = Vec<Option<Vec<u8>>>;

/// A tree whose indexes are about to be replaced by others, in every file.
struct Scene {
    stage: Stage,
    dir: PathBuf,
    old: Set,
    new: Set,
}

fn problem(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Scene {
    fn new(stages: &Stages, name: &str) -> Result<Scene, String> {
        let stage = stages.stage(&format!("faults-{name}")).map_err(problem)?;
        Scene::on(stage)
    }

    fn on(stage: Stage) -> Result<Scene, String> {
        let mut tree = Tree::new().file("modules.builtin", "kernel/builtin.ko\n");
        for i in 0..12 {
            let module =
                ko().alias(format!("old:{i}")).export(format!("s{i}"), i).modinfo("softdep", "pre: x");
            tree = tree.ko(
                &format!("kernel/m{i}.ko"),
                if i > 0 { module.needs(format!("s{}", i - 1)) } else { module },
            );
        }
        tree.make(&stage).map_err(problem)?;
        stage.depmod(Who::Ours, &["--no-cache", VERSION])?;
        let dir = stage.at(DIR);
        let old = stage::set(&dir);
        // Changes that show in all eleven files.
        let tree = Tree::default()
            .file("modules.builtin", "kernel/other.ko\n")
            .file("modules.builtin.modinfo", "other.alias=built:*\0")
            .ko(
                "kernel/m12.ko",
                ko().alias("devname:new")
                    .alias("char-major-1-2")
                    .export("s12", 1)
                    .needs("s3")
                    .modinfo("softdep", "pre: y")
                    .modinfo("weakdep", "z"),
            );
        tree.make(&stage).map_err(problem)?;
        stage.depmod(Who::Ours, &["--no-cache", "-o", "/new", VERSION])?;
        let new = stage::set(&stage.at("/new").join(DIR));
        for ((name, old), new) in OUTPUTS.iter().zip(&old).zip(&new) {
            if old.is_none() || new.is_none() || old == new {
                return Err(format!("{name} does not change: this tests nothing"));
            }
        }
        Ok(Scene { stage, dir, old, new })
    }

    /// Puts the old indexes back, and nothing else.
    fn reset(&self) -> Result<(), String> {
        self.clear()?;
        for (name, contents) in OUTPUTS.iter().zip(&self.old) {
            fs::write(self.dir.join(name), contents.as_deref().unwrap_or_default()).map_err(problem)?;
        }
        Ok(())
    }

    /// Removes everything that depmod writes.
    fn clear(&self) -> Result<(), String> {
        for name in self.written()? {
            let path = self.dir.join(name);
            let directory = path.symlink_metadata().map_err(problem)?.is_dir();
            if directory { fs::remove_dir_all(path) } else { fs::remove_file(path) }.map_err(problem)?;
        }
        Ok(())
    }

    /// The names in the directory that are not inputs.
    fn written(&self) -> Result<Vec<String>, String> {
        let entries = fs::read_dir(&self.dir).map_err(problem)?;
        let names =
            entries.map(|entry| Ok(entry.map_err(problem)?.file_name().to_string_lossy().into_owned()));
        let inputs = ["kernel", "modules.order", "modules.builtin", "modules.builtin.modinfo"];
        Ok(names
            .collect::<Result<Vec<_>, String>>()?
            .into_iter()
            .filter(|name| !inputs.contains(&name.as_str()))
            .collect())
    }

    fn start(&self) -> Result<Traced, String> {
        let command = self.stage.command(Who::Ours, "depmod", &["--no-cache", VERSION]);
        Traced::start(command, self.stage.at("/stderr"))
    }

    /// Which set is there; an error where a file is neither the old one nor the new one, or `modules.dep.bin` is ahead.
    fn which(&self, when: &str, absent_is_old: bool) -> Result<Which, String> {
        let set = stage::set(&self.dir);
        let (mut olds, mut news) = (0, 0);
        for (at, (file, name)) in set.iter().zip(OUTPUTS).enumerate() {
            if *file == self.new[at] {
                news += 1;
            } else if *file == self.old[at] || (absent_is_old && file.is_none()) {
                olds += 1;
            } else {
                let length = file.as_ref().map(Vec::len);
                return Err(format!(
                    "{when}: {name} is neither the old nor the new one, but {length:?} bytes"
                ));
            }
        }
        let at = OUTPUTS.iter().position(|name| *name == "modules.dep.bin").expect("it is one of them");
        match (olds, news) {
            (0, _) => Ok(Which::New),
            (_, 0) => Ok(Which::Old),
            _ if set[at] == self.new[at] => Err(format!("{when}: modules.dep.bin is ahead of {olds} others")),
            _ => Ok(Which::Mixed),
        }
    }

    /// Nothing but regular files lies in the directory besides the inputs.
    fn only_files(&self, when: &str) -> Result<(), String> {
        for name in self.written()? {
            if !self.dir.join(&name).symlink_metadata().map_err(problem)?.is_file() {
                return Err(format!("{when}: {name} is no regular file"));
            }
        }
        Ok(())
    }

    /// A run that nothing happens to makes the new set and leaves nothing else.
    fn recovers(&self, when: &str) -> Result<(), String> {
        self.stage.depmod(Who::Ours, &["--no-cache", VERSION])?;
        if self.which(when, false)? != Which::New {
            return Err(format!("{when}: the next run left old indexes"));
        }
        self.only_files(when)?;
        match self.written()?.iter().find(|name| !OUTPUTS.contains(&name.as_str())) {
            Some(left) => Err(format!("{when}: the next run left {left}")),
            None => Ok(()),
        }
    }

    /// How many system calls a run makes, and which is the first that makes a file of ours.
    fn length(&self, absent: bool) -> Result<(usize, usize), String> {
        if absent {
            self.clear()?
        } else {
            self.reset()?
        }
        let mut traced = self.start()?;
        let (mut count, mut first) = (0, None);
        while let Some(call) = traced.next() {
            // The first of the new files is removed, in case a killed run left one, before it is made.
            let removed = call.removes().map(|at| traced.string(at));
            let own = |path: PathBuf| path.to_string_lossy().contains("/.depmod.modules.");
            if first.is_none() && removed.is_some_and(own) {
                first = Some(count);
            }
            count += 1;
        }
        let first = first.ok_or("it makes no file")?;
        self.which("an undisturbed run", false)?;
        Ok((count, first))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Old,
    New,
    Mixed,
}

/// Killed before each system call of the writing, and at many moments before it.
fn killed(stages: &Stages, absent: bool) -> Result<(), String> {
    let scene = Scene::new(stages, if absent { "killed-first-time" } else { "killed" })?;
    let (count, first) = scene.length(absent)?;
    let before = (first / 160).max(1);
    let points: Vec<usize> = (0..first).step_by(before).chain(first..count).collect();
    if points.len() < 200 {
        return Err(format!("only {} points", points.len()));
    }
    let (mut olds, mut news, mut mixed) = (0, 0, 0);
    for &point in &points {
        if absent {
            scene.clear()?
        } else {
            scene.reset()?
        }
        let mut traced = scene.start()?;
        for _ in 0..=point {
            traced.next().ok_or("it ended early")?;
        }
        traced.kill();
        let when = format!("killed before call {point} of {count}");
        match scene.which(&when, absent)? {
            Which::Old => olds += 1,
            Which::New => news += 1,
            Which::Mixed => mixed += 1,
        }
        scene.only_files(&when)?;
        scene.recovers(&when)?;
    }
    // Eleven renames, before ten of which some have been made.
    if olds < 150 || news < 3 || mixed != 10 {
        return Err(format!(
            "{olds} times old, {news} times new, {mixed} times in between: this tests too little"
        ));
    }
    Ok(())
}

/// Each system call of the writing fails, one at a time.
fn failing(stages: &Stages, errno: Errno) -> Result<(), String> {
    let scene = Scene::new(stages, &format!("failing-{errno:?}"))?;
    let (count, first) = scene.length(false)?;
    let (mut failed, mut done, mut mixed) = (0, 0, 0);
    for point in first..count {
        scene.reset()?;
        let mut traced = scene.start()?;
        let (mut call, mut renames) = (None, 0);
        for _ in 0..=point {
            call = traced.next();
            renames += usize::from(call.is_some_and(|call| call.renames()));
        }
        let call = call.ok_or("it ended early")?;
        let number = call.number;
        // Calls about memory and about the process; and close(2), whose failure tells nothing that fsync(2) did not, and
        // which the standard library takes for a mistake of the program.
        if [
            libc::SYS_exit_group,
            libc::SYS_munmap,
            libc::SYS_mmap,
            libc::SYS_brk,
            libc::SYS_futex,
            libc::SYS_close,
        ]
        .contains(&number)
        {
            traced.kill();
            continue;
        }
        traced.fail(errno);
        let ended = traced.finish();
        let when =
            format!("call {point} of {count} (number {number}) fails with {errno:?}: {}", ended.stderr);
        let which = scene.which(&when, false)?;
        let named = ended.stderr.contains(DIR) && ended.stderr.contains("ERROR");
        match ended.status.as_str() {
            // Only one of the renames can leave some new and some old.
            "exit status: 1" if named && which == Which::Mixed && call.renames() && renames > 1 => mixed += 1,
            "exit status: 1" if named && which == Which::Old && renames <= 1 => failed += 1,
            "exit status: 1" if named && which == Which::New && renames == OUTPUTS.len() => failed += 1,
            "exit status: 0" if which == Which::New => done += 1,
            status => return Err(format!("{when}: {status} with the {which:?} set")),
        }
        scene.recovers(&when)?;
    }
    if failed < 50 || mixed != OUTPUTS.len() - 1 {
        return Err(format!("{failed} failures, {mixed} mixed, {done} successes: this tests too little"));
    }
    Ok(())
}

/// A small file system of its own, gone when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, size: &str) -> Result<Small, String> {
        fs::create_dir_all(at).map_err(problem)?;
        mount(Some("none"), at, Some("tmpfs"), MsFlags::empty(), Some(format!("size={size}").as_str()))
            .map_err(problem)?;
        Ok(Small(at.to_path_buf()))
    }

    fn read_only(&self) -> Result<(), String> {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, &self.0, None::<&str>, flags, None::<&str>).map_err(problem)
    }

    fn writable(&self) -> Result<(), String> {
        mount(None::<&str>, &self.0, None::<&str>, MsFlags::MS_REMOUNT, None::<&str>).map_err(problem)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// A disk with room for nothing, for some of the new files, for nearly all of them.
fn full_disk(stages: &Stages) -> Result<(), String> {
    let stage = stages.stage("faults-full-disk").map_err(problem)?;
    let small = Small::mount(&stage.at(DIR), "400k")?;
    let scene = Scene::on(stage)?;
    let (mut olds, mut news) = (0, 0);
    for room in (0..=26).map(|pages| pages * 4096) {
        scene.reset()?;
        // Everything but so much.
        let filler = scene.dir.join("kernel/filler");
        fs::write(&filler, "").map_err(problem)?;
        let mut length = 0u64;
        while fs::write(&filler, vec![0; length as usize + 4096]).is_ok() {
            length += 4096;
        }
        fs::File::options()
            .append(true)
            .open(&filler)
            .and_then(|file| file.set_len(length.saturating_sub(room)))
            .map_err(problem)?;
        let ended = scene.stage.run(Who::Ours, "depmod", &["--no-cache", VERSION])?;
        let when = format!("{room} bytes left");
        match (scene.which(&when, false)?, ended.status.as_str()) {
            (Which::Old, "exit status: 1")
                if ended.stderr.contains("No space left on device") && ended.stderr.contains("modules.") =>
            {
                olds += 1
            }
            (Which::New, "exit status: 0") => news += 1,
            (which, status) => {
                return Err(format!("{when}: {status} with the {which:?} set: {}", ended.stderr));
            }
        }
        fs::remove_file(filler).map_err(problem)?;
        scene.recovers(&when)?;
    }
    drop(small);
    if olds < 5 || news < 2 {
        Err(format!("{olds} times old, {news} times new: this tests too little"))
    } else {
        Ok(())
    }
}

/// A file system that cannot be written to, with indexes that are right and with such that are not.
fn read_only(stages: &Stages) -> Result<(), String> {
    let stage = stages.stage("faults-read-only").map_err(problem)?;
    let small = Small::mount(&stage.at(DIR), "2m")?;
    let scene = Scene::on(stage)?;
    for set in [Which::Old, Which::New] {
        scene.reset()?;
        if set == Which::New {
            scene.recovers("before")?;
        }
        small.read_only()?;
        let ended = scene.stage.run(Who::Ours, "depmod", &[VERSION])?;
        let which = scene.which("read-only", false)?;
        if which != set
            || ended.status != "exit status: 1"
            || !ended.stderr.contains("Read-only file system")
            || !ended.stderr.contains(DIR)
        {
            return Err(format!("{which:?}, {}: {}", ended.status, ended.stderr));
        }
        // With another place to write to it works all the same, cache or not.
        scene.stage.depmod(Who::Ours, &["-o", "/elsewhere", VERSION])?;
        stage::same_set(
            "written elsewhere",
            &scene.new,
            &stage::set(&scene.stage.at("/elsewhere").join(DIR)),
        )?;
        small.writable()?;
    }
    fs::write(scene.stage.at("/stderr"), "").map_err(problem)?;
    let below_a_file = scene.stage.run(Who::Ours, "depmod", &["-o", "/stderr", VERSION])?;
    if below_a_file.status != "exit status: 1"
        || !below_a_file.stderr.contains("could not create directory /stderr/lib/modules/1.2.3: ")
    {
        return Err(format!("below a file: {below_a_file:?}"));
    }
    Ok(())
}

/// Something happens to a module between its discovery and the end of its reading.
fn module_changes(
    stages: &Stages,
    what: &str,
    act: fn(&Path) -> std::io::Result<()>,
    large: bool,
) -> Result<(), String> {
    let scene = Scene::new(stages, &format!("module-{what}"))?;
    let path = scene.dir.join("kernel/m5.ko");
    let mut module = ko().alias("old:5").export("s5", 5).modinfo("softdep", "pre: x").needs("s4");
    if large {
        module = module.section(".data", vec![7; 3 << 20]);
    }
    let module = module.build();
    // At the call that opens the file, and at each that follows until the next file is opened.
    let mut told = 0;
    for calls_later in 0.. {
        fs::write(&path, &module).map_err(problem)?;
        scene.reset()?;
        let mut traced = scene.start()?;
        let mut opened = false;
        while let Some(call) = traced.next() {
            let opens = call.number == libc::SYS_openat;
            if opens && traced.string(call.args[1]).ends_with("kernel/m5.ko") {
                opened = true;
                break;
            }
        }
        if !opened {
            return Err("it never opens the module".into());
        }
        let mut over = false;
        for _ in 0..calls_later {
            let call = traced.next().ok_or("it ended while reading")?;
            over = call.number == libc::SYS_openat;
        }
        act(&path).map_err(problem)?;
        let ended = traced.finish();
        let when = format!("{what} {calls_later} calls after it was opened");
        if ended.status != "exit status: 0" {
            return Err(format!("{when}: {}: {}", ended.status, ended.stderr));
        }
        let dep = fs::read_to_string(scene.dir.join("modules.dep")).map_err(problem)?;
        let lines = dep.lines().filter(|line| line.starts_with("kernel/m5.ko:")).count();
        if lines != 1 || dep.lines().count() != 13 {
            return Err(format!("{when}: modules.dep:\n{dep}"));
        }
        // Either it was read in time, or its name is told; the others are as they were.
        if ended.stderr.contains("failed to load symbols from /lib/modules/1.2.3/kernel/m5.ko: ") {
            told += 1;
        } else if !dep.contains("kernel/m5.ko: kernel/m4.ko") {
            return Err(format!("{when}: not read and not told: {}", ended.stderr));
        }
        if !dep.contains("kernel/m9.ko: kernel/m8.ko kernel/m7.ko") {
            return Err(format!("{when}: others suffer:\n{dep}"));
        }
        if over {
            break;
        }
    }
    fs::write(&path, &module).map_err(problem)?;
    if told == 0 { Err("nothing was ever told: this tests nothing".into()) } else { Ok(()) }
}

/// Two at once: the second waits, and then describes the tree as it is after the first.
fn two_at_once(stages: &Stages) -> Result<(), String> {
    let scene = Scene::new(stages, "two-at-once")?;
    scene.reset()?;
    let mut first = scene.start()?;
    loop {
        let call = first.next().ok_or("it ended without writing")?;
        if call.renames() {
            break;
        }
    }
    let mut second =
        scene.stage.command(Who::Ours, "depmod", &["--no-cache", VERSION]).spawn().map_err(problem)?;
    // It tries the lock and sleeps in between: that is where the kernel says it is.
    let place = format!("/proc/{}/syscall", second.id());
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let now = fs::read_to_string(&place).unwrap_or_default();
        if now.starts_with(&format!("{} ", libc::SYS_clock_nanosleep)) {
            break;
        }
        if Instant::now() > deadline || second.try_wait().map_err(problem)?.is_some() {
            return Err(format!("the second does not wait: {now}"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    fs::write(scene.dir.join("kernel/late.ko"), ko().alias("late").build()).map_err(problem)?;
    let ended = first.finish();
    let status = second.wait().map_err(problem)?;
    if ended.status != "exit status: 0" || !status.success() {
        return Err(format!("{ended:?}, {status}"));
    }
    let dep = fs::read_to_string(scene.dir.join("modules.dep")).map_err(problem)?;
    if !dep.contains("kernel/late.ko:") {
        return Err("the second did not see what came while it waited".into());
    }
    match scene.written()?.iter().find(|name| !OUTPUTS.contains(&name.as_str())) {
        Some(left) => Err(format!("left behind: {left}")),
        None => Ok(()),
    }
}

/// All as tests.
pub fn trials() -> Vec<(String, Body)> {
    vec![
        ("faults::killed".into(), Box::new(|stages: &Stages| killed(stages, false))),
        ("faults::killed_the_first_time".into(), Box::new(|stages: &Stages| killed(stages, true))),
        ("faults::no_space".into(), Box::new(|stages: &Stages| failing(stages, Errno::ENOSPC))),
        ("faults::io_error".into(), Box::new(|stages: &Stages| failing(stages, Errno::EIO))),
        ("faults::full_disk".into(), Box::new(full_disk)),
        ("faults::read_only".into(), Box::new(read_only)),
        (
            "faults::module_vanishes".into(),
            Box::new(|stages: &Stages| {
                module_changes(stages, "vanishes", |path| fs::remove_file(path), false)
            }),
        ),
        (
            "faults::module_is_truncated".into(),
            Box::new(|stages: &Stages| {
                let cut = |path: &Path| fs::File::options().write(true).open(path)?.set_len(100);
                module_changes(stages, "is truncated", cut, false)
            }),
        ),
        (
            "faults::large_module_is_truncated".into(),
            Box::new(|stages: &Stages| {
                let cut = |path: &Path| fs::File::options().write(true).open(path)?.set_len(100);
                module_changes(stages, "is cut", cut, true)
            }),
        ),
        ("faults::two_at_once".into(), Box::new(two_at_once)),
    ]
}
