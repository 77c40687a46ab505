//! The hash FNV-1a, 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>). It is not collision-resistant, so use it only
//! for data that only root can write.

/// The offset basis: the hash of no bytes.
pub(crate) const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// Continues the hash `start` with `bytes`.
pub(crate) fn update(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_published() {
        assert_eq!(update(OFFSET_BASIS, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(update(update(OFFSET_BASIS, b"foo"), b"bar"), 0x8594_4171_f739_67e8);
    }
}
