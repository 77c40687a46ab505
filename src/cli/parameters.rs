//! Module parameters on a command line, as insmod and modprobe hand them to the kernel.

/// Joins the words with blanks. In `KEY=VALUE` a value that holds a blank gets quotes unless it begins with one, since the
/// kernel splits at blanks. Nothing else is changed.
pub(crate) fn join(words: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(words.iter().map(|word| word.len() + 3).sum());
    for word in words {
        // Empty words at the start add no blank.
        if !joined.is_empty() {
            joined.push(b' ');
        }
        let equals = word.iter().position(|&b| b == b'=');
        match equals.map(|equals| word.split_at(equals + 1)) {
            Some((key, value))
                if value.contains(&b' ') && !value.starts_with(b"\"") && !value.starts_with(b"'") =>
            {
                joined.extend_from_slice(&crate::log::bytes![key, "\"", value, "\""]);
            }
            _ => joined.extend_from_slice(word),
        }
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
