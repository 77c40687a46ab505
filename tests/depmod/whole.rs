//! Whole kernels of Debian: 6.12 with some 4200 `.ko.xz`, 6.1 with some 4000 `.ko`; with `KMOD_ONCE_FULL=1` the oldest in
//! use and the newest, too: 5.10 with `.ko`, 7.x with `.ko.xz` and no versions of symbols.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use kmod_once::internals::formats::compress;
use kmod_once::internals::formats::elf::{self, Elf};
use kmod_once::internals::formats::index::Index;

use crate::debian::module_directory;
use crate::stage::{self, Body, OUTPUTS, Stage, Stages, Who};
use crate::tree;

/// The packages, by the start of their names; what follows it is the version.
pub const KERNELS: [(&str, &str); 2] = [("6.12", "linux-image-6.12."), ("6.1", "linux-image-6.1.")];
const SUFFIX: &str = "-amd64-unsigned";
/// The same of those that are for `KMOD_ONCE_FULL` only, and the ends of their names.
const MORE: [(&str, &str, &str); 2] =
    [("5.10", "linux-image-5.10.", SUFFIX), ("7", "linux-modules-7.", "+deb13-amd64")];

/// Puts a copy of a kernel's modules into the root; its version.
pub fn place(stages: &Stages, stage: &Stage, prefix: &str) -> Result<String, String> {
    place_of(stages, stage, prefix, SUFFIX).map_err(|error| error.to_string())
}

fn place_of(stages: &Stages, stage: &Stage, prefix: &str, suffix: &str) -> io::Result<String> {
    let (package, _) = stages.cache.kernel(prefix, suffix)?;
    let (version, modules) = module_directory(&package)?;
    tree::copy(&modules, &stage.at("lib/modules").join(&version))?;
    Ok(version)
}

/// The set that a tool makes into `out`.
pub fn make(
    stage: &Stage,
    who: Who,
    version: &str,
    out: &str,
    more: &[&str],
) -> Result<Vec<Option<Vec<u8>>>, String> {
    let mut args = vec!["-o", out, version];
    args.extend(more);
    stage.depmod(who, &args)?;
    let set = stage::set(&stage.at(out).join("lib/modules").join(version));
    match set.iter().position(Option::is_none) {
        Some(missing) => Err(format!("{who:?} made no {}", OUTPUTS[missing])),
        None => Ok(set),
    }
}

fn same_files(stages: &Stages, name: &str, prefix: &str, suffix: &str) -> Result<(), String> {
    let stage = stages.stage(&format!("whole-{name}")).map_err(|error| error.to_string())?;
    let version = place_of(stages, &stage, prefix, suffix).map_err(|error| error.to_string())?;
    let expected = make(&stage, Who::Theirs, &version, "/theirs", &[])?;
    let scratch = make(&stage, Who::Ours, &version, "/scratch", &["--no-cache"])?;
    stage::same_set("from scratch", &expected, &scratch)?;
    let cached = ["--cache-dir", "/var/cache/depmod", "-vv"];
    stage::same_set("filling the cache", &expected, &make(&stage, Who::Ours, &version, "/cached", &cached)?)?;
    let again = stage.depmod(Who::Ours, &[&["-o", "/cached", &version][..], &cached].concat())?;
    // Only what is compressed is remembered.
    let compressed =
        tree::modules(&stage.at("lib/modules").join(&version)).map_err(|error| error.to_string())?;
    let compressed = compressed.iter().any(|path| path.extension().is_some_and(|end| end != "ko"));
    if compressed && !again.stderr.contains(" modules, 0 of them read\n") {
        return Err(format!("the cache was not used:\n{}", again.stderr));
    }
    let cached = stage::set(&stage.at("/cached/lib/modules").join(&version));
    stage::same_set("from the cache", &expected, &cached)?;

    // The order of the modules decides about priorities everywhere.
    let order = stage.at("lib/modules").join(&version).join("modules.order");
    let text = fs::read_to_string(&order).map_err(|error| error.to_string())?;
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_by_key(|line| line.bytes().fold(7u64, |hash, byte| hash.wrapping_mul(131) ^ u64::from(byte)));
    lines.truncate(lines.len() * 3 / 4);
    lines.extend_from_within(..20);
    let shuffled = lines.join("\n") + "\n";
    fs::write(&order, shuffled).map_err(|error| error.to_string())?;
    let expected = make(&stage, Who::Theirs, &version, "/theirs", &[])?;
    let from_cache = ["--cache-dir", "/var/cache/depmod"];
    let shuffled = make(&stage, Who::Ours, &version, "/cached", &from_cache)?;
    stage::same_set("shuffled and shortened modules.order", &expected, &shuffled)?;
    fs::remove_file(&order).map_err(|error| error.to_string())?;
    let expected = make(&stage, Who::Theirs, &version, "/theirs", &[])?;
    let without = make(&stage, Who::Ours, &version, "/cached", &from_cache)?;
    stage::same_set("no modules.order", &expected, &without)
}

