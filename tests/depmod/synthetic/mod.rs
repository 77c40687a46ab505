//! Small trees, each about one rule. Every tree goes through kmod 34.2, and through ours four times: without a cache,
//! with an empty one, with a full one, and over the files that are there already.

mod command_line;
mod content;
mod cycles;
mod order;
mod scan;
mod symbols;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::stage::{self, Body, Ended, Stage, Stages, Who};
use crate::tree::{DIR, Tree, VERSION};

/// One tree and one command line.
pub struct Case {
    name: String,
    tree: Tree,
    args: Vec<String>,
    /// What of theirs is not ours, on purpose, and what ours is; see DIFFERENCES.md.
    differs: Vec<(&'static str, &'static str)>,
    /// Files that are older than everything else.
    aged: Vec<String>,
    /// Whether theirs can do it at all.
    alone: Option<Ended>,
}

/// A case that runs `depmod 1.2.3` on the tree.
pub fn case(name: &str, tree: Tree) -> Case {
    Case {
        name: name.to_owned(),
        tree,
        args: vec![VERSION.to_owned()],
        differs: Vec::new(),
        aged: Vec::new(),
        alone: None,
    }
}

impl Case {
    /// Other arguments.
    pub fn args(mut self, line: &str) -> Case {
        self.args = line.split_whitespace().map(str::to_owned).collect();
        self
    }

    /// Makes a file older than the others.
    pub fn aged(mut self, path: &str) -> Case {
        self.aged.push(path.to_owned());
        self
    }

    /// Their words and ours.
    pub fn instead(mut self, theirs: &'static str, ours: &'static str) -> Case {
        self.differs.push((theirs, ours));
        self
    }

    /// Only ours is run: theirs aborts or never ends. This is how ours must end.
    pub fn alone(mut self, status: i32, stderr: &str) -> Case {
        let stderr = stderr.lines().map(|line| format!("depmod: {line}\n")).collect();
        self.alone = Some(Ended { status: format!("exit status: {status}"), stdout: Vec::new(), stderr });
        self
    }

    fn run(&self, stages: &Stages) -> Result<(), String> {
        let problem = |error: std::io::Error| error.to_string();
        let stage = stages.stage(&format!("synthetic-{}", self.name)).map_err(problem)?;
        self.tree.make(&stage).map_err(problem)?;
        for path in &self.aged {
            let long_ago = SystemTime::now() - Duration::from_secs(1000);
            let file = fs::File::options().append(true).open(stage.at(DIR).join(path)).map_err(problem)?;
            file.set_modified(long_ago).map_err(problem)?;
        }
        let run = |who, out: &str, more: &[&str]| {
            let mut args: Vec<&str> = self.args.iter().map(String::as_str).collect();
            args.extend(["-o", out]);
            args.extend(more);
            stage.run(who, "depmod", &args).map(|ended| self.tidy(who, ended))
        };
        let files = |out: &str| stage::set(&stage.at(out).join(self.out_dir()));
        let (expected, expected_files) = match &self.alone {
            Some(ended) => (ended.clone(), None),
            None => (run(Who::Theirs, "/theirs", &[])?, Some(files("/theirs"))),
        };
        let check = |what: &str, ended: Ended, out: &str| {
            compare(what, &expected, &ended)?;
            match &expected_files {
                Some(expected) => stage::same_set(what, expected, &files(out)),
                None => Ok(()),
            }
        };
        check("from scratch", run(Who::Ours, "/scratch", &["--no-cache"])?, "/scratch")?;
        let cache = ["--cache-dir", "/var/cache/depmod"];
        check("with an empty cache", run(Who::Ours, "/empty", &cache)?, "/empty")?;
        wait_until_settled(&stage);
        run(Who::Ours, "/settled", &cache)?;
        check("with a full cache", run(Who::Ours, "/full", &cache)?, "/full")?;
        check("a second time", run(Who::Ours, "/full", &cache)?, "/full")?;
        leaves_nothing(&stage.at("/full").join(self.out_dir()))
    }

    /// The module directory that the output lies in.
    fn out_dir(&self) -> String {
        match self.args.iter().position(|arg| arg == "-m") {
            Some(at) => format!("{}/{VERSION}", self.args[at + 1].trim_start_matches('/')),
            None => DIR.to_owned(),
        }
    }

    /// Numbers of descriptors, and what differs on purpose, taken out of what was said.
    fn tidy(&self, who: Who, mut ended: Ended) -> Ended {
        for call in ["fstatat", "openat"] {
            ended.stderr = first_argument_hidden(&ended.stderr, call);
        }
        if who == Who::Theirs {
            for (theirs, ours) in &self.differs {
                assert!(ended.stderr.contains(theirs), "{}: they do not say {theirs}", self.name);
                ended.stderr = ended.stderr.replace(theirs, ours);
            }
        }
        ended
    }
}

/// `fstatat(4, x)` with `_` in place of the number, or of the directory that we name instead.
fn first_argument_hidden(text: &str, call: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(&format!("ERROR: {call}(")) {
        let (before, after) = rest.split_at(at + "ERROR: (".len() + call.len());
        out.push_str(before);
        out.push('_');
        rest = &after[after.find(',').unwrap_or(0)..];
    }
    out + rest
}

fn compare(what: &str, expected: &Ended, got: &Ended) -> Result<(), String> {
    if expected == got {
        return Ok(());
    }
    let show = |ended: &Ended| {
        format!(
            "{}\nstdout:\n{}stderr:\n{}",
            ended.status,
            String::from_utf8_lossy(&ended.stdout),
            ended.stderr
        )
    };
    Err(format!("{what}:\n--- expected: {}--- got: {}", show(expected), show(got)))
}

/// A module that was made a moment ago is not remembered; this waits until none is that young.
fn wait_until_settled(stage: &Stage) {
    let newest = |dir: &Path| -> i64 {
        let mut newest = 0;
        let mut pending = vec![dir.to_path_buf()];
        while let Some(path) = pending.pop() {
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            newest = newest.max(meta.ctime() * 1000 + meta.ctime_nsec() / 1_000_000);
            if meta.is_dir() {
                pending.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
            }
        }
        newest
    };
    let settled = newest(&stage.at(DIR)) + 60;
    while SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64) <= settled {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Nothing but the eleven files lies in the output directory.
fn leaves_nothing(dir: &Path) -> Result<(), String> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !stage::OUTPUTS.contains(&name.as_str()) {
            return Err(format!("left behind: {name}"));
        }
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            return Err(format!("{name} is no regular file"));
        }
    }
    Ok(())
}

/// All cases as tests.
pub fn trials() -> Vec<(String, Body)> {
    let groups = [
        ("scan", scan::cases()),
        ("order", order::cases()),
        ("cycles", cycles::cases()),
        ("symbols", symbols::cases()),
        ("content", content::cases()),
        ("command-line", command_line::cases()),
    ];
    let all = groups.into_iter().flat_map(|(group, cases)| cases.into_iter().map(move |case| (group, case)));
    all.map(|(group, mut case)| {
        case.name = format!("{group}/{}", case.name);
        let name = format!("synthetic::{}", case.name);
        (name, Box::new(move |stages: &Stages| case.run(stages)) as Body)
    })
    .collect()
}
