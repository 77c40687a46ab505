//! Debian 13 where Debian's own policies are enforced.
//!
//! SELinux, the whole tree labelled before it boots. Beside the boot itself the kernel and an administrator ask for a few modules
//! at the same moment, four times each (`STORM`); the kernel's tracepoints count from its first moment on.
//!
//! | stage | what must hold |
//! |---|---|
//! | `stock` (with `KMOD_ONCE_FULL`) | it boots: what the others are compared with |
//! | `ours` | the kernel, udevd, systemd-modules-load and an administrator have loaded modules, each with one call, and nothing is denied to them |
//! | `without` (with `KMOD_ONCE_FULL`): our packages without their policy module | the same modules; the tools, udevd and systemd-modules-load are each denied a part of the gate, and `kmod check` says so |
//!
//! AppArmor (with `KMOD_ONCE_FULL`): modprobe, run from libvirtd's profile and from nvidia_modprobe's, gives the stock one's answers;
//! with our rules for the latter it is denied nothing that is ours.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::boot::{ASKED_FOR, Report, Start, add_script, boot};
use crate::check::{check, finds_nothing, is_ours, serves_udev};
use crate::debian::Cache;
use crate::stage::Machine;
use crate::system::{APPARMOR, SELINUX, inside, run};

/// SELinux instead of AppArmor, enforcing whatever its configuration says. Not one denial may be left out of the kernel's log.
const ENFORCING: &str = "security=selinux enforcing=1 sysctl.kernel.printk_ratelimit=0 log_buf_len=4M";

/// What counts the calls that hand the kernel a module, and the modules that it takes.
const COUNTING: &str = "trace_buf_size=8M trace_event=module:module_load,\
    syscalls:sys_enter_finit_module,syscalls:sys_exit_finit_module,syscalls:sys_enter_init_module,syscalls:sys_exit_init_module";

/// Where the policy keeps its labels.
const CONTEXTS: &str = "/etc/selinux/default/contexts/files/file_contexts";

/// What is asked for by the kernel (to mount what is mounted already) and by an administrator at the same moment.
const STORM: [&str; 3] = ["f2fs", "jfs", "nilfs2"];

const STORM_SCRIPT: &str = r#"#!/bin/sh
for module in @STORM@; do
    for _ in 1 2 3 4; do
        mount -t $module /dev/vdb /media 2>/dev/null &
        runcon unconfined_u:unconfined_r:unconfined_t:s0 sh -c "modprobe $module" &
    done
done
wait
echo "== trace"; cat /sys/kernel/tracing/trace
echo "== enforced"; cat /sys/fs/selinux/enforce; echo; ls -Zd /run/kmod
echo "== denied"; dmesg | grep 'avc: *denied'
"#;

/// Whom Debian's policy keeps from a part of the gate.
const KEPT_OUT: [&str; 3] = ["kmod_t", "systemd_modules_load_t", "udev_t"];

/// All stages with SELinux.
///
/// # Errors
/// What did not hold.
pub fn selinux(full: bool) -> Result<()> {
    let machine = Machine::new(&SELINUX);
    let kernel = machine.begin(&Cache::open()?)?;
    let root = machine.root();
    fs::write(root.join("etc/selinux/config"), "SELINUX=enforcing\nSELINUXTYPE=default\n")?;
    add_script(&root, "lab-more", &STORM_SCRIPT.replace("@STORM@", &STORM.join(" ")))?;

    let stock = if full { Some(enforcing(&machine, &kernel, "stock")?) } else { None };
    machine.add_packages()?;
    let ours = enforcing(&machine, &kernel, "ours")?;
    let usual = stock.as_ref().unwrap_or(&ours);
    check(&machine.named("ours"), &ours, usual)?;
    is_ours(&ours)?;
    serves_udev(&ours, usual)?;
    finds_nothing(&ours)?;
    each_once(&Calls::of(&ours))?;
    if !ours.section("enforced").iter().any(|line| line.contains(":kmod_gate_t:")) {
        bail!("/run/kmod has another label: {:?}", ours.section("enforced"));
    }
    let denied = denied(&ours);
    if !denied.is_empty() {
        bail!("denied: {denied:#?}");
    }
    if let Some(stock) = &stock {
        check(&machine.named("stock"), stock, stock)?;
        let remove =
            ["semodule", "--noreload", "--store", "default", "--priority", "200", "--remove", "kmod_once"];
        inside(&root, &remove)?;
        let without = enforcing(&machine, &kernel, "without")?;
        check(&machine.named("without"), &without, stock)?;
        is_denied(&without)?;
    }
    machine.end()
}

