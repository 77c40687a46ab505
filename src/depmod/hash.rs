//! The order of the entries in kmod's hash tables, which shows in two of the output files: by bucket, and inside a bucket
//! by the bytes of the key. Observed of kmod 30 and 34.2.

/// Buckets of the table of modules.
pub(crate) const MODULES: u32 = 512;
/// Buckets of the table of symbols.
pub(crate) const SYMBOLS: u32 = 2048;

/// The sort key of an entry: bucket, then key.
pub(crate) fn place(key: &[u8], buckets: u32) -> (u32, &[u8]) {
    (hash(key) % buckets, key)
}

/// Paul Hsieh's SuperFastHash on 32 bits, with the length as seed. Pairs of bytes are read in the machine's byte order, as
/// by kmod: on a big-endian machine the order of the entries differs. Single bytes are signed.
pub(crate) fn hash(key: &[u8]) -> u32 {
    hash_with(key, u16::from_ne_bytes)
}

fn hash_with(key: &[u8], order: impl Fn([u8; 2]) -> u16) -> u32 {
    let pair = |at: &[u8]| u32::from(order([at[0], at[1]]));
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

    const BIG: bool = cfg!(target_endian = "big");

    #[test]
    fn the_test_vectors() {
        // Each key with its hash on a little-endian and on a big-endian machine.
        for (key, little, big) in [
            ("", 0u32, 0),
            ("a", 0x115e_a782, 0x115e_a782),
            ("ab", 0x516b_8b44, 0x2f50_ad47),
            ("abc", 0xd2be_198a, 0xc61b_366a),
            ("abcd", 0xdad8_b8db, 0x5f47_1517),
            ("loop", 0xeb99_169f, 0x2c36_36b4),
            ("ext4", 0xe679_ab16, 0x57f2_60a5),
            ("snd_hda_intel", 0x6e40_28a1, 0x18f4_3bea),
            ("mod_a", 0x1655_b74e, 0x820e_f8a0),
            ("mod_b", 0x0612_946c, 0x8844_9ee5),
            ("c", 0xf4c7_3ebf, 0xf4c7_3ebf),
        ] {
            let bytes = key.as_bytes();
            assert_eq!(hash_with(bytes, u16::from_le_bytes), little, "{key}");
            assert_eq!(hash_with(bytes, u16::from_be_bytes), big, "{key}");
            assert_eq!(hash(bytes), if BIG { big } else { little }, "{key}");
        }
    }

    #[test]
    fn the_order_of_a_table() {
        let expected = |little: [&'static str; 3], big| if BIG { big } else { little };
        let mut modules = ["mod_a", "mod_b", "c"];
        modules.sort_by_key(|name| place(name.as_bytes(), MODULES));
        assert_eq!(modules, expected(["mod_b", "c", "mod_a"], ["mod_a", "c", "mod_b"]));
        let mut symbols = ["a_one", "a_two", "b_one"];
        symbols.sort_by_key(|name| place(name.as_bytes(), SYMBOLS));
        assert_eq!(symbols, expected(["a_one", "b_one", "a_two"], ["a_one", "a_two", "b_one"]));
    }
}
