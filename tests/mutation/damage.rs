//! Damage, from a seed: a failure repeats.

/// xorshift64*: small, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`; 0 for an `end` of 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % (end as u64).max(1)) as usize
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Damages `bytes` in one of the ways that find bugs: single bits and bytes, numbers at the edge of what is possible, parts
/// that are missing, doubled or moved.
pub fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let length = bytes.len();
    if length == 0 {
        return;
    }
    let at = random.below(length);
    match random.below(9) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = *random.pick(b"\x00\x01\x7f\x80\xff=.*[]\\ \n\"-"),
        2..=4 => {
            let edges = [0, 1, 0x7fff_ffff, 0x8000_0000, u64::MAX, u64::MAX - 63, 1 << 32, length as u64];
            let mut number = random.pick(&edges).wrapping_add(*random.pick(&[0, 1, 8, u64::MAX]));
            if random.below(2) == 0 {
                number = number.swap_bytes();
            }
            let width = *random.pick(&[2, 4, 8]);
            let end = (at + width).min(length);
            bytes[at..end].copy_from_slice(&number.to_ne_bytes()[..end - at]);
        }
        5 => bytes.truncate(at),
        6 => {
            let end = (at + random.below(64)).min(length);
            bytes.drain(at..end);
        }
        7 => {
            let end = (at + random.below(64)).min(length);
            let part = bytes[at..end].to_vec();
            let place = random.below(length);
            bytes.splice(place..place, part);
        }
        _ => {
            let end = (at + random.below(32)).min(length);
            bytes[at..end].fill(*random.pick(&[0, 0xff, b'A']));
        }
    }
}
