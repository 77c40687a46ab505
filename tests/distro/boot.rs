//! One boot: a root directory becomes a disk, QEMU starts it, and the system says on its second serial port how it is.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::emulator::{Crashed, TCG, boots};
use crate::system::run;

/// What a system said of itself.
#[derive(Debug, Clone, Default)]
pub struct Report {
    sections: Vec<(String, Vec<String>)>,
}

/// The unit that reports when all else is started, and ends the machine.
const UNIT: &str = "[Unit]\nDescription=Report to the lab\nAfter=multi-user.target\n\
    [Service]\nType=oneshot\nExecStart=/usr/local/sbin/lab-report\n[Install]\nWantedBy=multi-user.target\n";

const SCRIPT: &str = r#"#!/bin/sh
exec >/dev/ttyS1 2>&1
udevadm settle --timeout=120
if [ -x /usr/local/sbin/lab-more ]; then lab-more; fi
echo "== failed"; systemctl --failed --no-legend --plain | cut -d' ' -f1
echo "== target"; systemctl is-active multi-user.target
echo "== mounts"; cut -d' ' -f1-3 /proc/mounts
echo "== modules"; cut -d' ' -f1 /proc/modules
echo "== lspci"; lspci -k
echo "== version"; modprobe --version; modprobe --help
echo "== stats"; kmod stats --json
echo "== check"; kmod check
echo "== blame"; kmod blame
echo "== plot"; kmod plot
if [ -d /var/lib/dkms/lab-slow ]; then
    echo "== dkms"; dkms status; modinfo -n lab_slow
    modprobe lab_slow; echo "loaded: $(cat /sys/module/lab_slow/initstate)"
fi
echo "== udevd"; sha256sum $(grep -oh '/[^ ]*libkmod[^ ]*' /proc/$(pidof -s systemd-udevd)/maps | sort -u)
echo "== journal"; journalctl -b -p warning --no-pager -q | tail -n 60
echo "== end"
systemctl --force --force poweroff
"#;

/// What no device wants, so that it is there only if systemd-modules-load has loaded it.
pub const ASKED_FOR: &str = "nlmon";

/// systemd gives a device 90 s to appear, and an emulated machine on a busy host needs more now and then.
const FSTAB: &str = "/dev/vda / ext4 rw,x-systemd.device-timeout=540 0 1\n\
    /dev/vdb /mnt xfs defaults,x-systemd.device-timeout=540 0 0\n";

const PARAMETERS: &str = "root=/dev/vda rw console=ttyS0 panic=-1 tsc=unstable nowatchdog systemd.default_timeout_start_sec=540 kmod.gate_trace=1";

/// How long a boot may take before it counts as hung, all emulated and on a busy host.
const LIMIT: Duration = Duration::from_secs(900);

/// Puts what reports into a root directory, and what it mounts.
///
/// # Errors
/// A file cannot be written.
pub fn prepare(root: &Path) -> Result<()> {
    let units = root.join("etc/systemd/system");
    fs::create_dir_all(units.join("multi-user.target.wants"))?;
    fs::write(units.join("lab-report.service"), UNIT)?;
    let link = units.join("multi-user.target.wants/lab-report.service");
    std::os::unix::fs::symlink("../lab-report.service", link)?;
    add_script(root, "lab-report", SCRIPT)?;
    fs::write(root.join("etc/fstab"), FSTAB)?;
    fs::write(root.join("etc/hostname"), "lab\n")?;
    fs::create_dir_all(root.join("etc/modules-load.d"))?;
    fs::write(root.join("etc/modules-load.d/lab.conf"), format!("{ASKED_FOR}\n"))?;
    Ok(())
}

/// Puts a script where the system finds it. It runs one called `lab-more` before it reports, if there is one.
///
/// # Errors
/// It cannot be written.
pub fn add_script(root: &Path, name: &str, text: &str) -> Result<()> {
    let file = root.join("usr/local/sbin").join(name);
    fs::write(&file, text)?;
    Ok(fs::set_permissions(&file, Permissions::from_mode(0o755))?)
}

