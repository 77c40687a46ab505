//! The counters of one module in its gate file.

use super::record::{COUNTERS_OFFSET, FILE_LENGTH};
use crate::system::shared::SharedMap;
use std::sync::atomic::Ordering;

/// The counters of one module since boot, in this order at [`COUNTERS_OFFSET`] of the gate file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Loads that ended, well or not.
    pub loads: u64,
    /// Requests that ended because another process had loaded the module.
    pub joined: u64,
    /// Requests that ended with the errno of another process's attempt.
    pub shared: u64,
    /// Requests that reached their deadline while they waited.
    pub bounds: u64,
    /// Requests that went on without the gate's lock.
    pub fallbacks: u64,
    /// Sizes of the module files of requests that made no kernel call, in bytes.
    pub bytes_saved: u64,
    /// Time spent waiting for other processes, in nanoseconds.
    pub waited: u64,
    /// Loads that failed.
    pub failures: u64,
}

const COUNT: usize = 8;

impl Counters {
    fn fields(&mut self) -> [&mut u64; COUNT] {
        [
            &mut self.loads,
            &mut self.joined,
            &mut self.shared,
            &mut self.bounds,
            &mut self.fallbacks,
            &mut self.bytes_saved,
            &mut self.waited,
            &mut self.failures,
        ]
    }

    /// The counters in the bytes of a gate file; zero where the file is too short.
    pub fn parse(file: &[u8]) -> Self {
        let mut counters = Counters::default();
        let bytes = file.get(COUNTERS_OFFSET..FILE_LENGTH).unwrap_or(&[]);
        for (field, eight) in counters.fields().into_iter().zip(bytes.chunks_exact(8)) {
            let mut number = [0; 8];
            number.copy_from_slice(eight);
            *field = u64::from_ne_bytes(number);
        }
        counters
    }

    #[must_use]
    pub fn plus(mut self, mut other: Self) -> Self {
        for (field, more) in self.fields().into_iter().zip(other.fields()) {
            *field = field.saturating_add(*more);
        }
        self
    }

    /// Adds these amounts to the counters in a map of a gate file. Each addition is atomic, so there is no lock and nothing to
    /// repair after a crash.
    pub(crate) fn add_to(mut self, map: &SharedMap) {
        for (index, amount) in self.fields().into_iter().enumerate() {
            if let Some(counter) = map.long(COUNTERS_OFFSET + 8 * index).filter(|_| *amount > 0) {
                counter.fetch_add(*amount, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::record::Record;

    #[test]
    fn what_threads_add_adds_up() {
        let file = tempfile::NamedTempFile::new().unwrap();
        Record::default().write(file.as_file(), true).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let own = SharedMap::of(&file.reopen().unwrap(), FILE_LENGTH).unwrap();
                    for _ in 0..100 {
                        Counters { joined: 1, bytes_saved: 10, ..Counters::default() }.add_to(&own);
                    }
                });
            }
        });
        let counters = Counters::parse(&std::fs::read(file.path()).unwrap());
        assert_eq!(counters, Counters { joined: 800, bytes_saved: 8000, ..Counters::default() });
        assert_eq!(Record::read(file.as_file()), Some(Record::default()), "the record is untouched");
    }
}
