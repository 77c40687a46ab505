//! The fingerprint of a world. Worlds with equal futures have equal fingerprints.
//!
//! Only the order of times matters, so each time is replaced by its rank among all times of the world. Of a futex it matters
//! whether it changed since it was read; of a small counter (sleeps at one lock), whether it is 0, 1 or more. Participants with
//! equal plans can be exchanged. The machine's fields are private, so this reads them through its `Hash`.

use crate::world::TIME_ZERO;
use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::time::Duration;

/// The thread id of the first participant, the least number that stands for one.
pub const FIRST_ID: i32 = 1_000_000;

#[derive(Default)]
pub struct Canon {
    words: Vec<u64>,
    /// Small numbers that are packed into the next word, and their number.
    packed: (u64, u64),
    /// Each time in seconds and nanoseconds, and the index of its word.
    times: Vec<(u64, u32, usize)>,
    /// Each participant that a word names, and the index of the word.
    people: Vec<(usize, usize)>,
    /// For each participant its group, whose members can be exchanged, and the range of its words.
    groups: Vec<(usize, Range<usize>)>,
    /// Group, digest and index of each participant, sorted.
    order: Vec<(usize, u64, usize)>,
    seconds: Option<u64>,
    /// The futex value that the next `u32`s are compared with.
    pub futex: u32,
}

impl Hasher for Canon {
    /// A `Duration` is hashed as seconds and nanoseconds. Times of the world's clock are those of [`TIME_ZERO`] and later.
    fn write_u64(&mut self, value: u64) {
        self.seconds = Some(value);
        if value < TIME_ZERO.as_secs() {
            self.large(value);
        }
    }

    fn write_u32(&mut self, value: u32) {
        match self.seconds.take() {
            Some(seconds) if seconds >= TIME_ZERO.as_secs() => {
                self.flush();
                self.times.push((seconds, value, self.words.len()));
                self.words.push(0);
            }
            Some(_) => self.large(value.into()),
            None => self.small((value != self.futex).into()),
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.small(value.min(2).into());
    }

    /// An errno or the thread id of a participant.
    fn write_i32(&mut self, value: i32) {
        self.seconds = None;
        self.large(value as u64);
        if value >= FIRST_ID {
            self.people.push(((value - FIRST_ID) as usize, self.words.len() - 1));
        }
    }

    /// The discriminant of an enumeration.
    fn write_isize(&mut self, value: isize) {
        self.small(value as u64);
    }

    fn write_usize(&mut self, value: usize) {
        self.seconds = None;
        self.large(value as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        unreachable!("{bytes:?}: of no type that the machine has");
    }

    fn finish(&self) -> u64 {
        mix(&self.words, 0)
    }
}

/// Folded multiplication, as in wyhash.
fn mix(words: &[u64], seed: u64) -> u64 {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    for word in words {
        let product = u128::from(state ^ word.wrapping_mul(0xff51_afd7_ed55_8ccd)) * 0xe703_7ed1_a0b4_28db;
        state = (product as u64) ^ ((product >> 64) as u64) ^ 0x2545_f491_4f6c_dd1d;
    }
    state ^= state >> 33;
    state = state.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    state ^ (state >> 29)
}

impl Canon {
    fn small(&mut self, value: u64) {
        debug_assert!(value < 256);
        self.seconds = None;
        self.packed = (self.packed.0 << 8 | value, self.packed.1 + 1);
        if self.packed.1 == 7 {
            self.flush();
        }
    }

    fn large(&mut self, value: u64) {
        self.flush();
        self.words.push(value);
    }

    fn flush(&mut self) {
        let (packed, count) = std::mem::take(&mut self.packed);
        if count > 0 {
            self.words.push(packed | count << 56);
        }
    }

    /// Hashes the next participant.
    pub fn person(&mut self, group: usize, feed: impl FnOnce(&mut Canon)) {
        self.flush();
        let start = self.words.len();
        feed(self);
        self.flush();
        self.groups.push((group, start..self.words.len()));
    }

    /// The digest of all words. The members of a group are sorted by their own digests, and a word that names a participant
    /// counts as its index in that order.
    fn sum(&mut self) -> u64 {
        for (_, place) in &self.people {
            self.words[*place] = u64::MAX;
        }
        let all = self.groups.first().map_or(self.words.len(), |(_, range)| range.start);
        self.order.clear();
        for (index, (group, range)) in self.groups.iter().enumerate() {
            self.order.push((*group, mix(&self.words[range.clone()], 0), index));
        }
        self.order.sort_unstable();
        let mut sum = mix(&self.words[..all], 0);
        let place_of = |person: usize| self.order.iter().position(|(_, _, index)| *index == person);
        let mentions = |range: Range<usize>, sum: u64| {
            let mentioned = self.people.iter().filter(|(_, place)| range.contains(place));
            mentioned.fold(sum, |sum, (person, _)| mix(&[place_of(*person).unwrap_or(99) as u64], sum))
        };
        sum = mentions(0..all, sum);
        for (_, digest, index) in &self.order {
            sum = mentions(self.groups[*index].1.clone(), mix(&[*digest], sum));
        }
        sum
    }

    fn rank(&mut self) {
        self.times.sort_unstable();
        let mut rank = 0;
        let mut last = (0, 0);
        for (seconds, nanoseconds, place) in &self.times {
            if last != (*seconds, *nanoseconds) {
                rank += 1;
                last = (*seconds, *nanoseconds);
            }
            self.words[*place] = rank | 1 << 40;
        }
    }
}

thread_local! {
    static CANON: RefCell<Canon> = RefCell::default();
}

/// The fingerprint of everything that `feed` hashes.
pub fn fingerprint(feed: impl FnOnce(&mut Canon)) -> u64 {
    CANON.with_borrow_mut(|canon| {
        canon.words.clear();
        canon.times.clear();
        canon.people.clear();
        canon.groups.clear();
        canon.seconds = None;
        feed(canon);
        canon.flush();
        canon.rank();
        canon.sum()
    })
}

/// Checks that the standard library still hashes a `Duration` as this file assumes.
pub fn check() {
    let print = |times: [u64; 3]| {
        let times = times.map(|ns| TIME_ZERO + Duration::from_nanos(ns));
        fingerprint(|canon| times.hash(canon))
    };
    assert_eq!(print([1, 5, 9]), print([2, 3, 4]));
    assert_eq!(print([1, 5, 1]), print([2, 3, 2]));
    assert_ne!(print([1, 5, 9]), print([1, 5, 5]));
    assert_ne!(print([1, 5, 9]), print([5, 1, 9]));
}
