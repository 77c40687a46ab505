//! DKMS with our tools in place: it builds a small module against the kernel's headers and installs it, for which it calls
//! depmod; after the boot modprobe finds it by its name.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::boot::Report;
use crate::debian::Cache;
use crate::system::{inside, run};

/// The module, one of the lab's helpers.
const SOURCE: &str = include_str!("../lab/modules/lab_slow.c");
const KBUILD: &str = "obj-m := lab_slow.o\n";
/// The headers name the compiler that the kernel was built with; a release may have another. BTF would need pahole.
const CONFIG: &str = r#"PACKAGE_NAME="lab-slow"
PACKAGE_VERSION="1"
BUILT_MODULE_NAME[0]="lab_slow"
DEST_MODULE_LOCATION[0]="/updates/dkms"
MAKE[0]="make -C $kernel_source_dir M=$dkms_tree/lab-slow/1/build CC=gcc CONFIG_DEBUG_INFO_BTF_MODULES= modules"
CLEAN="true"
"#;

/// Puts the headers of a kernel where its package would.
///
/// # Errors
/// They cannot be had.
pub fn headers(cache: &Cache, root: &Path, release: &str) -> Result<()> {
    let unpacked = cache.headers(release)?;
    for (from, to) in [("usr", "usr"), ("lib", "usr/lib")] {
        if unpacked.join(from).is_dir() {
            let mut copy = Command::new("cp");
            run(copy.args(["-a", "--reflink=auto"]).arg(unpacked.join(from).join(".")).arg(root.join(to)))?;
        }
    }
    let build = root.join("usr/lib/modules").join(release).join("build");
    let to = fs::read_link(&build).with_context(|| format!("the headers leave no {}", build.display()))?;
    if !root.join(to.strip_prefix("/").unwrap_or(&to)).is_dir() {
        bail!("{} leads to no directory: {}", build.display(), to.display());
    }
    Ok(())
}

/// Adds, builds and installs the module, and looks at what depmod made of it; it must be `depmod` that ran.
///
/// # Errors
/// What dkms said, or what is missing afterwards.
pub fn install(root: &Path, release: &str, depmod: &Path) -> Result<()> {
    let source = root.join("usr/src/lab-slow-1");
    fs::create_dir_all(&source)?;
    for (name, text) in [("lab_slow.c", SOURCE), ("Kbuild", KBUILD), ("dkms.conf", CONFIG)] {
        fs::write(source.join(name), text)?;
    }
    let called = inside(root, &["readlink", "-f", "/usr/sbin/depmod"])?;
    if fs::read(root.join(called.trim().trim_start_matches('/')))? != fs::read(depmod)? {
        bail!("/usr/sbin/depmod is not {}: {called}", depmod.display());
    }
    let indexes = root.join("usr/lib/modules").join(release);
    // If dkms did not call depmod, there would be none. Without modules.dep it does not.
    let lists = ["modules.dep.bin", "modules.symbols", "modules.symbols.bin"];
    for name in lists {
        fs::remove_file(indexes.join(name)).with_context(|| name.to_owned())?;
    }
    inside(root, &["dkms", "install", "-m", "lab-slow", "-v", "1", "-k", release])?;
    let found = fs::read_to_string(indexes.join("modules.dep")).context("dkms has called no depmod")?;
    let entry = found.lines().find(|line| line.starts_with("updates/dkms/lab_slow.ko"));
    let symbol = fs::read_to_string(indexes.join("modules.symbols"))?;
    if entry.is_none() || !symbol.contains("alias symbol:lab_slow_answer lab_slow\n") {
        bail!("modules.dep has {entry:?} of {} lines; the symbol is not listed", found.lines().count());
    }
    if let Some(missing) = lists.iter().find(|name| !indexes.join(name).exists()) {
        bail!("no {missing} after dkms install");
    }
    Ok(())
}

/// Takes the module away again, which calls depmod too.
///
/// # Errors
/// What dkms said, or that something is left.
pub fn remove(root: &Path, release: &str) -> Result<()> {
    inside(root, &["dkms", "remove", "-m", "lab-slow", "-v", "1", "--all"])?;
    fs::remove_dir_all(root.join("usr/src/lab-slow-1"))?;
    let dir = root.join("usr/lib/modules").join(release);
    if fs::read_to_string(dir.join("modules.dep"))?.contains("lab_slow") {
        bail!("lab_slow is still in modules.dep");
    }
    Ok(())
}

/// Whether the booted system knew the module and loaded it.
///
/// # Errors
/// What it said instead.
pub fn check(report: &Report) -> Result<()> {
    let said = report.section("dkms");
    let is = |wanted: &dyn Fn(&str) -> bool| said.iter().any(|line| wanted(line));
    let installed = |line: &str| line.contains("lab-slow") && line.ends_with("installed");
    let file = |line: &str| line.contains("/updates/dkms/lab_slow.ko");
    if !is(&installed) || !is(&file) || !is(&|line| line == "loaded: live") {
        bail!("the module of dkms: {said:?}");
    }
    println!("distro: dkms: {}", said.join("; "));
    Ok(())
}
