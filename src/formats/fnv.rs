//! FNV-1a, 64 bits: digests of what only root writes. Who could look for two that agree has no need to.

/// The digest of nothing.
pub(crate) const START: u64 = 0xcbf2_9ce4_8422_2325;

/// The digest of what `start` is one of, followed by `bytes`.
pub(crate) fn more(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_published() {
        assert_eq!(more(START, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(more(more(START, b"foo"), b"bar"), 0x8594_4171_f739_67e8);
    }
}
