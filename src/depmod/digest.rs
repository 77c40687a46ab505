//! The digest that identifies a file's content from one run to the next: its length and a 128-bit hash. Two different
//! contents have one digest with a probability of 2^-128, unless they were constructed for it. The hash is not
//! cryptographic: those who can write module files need no collision.

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    pub length: u64,
    /// The hash.
    pub mixed: [u64; 2],
}

/// Constants without a pattern: digits of pi.
const DIGITS: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

impl Digest {
    pub fn of(content: &[u8]) -> Digest {
        let mut lanes = [DIGITS[0], DIGITS[1]];
        let (blocks, rest) = content.split_at(content.len() & !31);
        blocks.chunks_exact(32).for_each(|block| add(&mut lanes, block));
        let mut last = [0; 32];
        last[..rest.len()].copy_from_slice(rest);
        add(&mut lanes, &last);
        // Each half of the result depends on both lanes.
        let length = content.len() as u64;
        let mixed = [mix(lanes[0] ^ length, lanes[1]), mix(lanes[1] ^ DIGITS[2], lanes[0] ^ length)];
        Digest { length, mixed }
    }
}

fn add(lanes: &mut [u64; 2], block: &[u8]) {
    let word = |at: usize| block[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    lanes[0] = mix(word(0) ^ DIGITS[2], word(8) ^ lanes[0]);
    lanes[1] = mix(word(16) ^ DIGITS[3], word(24) ^ lanes[1]);
}

/// Both halves of the product, and the factors: a factor of 0 must not hide the other one.
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    a ^ b ^ product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_bit_and_the_length_count() {
        let content: Vec<u8> = (1..=200).collect();
        let mut seen = HashSet::from([Digest::of(&content)]);
        for bit in 0..content.len() * 8 {
            let mut other = content.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(seen.insert(Digest::of(&other)), "bit {bit}");
        }
        for length in 0..content.len() {
            assert!(seen.insert(Digest::of(&content[..length])), "{length} bytes");
        }
        // Zeros at the end, and nothing but zeros.
        for length in 1..200 {
            assert!(seen.insert(Digest::of(&vec![0; length])), "{length} zeros");
        }
    }

    #[test]
    fn places_count() {
        let mut seen = HashSet::new();
        for (from, to) in (0..16).flat_map(|from| (0..16).map(move |to| (from, to))) {
            let mut content: Vec<u64> = (1..=16).collect();
            content.swap(from, to);
            let bytes: Vec<u8> = content.iter().flat_map(|word| word.to_le_bytes()).collect();
            seen.insert(Digest::of(&bytes));
        }
        assert_eq!(seen.len(), 16 * 15 / 2 + 1);
    }
}
