//! Files that look the same and are not: what was remembered of one is never said of the other. Each pair agrees in path,
//! inode, size, modification and change time, and a run with memory must tell them apart.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::stage::{Body, Stage, Stages, Who};
use crate::tree::{DIR, Tree, VERSION, ko, xz};

fn problem(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Every way in which a module file is kept, with this alias in it. All aliases of a length give files of one size.
fn forms(alias: &str) -> Vec<(&'static str, Vec<u8>)> {
    // What does not compress, so that equal lengths stay equal.
    let image =
        ko().alias(alias).section(".text", (0..2000u32).map(|n| ((n * n) >> 5) as u8).collect::<Vec<_>>());
    let image = image.build();
    let gz = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&image).and_then(|()| encoder.finish()).expect("memory takes it")
    };
    let unchecked = {
        use std::io::Write;
        let stream = xz2::stream::Stream::new_easy_encoder(1, xz2::stream::Check::None).expect("an encoder");
        let mut encoder = xz2::write::XzEncoder::new_stream(Vec::new(), stream);
        encoder.write_all(&image).and_then(|()| encoder.finish()).expect("memory takes it")
    };
    // The second stream, with its check, is the same for all.
    let streams = [xz(&image[..image.len() - 700]), xz(&image[image.len() - 700..])].concat();
    vec![
        ("plain.ko", image.clone()),
        ("xz.ko.xz", xz(&image)),
        ("unchecked.ko.xz", unchecked),
        ("streams.ko.xz", streams),
        ("gz.ko.gz", gz),
        ("zstd.ko.zst", zstd::bulk::compress(&image, 1).expect("zstd")),
    ]
}

/// Two contents for each file, of equal sizes.
fn pairs() -> Vec<(&'static str, [Vec<u8>; 2])> {
    let mut others: Vec<Option<Vec<u8>>> = Vec::new();
    let first = forms("one-aaaa");
    others.resize(first.len(), None);
    for n in 0..500 {
        for ((other, (_, content)), (_, first)) in
            others.iter_mut().zip(forms(&format!("two-{n:04}"))).zip(&first)
        {
            if content.len() == first.len() {
                *other = Some(content);
            }
        }
        if others.iter().all(Option::is_some) {
            break;
        }
    }
    let pair =
        |((name, content), other): ((_, _), Option<_>)| (name, [content, other.expect("one has its size")]);
    first.into_iter().zip(others).map(pair).collect()
}

/// What a run says of itself: the indexes' aliases.
fn aliases(stage: &Stage, args: &[&str]) -> Result<String, String> {
    let _ = fs::remove_dir_all(stage.at("/out"));
    stage.depmod(Who::Ours, &[args, &["-o", "/out", VERSION]].concat())?;
    fs::read_to_string(stage.at("/out").join(DIR).join("modules.alias")).map_err(problem)
}

/// Runs with memory twice on the first tree, then, after `change`, on the second one.
fn told_apart(
    stage: &Stage,
    files: &[PathBuf],
    change: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let look = || -> Result<Vec<[i64; 6]>, String> {
        let of = |path: &PathBuf| {
            let meta = fs::metadata(path).map_err(problem)?;
            let id = [meta.ino() as i64, meta.size() as i64];
            let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
            Ok([id[0], id[1], times[0], times[1], times[2], times[3]])
        };
        files.iter().map(of).collect()
    };
    let before = look()?;
    let memory = ["--cache-dir", "/cache"];
    for _ in 0..2 {
        let told = aliases(stage, &memory)?;
        if told.matches(" one-aaaa ").count() != files.len() {
            return Err(format!("before the change:\n{told}"));
        }
    }
    change()?;
    if look()? != before {
        return Err("the files do not look the same: this tests nothing".into());
    }
    let (told, truth) = (aliases(stage, &memory)?, aliases(stage, &["--no-cache"])?);
    if told != truth || told.contains("one-aaaa") || told.matches(" two-").count() != files.len() {
        return Err(format!("the other file was answered for:\n{told}instead of\n{truth}"));
    }
    Ok(())
}

/// A mount, gone when dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn command(program: &str, args: &[&std::ffi::OsStr]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A loop device, gone when dropped.
struct Loop(String);

impl Loop {
    fn new(image: &Path) -> Result<Loop, String> {
        command("losetup", &["-f".as_ref(), "--show".as_ref(), "-r".as_ref(), image.as_os_str()]).map(Loop)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = command("losetup", &["-d".as_ref(), self.0.as_ref()]);
    }
}

