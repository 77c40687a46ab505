//! A tree that changes between runs: what is written is what a run without memory writes, and what kmod writes; and of
//! compressed modules only those with new contents are understood anew. Others are all, each time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kmod_once::internals::formats::compress;

use crate::stage::{self, Body, Stage, Stages, Who};
use crate::tree::{self, ko, xz};
use crate::whole::{self, KERNELS};

/// A tree under change.
struct Changing {
    stage: Stage,
    version: String,
    dir: PathBuf,
    modules: Vec<PathBuf>,
    /// In a tree of plain modules, how many compressed ones are remembered.
    remembered: usize,
}

impl Changing {
    /// A copy of a kernel's modules; of the compressed ones only a part, since every step decodes them all again for
    /// comparison.
    fn new(stages: &Stages, name: &str, prefix: &str, keep: usize) -> Result<Changing, String> {
        let stage = stages.stage(&format!("incremental-{name}")).map_err(|error| error.to_string())?;
        let version = whole::place(stages, &stage, prefix)?;
        let dir = stage.at("lib/modules").join(&version);
        let mut modules = tree::modules(&dir).map_err(|error| error.to_string())?;
        for path in modules.split_off(keep.min(modules.len())) {
            fs::remove_file(path).map_err(|error| error.to_string())?;
        }
        Ok(Changing { stage, version, dir, modules, remembered: 0 })
    }

    /// Runs everybody after `change`; ours with memory must have understood `read` files anew.
    fn step(
        &mut self,
        what: &str,
        read: Option<usize>,
        change: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> Result<(), String> {
        change(self).map_err(|error| format!("{what}: {error}"))?;
        let expected = whole::make(&self.stage, Who::Theirs, &self.version, "/theirs", &[])?;
        let cached = ["-o", "/cached", "--cache-dir", "/var/cache/depmod", "-vv", &self.version];
        let ended = self.stage.depmod(Who::Ours, &cached)?;
        let set = stage::set(&self.stage.at("/cached/lib/modules").join(&self.version));
        stage::same_set(&format!("{what}, with memory"), &expected, &set)?;
        let scratch = whole::make(&self.stage, Who::Ours, &self.version, "/scratch", &["--no-cache"])?;
        stage::same_set(&format!("{what}, without memory"), &expected, &scratch)?;
        let compressed = self.version.starts_with("6.12");
        let all = |text: &str| {
            text.lines().find_map(|line| line.split_once(" modules, ")?.0.rsplit(' ').next()?.parse().ok())
        };
        let plain = || -> Result<usize, String> { all(&ended.stderr).ok_or(ended.stderr.clone()) };
        if let Some(read) = read {
            let read = if compressed { read } else { plain()? - self.remembered };
            let end = format!(" modules, {read} of them read");
            if !ended.stderr.lines().any(|line| line.ends_with(&end)) {
                return Err(format!("{what}: not {read} files read:\n{}", ended.stderr));
            }
        }
        Ok(())
    }

    /// Every so many modules, `count` of them, beginning at a different one each time.
    fn some(&self, count: usize, start: usize) -> Vec<PathBuf> {
        let step = self.modules.len() / count;
        self.modules.iter().skip(start).step_by(step.max(1)).take(count).cloned().collect()
    }
}

/// Changes what a module says of itself, in place: the file keeps its name, its inode, and uncompressed its size.
fn change(path: &Path) -> io::Result<()> {
    let packed = fs::read(path)?;
    let mut image =
        compress::image(&packed, 1 << 30).map_err(|error| io::Error::other(error.to_string()))?.into_owned();
    // An alias, if it has one, else its license: the first letter of it.
    let place = |key: &[u8]| Some(memchr::memmem::find(&image, key)? + key.len());
    let at = place(b"\0alias=").or_else(|| place(b"license=")).ok_or(io::ErrorKind::InvalidData)?;
    image[at] = if image[at] == b'Z' { b'Y' } else { b'Z' };
    let compressed = path.extension().is_some_and(|extension| extension == "xz");
    fs::write(path, if compressed { xz(&image) } else { image })
}

fn everything(changing: &mut Changing) -> Result<(), String> {
    let total = changing.modules.len();
    changing.step("from scratch", Some(total), |_| Ok(()))?;
    changing.step("nothing changed", Some(0), |_| Ok(()))?;
    for (count, start) in [(1, 3), (10, 5), (500, 1)] {
        let what = format!("{count} changed");
        changing.step(&what, Some(count), |tree| {
            tree.some(count, start).iter().try_for_each(|path| change(path))
        })?;
    }
    changing.step("touched", Some(0), |tree| {
        tree.some(7, 2).iter().try_for_each(|path| {
            fs::File::options().append(true).open(path)?.set_modified(std::time::SystemTime::now())
        })
    })?;
    changing.step("changed with the old time put back", Some(1), |tree| {
        let path = &tree.some(1, 40)[0];
        let time = fs::metadata(path)?.modified()?;
        change(path)?;
        fs::File::options().append(true).open(path)?.set_modified(time)
    })?;
    changing.step("replaced by a file of the same size and time", Some(1), |tree| {
        let path = &tree.some(1, 50)[0];
        let time = fs::metadata(path)?.modified()?;
        let copy = path.with_extension("new");
        fs::copy(path, &copy)?;
        change(&copy)?;
        fs::File::options().append(true).open(&copy)?.set_modified(time)?;
        fs::rename(copy, path)
    })?;
    let added = changing.dir.join("extra");
    // Two new contents, and one that is known already.
    changing.step("added", Some(2), |tree| {
        fs::create_dir_all(&added)?;
        fs::copy(
            &tree.some(1, 60)[0],
            added.join(if tree.version.starts_with("6.12") { "copy.ko.xz" } else { "copy.ko" }),
        )?;
        fs::write(
            added.join("new_a.ko.xz"),
            xz(&ko().alias("new:*").export("new_symbol", 5).needs("printk").build()),
        )?;
        fs::write(added.join("new_b.ko.xz"), xz(&ko().alias("new:b*").needs("new_symbol").build()))
    })?;
    changing.remembered = 2;
    // A content that is known already, at another place.
    changing.step("a duplicate in updates", Some(0), |tree| {
        let original = &tree.some(1, 70)[0];
        let updates = tree.dir.join("updates/dkms");
        fs::create_dir_all(&updates)?;
        fs::copy(original, updates.join(original.file_name().expect("a file")))?;
        Ok(())
    })?;
    changing.step("the duplicate removed", Some(0), |tree| fs::remove_dir_all(tree.dir.join("updates")))?;
    changing.step("removed", Some(0), |tree| {
        tree.remembered = 0;
        fs::remove_dir_all(&added)?;
        tree.some(10, 4).iter().try_for_each(fs::remove_file)
    })?;
    changing.step("moved", Some(0), |tree| {
        fs::rename(tree.dir.join("kernel/fs"), tree.dir.join("kernel/moved"))
    })?;
    changing.step("nothing changed since", Some(0), |_| Ok(()))
}

/// A cache that is not what it should be makes no difference but the time.
fn bad_caches(stages: &Stages) -> Result<(), String> {
    let mut changing = Changing::new(stages, "bad-caches", KERNELS[0].1, 200)?;
    let caches = changing.stage.at("/var/cache/depmod");
    let problem = |error: io::Error| error.to_string();
    changing.step("from scratch", Some(200), |_| Ok(()))?;
    let file = fs::read_dir(&caches).map_err(problem)?.next().ok_or("no cache")?.map_err(problem)?.path();
    let good = fs::read(&file).map_err(problem)?;
    type Spoil = fn(&mut Vec<u8>);
    let spoil: [(&str, Spoil); 5] = [
        ("cut off", |bytes| bytes.truncate(bytes.len() / 2)),
        ("empty", Vec::clear),
        ("of another version", |bytes| bytes[16] += 1),
        ("with one bit wrong", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        }),
        ("of zeros", |bytes| bytes.fill(0)),
    ];
    for (what, spoil) in spoil {
        let mut bad = good.clone();
        spoil(&mut bad);
        changing.step(what, Some(200), |_| fs::write(&file, &bad))?;
        changing.step("mended", Some(0), |_| Ok(()))?;
    }
    changing.step("missing", Some(200), |_| fs::remove_file(&file))?;
    changing.step("of another tree", Some(0), |tree| {
        // Its name would be the same if the directories' names met in the hash; the directory in it is what counts.
        let other = tree.stage.at("lib/modules/9.9.9");
        tree::copy(&tree.dir, &other)?;
        fs::remove_dir_all(other)
    })?;
    changing.step("that cannot be written", None, |_| {
        fs::remove_dir_all(&caches)?;
        fs::write(&caches, "a file where the directory should be")
    })
}