/// What a machine is started with.
pub struct Start<'a> {
    /// The kernel's image.
    pub kernel: &'a Path,
    /// The name under /boot of the initramfs.
    pub initrd: &'a str,
    /// What the kernel is told more than where its disk is.
    pub parameters: &'a str,
}

/// Boots `root`; `work` is where the disks and the console go.
///
/// # Errors
/// It did not come to the point where it reports, in time; the message shows the end of its console.
pub fn boot(root: &Path, start: &Start, work: &Path, what: &str) -> Result<Report> {
    fs::create_dir_all(work)?;
    let name = what.replace(['/', ' '], "-");
    let (console, report) = (work.join(format!("{name}.console")), work.join(format!("{name}.report")));
    boots(&console, || boot_once(root, start, work, (what, &console, &report)))
}

fn boot_once(
    root: &Path,
    start: &Start,
    work: &Path,
    (what, console, report): (&str, &Path, &Path),
) -> Result<Report> {
    let (disk, other) = (work.join("root.img"), work.join("other.img"));
    for (file, size) in [(&disk, 3 << 30), (&other, 320 << 20)] {
        let _ = fs::remove_file(file);
        File::create(file)?.set_len(size)?;
    }
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-d"]).arg(root).arg(&disk))?;
    run(Command::new("mkfs.xfs").arg("-q").arg(&other))?;
    let drive = |file: &Path| format!("file={},format=raw,if=virtio,snapshot=on", file.display());
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(TCG)
        .args(["-m", "2048", "-smp", "2"])
        .args(["-display", "none", "-monitor", "none", "-no-reboot", "-net", "none"])
        .args(["-serial", &format!("file:{}", console.display())])
        .args(["-serial", &format!("file:{}", report.display())])
        .args(["-drive", &drive(&disk), "-drive", &drive(&other)])
        .arg("-kernel")
        .arg(start.kernel)
        .arg("-initrd")
        .arg(root.join("boot").join(start.initrd))
        .args(["-append", &format!("{PARAMETERS} {}", start.parameters)])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let begin = Instant::now();
    let mut machine = Qemu(command.spawn().context("qemu-system-x86_64")?);
    let status = loop {
        if let Some(status) = machine.0.try_wait()? {
            break status;
        }
        if begin.elapsed() > LIMIT {
            bail!("{what}: still running after {} s:\n{}", LIMIT.as_secs(), tail(console));
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    Crashed::unless_ended(status)?;
    let text = String::from_utf8_lossy(&fs::read(report)?).replace('\r', "");
    if !text.contains("== end\n") {
        bail!("{what}: it did not come to its report:\n{}", tail(console));
    }
    println!("distro: {what}: booted and reported after {:.0} s", begin.elapsed().as_secs_f64());
    Ok(Report::parse(&text))
}

struct Qemu(std::process::Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tail(console: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(console).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

impl Report {
    fn parse(text: &str) -> Report {
        let mut sections: Vec<(String, Vec<String>)> = Vec::new();
        for line in text.lines() {
            match (line.strip_prefix("== "), sections.last_mut()) {
                (Some(name), _) => sections.push((name.to_owned(), Vec::new())),
                (None, Some((_, lines))) => lines.push(line.to_owned()),
                (None, None) => {}
            }
        }
        Report { sections }
    }

    /// The lines of one section.
    pub fn section(&self, name: &str) -> &[String] {
        self.sections.iter().find(|(found, _)| found == name).map_or(&[], |(_, lines)| lines)
    }

    /// The lines of one section as a set.
    pub fn set(&self, name: &str) -> BTreeSet<&str> {
        self.section(name).iter().map(String::as_str).filter(|line| !line.is_empty()).collect()
    }
}
