//! A small tree under random changes: after each, a run with memory writes and says what one without does.
//!
//! The runs are made in this process, on a file system in memory, so that there can be many: some hundred, and 20,000 with
//! `KMOD_ONCE_FULL=1`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kmod_once::internals::depmod::settings::Settings;
use kmod_once::internals::depmod::{self, Outputs, Request};
use kmod_once::internals::log::{Kept, Priority, Silent};
use kmod_once::internals::system::{Roots, System, clock, kernel};

use crate::random::{self, Random};
use crate::stage::{self, Body, Stages};
use crate::tree::{ko, xz};

/// How a run ended, what it said of modules, and what it wrote.
type Outcome = (Result<usize, String>, Vec<String>, Vec<Option<Vec<u8>>>);

struct World {
    random: Random,
    root: PathBuf,
    dir: PathBuf,
    /// The place of another tree, which takes turns with the first.
    other: PathBuf,
    /// How many modules were known by the runs with memory.
    known: usize,
}

impl World {
    /// The module files, sorted.
    fn modules(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for name in ["kernel", "updates"] {
            let entries = fs::read_dir(self.dir.join(name)).into_iter().flatten().flatten();
            found.extend(entries.map(|entry| entry.path()));
        }
        found.sort();
        found
    }

    fn one(&mut self) -> Option<PathBuf> {
        let modules = self.modules();
        if modules.is_empty() { None } else { Some(modules[self.random.below(modules.len())].clone()) }
    }

    /// A content for a file of this name. Few of each kind, and of equal lengths, so that they come again.
    fn content(&mut self, path: &Path) -> Vec<u8> {
        let random = &mut self.random;
        // A module needs only symbols of those with lower numbers, so that there are no cycles.
        let number = random.below(6);
        let mut module = ko().alias(format!("pci:v{}", random.below(8)));
        if random.below(2) == 0 {
            module = module.export(format!("s{number}"), random.below(3) as u32);
        }
        if number > 0 && random.below(2) == 0 {
            module = module.needs(format!("s{}", random.below(number)));
        }
        match random.below(12) {
            0 => module = module.modinfo("softdep", "pre: x"),
            1 => module = module.alias(b"x\xe9"),
            2 => module = module.alias("devname:d").alias("char-major-1-2"),
            _ => {}
        }
        let image = module.build();
        let mut content = match path.to_string_lossy().rsplit('.').next() {
            Some("xz") => xz(&image),
            Some("zst") => zstd::bulk::compress(&image, 1).expect("zstd"),
            Some("gz") => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                io::Write::write_all(&mut encoder, &image).and_then(|()| encoder.finish()).expect("gzip")
            }
            _ => image,
        };
        match random.below(30) {
            0 => content.truncate(random.below(content.len())),
            1 => {
                let at = random.below(content.len());
                content[at] ^= 1 << random.below(8);
            }
            _ => {}
        }
        content
    }

    fn new_path(&mut self) -> PathBuf {
        let ext = ["ko", "ko.xz", "ko.xz", "ko.zst", "ko.gz"][self.random.below(5)];
        let place = ["kernel", "kernel", "updates"][self.random.below(3)];
        let path = self.dir.join(format!("{place}/m{}.{ext}", self.random.below(9)));
        if fs::metadata(&path).is_err() {
            // Perhaps a link that leads nowhere, which cannot be written through.
            let _ = fs::remove_file(&path);
        }
        path
    }

    /// One change; what it was.
    fn change(&mut self) -> io::Result<&'static str> {
        let Some(path) = self.one() else {
            let path = self.new_path();
            fs::write(&path, self.content(&path))?;
            return Ok("the first module");
        };
        let Ok(meta) = fs::metadata(&path) else {
            fs::remove_file(path)?;
            return Ok("a link that led nowhere removed");
        };
        let time = meta.modified()?;
        let timed = |path: &Path| fs::File::options().append(true).open(path)?.set_modified(time);
        Ok(match self.random.below(14) {
            0 => {
                let path = self.new_path();
                fs::write(&path, self.content(&path))?;
                "another module"
            }
            1 => {
                fs::write(&path, self.content(&path))?;
                "other content"
            }
            2 => {
                fs::write(&path, self.content(&path))?;
                timed(&path)?;
                "other content with the old time"
            }
            3 => {
                let new = self.dir.join("new");
                fs::write(&new, self.content(&path))?;
                timed(&new)?;
                fs::rename(new, &path)?;
                "another file with the old time"
            }
            4 => {
                let content = self.content(&path);
                let file = fs::File::options().read(true).write(true).open(&path)?;
                file.set_len(content.len() as u64)?;
                if !content.is_empty() {
                    // SAFETY: nobody else has the file.
                    unsafe { memmap2::MmapMut::map_mut(&file) }?.copy_from_slice(&content);
                }
                timed(&path)?;
                "written through a map"
            }
            5 => {
                let other = self.one().unwrap_or_else(|| path.clone());
                let new = self.dir.join("new");
                fs::rename(&path, &new)?;
                if other != path {
                    fs::rename(&other, &path)?;
                }
                fs::rename(new, other)?;
                "two swapped"
            }
            6 => {
                fs::remove_file(path)?;
                "one removed"
            }
            7 => {
                fs::rename(&path, self.new_path())?;
                "one moved"
            }
            8 => {
                let to = self.new_path();
                if to != path {
                    fs::copy(&path, to)?;
                }
                "one copied"
            }
            9 => {
                let to = self.new_path();
                if to != path {
                    let _ = fs::remove_file(&to);
                    fs::hard_link(&path, to)?;
                }
                "one with two names"
            }
            10 => {
                let to = self.new_path();
                if to != path {
                    let _ = fs::remove_file(&to);
                    std::os::unix::fs::symlink(&path, to)?;
                }
                "a link"
            }
            11 => {
                fs::File::options().append(true).open(&path)?.set_modified(std::time::SystemTime::now())?;
                "one touched"
            }
            12 => {
                let mut names: Vec<String> = self
                    .modules()
                    .iter()
                    .filter_map(|path| {
                        let path = path.strip_prefix(&self.dir).ok()?.to_str()?;
                        Some(path.split_once(".ko")?.0.to_owned() + ".ko\n")
                    })
                    .collect();
                self.random.shuffle(&mut names);
                fs::write(self.dir.join("modules.order"), names.concat())?;
                "another order"
            }
            _ => {
                let aside = self.dir.with_extension("aside");
                fs::rename(&self.dir, &aside)?;
                fs::rename(&self.other, &self.dir)?;
                fs::rename(aside, &self.other)?;
                "another tree at the same place"
            }
        })
    }

    fn run(&mut self, with_memory: bool) -> Outcome {
        let sink = Kept::default();
        let out = self.root.join(if with_memory { "with" } else { "without" });
        let caches = self.root.join("cache");
        let (dir, out_bytes) = (self.dir.to_str().expect("ours"), out.to_str().expect("ours"));
        let roots = Roots::default();
        let system = System { roots: &roots, kernel: &kernel::Linux, clock: &clock::Real };
        let request = Request {
            dir: dir.as_bytes(),
            out: out_bytes.as_bytes(),
            files: None,
            settings: Settings::default().finish(),
            symvers: None,
            system_map: None,
            prefix: None,
            report_symbols: false,
            print_dependencies: false,
            warn_duplicates: false,
            show: false,
            caches: with_memory.then_some(&caches),
            started: 0,
            cores: 1,
        };
        let ended = depmod::run(&request, system, Outputs { sink: &sink, print: &|_| {}, progress: &Silent });
        let told = sink.take().into_iter().filter(|(priority, _)| *priority < Priority::Info);
        let told = told.map(|(_, text)| String::from_utf8_lossy(&text).into_owned()).collect();
        if let (true, Ok(summary)) = (with_memory, &ended) {
            self.known += summary.modules - summary.read;
        }
        let ended = ended.map(|summary| summary.left_out).map_err(|failure| format!("{failure:?}"));
        (ended, told, stage::set(&out))
    }
}