/// The CRCs of exports are not learnt before somebody asks for them: a cache without them must not pretend.
fn crcs(stages: &Stages) -> Result<(), String> {
    const COUNT: usize = 400;
    let mut changing = Changing::new(stages, "crcs", KERNELS[0].1, COUNT)?;
    changing.step("from scratch", Some(COUNT), |_| Ok(()))?;
    let symvers = whole::symvers(&changing.dir).map_err(|error| error.to_string())?;
    fs::write(changing.stage.at("/symvers"), symvers).map_err(|error| error.to_string())?;
    let report = ["-e", "-E", "/symvers", &changing.version];
    let cached = [&["-o", "/cached", "--cache-dir", "/var/cache/depmod"][..], &report].concat();
    let read = || -> Result<usize, String> {
        let ended = changing.stage.depmod(Who::Ours, &[&cached[..], &["-vv"]].concat())?;
        let count =
            ended.stderr.lines().find_map(|line| line.strip_suffix(" of them read")?.rsplit(' ').next());
        count.and_then(|count| count.parse().ok()).ok_or(ended.stderr)
    };
    let first = read()?;
    if first == 0 || first == COUNT {
        return Err(format!("{first} modules read for the CRCs of their exports"));
    }
    let theirs = changing.stage.depmod(Who::Theirs, &[&["-o", "/theirs"][..], &report].concat())?;
    let ours = changing.stage.depmod(Who::Ours, &cached)?;
    if theirs != ours || theirs.stderr.lines().count() < 1000 {
        return Err(format!("reports differ, or are none:\n{}\n{}", theirs.stderr, ours.stderr));
    }
    match read()? {
        0 => changing.step("without CRCs again", Some(0), |_| Ok(())),
        again => Err(format!("{again} modules read again")),
    }
}

/// All as tests.
pub fn trials() -> Vec<(String, Body)> {
    let plain = |stages: &Stages| everything(&mut Changing::new(stages, "6.1", KERNELS[1].1, usize::MAX)?);
    // Each step decodes all of them twice, once for kmod and once for a run without memory: a part is enough for every
    // day, KMOD_ONCE_FULL=1 takes the whole tree.
    let keep = if std::env::var_os("KMOD_ONCE_FULL").is_some() { usize::MAX } else { 520 };
    let compressed =
        move |stages: &Stages| everything(&mut Changing::new(stages, "6.12", KERNELS[0].1, keep)?);
    vec![
        ("incremental::6.1".into(), Box::new(plain)),
        ("incremental::6.12".into(), Box::new(compressed)),
        ("incremental::crcs".into(), Box::new(crcs)),
        ("incremental::bad_caches".into(), Box::new(bad_caches)),
    ]
}
