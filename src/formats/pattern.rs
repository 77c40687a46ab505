//! Shell patterns as fnmatch(3) reads them with no flags in the C locale: what module aliases are written in.
//!
//! `*` any bytes (also `/` and a leading dot), `?` any one byte, `[...]` one byte of a set, `\x` the byte `x` itself,
//! anything else itself. In a set: `!` or `^` first negates, `]` first is itself, `a-z` is a range of byte values,
//! `[:alpha:]` a class, `[.x.]` and `[=x=]` the byte `x`, `\x` the byte `x`. A `[` whose set never closes is itself.
//!
//! Only the last `*` is ever reconsidered, and a `[` that turned out not to close is not read again, so the cost is a small
//! multiple of the product of both lengths, however hostile the pattern.

/// Whether `pattern` describes all of `text`.
pub fn fnmatch(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut taken) = (0, 0);
    // Where to go on when the bytes after the last `*` do not fit: behind that `*`, and one byte further in the text.
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
        let fits = text.get(taken).and_then(|&byte| one(pattern, at, byte, &mut literal));
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

/// The length of the element of `pattern` at `at` (not a `*`) if it describes `byte`. `literal` remembers, for each place
/// in the pattern, a `[` that stands for itself; it is empty until there is one.
fn one(pattern: &[u8], at: usize, byte: u8, literal: &mut Vec<bool>) -> Option<usize> {
    match *pattern.get(at)? {
        b'?' => Some(1),
        b'\\' => (*pattern.get(at + 1)? == byte).then_some(2),
        b'[' if byte == b'[' && literal.get(at) == Some(&true) => Some(1),
        b'[' => match set(&pattern[at..], byte) {
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
    /// The byte is in the set, which is that many bytes of the pattern long.
    Holds(usize),
    Lacks,
    Unclosed,
}

/// Reads the set at the start of `pattern`.
fn set(pattern: &[u8], byte: u8) -> Set {
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
            // Nothing fits a set with an unknown class, unless what stands before it does already.
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
            // A pattern that ends in a range fits nothing, unless the byte is the one before the dash.
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
            return match rest(pattern, at) {
                Set::Holds(_) if negated => Set::Lacks,
                whole => whole,
            };
        }
    }
}

/// What follows in a set from `at` on, once it is known to hold the byte. It is only skipped, by rules of its own: there are
/// no ranges, a class may have any name, a collating symbol any length.
fn rest(pattern: &[u8], mut at: usize) -> Set {
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

/// What can be the end of a range in a set.
enum Member {
    /// A byte, and where the pattern goes on after it: itself, `\x` or `[.x.]`.
    Byte(u8, usize),
    /// `[.` that is not followed by one byte and `.]`: a collating symbol that the C locale lacks.
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

/// The byte in `[=x=]` at `at`, which is 5 bytes long.
fn equivalence(pattern: &[u8], at: usize) -> Option<u8> {
    match pattern.get(at..)? {
        [b'[', b'=', byte, b'=', b']', ..] => Some(*byte),
        _ => None,
    }
}

/// The name in `[:name:]` at `at`, and where the pattern goes on after it. Lower-case letters make a name, but not z,
/// which fnmatch(3) leaves out.
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
        b"space" => byte.is_ascii_whitespace() || byte == 0x0b,
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