/// An ext4 image of the tree, then the same image with other bytes where the modules are: the next build of a system that is
/// made to be reproducible, or one that was patched.
fn images(stages: &Stages, below_overlay: bool) -> Result<(), String> {
    let stage =
        stages.stage(if below_overlay { "identity-overlay" } else { "identity-image" }).map_err(problem)?;
    let pairs = pairs();
    let mut tree = Tree::new();
    for (name, contents) in &pairs {
        tree = tree.file(&format!("kernel/{name}"), &contents[0]);
    }
    tree.make(&stage).map_err(problem)?;
    let image = |number: usize| stage.at(&format!("/image{number}"));
    fs::File::create(image(0)).and_then(|file| file.set_len(8 << 20)).map_err(problem)?;
    let modules = stage.at("lib/modules");
    let source = modules.as_os_str();
    command(
        "mke2fs",
        &["-q".as_ref(), "-t".as_ref(), "ext4".as_ref(), "-d".as_ref(), source, image(0).as_os_str()],
    )?;
    let mut bytes = fs::read(image(0)).map_err(problem)?;
    for (name, [old, new]) in &pairs {
        let places: Vec<usize> = memchr::memmem::find_iter(&bytes, old).collect();
        // The blocks of a small file lie one after the other.
        let [at] = places[..] else { return Err(format!("{name} lies {} times in the image", places.len())) };
        bytes[at..at + new.len()].copy_from_slice(new);
    }
    fs::write(image(1), bytes).map_err(problem)?;
    fs::remove_dir_all(&modules).and_then(|()| fs::create_dir(&modules)).map_err(problem)?;
    let lower = stage.at("/lower");
    for name in ["/lower", "/upper", "/work"] {
        fs::create_dir(stage.at(name)).map_err(problem)?;
    }
    let show = |number: usize| -> Result<(Option<Mounted>, Mounted, Loop), String> {
        let device = Loop::new(&image(number))?;
        let at = if below_overlay { &lower } else { &modules };
        mount(Some(device.0.as_str()), at, Some("ext4"), MsFlags::MS_RDONLY, None::<&str>)
            .map_err(problem)?;
        let mounted = Mounted(at.clone());
        let mut overlay = None;
        if below_overlay {
            let parts = format!("lowerdir={}", lower.display());
            let flags = MsFlags::MS_RDONLY;
            let parts = format!("{parts}:{}", stage.at("/upper").display());
            mount(Some("none"), &modules, Some("overlay"), flags, Some(parts.as_str())).map_err(problem)?;
            overlay = Some(Mounted(modules.clone()));
        }
        Ok((overlay, mounted, device))
    };
    let files: Vec<PathBuf> = pairs.iter().map(|(name, _)| stage.at(DIR).join("kernel").join(name)).collect();
    let mut shown = Some(show(0)?);
    told_apart(&stage, &files, || {
        drop(shown.take());
        shown = Some(show(1)?);
        Ok(())
    })
}

/// A file that is written through a map: its times change when a page becomes dirty, and not when it is written again.
fn map(stages: &Stages) -> Result<(), String> {
    let stage = stages.stage("identity-map").map_err(problem)?;
    let modules = stage.at("lib/modules");
    fs::create_dir_all(&modules).map_err(problem)?;
    mount(Some("none"), &modules, Some("tmpfs"), MsFlags::empty(), None::<&str>).map_err(problem)?;
    let _mounted = Mounted(modules);
    let pairs = pairs();
    let mut tree = Tree::new();
    for (name, contents) in &pairs {
        tree = tree.file(&format!("kernel/{name}"), &contents[0]);
    }
    tree.make(&stage).map_err(problem)?;
    let files: Vec<PathBuf> = pairs.iter().map(|(name, _)| stage.at(DIR).join("kernel").join(name)).collect();
    let mut maps = Vec::new();
    for (path, (_, [old, _])) in files.iter().zip(&pairs) {
        let file = fs::File::options().read(true).write(true).open(path).map_err(problem)?;
        // SAFETY: the file keeps its length, and who reads it meanwhile is another process.
        let mut map = unsafe { memmap2::MmapMut::map_mut(&file) }.map_err(problem)?;
        map.copy_from_slice(old);
        maps.push(map);
    }
    told_apart(&stage, &files, || {
        maps.iter_mut().zip(&pairs).for_each(|(map, (_, [_, new]))| map.copy_from_slice(new));
        Ok(())
    })
}

/// A `.ko.xz` that is damaged in its middle, and ends as before: the old answer would hide it.
fn damage(stages: &Stages) -> Result<(), String> {
    let stage = stages.stage("identity-damage").map_err(problem)?;
    let image =
        ko().alias("fine").section(".text", (0..9000u32).map(|n| ((n * n) >> 7) as u8).collect::<Vec<_>>());
    Tree::new().ko("kernel/m.ko.xz", image).make(&stage).map_err(problem)?;
    let memory = ["--cache-dir", "/cache"];
    for _ in 0..2 {
        aliases(&stage, &memory)?;
    }
    let path = stage.at(DIR).join("kernel/m.ko.xz");
    let file = fs::File::options().write(true).open(&path).map_err(problem)?;
    let middle = fs::metadata(&path).map_err(problem)?.len() / 2;
    file.write_all_at(&[0xff; 16], middle).map_err(problem)?;
    let told = stage.run(Who::Ours, "depmod", &[&memory[..], &["-o", "/out", VERSION]].concat())?;
    let truth = stage.run(Who::Ours, "depmod", &["--no-cache", "-o", "/out", VERSION])?;
    if told != truth || !told.stderr.contains("kernel/m.ko.xz") {
        return Err(format!("{told:?}\ninstead of\n{truth:?}"));
    }
    Ok(())
}

/// All as tests.
pub fn trials() -> Vec<(String, Body)> {
    vec![
        ("identity::images".into(), Box::new(|stages: &Stages| images(stages, false)) as Body),
        ("identity::images_below_an_overlay".into(), Box::new(|stages: &Stages| images(stages, true))),
        ("identity::written_through_a_map".into(), Box::new(map)),
        ("identity::damage_in_the_middle".into(), Box::new(damage)),
    ]
}