/// Labels the tree, makes an image and boots it.
fn enforcing(machine: &Machine, kernel: &Path, stage: &str) -> Result<Report> {
    let (root, what) = (machine.root(), machine.named(stage));
    image(machine)?;
    // What reports is started as the scripts of /etc/init.d are.
    let local = "/usr/local/sbin/lab-report -- system_u:object_r:initrc_exec_t:s0\n";
    fs::write(root.join(&CONTEXTS[1..]).with_extension("local"), local)?;
    // -m: the host's kernel need not know of labels. Nothing of the host's is mounted there meanwhile.
    run(Command::new("chroot").arg(&root).args(["/usr/sbin/setfiles", "-m", "-F", CONTEXTS, "/"]))?;
    let parameters = format!("{ENFORCING} {COUNTING}");
    let start = Start { kernel, initrd: "initrd", parameters: &parameters };
    let report = boot(&root, &start, &machine.work(), &what)?;
    if report.section("enforced").first().map(String::as_str) != Some("1") {
        bail!("{what}: nothing is enforced: {:?}", report.section("enforced"));
    }
    println!("distro: {what}: {}, {} kinds of denials", Calls::of(&report), denied(&report).len());
    Ok(report)
}

/// The indexes and an initramfs.
fn image(machine: &Machine) -> Result<()> {
    let (root, release) = (machine.root(), machine.release()?);
    inside(&root, &["depmod", &release])?;
    inside(&root, &["mkinitramfs", "-o", "/boot/initrd", &release]).map(drop)
}

/// What the kernel was handed from the beginning of a boot.
#[derive(Default)]
struct Calls {
    made: usize,
    /// What those returned that failed.
    failures: Vec<String>,
    /// Who handed it which module.
    taken: Vec<(String, String)>,
}

impl Calls {
    /// Reads lines like `modprobe-217 [001] ..... 4.2: module_load: xfs E`.
    fn of(report: &Report) -> Calls {
        let mut calls = Calls::default();
        for line in report.section("trace").iter().filter(|line| !line.starts_with('#')) {
            let who = line.split_whitespace().next().and_then(|first| first.rsplit_once('-'));
            if let Some((_, module)) = line.split_once(": module_load: ") {
                let module = module.split(' ').next().unwrap_or_default();
                calls.taken.push((who.unwrap_or_default().0.to_owned(), module.to_owned()));
            } else if let Some((_, value)) = line.split_once("init_module -> ") {
                calls.failures.extend((value != "0x0").then(|| value.to_owned()));
            } else if line.contains("init_module(") {
                calls.made += 1;
            }
        }
        calls
    }

    fn modules(&self) -> BTreeSet<&str> {
        self.taken.iter().map(|(_, module)| module.as_str()).collect()
    }

    /// The modules that were handed over by a program.
    fn by(&self, program: &str) -> Vec<&str> {
        let its = self.taken.iter().filter(|(who, _)| who == program);
        its.map(|(_, module)| module.as_str()).collect()
    }
}

impl std::fmt::Display for Calls {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{} calls for {} modules, {} failed", self.made, self.modules().len(), self.failures.len())
    }
}

/// Whether there was one call for each module, and each of those who ask has made some.
fn each_once(calls: &Calls) -> Result<()> {
    if calls.made != calls.modules().len() {
        bail!("{calls}: {:?}", calls.failures);
    }
    let (tools, udevd, systemd) =
        (calls.by("modprobe"), calls.by("(udev-worker)"), calls.by("systemd-modules"));
    if !tools.contains(&"xfs") || !STORM.iter().all(|module| tools.contains(module)) {
        bail!("the kernel and the administrator have loaded {tools:?}");
    }
    if udevd.is_empty() || !systemd.contains(&ASKED_FOR) {
        bail!("udevd has loaded {udevd:?}, systemd-modules-load {systemd:?}");
    }
    Ok(())
}

