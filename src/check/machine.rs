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
use crate::system::roots::{Roots, as_path};
use memchr::memmem;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// All checks of this part.
pub(super) const CHECKS: &[Check] = &[gate_directory, gate_label, gate_switch, disabled, modprobe, udevd];

/// The gate's directory cannot be used.
fn gate_directory(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let roots = context.roots;
    findings.push(match GateDir::verify(roots) {
        Ok(()) => return,
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
            return;
        }
        Err(NoGateDir::Unavailable(errno)) => {
            Finding::error(roots.gate_parent(), format!("{errno}, so the gate is not used"))
        }
    });
}

/// Whether a small file below /sys or /proc begins with `1`.
fn is_on(path: &Path) -> bool {
    read_attribute(path, &mut [0; 4]).is_ok_and(|text| text.starts_with(b"1"))
}

/// The gate's directory has no label of its own in the SELinux policy.
fn gate_label(context: &Context<'_>, findings: &mut Vec<Finding>) {
    if !is_on(&context.roots.sys_fs.join("fs/selinux/enforce")) {
        return;
    }
    let parent = context.roots.gate_parent();
    for dir in [parent.join("gate"), parent] {
        let label = selinux_label(&dir).unwrap_or_default();
        // USER:ROLE:TYPE:LEVEL
        if matches!(label.split(|&b| b == b':').nth(2), Some(b"unlabeled_t" | b"default_t")) {
            let what = format!("labelled {}, which the policy knows no program to use", shown(&label));
            findings.push(Finding::warning(dir, what).hint("restorecon -R /run/kmod"));
        }
    }
}

/// The gate was switched off.
fn gate_switch(context: &Context<'_>, findings: &mut Vec<Finding>) {
    if !Settings::from_cmdline(&context.cmdline).enabled {
        let what = "kmod.gate= has switched the gate off";
        findings.push(Finding::warning(context.roots.cmdline(), what).hint("kmod-gate(7)"));
    }
}

/// The kernel accepts no modules.
fn disabled(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let path = context.roots.modules_disabled();
    if is_on(&path) {
        findings.push(Finding::warning(path, "no module can be loaded before the next boot"));
    }
}

/// The kernel calls no modprobe, or not this program's.
fn modprobe(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let setting = context.roots.proc_fs.join("sys/kernel/modprobe");
    // Missing in a kernel without CONFIG_MODULES.
    let Ok(path) = read_whole(&setting, 4096) else { return };
    let path = path.trim_ascii();
    if path.is_empty() {
        return findings.push(Finding::warning(setting, "the kernel calls nobody for modules"));
    }
    let program = context.roots.prefixed(as_path(path));
    let finding = if let Err(error) = std::fs::metadata(&program) {
        let why = Errno::of(&error);
        Finding::error(program, format!("the kernel calls it for modules: {why}"))
    } else if !is_same(&program, &context.roots.proc_fs.join("self/exe")) {
        Finding::warning(program, "the kernel calls it for modules, and it is another program than this kmod")
    } else {
        return;
    };
    findings.push(finding.hint("kernel.modprobe"));
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
fn udevd(context: &Context<'_>, findings: &mut Vec<Finding>) {
    let roots = context.roots;
    if rule_calls_modprobe(roots) {
        return;
    }
    let is_udevd = |pid: &i32| process::name(roots, *pid).is_some_and(|name| name == b"systemd-udevd");
    for pid in process::ids(roots).into_iter().filter(is_udevd) {
        // Only root may read it.
        let maps = read_whole(&roots.process(pid, "maps"), limits::TEXT_FILE).unwrap_or_default();
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
            let contents =
                read_whole(&roots.prefixed(as_path(library)), limits::TEXT_FILE).unwrap_or_default();
            if memmem::find(&contents, gate::MARK.as_bytes()).is_none() {
                let what =
                    format!("systemd-udevd ({pid}) loads modules by it, and it knows nothing of the gate");
                findings.push(Finding::warning(as_path(library), what).hint("kmod-gate(7)"));
            }
        }
    }
}

/// Whether the udev rules file that loads drivers (80-drivers.rules, of the first directory that has it) runs modprobe.
fn rule_calls_modprobe(roots: &Roots) -> bool {
    let dirs = roots.config_dirs("udev/rules.d").into_iter();
    let mut rules =
        dirs.filter_map(|dir| read_whole(&dir.join("80-drivers.rules"), limits::CONFIG_FILE).ok());
    let rule = rules.next().unwrap_or_default();
    rule.split(|&b| b == b'\n')
        .any(|line| !line.starts_with(b"#") && memmem::find(line, b"modprobe").is_some())
}
