//! The values that the kernel accepts for a module parameter of a type (kernel/params.c, lib/kstrtox.c).
//!
//! ```text
//! byte short ushort int uint hexint long ulong ullong     a number: decimal, 0x hexadecimal, 0 octal; one + or - in front
//! bool bint bool_enable_only invbool                       y t 1 on, n f 0 off, by the first letters; no value is on
//! charp string                                             any text
//! array of TYPE                                            values that commas separate
//! ```
//!
//! Other types are parsed by code of the module, so every value is accepted here.

use super::number::integer;

/// Whether the kernel accepts this value for a parameter whose `parmtype` is `kind`. `None`: the parameter has no `=`. True
/// for an unknown type.
pub(crate) fn takes(kind: &[u8], value: Option<&[u8]>) -> bool {
    if let Some(kind) = kind.strip_prefix(b"array of ") {
        return value.is_some_and(|value| value.split(|&b| b == b',').all(|value| takes(kind, Some(value))));
    }
    let (low, high) = match kind {
        b"bool" | b"bint" | b"bool_enable_only" | b"invbool" => return value.is_none_or(is_truth),
        b"charp" | b"string" => return value.is_some(),
        b"byte" => (0, u8::MAX.into()),
        b"short" => (i16::MIN.into(), i16::MAX.into()),
        b"ushort" => (0, u16::MAX.into()),
        b"int" => (i32::MIN.into(), i32::MAX.into()),
        b"uint" | b"hexint" => (0, u32::MAX.into()),
        // 64 bits: it is not known which machine loads the module.
        b"long" => (i64::MIN.into(), i64::MAX.into()),
        b"ulong" | b"ullong" => (0, u64::MAX.into()),
        _ => return true,
    };
    let number = value.and_then(|value| integer(value.strip_suffix(b"\n").unwrap_or(value)));
    number.is_some_and(|(number, negative)| {
        let number = if negative { -i128::from(number) } else { number.into() };
        // For an unsigned type even `-0` is refused.
        (low..=high).contains(&number) && (low < 0 || !negative)
    })
}

fn is_truth(value: &[u8]) -> bool {
    let lower = value.to_ascii_lowercase();
    matches!(lower[..], [b'y' | b't' | b'1' | b'n' | b'f' | b'0', ..] | [b'o', b'n' | b'f', ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fit_their_types() {
        let all = |kind: &str, values: &[&str], wanted: bool| {
            for value in values {
                assert_eq!(takes(kind.as_bytes(), Some(value.as_bytes())), wanted, "{kind}={value}");
            }
        };
        all("int", &["0", "-1", "+7", "0x1F", "010", "2147483647", "-2147483648"], true);
        all(
            "int",
            &["", "x", "1x", "0x", "08", "2147483648", "--1", "+-1", "1 ", "0x-1", "1,2", "on"],
            false,
        );
        all("uint", &["4294967295", "0xffffffff"], true);
        all("uint", &["-1", "4294967296"], false);
        all("byte", &["255"], true);
        all("byte", &["256", "-1"], false);
        all("short", &["-32768"], true);
        all("ushort", &["65536"], false);
        all("ulong", &["18446744073709551615"], true);
        all("ullong", &["18446744073709551616"], false);
        all("bool", &["y", "N", "1", "0", "on", "OFF", "true", "False"], true);
        all("bool", &["", "2", "o", "-1", "enabled"], false);
        all("array of int", &["1,2,-3", "7"], true);
        all("array of int", &["1,,2", "1,x", ","], false);
        all("charp", &["", "anything at all"], true);
        all("somebody's own", &["", "x"], true);
    }

    #[test]
    fn without_a_value() {
        for kind in ["bool", "bint", "invbool", "ringparam"] {
            assert!(takes(kind.as_bytes(), None), "{kind}");
        }
        for kind in ["int", "charp", "ullong", "array of bool"] {
            assert!(!takes(kind.as_bytes(), None), "{kind}");
        }
    }
}
