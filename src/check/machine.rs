//! The running machine: the gate, and which program and library load its modules.

use super::finding::shown;
use super::{Check, Context, Finding};
use crate::error::Errno;
use crate::gate;
use crate::gate::dir::{GateDir, NoGateDir};
use crate::gate::settings::Settings;
use crate::limits;
use crate::system::file::{read_attribute, read_whole, selinux_label};
use crate::system::process;
use crate::system::roots::as_path;
use memchr::memmem;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// All checks of this part.
pub(super) const CHECKS: &[Check] = &[gate_directory, gate_label, gate_switch, disabled, modprobe, udevd];

/// The gate's directory cannot be used.
fn gate_directory(context: &Context<'_>) -> Vec<Finding> {
    let roots = context.system.roots;
    let finding = match GateDir::verify(roots) {
        Ok(()) => return Vec::new(),
        Err(NoGateDir::Distrusted(path, why)) => {
            Finding::error(path, format!("{why}, so the gate is not used"))
                .hint("remove it, the next load makes it anew")
        }
        Err(NoGateDir::OnDisk) => {
            let what = "not a file system in memory that is mounted for itself, so the gate is not used";
            Finding::warning(&roots.run, what).hint("kmod-gate(7)")
        }
        // Only root can read it.
        Err(NoGateDir::Unavailable(Errno::EACCES | Errno::EPERM)) if !nix::unistd::geteuid().is_root() => {
            return Vec::new();
        }
        Err(NoGateDir::Unavailable(errno)) => {
            Finding::error(roots.gate_parent(), format!("{errno}, so the gate is not used"))
        }
    };
    vec![finding]
}

/// The gate's directory has no label of its own in the SELinux policy.
fn gate_label(context: &Context<'_>) -> Vec<Finding> {
    let roots = context.system.roots;
    let mut buffer = [0; 4];
    if read_attribute(&roots.sys_fs.join("fs/selinux/enforce"), &mut buffer) != Ok(b"1") {
        return Vec::new();
    }
    let dirs = [roots.gate_parent(), roots.gate_parent().join("gate")];
    let labelled = dirs.iter().filter_map(|dir| Some((dir, selinux_label(dir)?)));
    labelled
        // USER:ROLE:TYPE:LEVEL
        .filter(|(_, label)| {
            let kind = label.split(|&b| b == b':').nth(2).unwrap_or_default();
            matches!(kind, b"unlabeled_t" | b"default_t")
        })
        .map(|(dir, label)| {
            let what = format!("labelled {}, which the policy knows no program to use", shown(&label));
            Finding::warning(dir, what).hint("restorecon -R /run/kmod")
        })
        .collect()
}

/// The gate was switched off.
fn gate_switch(context: &Context<'_>) -> Vec<Finding> {
    let cmdline = context.system.roots.cmdline();
    let text = read_whole(&cmdline, limits::CMDLINE_FILE).unwrap_or_default();
    if Settings::from_cmdline(&text).enabled {
        return Vec::new();
    }
    vec![Finding::warning(cmdline, "kmod.gate= has switched the gate off").hint("kmod-gate(7)")]
}

/// The kernel accepts no modules.
fn disabled(context: &Context<'_>) -> Vec<Finding> {
    let path = context.system.roots.modules_disabled();
    let mut buffer = [0; 4];
    if read_attribute(&path, &mut buffer).is_ok_and(|text| text.starts_with(b"1")) {
        return vec![Finding::warning(path, "no module can be loaded before the next boot")];
    }
    Vec::new()
}

/// The kernel calls no modprobe, or not this program's.
fn modprobe(context: &Context<'_>) -> Vec<Finding> {
    let setting = context.system.roots.proc_fs.join("sys/kernel/modprobe");
    // Missing in a kernel without CONFIG_MODULES.
    let Ok(path) = read_whole(&setting, 4096) else { return Vec::new() };
    let path = path.trim_ascii();
    if path.is_empty() {
        return vec![Finding::warning(setting, "the kernel calls nobody for modules")];
    }
    let program = context.system.roots.prefixed(as_path(path));
    if let Err(error) = std::fs::metadata(&program) {
        let why = Errno::of(&error).to_string();
        return vec![
            Finding::error(program, format!("the kernel calls it for modules: {why}"))
                .hint("kernel.modprobe"),
        ];
    }
    if is_same(&program, &context.system.roots.proc_fs.join("self/exe")) {
        return Vec::new();
    }
    let what = "the kernel calls it for modules, and it is another program than this kmod";
    vec![Finding::warning(program, what).hint("kernel.modprobe")]
}

/// Whether two paths lead to one file, or to copies of it.
fn is_same(one: &Path, other: &Path) -> bool {
    let (Ok(a), Ok(b)) = (std::fs::metadata(one), std::fs::metadata(other)) else { return false };
    if (a.dev(), a.ino()) == (b.dev(), b.ino()) {
        return true;
    }
    let read = |path| read_whole(path, limits::TEXT_FILE);
    a.len() == b.len() && matches!((read(one), read(other)), (Ok(a), Ok(b)) if a == b)
}

/// udevd uses a libkmod without the gate, or one that was replaced since udevd started. If a udev rule calls modprobe
/// instead, udevd's library does not matter.
fn udevd(context: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if rule_calls_modprobe(context) {
        return findings;
    }
    let is_udevd =
        |pid: &i32| process::name(context.system.roots, *pid).is_some_and(|name| name == b"systemd-udevd");
    for pid in process::ids(context.system.roots).into_iter().filter(is_udevd) {
        // Only root may read it.
        let maps =
            read_whole(&context.system.roots.process(pid, "maps"), limits::TEXT_FILE).unwrap_or_default();
        // ADDRESS PERMISSIONS OFFSET DEVICE INODE     PATH
        let paths =
            maps.split(|&b| b == b'\n').filter_map(|line| line.get(line.iter().position(|&b| b == b'/')?..));
        let libraries: BTreeSet<&[u8]> =
            paths.filter(|path| memmem::find(path, b"/libkmod.so").is_some()).collect();
        for library in libraries {
            if let Some(gone) = library.strip_suffix(b" (deleted)") {
                let what = format!("systemd-udevd ({pid}) still has the one mapped that was here before");
                findings.push(Finding::warning(as_path(gone), what).hint("systemctl restart systemd-udevd"));
                continue;
            }
            let contents = read_whole(&context.system.roots.prefixed(as_path(library)), limits::TEXT_FILE)
                .unwrap_or_default();
            if memmem::find(&contents, gate::MARK.as_bytes()).is_none() {
                let what =
                    format!("systemd-udevd ({pid}) loads modules by it, and it knows nothing of the gate");
                findings.push(Finding::warning(as_path(library), what).hint("kmod-gate(7)"));
            }
        }
    }
    findings
}

/// Whether the udev rules file that loads drivers (80-drivers.rules, of the first directory that has it) runs modprobe.
fn rule_calls_modprobe(context: &Context<'_>) -> bool {
    let dirs = context.system.roots.config_dirs("udev/rules.d").into_iter();
    let mut rules =
        dirs.filter_map(|dir| read_whole(&dir.join("80-drivers.rules"), limits::CONFIG_FILE).ok());
    let rule = rules.next().unwrap_or_default();
    rule.split(|&b| b == b'\n')
        .any(|line| !line.starts_with(b"#") && memmem::find(line, b"modprobe").is_some())
}
