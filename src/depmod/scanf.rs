//! Numbers as C's scanf reads them, which the tools' inputs have always been read with.

/// What `%u` takes from the start of `text`, and what follows: blanks, a sign, decimal digits. Too large ones saturate at
/// 64 bits and lose their high half, as on the 64-bit machines where the tools run.
pub fn unsigned(text: &[u8]) -> Option<(u32, &[u8])> {
    let blanks = text.iter().take_while(|b| b.is_ascii_whitespace() || **b == 0x0b).count();
    let text = &text[blanks..];
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(digits);
    let value = digits
        .iter()
        .try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .map_or(u64::MAX, |value| if negative { value.wrapping_neg() } else { value });
    (!digits.is_empty()).then_some((value as u32, rest))
}

#[cfg(test)]
mod tests {
    use super::unsigned;

    #[test]
    fn blanks_signs_digits() {
        assert_eq!(unsigned(b"12.5"), Some((12, &b".5"[..])));
        assert_eq!(unsigned(b" \t+7"), Some((7, &b""[..])));
        assert_eq!(unsigned(b"-1x"), Some((u32::MAX, &b"x"[..])));
        assert_eq!(unsigned(b"4294967296"), Some((0, &b""[..])));
        assert_eq!(unsigned(b"99999999999999999999"), Some((u32::MAX, &b""[..])));
        for bad in [&b""[..], b"x1", b"+ 1", b"--1"] {
            assert_eq!(unsigned(bad), None, "{bad:?}");
        }
    }
}
