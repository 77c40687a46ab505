//! The emulator: how it is started, and what it gets wrong and no guest does: such a boot is made again, and it is said.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

/// A machine whose processors are emulated, each by a thread. Without the two features by which a kernel copies with `rep movsb`,
/// as is best on what they stand for: QEMU goes byte by byte then, and a guest unpacks its initramfs in twice the time.
pub const TCG: [&str; 4] = ["-accel", "tcg,thread=multi", "-cpu", "max,-erms,-fsrm"];

/// How often a machine is started at the most.
const TRIES: u32 = 3;

/// Boots, and boots again where the emulator was to blame; the `console` of such a boot is kept, with a number.
pub fn boots<T>(console: &Path, mut boot: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    for attempt in 1..TRIES {
        let ended = boot();
        if !to_blame(&ended, console) {
            return ended;
        }
        // If it got so far as to have one.
        let _ = std::fs::rename(console, format!("{}.{attempt}", console.display()));
    }
    boot()
}

/// The emulator stopped working, and how.
#[derive(Debug)]
pub struct Crashed(pub String);

impl Crashed {
    /// Nothing, unless QEMU was killed by a signal, which nobody sends.
    ///
    /// # Errors
    /// It was.
    pub fn unless_ended(status: ExitStatus) -> Result<(), Crashed> {
        match status.signal() {
            Some(_) => Err(Crashed(format!("qemu crashed: {status}"))),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Crashed {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for Crashed {}

/// Whether the emulator is to blame for how a boot ended, and says so if it is. (A double fault: seen right after
/// `cmpxchg16b` in the kernel's allocator, EFLAGS being another register's value. No program can bring a kernel to that.)
fn to_blame<T>(ended: &anyhow::Result<T>, console: &Path) -> bool {
    let said = String::from_utf8_lossy(&std::fs::read(console).unwrap_or_default()).into_owned();
    let why = match ended {
        Err(problem) if problem.is::<Crashed>() => problem.to_string(),
        _ if tripped(&said) => "it tripped over the kernel's patching of itself".to_owned(),
        _ if said.contains("PANIC: double fault") => "the flags of the processor were wrong".to_owned(),
        _ => return false,
    };
    eprintln!("THE EMULATOR IS TO BLAME ({why}) for the boot of {}", console.display());
    true
}

/// The kernel puts a breakpoint (`int3`) in front of an instruction that it changes, and with many processors emulated by as many
/// threads, one now and then takes the breakpoint after the kernel has forgotten it. Nothing else in a guest of ours makes that
/// trap in kernel mode.
fn tripped(console: &str) -> bool {
    console.contains("Oops: int3:") || console.contains("int3: 0000 [#1]")
}
