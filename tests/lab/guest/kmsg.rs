//! What the kernel logs, as /dev/kmsg has it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};
use nix::libc;

/// The kernel's log from here on.
pub struct Log(File);

impl Log {
    /// What is there by now is not read.
    pub fn from_now() -> Result<Self> {
        let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0)).context("/dev/kmsg")?;
        Ok(Self(file))
    }

    /// The kinds of warnings since the last look, with their numbers. A line is `PRIORITY,SEQUENCE,TIME,FLAGS;TEXT`.
    pub fn rest(&mut self) -> Result<BTreeMap<String, usize>> {
        let mut kinds = BTreeMap::new();
        let mut buffer = [0; 8192];
        loop {
            let length = match self.0.read(&mut buffer) {
                Ok(length) => length,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(kinds),
                Err(e) => return Err(e).context("/dev/kmsg: lines were lost"),
            };
            let record = String::from_utf8_lossy(&buffer[..length]);
            let Some((head, text)) = record.split_once(';') else { continue };
            let priority: u32 = head.split(',').next().unwrap_or_default().parse()?;
            // 0 to 4: emergency to warning; above 7: not the kernel's own.
            if priority <= 4 {
                *kinds.entry(kind(text.lines().next().unwrap_or_default())).or_default() += 1;
            }
        }
    }
}

/// Whether a kind of warnings, as [`Log::rest`] names them, is that the kernel's wait for the init of a dependency ended
/// without it: after 30 s, or because the caller who inserts the module that needs it was killed.
pub fn gave_up(kind: &str) -> bool {
    kind.contains(": gave up waiting for init of module ")
}

/// How many waits for a dependency these warnings say the kernel gave up.
pub fn waits_given_up(warnings: &BTreeMap<String, usize>) -> usize {
    warnings.iter().filter(|(kind, _)| gave_up(kind)).map(|(_, count)| count).sum()
}

/// A line without what differs from one time to the next.
fn kind(line: &str) -> String {
    // Which symbols are missing, and to whom, depends on when a participant removed what has them.
    if line.contains(": Unknown symbol ") {
        return "Unknown symbol".to_owned();
    }
    let mut kind = String::new();
    for c in line.chars() {
        match c {
            '0'..='9' if kind.ends_with('#') => {}
            '0'..='9' => kind.push('#'),
            c => kind.push(c),
        }
    }
    kind
}
