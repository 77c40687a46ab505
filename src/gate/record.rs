//! The lock file of a module, `/run/kmod/gate/NAME`. Native byte order, since no other machine or boot reads it.
//!
//! ```text
//! offset  size  what
//!      0     4  magic "KMG2"
//!      4     4  phase: 1 a load began, 2 it ended
//!      8     8  sequence: how many loads were begun
//!     16     8  begin, ns of CLOCK_BOOTTIME
//!     24     8  end, ns of CLOCK_BOOTTIME; 0 while it runs
//!     32     8  digest of the inputs
//!     40     4  thread id of the leader
//!     44     4  errno of the result as the kernel gave it, 0 for success
//!     48     4  1 if the kernel's module loader returned the errno, 0 if a step before it failed
//!     52     4  length of the module's own name, 0 if that is NAME or not known
//!     56    56  the module's own name
//!    112     8  digest of the file that the own name was read from
//!    120    16  boot id (/proc/sys/kernel/random/boot_id); zero if it could not be read
//!    136     8  check: FNV-1a of bytes 0 to 135
//!    144    16  zero
//!    160     4  futex: how often the followers were woken (system/futex.rs)
//!    164     4  zero
//!    168     8  the turn that was taken last (protocol.rs), ns of CLOCK_BOOTTIME; a wake sets it to 0
//!    176    16  zero
//!    192    64  eight counters, updated atomically through a shared map (counters.rs)
//!    256        end
//! ```
//!
//! Only the holder of the lock writes the record, in one pwrite(2). A record that is short, damaged or of another boot
//! counts as absent: the request then makes its own attempt.

use crate::error::Errno;
use crate::formats::fnv;
use crate::gate::nanoseconds;
use crate::gate::protocol::{Ended, Failure};
use crate::limits;
use crate::name::ModuleName;
use std::fs::File;
use std::time::Duration;

/// The length of a gate file, in bytes.
pub const FILE_LENGTH: usize = 256;
/// The offset of the futex.
pub(crate) const FUTEX_OFFSET: usize = 160;
/// The offset of the turn that was taken last.
pub(crate) const TURN_OFFSET: usize = 168;
/// The offset of the counters.
pub(crate) const COUNTERS_OFFSET: usize = 192;

const MAGIC: [u8; 4] = *b"KMG2";
const RECORD_LENGTH: usize = 144;
const CHECKED: usize = 136;

/// The id of a boot, 128 random bits.
pub(crate) type BootId = [u8; 16];

/// The record that the last leader wrote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// The number of loads that began, this one included.
    pub sequence: u64,
    /// When it began, on `CLOCK_BOOTTIME`.
    pub begin: Duration,
    /// When and how it ended; `None` while it runs or if its leader died.
    pub end: Option<Ended>,
    /// The [`digest`] of the load.
    pub inputs: u64,
    /// The leader's thread id.
    pub leader: i32,
    /// The module's own name if it differs from the name of the lock file, and the [`file_digest`] of the module file.
    pub own_name: Option<(ModuleName, u64)>,
    pub boot: BootId,
}

