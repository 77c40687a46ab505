//! Shell patterns, as fnmatch(3) of glibc matches them without flags in the C locale. Module aliases are such patterns.
//!
//! `*` matches any bytes (also `/` and a leading dot), `?` any one byte, `[...]` one byte of a set, `\x` the byte `x`, any
//! other byte itself. In a set, `!` or `^` at the start negates, `]` at the start is literal, `a-z` is a range of byte
//! values, `[:alpha:]` a class, and `[.x.]`, `[=x=]` and `\x` are the byte `x`. A `[` without its `]` is literal.
//!
//! Backtracking returns only to the last `*`, and an unclosed `[` is scanned once. So the cost is a small multiple of the
//! product of both lengths for any pattern.

use super::is_space;

/// The bytes that end the literal start of a key in an index. A backslash is not among them.
pub(super) const WILDCARDS: [u8; 3] = *b"*?[";

/// Whether `pattern` matches all of `text`.
pub fn fnmatch(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut taken) = (0, 0);
    // Where to continue after a mismatch: after the last `*`, and where its match in the text ends for now.
    let mut retry: Option<(usize, usize)> = None;
    let mut literal = Vec::new();
    loop {
        let one = |&byte| match_one(pattern, at, byte, &mut literal);
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            if at == pattern.len() {
                return true;
            }
            retry = Some((at, taken));
        } else if at == pattern.len() && taken == text.len() {
            return true;
        } else if let Some(length) = text.get(taken).and_then(one) {
            at += length;
            taken += 1;
        } else if let Some((behind_star, from)) = retry.filter(|&(_, from)| from < text.len()) {
            (at, taken) = (behind_star, from + 1);
            retry = Some((at, taken));
        } else {
            return false;
        }
    }
}

/// The length of the element at `at` of `pattern` (not a `*`) if it matches `byte`. `literal[i]` is true if the `[` at `i` is
/// known to be unclosed; the vector is empty until there is one.
fn match_one(pattern: &[u8], at: usize, byte: u8, literal: &mut Vec<bool>) -> Option<usize> {
    match *pattern.get(at)? {
        b'?' => Some(1),
        b'\\' => (*pattern.get(at + 1)? == byte).then_some(2),
        b'[' if byte == b'[' && literal.get(at) == Some(&true) => Some(1),
        b'[' => match match_set(&pattern[at..], byte) {
            Ok(length) => Some(length),
            Err(Miss::Unclosed) if byte == b'[' => {
                literal.resize(pattern.len(), false);
                literal[at] = true;
                Some(1)
            }
            Err(_) => None,
        },
        itself => (itself == byte).then_some(1),
    }
}

/// Why a set does not match.
enum Miss {
    /// The byte is not in the set.
    Lacks,
    Unclosed,
}

/// The length of the set at the start of `pattern`, in bytes, if it matches `byte`.
fn match_set(pattern: &[u8], byte: u8) -> Result<usize, Miss> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if negated { 2 } else { 1 };
    let mut at = first;
    loop {
        if at > first && pattern.get(at) == Some(&b']') {
            return if negated { Ok(at + 1) } else { Err(Miss::Lacks) };
        }
        let (found, next) = if let Some((name, next)) = class_name(pattern, at) {
            // A set with an unknown class matches only by the elements before that class.
            (class(name, byte).ok_or(Miss::Lacks)?, next)
        } else if let Some([b'[', b'=', same, b'=', b']', ..]) = pattern.get(at..) {
            (*same == byte, at + 5)
        } else {
            let (low, next) = member(pattern, at)?;
            // A pattern that ends in a range matches only the byte before the dash.
            let cut = low == byte && pattern.len() == next + 1;
            if pattern.get(next) != Some(&b'-') || pattern.get(next + 1) == Some(&b']') || cut {
                (low == byte, next)
            } else {
                let (high, next) = member(pattern, next + 1).map_err(|_| Miss::Lacks)?;
                ((low..=high).contains(&byte), next)
            }
        };
        if found {
            let end = skip_set(pattern, next)?;
            return if negated { Err(Miss::Lacks) } else { Ok(end) };
        }
        at = next;
    }
}

/// The end of a set from `at` on, after an element has matched. glibc has other rules here: there are no ranges, a class may
/// have any name and a collating symbol any length.
fn skip_set(pattern: &[u8], mut at: usize) -> Result<usize, Miss> {
    loop {
        at += match pattern.get(at..).unwrap_or(&[]) {
            [] | [b'\\'] => return Err(Miss::Unclosed),
            [b']', ..] => return Ok(at + 1),
            [b'\\', ..] => 2,
            [b'[', b'=', _, b'=', b']', ..] => 5,
            [b'[', b'=', ..] => return Err(Miss::Lacks),
            [b'[', b'.', symbol @ ..] => {
                symbol.windows(2).position(|end| end == b".]").ok_or(Miss::Lacks)? + 4
            }
            _ => class_name(pattern, at).map_or(1, |(_, next)| next - at),
        };
    }
}

