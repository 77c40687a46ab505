//! The order in which kmod's hash tables give their entries back, which two of the output files show: ascending bucket,
//! and inside a bucket ascending bytes of the key. Observed of kmod 30 and 34.2 (spec formats.md 3.9).

/// Buckets of the table of modules.
pub const MODULES: u32 = 512;
/// Buckets of the table of symbols.
pub const SYMBOLS: u32 = 2048;

/// What entries are sorted by: bucket, then key.
pub fn place(key: &[u8], buckets: u32) -> (u32, &[u8]) {
    (hash(key) % buckets, key)
}

/// Paul Hsieh's SuperFastHash on 32 bits, seeded with the length; pairs of bytes are read as little-endian numbers,
/// single bytes as signed ones.
pub fn hash(key: &[u8]) -> u32 {
    let pair = |at: &[u8]| u32::from(u16::from_le_bytes([at[0], at[1]]));
    let single = |byte: u8| i32::from(byte as i8) as u32;
    let mut x = key.len() as u32;
    let (fours, rest) = key.split_at(key.len() & !3);
    for four in fours.chunks_exact(4) {
        x = x.wrapping_add(pair(four));
        let y = (pair(&four[2..]) << 11) ^ x;
        x = (x << 16) ^ y;
        x = x.wrapping_add(x >> 11);
    }
    match rest {
        [_, _, last] => {
            x = x.wrapping_add(pair(rest));
            x ^= x << 16;
            x ^= single(*last) << 18;
            x = x.wrapping_add(x >> 11);
        }
        [_, _] => {
            x = x.wrapping_add(pair(rest));
            x ^= x << 11;
            x = x.wrapping_add(x >> 17);
        }
        [only] => {
            x = x.wrapping_add(single(*only));
            x ^= x << 10;
            x = x.wrapping_add(x >> 1);
        }
        _ => {}
    }
    x ^= x << 3;
    x = x.wrapping_add(x >> 5);
    x ^= x << 4;
    x = x.wrapping_add(x >> 17);
    x ^= x << 25;
    x.wrapping_add(x >> 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_vectors() {
        for (key, expected) in [
            ("", 0u32),
            ("a", 0x115e_a782),
            ("ab", 0x516b_8b44),
            ("abc", 0xd2be_198a),
            ("abcd", 0xdad8_b8db),
            ("loop", 0xeb99_169f),
            ("ext4", 0xe679_ab16),
            ("snd_hda_intel", 0x6e40_28a1),
            ("mod_a", 0x1655_b74e),
            ("mod_b", 0x0612_946c),
            ("c", 0xf4c7_3ebf),
        ] {
            assert_eq!(hash(key.as_bytes()), expected, "{key}");
        }
    }

    #[test]
    fn the_order_of_a_table() {
        let mut modules = ["mod_a", "mod_b", "c"];
        modules.sort_by_key(|name| place(name.as_bytes(), MODULES));
        assert_eq!(modules, ["mod_b", "c", "mod_a"]);
        let mut symbols = ["a_one", "a_two", "b_one"];
        symbols.sort_by_key(|name| place(name.as_bytes(), SYMBOLS));
        assert_eq!(symbols, ["a_one", "b_one", "a_two"]);
    }
}
