//! Install and remove commands as text.

/// What a command may hold in the place of the module's options.
const PLACEHOLDER: &[u8] = b"$CMDLINE_OPTS";

/// The command with the module's options in place of every `$CMDLINE_OPTS`. One pass: options that themselves hold the
/// word are left alone.
pub fn fill_in(command: &[u8], options: &[u8]) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