impl Record {
    fn to_bytes(&self) -> [u8; RECORD_LENGTH] {
        let (phase, end) = match self.end {
            None => (1u32, Duration::ZERO),
            Some(end) => (2, end.at),
        };
        let failure = self.end.and_then(|end| end.failure);
        let (name, file) = match &self.own_name {
            Some((name, file)) => (name.as_bytes(), *file),
            None => (&b""[..], 0),
        };
        let mut bytes = [0; RECORD_LENGTH];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&MAGIC);
        put(&phase.to_ne_bytes());
        put(&self.sequence.to_ne_bytes());
        put(&nanoseconds(self.begin).to_ne_bytes());
        put(&nanoseconds(end).to_ne_bytes());
        put(&self.inputs.to_ne_bytes());
        put(&self.leader.to_ne_bytes());
        put(&failure.map_or(0, |failure| failure.errno.number()).to_ne_bytes());
        put(&u32::from(failure.is_some_and(|failure| failure.by_kernel)).to_ne_bytes());
        put(&(name.len() as u32).to_ne_bytes());
        put(name);
        put(&[0; limits::MODULE_NAME + 1][name.len()..]);
        put(&file.to_ne_bytes());
        put(&self.boot);
        let check = fnv::update(fnv::OFFSET_BASIS, &bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&check.to_ne_bytes());
        bytes
    }

    /// The record in the first bytes of a gate file; `None` if it is short or damaged.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..RECORD_LENGTH)?;
        let mut rest = bytes;
        let mut field = |length: usize| {
            let (field, after) = rest.split_at(length);
            rest = after;
            field
        };
        let word = |field: &[u8]| field.try_into().map_or(0, u32::from_ne_bytes);
        let long = |field: &[u8]| field.try_into().map_or(0, u64::from_ne_bytes);
        if field(4) != MAGIC || long(&bytes[CHECKED..]) != fnv::update(fnv::OFFSET_BASIS, &bytes[..CHECKED]) {
            return None;
        }
        let phase = word(field(4));
        let sequence = long(field(8));
        let begin = Duration::from_nanos(long(field(8)));
        let at = Duration::from_nanos(long(field(8)));
        let inputs = long(field(8));
        let leader = word(field(4)) as i32;
        let errno = word(field(4)) as i32;
        let by_kernel = word(field(4)) == 1;
        let failure = (errno != 0).then(|| Failure { errno: Errno::new(errno), by_kernel });
        let end = match phase {
            1 => None,
            2 => Some(Ended { at, failure }),
            _ => return None,
        };
        let length = word(field(4)) as usize;
        let name = field(limits::MODULE_NAME + 1).get(..length)?;
        let file = long(field(8));
        let own_name = match name {
            [] => None,
            name => Some((ModuleName::new(name)?, file)),
        };
        let mut boot = BootId::default();
        boot.copy_from_slice(field(size_of::<BootId>()));
        Some(Record { sequence, begin, end, inputs, leader, own_name, boot })
    }

    /// Reads the record of an open gate file; `None` as in [`Record::parse`] or on a read error.
    pub fn read(file: &File) -> Option<Self> {
        let mut bytes = [0; RECORD_LENGTH];
        let length = crate::system::file::read_at(file, &mut bytes, 0).ok()?;
        Record::parse(&bytes[..length])
    }

    /// Writes the record. The caller holds the lock. `fresh`: also write the rest of the file, which the futex and the
    /// counters need.
    ///
    /// # Errors
    /// The errno of pwrite(2); `ENOSPC` for a short write.
    pub fn write(&self, file: &File, fresh: bool) -> Result<(), Errno> {
        let record = self.to_bytes();
        let mut whole = [0; FILE_LENGTH];
        whole[..RECORD_LENGTH].copy_from_slice(&record);
        let bytes = if fresh { &whole[..] } else { &record[..] };
        let written = crate::system::file::write_at(file, bytes, 0)?;
        if written == bytes.len() { Ok(()) } else { Err(Errno::ENOSPC) }
    }
}

/// Parses `/proc/sys/kernel/random/boot_id`: 32 hexadecimal digits and dashes; `None` for anything else.
pub(crate) fn boot_id(text: &[u8]) -> Option<BootId> {
    let mut digits = text.trim_ascii().iter().filter(|&&b| b != b'-').map(|&b| char::from(b).to_digit(16));
    let mut id = BootId::default();
    for byte in &mut id {
        *byte = u8::try_from(digits.next()?? << 4 | digits.next()??).ok()?;
    }
    digits.next().is_none().then_some(id)
}

/// A digest of a file's identity: device, inode, size and modification time.
pub(crate) fn file_digest(file: &std::fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let numbers = [file.dev(), file.ino(), file.size(), file.mtime() as u64, file.mtime_nsec() as u64];
    numbers.iter().fold(fnv::OFFSET_BASIS, |hash, number| fnv::update(hash, &number.to_ne_bytes()))
}

/// A digest of everything that decides the result of a load: the file ([`file_digest`]), the parameters and the flags.
pub(crate) fn digest(file: u64, parameters: &[u8], flags: u32) -> u64 {
    fnv::update(fnv::update(file, &flags.to_ne_bytes()), parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record {
        let failure = Failure { errno: Errno::new(517), by_kernel: true };
        Record {
            sequence: 7,
            begin: Duration::from_millis(5),
            end: Some(Ended { at: Duration::from_millis(9), failure: Some(failure) }),
            inputs: 42,
            leader: 4711,
            own_name: Some((ModuleName::new(b"realname").unwrap(), 99)),
            boot: [3; 16],
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Record::read(&file), None);
        let longest = ModuleName::new(&[b'a'; limits::MODULE_NAME]).unwrap();
        for record in [
            sample(),
            Record { end: None, ..sample() },
            Record { own_name: None, ..sample() },
            Record { own_name: Some((longest, 1)), ..sample() },
        ] {
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

    #[test]
    fn a_boot_id_is_thirty_two_digits() {
        let id = boot_id(b"6fd5a44b-35f4-4ad4-a9b9-6b9be13e1fe9\n").unwrap();
        assert_eq!((id[0], id[15]), (0x6f, 0xe9));
        for bad in
            ["", "6fd5a44b", "6fd5a44b-35f4-4ad4-a9b9-6b9be13e1fe9a", "xfd5a44b-35f4-4ad4-a9b9-6b9be13e1fe9"]
        {
            assert_eq!(boot_id(bad.as_bytes()), None, "{bad}");
        }
    }
}
