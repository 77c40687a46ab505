//! The file behind a lock, `/run/kmod/gate/NAME`. Native byte order: the file never leaves the machine or the boot.
//!
//! ```text
//! offset  size  what
//!      0     4  magic "KMG1"
//!      4     4  phase: 1 a load began, 2 it ended
//!      8     8  sequence: how many loads were begun
//!     16     8  begin, ns of CLOCK_BOOTTIME
//!     24     8  end, ns of CLOCK_BOOTTIME; 0 while it runs
//!     32     8  digest of the inputs
//!     40     4  thread id of the leader
//!     44     4  errno of the result, 0 for success
//!     48     8  check: FNV-1a of bytes 0 to 47
//!     56     8  zero
//!     64     4  the bell: how often the lock was given back (system/bell.rs)
//!     68    60  zero
//!    128    64  eight counters, added to atomically through a shared map (counters.rs)
//!    192        end
//! ```
//!
//! Only a holder of the exclusive lock writes the record, in one pwrite. A record that is short, torn or foreign is
//! no record: the reader then knows nothing, and a fresh attempt is made.

use crate::error::Errno;
use std::fs::File;
use std::time::Duration;

/// The length of a gate file, in bytes.
pub const FILE_LENGTH: usize = 192;
/// Where the bell is.
pub const BELL_OFFSET: usize = 64;
/// Where the counters begin.
pub const COUNTERS_OFFSET: usize = 128;

const MAGIC: [u8; 4] = *b"KMG1";
const RECORD_LENGTH: usize = 56;
const CHECKED: usize = 48;

/// What the last leader wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Record {
    /// How many loads were begun, this one included.
    pub sequence: u64,
    /// When it began, on `CLOCK_BOOTTIME`.
    pub begin: Duration,
    /// When it ended and with which errno (0 is success); `None` while it runs or when its leader died.
    pub end: Option<(Duration, i32)>,
    /// What went into the load ([`digest`]).
    pub inputs: u64,
    /// The leader's thread id.
    pub leader: i32,
}

impl Record {
    fn to_bytes(self) -> [u8; RECORD_LENGTH] {
        let (phase, end, errno) = match self.end {
            None => (1u32, 0, 0),
            Some((end, errno)) => (2, nanoseconds(end), errno),
        };
        let mut bytes = [0; RECORD_LENGTH];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&phase.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_ne_bytes());
        bytes[16..24].copy_from_slice(&nanoseconds(self.begin).to_ne_bytes());
        bytes[24..32].copy_from_slice(&end.to_ne_bytes());
        bytes[32..40].copy_from_slice(&self.inputs.to_ne_bytes());
        bytes[40..44].copy_from_slice(&self.leader.to_ne_bytes());
        bytes[44..48].copy_from_slice(&errno.to_ne_bytes());
        let check = fnv(FNV_START, &bytes[..CHECKED]);
        bytes[48..56].copy_from_slice(&check.to_ne_bytes());
        bytes
    }

    /// The record in the first bytes of a gate file, if there is a whole one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RECORD_LENGTH] = bytes.get(..RECORD_LENGTH)?.try_into().ok()?;
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            u64::from_ne_bytes(eight)
        };
        if bytes[..4] != MAGIC || long(48) != fnv(FNV_START, &bytes[..CHECKED]) {
            return None;
        }
        let end = match word(4) {
            1 => None,
            2 => Some((Duration::from_nanos(long(24)), word(44) as i32)),
            _ => return None,
        };
        Some(Record {
            sequence: long(8),
            begin: Duration::from_nanos(long(16)),
            end,
            inputs: long(32),
            leader: word(40) as i32,
        })
    }

    /// Reads the record of an open gate file; `None` where there is none to trust.
    pub fn read(file: &File) -> Option<Self> {
        let mut bytes = [0; RECORD_LENGTH];
        let length = crate::system::file::read_at(file, &mut bytes, 0).ok()?;
        Record::parse(&bytes[..length])
    }

    /// Writes the record. The caller holds the exclusive lock. The first write also makes room for the counters.
    ///
    /// # Errors
    /// What pwrite said (`ENOSPC`, ...). The gate goes on without a record then.
    pub fn write(self, file: &File, fresh: bool) -> Result<(), Errno> {
        let record = self.to_bytes();
        let mut whole = [0; FILE_LENGTH];
        whole[..RECORD_LENGTH].copy_from_slice(&record);
        let bytes = if fresh { &whole[..] } else { &record[..] };
        let written = crate::system::file::write_at(file, bytes, 0)?;
        if written == bytes.len() { Ok(()) } else { Err(Errno::ENOSPC) }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, 64 bits. Inputs come from root's files and root's command lines only; nobody who could forge a digest
/// needs to.
fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A digest of everything that decides the result of a load: which file, as it was when it was opened, the
/// parameters, and the flags.
pub fn digest(file: &std::fs::Metadata, parameters: &[u8], flags: u32) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let numbers = [file.dev(), file.ino(), file.size(), file.mtime() as u64, file.mtime_nsec() as u64];
    let hash = numbers.iter().fold(FNV_START, |hash, number| fnv(hash, &number.to_ne_bytes()));
    fnv(fnv(hash, &flags.to_ne_bytes()), parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record {
        Record {
            sequence: 7,
            begin: Duration::from_millis(5),
            end: Some((Duration::from_millis(9), 19)),
            inputs: 42,
            leader: 4711,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Record::read(&file), None);
        for record in [sample(), Record { end: None, ..sample() }] {
            record.write(&file, true).unwrap();
            assert_eq!(Record::read(&file), Some(record));
            assert_eq!(file.metadata().unwrap().len(), FILE_LENGTH as u64);
        }
    }

    #[test]
    fn a_short_torn_or_foreign_record_is_none() {
        let bytes = sample().to_bytes();
        for length in 0..bytes.len() {
            assert_eq!(Record::parse(&bytes[..length]), None, "{length} bytes");
        }
        for position in 0..bytes.len() {
            let mut torn = bytes;
            torn[position] ^= 0x40;
            assert_eq!(Record::parse(&torn), None, "byte {position}");
        }
        assert_eq!(Record::parse(&[0; FILE_LENGTH]), None);
    }
}