/// The byte at `at` of a set, written as itself, `\x` or `[.x.]`, and the offset after it.
fn member(pattern: &[u8], at: usize) -> Result<(u8, usize), Miss> {
    match pattern.get(at..).unwrap_or(&[]) {
        [] | [b'\\'] => Err(Miss::Unclosed),
        [b'\\', byte, ..] => Ok((*byte, at + 2)),
        [b'[', b'.', byte, b'.', b']', ..] => Ok((*byte, at + 5)),
        // A collating symbol that the C locale does not have.
        [b'[', b'.', ..] => Err(Miss::Lacks),
        [byte, ..] => Ok((*byte, at + 1)),
    }
}

/// The name in `[:name:]` at `at`, and the offset after it. A name has the letters `a` to `y` only, as in glibc.
fn class_name(pattern: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = pattern.get(at..)?.strip_prefix(b"[:")?;
    let length = rest.iter().position(|b| !(b'a'..=b'y').contains(b))?;
    rest[length..].starts_with(b":]").then(|| (&rest[..length], at + length + 4))
}

/// Whether `byte` belongs to the class `name` in the C locale; `None` for an unknown class.
fn class(name: &[u8], byte: u8) -> Option<bool> {
    Some(match name {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => matches!(byte, b' ' | b'\t'),
        b"cntrl" => byte.is_ascii_control(),
        b"digit" => byte.is_ascii_digit(),
        b"graph" => byte.is_ascii_graphic(),
        b"lower" => byte.is_ascii_lowercase(),
        b"print" => byte.is_ascii_graphic() || byte == b' ',
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => is_space(byte),
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of the GNU C library's fnmatch(3), flags 0, locale C.
    #[test]
    fn answers_are_those_of_the_c_library() {
        let fit: [(&[u8], &[u8]); 34] = [
            (b"", b""),
            (b"*", b""),
            (b"**", b"/.x"),
            (b"a*b*c", b"aXbXbXc"),
            (b"pci:v00008086d*sv*sd*bc03sc*i*", b"pci:v00008086d00001234sv00sd00bc03sc00i00"),
            (b"?", b"\xe9"),
            (b"\\*", b"*"),
            (b"\\a", b"a"),
            (b"[abc]", b"b"),
            (b"[!abc]", b"d"),
            (b"[^abc]", b"d"),
            (b"[]a]", b"]"),
            (b"[!]a]", b"b"),
            (b"[a-c]", b"b"),
            (b"[a-]", b"-"),
            (b"[-a]", b"-"),
            (b"[\\]]", b"]"),
            (b"[a\\-c]", b"-"),
            (b"[[:digit:]-]", b"-"),
            (b"[[:alpha:]0]", b"0"),
            (b"[![:alpha:]]", b"0"),
            (b"[a[:bogus:]]", b"a"),
            (b"[[.a.]-c]", b"b"),
            (b"[[=a=]]", b"a"),
            (b"[[=ab]", b"="),
            (b"[+--]", b","),
            (b"[", b"["),
            (b"a[", b"a["),
            (b"[a", b"[a"),
            (b"[!", b"[!"),
            (b"x[0-9a-f]*", b"xd"),
            (b"[\x80-\xff]", b"\xe9"),
            (b"]", b"]"),
            (b"[[]", b"["),
        ];
        for (pattern, text) in fit {
            assert!(fnmatch(pattern, text), "{} {}", pattern.escape_ascii(), text.escape_ascii());
        }
        let unfit: [(&[u8], &[u8]); 22] = [
            (b"", b"a"),
            (b"a", b""),
            (b"?", b""),
            (b"a*b", b"abc"),
            (b"\\", b"\\"),
            (b"a\\", b"a"),
            (b"[abc]", b"d"),
            (b"[!abc]", b"a"),
            (b"[c-a]", b"b"),
            (b"[a-c]", b"B"),
            (b"[abc]", b""),
            (b"[]", b""),
            (b"[]", b"x"),
            (b"[[:alpha:]]", b"0"),
            (b"[[:bogus:]a]", b"a"),
            (b"[![:bogus:]]", b"a"),
            (b"[[.ab.]]", b"a"),
            (b"[![.ab.]]", b"x"),
            (b"[a\\]", b"a"),
            (b"[a", b"a"),
            (b"*[", b"x"),
            (b"**x", b"y"),
        ];
        for (pattern, text) in unfit {
            assert!(!fnmatch(pattern, text), "{} {}", pattern.escape_ascii(), text.escape_ascii());
        }
    }

    #[test]
    fn classes_hold_what_the_c_locale_says() {
        let members = |name: &str| {
            let pattern = format!("[[:{name}:]]");
            (0..=255u8).filter(|&b| fnmatch(pattern.as_bytes(), &[b])).count()
        };
        let counts = [
            "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
            "upper", "xdigit",
        ]
        .map(members);
        assert_eq!(counts, [62, 52, 2, 33, 10, 94, 26, 95, 32, 6, 26, 22]);
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_the_product_of_the_lengths() {
        let pattern = [b"*a".repeat(1000), b"b".to_vec()].concat();
        assert!(!fnmatch(&pattern, &b"a".repeat(4000)));
        assert!(fnmatch(&pattern, &[b"a".repeat(4000), b"b".to_vec()].concat()));
        let unclosed = b"*[".repeat(2000);
        assert!(!fnmatch(&unclosed, &b"x".repeat(2000)));
        let itself = [b"*".to_vec(), b"[".repeat(2000), b"x".to_vec()].concat();
        assert!(!fnmatch(&itself, &b"[".repeat(4000)));
    }
}
