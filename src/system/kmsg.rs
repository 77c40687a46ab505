//! Reads the kernel's log from /dev/kmsg.

use super::file;
use super::roots::Roots;
use crate::error::Errno;
use nix::unistd::{Whence, lseek, read};
use std::fs::File;

/// An open /dev/kmsg.
pub(crate) struct KmsgReader(File);

impl KmsgReader {
    /// Opens the log at its oldest record.
    ///
    /// # Errors
    /// The errno of open(2): `EPERM` if only root may read the log, `ENOENT` without a /dev.
    pub(crate) fn whole(roots: &Roots) -> Result<Self, Errno> {
        file::open(&roots.kernel_log()).map(KmsgReader).map_err(|error| error.errno())
    }

    /// Opens the log at its end, to read later records.
    ///
    /// # Errors
    /// As [`KmsgReader::whole`], and the errno of lseek(2).
    pub(crate) fn from_now(roots: &Roots) -> Result<Self, Errno> {
        let log = KmsgReader::whole(roots)?;
        lseek(&log.0, 0, Whence::SeekEnd)?;
        Ok(log)
    }

    /// The records up to now that were not read yet, oldest first, in the format of `formats::kmsg`.
    pub(crate) fn read(&self) -> Vec<u8> {
        // Each read returns one record. EINVAL: the record does not fit the buffer.
        let mut buffer = [0; 16 << 10];
        let mut found = Vec::new();
        let mut overtaken = 0;
        loop {
            match Errno::uninterrupted(|| read(&self.0, &mut buffer)) {
                Ok(0) => return found,
                Ok(length) => found.extend_from_slice(&buffer[..length]),
                // Records were overwritten before they were read. The next read returns the oldest one left.
                Err(Errno::EPIPE) if overtaken < 1000 => overtaken += 1,
                // EAGAIN: there are no more records.
                Err(_) => return found,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_from_now_on_is_read_alone() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::below(dir.path());
        assert_eq!(KmsgReader::whole(&roots).err(), Some(Errno::ENOENT));
        std::fs::create_dir(&roots.dev).unwrap();
        std::fs::write(roots.kernel_log(), "6,1,1,-;old\n").unwrap();
        let (whole, new) = (KmsgReader::whole(&roots).unwrap(), KmsgReader::from_now(&roots).unwrap());
        let mut file = std::fs::OpenOptions::new().append(true).open(roots.kernel_log()).unwrap();
        std::io::Write::write_all(&mut file, b"6,2,2,-;new\n").unwrap();
        let texts = |log: &KmsgReader| String::from_utf8(log.read()).unwrap();
        assert_eq!(texts(&whole), "6,1,1,-;old\n6,2,2,-;new\n");
        assert_eq!(texts(&new), "6,2,2,-;new\n");
    }
}
