//! Module parameters on a command line, as insmod and modprobe hand them to the kernel.

/// Joins the words with blanks. In `KEY=VALUE` a value that holds a blank gets quotes unless it begins with one, since the
/// kernel splits at blanks. Nothing else is changed.
pub(crate) fn join(words: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::new();
    for word in words {
        // Empty words at the start add no blank.
        if !joined.is_empty() {
            joined.push(b' ');
        }
        let value = word.iter().position(|&b| b == b'=').map_or(word.len(), |equals| equals + 1);
        let (key, value) = word.split_at(value);
        let plain = !value.contains(&b' ') || matches!(value, [b'"' | b'\'', ..]);
        let quote: &[u8] = if plain { b"" } else { b"\"" };
        joined.extend([key, quote, value, quote].concat());
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_blanks_get_quotes() {
        let joined = |words: &[&str]| {
            String::from_utf8(join(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())).unwrap()
        };
        assert_eq!(joined(&["a=1", "b", "c=x y"]), "a=1 b c=\"x y\"");
        assert_eq!(joined(&["s p", "a=\"x y\"", "b='x y'"]), "s p a=\"x y\" b='x y'");
        assert_eq!(joined(&["a=x\ty", "b=c=d e", "=x y"]), "a=x\ty b=\"c=d e\" =\"x y\"");
        assert_eq!(joined(&[]), "");
        assert_eq!(joined(&["", "", "b", "", "c", ""]), "b  c ");
    }
}