fn changes(_: &Stages) -> Result<(), String> {
    let steps = if std::env::var_os("KMOD_ONCE_FULL").is_some() { 20_000 } else { 500 };
    let problem = |error: io::Error| error.to_string();
    // Files are synced, which takes no time in memory.
    let memory = Path::new("/dev/shm");
    let temporary = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let temporary = temporary.map_err(problem)?;
    let root = temporary.path().to_path_buf();
    for dir in ["1.2.3/kernel", "1.2.3/updates", "other/kernel", "other/updates"] {
        fs::create_dir_all(root.join(dir)).map_err(problem)?;
    }
    let seed = random::seed();
    let (dir, other) = (root.join("1.2.3"), root.join("other"));
    let mut world = World { random: Random::new(seed), root, dir, other, known: 0 };
    let mut differences = 0;
    for step in 0..steps {
        let what = world.change().map_err(|error| format!("seed {seed}, step {step}: {error}"))?;
        let (with, without) = (world.run(true), world.run(false));
        if with != without {
            differences += 1;
            eprintln!(
                "seed {seed}, step {step}: {what}: {:?} {:?}\n{:?} {:?}",
                with.0, with.1, without.0, without.1
            );
            stage::same_set(what, &without.2, &with.2).unwrap_or_else(|which| eprintln!("{which}"));
        }
    }
    println!("{steps} random changes, seed {seed}: {differences} differences; {} times known", world.known);
    if differences > 0 {
        return Err(format!("{differences} differences, KMOD_ONCE_SEED={seed}"));
    }
    if world.known < steps {
        Err(format!("known only {} times: this tests too little", world.known))
    } else {
        Ok(())
    }
}

/// All as tests.
pub fn trials() -> Vec<(String, Body)> {
    vec![("property::random_changes".into(), Box::new(changes))]
}