/// Every key with its values, as a program that reads the index sees them.
fn contents(bytes: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<Vec<u8>>>, String> {
    let index = Index::open(bytes).map_err(|error| error.to_string())?;
    let mut all: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    index.dump(&mut |key, value| all.entry(key.to_vec()).or_default().push(value.to_vec()));
    Ok(all)
}

/// Our reader reads what kmod 30 writes, whose nodes lie in another order.
fn reads_30(stages: &Stages) -> Result<(), String> {
    let stage = stages.stage_30("whole-30").map_err(|error| error.to_string())?;
    let version = place(stages, &stage, KERNELS[1].1)?;
    stage.depmod(Who::Theirs, &[&version])?;
    let theirs = stage::set(&stage.at("lib/modules").join(&version));
    // Also in kmod 30's order of modules, which takes the last of two equal lines: there are none here.
    let ours = make(&stage, Who::Ours, &version, "/ours-34", &["--no-cache"])?;
    let mut keys = 0;
    for ((name, theirs), ours) in
        OUTPUTS.iter().zip(theirs).zip(ours).filter(|((name, _), _)| name.ends_with(".bin"))
    {
        let (Some(theirs), Some(ours)) = (theirs, ours) else { return Err(format!("no {name}")) };
        if theirs == ours {
            return Err(format!("{name}: kmod 30's layout is ours: this tests nothing"));
        }
        let (left, right) = (contents(&theirs)?, contents(&ours)?);
        if left != right {
            return Err(format!("{name}: {} and {} keys, or other values", left.len(), right.len()));
        }
        let (theirs, ours) =
            (Index::open(&theirs).expect("read above"), Index::open(&ours).expect("read above"));
        for key in left.keys().step_by(7) {
            let query: Vec<u8> =
                key.iter().map(|&byte| if b"*?[]".contains(&byte) { b'0' } else { byte }).collect();
            if theirs.exact(key) != ours.exact(key) || theirs.search(&query) != ours.search(&query) {
                return Err(format!("{name}: {} is found differently", key.escape_ascii()));
            }
        }
        keys += left.len();
    }
    if keys < 30_000 { Err(format!("{keys} keys are not a whole tree's")) } else { Ok(()) }
}

/// All that a kernel package's weak-modules script looks at: thousands of lines about symbols.
fn reports(stages: &Stages) -> Result<(), String> {
    let stage = stages.stage("whole-reports").map_err(|error| error.to_string())?;
    let version = place(stages, &stage, KERNELS[1].1)?;
    let symvers = symvers(&stage.at("lib/modules").join(&version)).map_err(|error| error.to_string())?;
    fs::write(stage.at("/symvers"), symvers).map_err(|error| error.to_string())?;
    for args in [&["-naeE", "/symvers"][..], &["-n", "-v"]] {
        let args = [args, &[&version]].concat();
        let (theirs, ours) = (stage.depmod(Who::Theirs, &args)?, stage.depmod(Who::Ours, &args)?);
        let lines = theirs.stderr.lines().count() + theirs.stdout.split(|&byte| byte == b'\n').count();
        if lines < 10_000 {
            return Err(format!("{args:?} says only {lines} lines"));
        }
        if theirs != ours {
            let differ = theirs.stderr.lines().zip(ours.stderr.lines()).find(|(a, b)| a != b);
            return Err(format!("{args:?}: stdout same: {}, {differ:?}", theirs.stdout == ours.stdout));
        }
    }
    Ok(())
}

/// A `Module.symvers` in which most of what the modules need from the kernel is right, some has another CRC, and some is
/// missing.
pub fn symvers(dir: &Path) -> std::io::Result<String> {
    let mut kernel: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    let mut exported: Vec<Vec<u8>> = Vec::new();
    for path in tree::modules(dir)? {
        let content = fs::read(path)?;
        let Ok(image) = compress::image(&content, 1 << 30) else { continue };
        let Ok(elf) = Elf::parse(&image) else { continue };
        for needed in elf::needed(&elf).unwrap_or_default() {
            kernel.insert(needed.name.to_vec(), needed.crc);
        }
        exported.extend(elf::exports(&elf).unwrap_or_default().iter().map(|export| export.name.to_vec()));
    }
    for name in &exported {
        kernel.remove(name);
    }
    let mut text = String::new();
    for (index, (name, crc)) in kernel.iter().enumerate().filter(|(index, _)| index % 5 != 0) {
        let crc = if index % 7 == 0 { crc ^ 1 } else { *crc };
        text += &format!("0x{crc:08x}\t{}\tvmlinux\tEXPORT_SYMBOL\t\n", String::from_utf8_lossy(name));
    }
    Ok(text)
}

/// What Debian 12 and 13 have in /usr/lib/modprobe.d.
const CONFIGURATION: &str = "options snd-pcsp index=-2\noptions cx88_alsa index=-2\noptions snd-atiixp-modem index=-2\n\
    options snd-intel8x0m index=-2\noptions snd-via82xx-modem index=-2\nsoftdep uhci-hcd pre: ehci-hcd\n\
    softdep ohci-hcd pre: ehci-hcd\nblacklist arkfb\nblacklist aty128fb\nblacklist atyfb\nblacklist radeonfb\n\
    blacklist cirrusfb\nblacklist cyber2000fb\nblacklist kyrofb\nblacklist matroxfb_base\nblacklist mb862xxfb\n\
    blacklist neofb\nblacklist pm2fb\nblacklist pm3fb\nblacklist s3fb\nblacklist savagefb\nblacklist sisfb\n\
    blacklist tdfxfb\nblacklist tridentfb\nblacklist vt8623fb\noptions bonding max_bonds=0\noptions dummy numdummies=0\n\
    options ifb numifbs=0\n";

/// `kmod check` has nothing to say of a kernel as it comes: with its distribution's configuration, the indexes of its
/// distribution's depmod, and the symbols of its headers. One symbol less there, and one module less, and it has.
fn clean(stages: &Stages, stage: io::Result<Stage>, prefix: &str) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let stage = stage.map_err(text)?;
    let version = place(stages, &stage, prefix)?;
    let dir = stage.at("lib/modules").join(&version);
    stage.depmod(Who::Theirs, &[&version])?;
    fs::create_dir_all(stage.at("usr/lib/modprobe.d")).map_err(text)?;
    fs::write(stage.at("usr/lib/modprobe.d/distribution.conf"), CONFIGURATION).map_err(text)?;
    let headers = stages.cache.headers(&version).map_err(text)?;
    let symvers = headers.join(format!("usr/src/linux-headers-{version}/Module.symvers"));
    let symvers = fs::read_to_string(&symvers).map_err(text)?;
    let _ = fs::remove_file(dir.join("build"));
    fs::create_dir(dir.join("build")).map_err(text)?;
    let check = |symvers: &str| -> Result<(String, String), String> {
        fs::write(dir.join("build/Module.symvers"), symvers).map_err(text)?;
        let ended = stage.run(Who::Ours, "kmod", &["check", "-S", &version])?;
        Ok((String::from_utf8_lossy(&ended.stdout).into_owned(), ended.status))
    };
    let quiet = (String::new(), "exit status: 0".to_owned());
    let found = check(&symvers)?;
    if found != quiet {
        return Err(format!("{version}, as it comes:\n{}{}", found.0, found.1));
    }
    fs::remove_file(dir.join("kernel/drivers/net/dummy.ko"))
        .or_else(|_| fs::remove_file(dir.join("kernel/drivers/net/dummy.ko.xz")))
        .map_err(text)?;
    let less = symvers.replacen("\tpci_enable_device\t", "\tpci_enable\t", 1);
    let (found, status) = check(&less)?;
    let is_told = |words: &str| found.lines().any(|line| line.contains(words));
    let told =
        is_told("has: pci_enable_device") && is_told("modules.dep: error: kernel/drivers/net/dummy.ko");
    if !told || status != "exit status: 1" {
        return Err(format!("{version}, broken:\n{found}{status}"));
    }
    Ok(())
}

/// All as tests.
pub fn trials() -> Vec<(String, Body)> {
    let mut all: Vec<(String, Body)> = Vec::new();
    let full = std::env::var_os("KMOD_ONCE_FULL").is_some();
    let kernels = KERNELS.map(|(name, prefix)| (name, prefix, SUFFIX));
    for (name, prefix, suffix) in kernels.into_iter().chain(MORE.into_iter().filter(|_| full)) {
        let body = move |stages: &Stages| same_files(stages, name, prefix, suffix);
        all.push((format!("whole::{name}"), Box::new(body)));
    }
    all.push(("whole::reads_kmod_30".into(), Box::new(reads_30)));
    let check_13 = |stages: &Stages| clean(stages, stages.stage("whole-check-13"), KERNELS[0].1);
    all.push(("whole::check_debian_13".into(), Box::new(check_13)));
    let check_12 = |stages: &Stages| clean(stages, stages.stage_30("whole-check-12"), KERNELS[1].1);
    all.push(("whole::check_debian_12".into(), Box::new(check_12)));
    all.push(("whole::reports".into(), Box::new(reports)));
    all
}
