//! Shell patterns, as fnmatch(3) of glibc matches them without flags in the C locale. Module aliases are such patterns.
//!
//! `*` matches any bytes (also `/` and a leading dot), `?` any one byte, `[...]` one byte of a set, `\x` the byte `x`, any
//! other byte itself. In a set, `!` or `^` at the start negates, `]` at the start is literal, `a-z` is a range of byte
//! values, `[:alpha:]` a class, and `[.x.]`, `[=x=]` and `\x` are the byte `x`. A `[` without its `]` is literal.
//!
//! Backtracking returns only to the last `*`, and an unclosed `[` is scanned once. So the cost is a small multiple of the
//! product of both lengths for any pattern.

use super::is_space;

/// Whether `pattern` matches all of `text`.
pub fn fnmatch(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut taken) = (0, 0);
    // Where to continue after a mismatch: after the last `*`, and where its match in the text ends for now.
    let mut retry: Option<(usize, usize)> = None;
    let mut literal = Vec::new();
    loop {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            if at == pattern.len() {
                return true;
            }
            retry = Some((at, taken));
            continue;
        }
        if at == pattern.len() && taken == text.len() {
            return true;
        }
        let fits = text.get(taken).and_then(|&byte| match_one(pattern, at, byte, &mut literal));
        if let Some(used) = fits {
            at += used;
            taken += 1;
            continue;
        }
        match retry {
            Some((behind_star, from)) if from < text.len() => {
                retry = Some((behind_star, from + 1));
                at = behind_star;
                taken = from + 1;
            }
            _ => return false,
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
            Set::Holds(length) => Some(length),
            Set::Unclosed if byte == b'[' => {
                literal.resize(pattern.len(), false);
                literal[at] = true;
                Some(1)
            }
            Set::Lacks | Set::Unclosed => None,
        },
        itself => (itself == byte).then_some(1),
    }
}

enum Set {
    /// The byte is in the set. The length of the set in the pattern, in bytes.
    Holds(usize),
    Lacks,
    Unclosed,
}

/// Reads the set at the start of `pattern`.
fn match_set(pattern: &[u8], byte: u8) -> Set {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if negated { 2 } else { 1 };
    let mut at = first;
    loop {
        match pattern.get(at) {
            None => return Set::Unclosed,
            Some(b']') if at > first => return if negated { Set::Holds(at + 1) } else { Set::Lacks },
            Some(_) => {}
        }
        let found;
        if let Some((name, next)) = class_name(pattern, at) {
            // A set with an unknown class matches only by the elements before that class.
            let Some(member) = class(name, byte) else { return Set::Lacks };
            (found, at) = (member, next);
        } else if let Some(same) = equivalence(pattern, at) {
            (found, at) = (same == byte, at + 5);
        } else {
            let (low, next) = match member(pattern, at) {
                Member::Byte(low, next) => (low, next),
                Member::Unknown => return Set::Lacks,
                Member::End => return Set::Unclosed,
            };
            // A pattern that ends in a range matches only the byte before the dash.
            let cut = low == byte && pattern.len() == next + 1;
            if pattern.get(next) != Some(&b'-') || pattern.get(next + 1) == Some(&b']') || cut {
                (found, at) = (low == byte, next);
            } else {
                match member(pattern, next + 1) {
                    Member::Byte(high, next) => (found, at) = ((low..=high).contains(&byte), next),
                    Member::Unknown | Member::End => return Set::Lacks,
                }
            }
        }
        if found {
            return match skip_set(pattern, at) {
                Set::Holds(_) if negated => Set::Lacks,
                whole => whole,
            };
        }
    }
}

/// Skips the rest of a set from `at` on, after an element has matched. glibc has other rules here: there are no ranges, a
/// class may have any name and a collating symbol any length.
fn skip_set(pattern: &[u8], mut at: usize) -> Set {
    loop {
        at += match pattern.get(at..).unwrap_or(&[]) {
            [] => return Set::Unclosed,
            [b']', ..] => return Set::Holds(at + 1),
            [b'\\'] => return Set::Unclosed,
            [b'\\', ..] => 2,
            [b'[', b'=', _, b'=', b']', ..] => 5,
            [b'[', b'=', ..] => return Set::Lacks,
            [b'[', b'.', symbol @ ..] => match symbol.windows(2).position(|end| end == b".]") {
                Some(length) => length + 4,
                None => return Set::Lacks,
            },
            _ => class_name(pattern, at).map_or(1, |(_, next)| next - at),
        };
    }
}

/// An end of a range in a set.
enum Member {
    /// A byte, written as itself, `\x` or `[.x.]`, and the offset after it.
    Byte(u8, usize),
    /// `[.` without one byte and `.]` after it: a collating symbol that the C locale does not have.
    Unknown,
    /// The pattern ends here.
    End,
}

fn member(pattern: &[u8], at: usize) -> Member {
    match pattern.get(at..).unwrap_or(&[]) {
        [] | [b'\\'] => Member::End,
        [b'\\', byte, ..] => Member::Byte(*byte, at + 2),
        [b'[', b'.', byte, b'.', b']', ..] => Member::Byte(*byte, at + 5),
        [b'[', b'.', ..] => Member::Unknown,
        [byte, ..] => Member::Byte(*byte, at + 1),
    }
}

/// The byte `x` of `[=x=]` at `at`.
fn equivalence(pattern: &[u8], at: usize) -> Option<u8> {
    match pattern.get(at..)? {
        [b'[', b'=', byte, b'=', b']', ..] => Some(*byte),
        _ => None,
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
