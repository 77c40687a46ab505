//! The gate's settings, from the kernel command line, so that they can be changed on a machine that does not boot.
//!
//! | word | meaning |
//! |---|---|
//! | `kmod.gate=off` | do not use the gate; the kernel arbitrates |
//! | `kmod.gate_timeout=MS` | how long one request waits for other processes, all its waits together (default 50000) |
//! | `kmod.failure_ttl=MS` | how long a failed load answers later `-q`/`-b` requests without options (default 0) |
//! | `kmod.gate_trace=1` | write every request that reaches the gate to the trace |
//!
//! Only white space separates words. Quotes have no meaning here, unlike in `config::cmdline`: a quote that is never closed
//! must not hide these settings.

use crate::limits;
use std::time::Duration;

/// How the gate behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Whether the gate is used at all.
    pub enabled: bool,
    /// How long one request waits for other processes.
    pub timeout: Duration,
    /// How long a failure answers later requests that allow it.
    pub failure_ttl: Duration,
    /// Whether requests are traced.
    pub trace: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { enabled: true, timeout: limits::GATE_TIMEOUT, failure_ttl: Duration::ZERO, trace: false }
    }
}

impl Settings {
    /// The settings in a kernel command line. The last of several equal words counts. A value that is not understood is
    /// ignored without a message.
    pub fn from_cmdline(cmdline: &[u8]) -> Self {
        let mut settings = Settings::default();
        for word in cmdline.split(|b| b.is_ascii_whitespace()) {
            let Some(rest) = word.strip_prefix(b"kmod.") else { continue };
            let Some(equals) = rest.iter().position(|&b| b == b'=') else { continue };
            let (key, value) = (&rest[..equals], &rest[equals + 1..]);
            match key {
                b"gate" => settings.enabled = !matches!(value, b"off" | b"0" | b"no"),
                b"gate_trace" => settings.trace = matches!(value, b"1" | b"on" | b"yes"),
                b"gate_timeout" => settings.timeout = milliseconds(value).unwrap_or(settings.timeout),
                b"failure_ttl" => settings.failure_ttl = milliseconds(value).unwrap_or(settings.failure_ttl),
                _ => {}
            }
        }
        settings
    }
}

fn milliseconds(value: &[u8]) -> Option<Duration> {
    // At most one hour, so that no sum of times overflows.
    let count: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(Duration::from_millis(count.min(3_600_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_among_others_and_nonsense_is_ignored() {
        let line =
            b"quiet kmod.gate=off kmod.gate_timeout=250 kmod.failure_ttl=x kmod.gate_trace=1 kmod.gate\n";
        let settings = Settings::from_cmdline(line);
        assert!(!settings.enabled && settings.trace);
        assert_eq!(settings.timeout, Duration::from_millis(250));
        assert_eq!(settings.failure_ttl, Duration::ZERO);
        assert_eq!(Settings::from_cmdline(b"xkmod.gate=off root=/dev/vda"), Settings::default());
    }
}
