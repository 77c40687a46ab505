//! The text of install and remove commands.

/// The place in a command where the module's options go (modprobe.d(5)).
const PLACEHOLDER: &[u8] = b"$CMDLINE_OPTS";

/// The command with the module's options in place of every `$CMDLINE_OPTS`. The word is not replaced inside the options.
pub(crate) fn fill_in(command: &[u8], options: &[u8]) -> Vec<u8> {
    let mut filled = Vec::with_capacity(command.len() + options.len());
    let mut rest = command;
    while let Some(at) = rest.windows(PLACEHOLDER.len()).position(|window| window == PLACEHOLDER) {
        filled.extend_from_slice(&rest[..at]);
        filled.extend_from_slice(options);
        rest = &rest[at + PLACEHOLDER.len()..];
    }
    filled.extend_from_slice(rest);
    filled
}

/// Whether a command does nothing but print a text and succeed or fail, such as `/bin/false`, `exit 1`, or
/// `echo disabled >&2; /bin/true # see the ticket`. If in doubt, the answer is no.
pub(crate) fn refuses(command: &[u8]) -> bool {
    let Some(commands) = simple_commands(command) else { return false };
    let mut refused = false;
    for words in commands {
        let prefixed = matches!(&words[0][..], b"exec" | b"command" | b"builtin");
        let Some(program) = words.get(usize::from(prefixed)) else { return false };
        let folder = [&b"/usr/bin/"[..], b"/bin/"].into_iter().find(|folder| program.starts_with(folder));
        match &program[folder.map_or(0, <[u8]>::len)..] {
            b"true" | b"false" => refused = true,
            b":" | b"exit" if folder.is_none() => refused = true,
            b"echo" | b"printf" | b"logger" => {}
            _ => return false,
        }
    }
    refused
}

/// The words of the simple commands in a shell command, quotes and comments removed. `None` if it has anything else than a
/// list of simple commands: a command substitution, a group, an open quote.
fn simple_commands(line: &[u8]) -> Option<Vec<Vec<Vec<u8>>>> {
    let (mut commands, mut words): (Vec<Vec<Vec<u8>>>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = line.iter().copied().peekable();
    let mut last = b' ';
    while let Some(byte) = bytes.next() {
        // The redirections >&, <& and &>.
        let redirects = byte == b'&' && (matches!(last, b'<' | b'>') || bytes.peek() == Some(&b'>'));
        last = byte;
        match (quote, byte) {
            (None | Some(b'"'), b'`') => return None,
            (None | Some(b'"'), b'$') if bytes.peek() == Some(&b'(') => return None,
            (Some(mark), _) if byte == mark => quote = None,
            (None | Some(b'"'), b'\\') => word.get_or_insert_default().push(bytes.next()?),
            (None, b'"' | b'\'') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (None, b'(' | b')') => return None,
            (None, b'#') if word.is_none() => while bytes.next_if(|&byte| byte != b'\n').is_some() {},
            (None, b' ' | b'\t') => words.extend(word.take()),
            (None, b';' | b'&' | b'|' | b'\n') if !redirects => {
                words.extend(word.take());
                commands.push(std::mem::take(&mut words));
            }
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    commands.push(words);
    commands.retain(|words| !words.is_empty());
    quote.is_none().then_some(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_refusal() {
        for refusal in [
            "/bin/false",
            "  /bin/true\t",
            "/usr/bin/false",
            "/usr/bin/true $CMDLINE_OPTS",
            "false",
            "true",
            ":",
            "exit 1",
            "exit",
            "exec /bin/false",
            "command false",
            "/bin/false;",
            "/bin/true; exit 0",
            "/bin/true #comment",
            "/bin/false # modprobe -i $(it) | anyway",
            "/bin/true >/dev/null 2>&1",
            "/bin/true &> /dev/null",
            "\"/bin/false\"",
            "'/bin/true'",
            "/bin/fal\\se",
            "echo \"no; not (here) & not 'now'\" >&2 && /bin/false",
            "/usr/bin/logger -t modprobe 'usb is off'; exit 1",
            "false || exit 1",
        ] {
            assert!(refuses(refusal.as_bytes()), "{refusal}");
        }
        for other in [
            "",
            "  ",
            "#",
            "# /bin/false",
            "echo disabled",
            "/bin/falsehood",
            "/opt/bin/false",
            "/bin/:",
            "bin/false",
            "exec",
            "/bin/true; modprobe -i x",
            "/bin/true && modprobe -i x",
            "/bin/true & modprobe -i x",
            "/bin/true\nmodprobe -i x",
            "echo x | modprobe -a",
            "true `modprobe -i x`",
            "true \"$(modprobe -i x)\"",
            "(false)",
            "{ false; }",
            "! false",
            "if true; then modprobe -i x; fi",
            "A=1 false",
            "/bin/false '",
            "/bin/false \\",
            "modprobe -i x || false",
            "sh -c false",
            "echo '#'; modprobe x # false",
            "a#b; false",
        ] {
            assert!(!refuses(other.as_bytes()), "{other}");
        }
        // A quoted text is a word of the command, not another command.
        assert!(refuses(b"false '$(modprobe x)' \"a;b\""));
    }

    #[test]
    fn every_placeholder_is_filled_once() {
        let filled = |command: &str, options: &str| {
            String::from_utf8(fill_in(command.as_bytes(), options.as_bytes())).unwrap()
        };
        assert_eq!(filled("insmod x $CMDLINE_OPTS; echo $CMDLINE_OPTS", "a=1 "), "insmod x a=1 ; echo a=1 ");
        assert_eq!(filled("echo $CMDLINE_OPTS_X ${CMDLINE_OPTS}", "v"), "echo v_X ${CMDLINE_OPTS}");
        assert_eq!(filled("echo $CMDLINE_OPTS", "$CMDLINE_OPTS"), "echo $CMDLINE_OPTS", "one pass");
        assert_eq!(filled("$CMDLINE_OPT", "v"), "$CMDLINE_OPT");
    }
}