/// What those who load modules were denied: without the numbers that differ from boot to boot.
fn denied(report: &Report) -> BTreeSet<String> {
    let names = ["name=", "path=", "comm=", "scontext=", "tcontext=", "tclass="];
    let constant = |word: &&str| {
        names.iter().any(|name| word.starts_with(name)) || word.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    let loads = |line: &&String| {
        // Until systemd has labelled /dev, nobody may open /dev/null; modprobe takes / in its place (src/system/start.rs).
        let null = line.contains("name=\"null\"");
        let gate = line.contains(":kmod_gate_t:") || line.contains("comm=\"modprobe\"");
        let domains = KEPT_OUT.iter().any(|domain| line.contains(&format!(":{domain}:")));
        !null && (gate || domains)
    };
    let denial = |line: &String| line.split_whitespace().filter(constant).collect::<Vec<_>>().join(" ");
    report.section("denied").iter().filter(loads).map(denial).collect()
}

/// Whether it shows what the policy module is for. (That modules took more calls depends on the machine's speed.)
fn is_denied(report: &Report) -> Result<()> {
    let denied = denied(report);
    for domain in KEPT_OUT {
        if !denied.iter().any(|line| line.contains(&format!("_r:{domain}:"))) {
            bail!("{domain} is denied nothing: {denied:#?}");
        }
    }
    let found = report.section("check");
    if !found.iter().any(|line| line.starts_with("/run/kmod: ") && line.contains("the gate is not used")) {
        bail!("kmod check does not see it: {found:#?}");
    }
    Ok(())
}

/// Asks from two profiles; once more with our rules for the second, where they are.
const ASKING: &str = r#"#!/bin/sh
ask() {
    for line in "-v ipmi_devintf" "-v ipmi_devintf" "-r -v ipmi_devintf" "-v dummy" "dummy" "-n -v loop" "no_such_module"; do
        echo "$1: modprobe $line"
        # Through a pipe: the profile closes what it does not allow, as the serial port.
        said=$(aa-exec -p "$1" -- "$2" modprobe $line 2>&1)
        echo "exit status $?: $said"
    done
    # Shows whether the profile is in force: it lets no program run but kmod.
    echo "$1: true: $(aa-exec -p "$1" -- "$2" true 2>&1)"
    modprobe -r -q -a ipmi_devintf ipmi_msghandler dummy
}
answers() {
    dmesg --clear
    echo "== answers$1"; ask libvirtd env; ask nvidia_modprobe nvidia-modprobe
    echo "== denied$1"; dmesg | grep 'apparmor="DENIED"'
}
answers
rules=/usr/share/doc/kmod-once/examples/nvidia_modprobe
if [ -e $rules ]; then
    cp $rules /etc/apparmor.d/local/ && apparmor_parser -r /etc/apparmor.d/nvidia_modprobe
    answers " with rules"
fi
echo "== enforced"; grep '^libvirtd \|^nvidia_modprobe ' /sys/kernel/security/apparmor/profiles | sort
"#;

/// All stages with AppArmor.
///
/// # Errors
/// What did not hold.
pub fn apparmor() -> Result<()> {
    let machine = Machine::new(&APPARMOR);
    let cache = Cache::open()?;
    let kernel = machine.begin(&cache)?;
    let root = machine.root();
    // The two profiles alone: the others would take the emulated machine a minute or more to compile.
    let profiles = root.join("etc/apparmor.d");
    for entry in fs::read_dir(&profiles)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.file_name() != "nvidia_modprobe" {
            fs::remove_file(entry.path())?;
        }
    }
    let libvirt = cache.userland("libvirt-daemon-trixie", "trixie", &["libvirt-daemon"])?;
    fs::copy(libvirt.join("etc/apparmor.d/usr.sbin.libvirtd"), profiles.join("usr.sbin.libvirtd"))?;
    // The profile lets a program of this name run, which does what it is told, and kmod.
    fs::copy(root.join("usr/bin/env"), root.join("usr/bin/nvidia-modprobe"))?;
    add_script(&root, "lab-more", ASKING)?;

    let stage = |stage: &str| -> Result<Report> {
        image(&machine)?;
        let what = machine.named(stage);
        let parameters = "sysctl.kernel.printk_ratelimit=0 log_buf_len=4M";
        let report =
            boot(&root, &Start { kernel: &kernel, initrd: "initrd", parameters }, &machine.work(), &what)?;
        if report.section("enforced") != ["libvirtd (enforce)", "nvidia_modprobe (enforce)"] {
            bail!("{what}: not enforced: {:?}", report.section("enforced"));
        }
        Ok(report)
    };
    let stock = stage("stock")?;
    check(&machine.named("stock"), &stock, &stock)?;
    let refused =
        |line: &String| line.starts_with("nvidia_modprobe: true: ") && line.ends_with("Permission denied");
    let answers = stock.section("answers");
    if !answers.iter().any(|line| line.contains("insmod ")) || !answers.iter().any(refused) {
        bail!("the profiles are not in force, or let nothing be loaded: {answers:#?}");
    }
    machine.add_packages()?;
    let ours = stage("ours")?;
    check(&machine.named("ours"), &ours, &stock)?;
    is_ours(&ours)?;
    for found in ["answers", "answers with rules"].map(|name| ours.section(name)) {
        if found != answers {
            bail!("other answers: {found:#?}\nof the stock modprobe: {answers:#?}");
        }
    }
    // /run/kmod, which boot it is, and the lock that stands in for the gate.
    let ours_only =
        |line: &&String| ["\"/run/", "/boot_id\"", "file_lock"].iter().any(|word| line.contains(word));
    let gate = |name: &str| ours.section(name).iter().filter(ours_only).cloned().collect::<Vec<_>>();
    let (before, after) = (gate("denied"), gate("denied with rules"));
    println!("distro: AppArmor: the gate is denied {} times, {} with our rules", before.len(), after.len());
    if before.is_empty() || !after.is_empty() {
        bail!("denied without our rules: {before:#?}, and with them: {after:#?}");
    }
    machine.end()
}
