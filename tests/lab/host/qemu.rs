//! Boots a virtual machine, watches it, and ends it in time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::cache::Kernel;
use super::report::tail;
use crate::emulator::{Crashed, TCG, boots};

const PROGRAM: &str = "qemu-system-x86_64";

/// A guest that lives says something every few seconds. One that has said nothing for so long, from the start of the machine
/// on, has stopped as a whole.
pub const SILENCE: Duration = Duration::from_secs(150);

/// How the guest's instructions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// The host's processor runs them.
    Kvm,
    /// QEMU translates them, one host thread per virtual CPU.
    Tcg,
}

impl Accel {
    /// The name that is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        }
    }
}

/// One boot.
pub struct Boot<'a> {
    /// What to boot.
    pub kernel: &'a Kernel,
    /// Its initramfs.
    pub initrd: &'a Path,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// Words for the kernel command line, after the lab's own.
    pub append: String,
    /// Where `console` and `results` go.
    pub dir: PathBuf,
    /// The machine is ended after this. It should end itself before, and say why.
    pub limit: Duration,
}

impl Boot<'_> {
    fn start(&self, accel: Accel) -> Result<Child> {
        fs::create_dir_all(&self.dir).with_context(|| format!("{}", self.dir.display()))?;
        let serial = |name: &str| format!("file:{}", self.dir.join(name).display());
        let mut command = Command::new(PROGRAM);
        match accel {
            Accel::Kvm => command.args(["-accel", "kvm", "-cpu", "host"]),
            Accel::Tcg => command.args(TCG),
        };
        command
            .args(["-m", &format!("{}M", self.memory), "-smp", &self.cpus.to_string()])
            .args(["-display", "none", "-monitor", "none", "-no-reboot"])
            .args(["-serial", &serial("console"), "-serial", &serial("results")])
            .arg("-kernel")
            .arg(self.kernel.vmlinux())
            .arg("-initrd")
            .arg(self.initrd)
            .arg("-append")
            .arg(format!("console=ttyS0 quiet panic=-1 tsc=unstable nowatchdog {}", self.append))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.dir.join("qemu"))?);
        command.spawn().with_context(|| PROGRAM.to_owned())
    }

    /// Boots, waits for the machine to power itself off, and returns the guest's result lines and the boot's duration. Boots
    /// again where the emulator was to blame.
    pub fn run(&self, accel: Accel) -> Result<(String, Duration)> {
        boots(&self.dir.join("console"), || self.run_once(accel))
    }

    fn run_once(&self, accel: Accel) -> Result<(String, Duration)> {
        let begin = Instant::now();
        let mut machine = Machine(self.start(accel)?);
        let results = self.dir.join("results");
        let (mut length, mut heard) = (0, begin);
        loop {
            if let Some(status) = machine.0.try_wait()? {
                let text = String::from_utf8_lossy(&fs::read(&results)?).into_owned();
                Crashed::unless_ended(status)?;
                if !status.success() {
                    bail!("qemu ended with {status}; see {}", self.dir.join("qemu").display());
                }
                return Ok((text, begin.elapsed()));
            }
            if begin.elapsed() > self.limit {
                let console = self.dir.join("console");
                bail!(
                    "the guest was still running after {} s; see {}, which ends in:\n{}",
                    self.limit.as_secs(),
                    console.display(),
                    tail(&console)
                );
            }
            let now = fs::metadata(&results).map_or(0, |meta| meta.len());
            if now != length {
                (length, heard) = (now, Instant::now());
            }
            if heard.elapsed() > SILENCE {
                // No program in a guest keeps the one that says that it lives from being run at all.
                let text = format!("the whole guest said nothing for {} s", SILENCE.as_secs());
                return Err(Crashed(text).into());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A QEMU process that does not outlive the test.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says why no machine can be run here, if none can.
pub fn missing() -> Option<String> {
    match Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).status() {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("{PROGRAM} --version: {status}")),
        Err(e) => Some(format!("{PROGRAM}: {e}")),
    }
}

/// Finds out once per run whether KVM works: where it is only emulated, guests hang or die in their first instructions.
///
/// The verdict is kept until the host boots again, because a failed try costs seconds.
pub fn accel(kernel: &Kernel, initrd: &Path, out: &Path) -> Accel {
    static FOUND: OnceLock<Accel> = OnceLock::new();
    *FOUND.get_or_init(|| {
        if File::options().read(true).write(true).open("/dev/kvm").is_err() {
            eprintln!("lab: /dev/kvm cannot be opened: software emulation (TCG)");
            return Accel::Tcg;
        }
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let note = out.join("kvm-verdict");
        let known = fs::read_to_string(&note).unwrap_or_default();
        if let Some(verdict) = known.strip_prefix(boot_id.as_str()).filter(|_| !boot_id.is_empty()) {
            let accel = if verdict == "KVM" { Accel::Kvm } else { Accel::Tcg };
            eprintln!("lab: {} (tried before, since this host booted)", accel.name());
            return accel;
        }
        eprintln!("lab: trying KVM");
        let accel = if kvm_works(kernel, initrd, out) { Accel::Kvm } else { Accel::Tcg };
        eprintln!("lab: running guests with {}", accel.name());
        let _ = fs::write(note, boot_id + accel.name());
        accel
    })
}

/// Whether a guest under KVM says its first line within 10 seconds.
fn kvm_works(kernel: &Kernel, initrd: &Path, out: &Path) -> bool {
    let limit = Duration::from_secs(10);
    let dir = out.join("kvm-try");
    let boot = Boot {
        kernel,
        initrd,
        cpus: 2,
        memory: 2048,
        append: "LAB_SCENARIO=hello".into(),
        dir: dir.clone(),
        limit,
    };
    let Ok(child) = boot.start(Accel::Kvm) else { return false };
    let mut machine = Machine(child);
    let begin = Instant::now();
    while begin.elapsed() < limit {
        if fs::read_to_string(dir.join("results")).is_ok_and(|t| t.contains("hello")) {
            return true;
        }
        if !matches!(machine.0.try_wait(), Ok(None)) {
            return false;
        }
        thread::sleep(Duration::from_millis(50));
    }
    false
}
