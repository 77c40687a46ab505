//! Numbers in the syntax of C and of the kernel.

use super::is_space;

/// The absolute value of an integer, and whether it has a minus sign. The syntax is that of strtoull(3) with base 0 and of
/// lib/kstrtox.c in the kernel, without white space around it: an optional sign; then `0x` and hexadecimal digits, `0` and
/// octal digits, or decimal digits. `None` for anything else, and above 64 bits.
pub(crate) fn integer(text: &[u8]) -> Option<(u64, bool)> {
    let (negative, text) = sign(text);
    let (radix, digits) = match text {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', rest @ ..] if !rest.is_empty() => (8, rest),
        _ => (10, text),
    };
    // `from_str_radix` takes a sign of its own.
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    Some((u64::from_str_radix(digits, radix).ok()?, negative))
}

/// The number that `%u` of scanf(3) reads from the start of `text`: white space, an optional sign, decimal digits; and the
/// rest of the text. A larger number saturates at 64 bits and is then cut to 32, as glibc does on 64-bit machines.
pub fn unsigned(text: &[u8]) -> Option<(u32, &[u8])> {
    let blanks = text.iter().take_while(|b| is_space(**b)).count();
    let (negative, text) = sign(&text[blanks..]);
    let (digits, rest) = text.split_at(text.iter().take_while(|b| b.is_ascii_digit()).count());
    let value = std::str::from_utf8(digits).ok()?.parse::<u64>();
    let value = value.map_or(u64::MAX, |value| if negative { value.wrapping_neg() } else { value });
    (!digits.is_empty()).then_some((value as u32, rest))
}

/// Whether the text begins with a minus sign, and the text after its sign.
fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_told_by_the_start() {
        for (text, number) in
            [("7", 7), ("+010", 8), ("-0x1F", 31), ("0", 0), ("-00", 0), ("18446744073709551615", u64::MAX)]
        {
            assert_eq!(integer(text.as_bytes()), Some((number, text.starts_with('-'))), "{text}");
        }
        for bad in ["", "-", "0x", "08", "1x", " 1", "1 ", "--1", "+-1", "0x-1", "18446744073709551616"] {
            assert_eq!(integer(bad.as_bytes()), None, "{bad}");
        }
    }

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
