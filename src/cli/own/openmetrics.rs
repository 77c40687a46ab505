//! The gate's counters in the text format of OpenMetrics 1.0, for the textfile collector of Prometheus's node_exporter. A
//! counter's samples are called `NAME_total`, its unit is the end of NAME, and everything is in base units.

use crate::gate::counters::Counters;
use crate::gate::stats::Stats;
use std::fmt::Write;

/// Name, unit, help and value of a metric. A value in seconds is given in nanoseconds.
type Metric = (&'static str, &'static str, &'static str, fn(Counters) -> u64);

const METRICS: [Metric; 8] = [
    ("kmod_loads", "", "Calls that the kernel got.", |c| c.loads),
    ("kmod_load_failures", "", "Calls that the kernel refused.", |c| c.failures),
    ("kmod_joined_requests", "", "Requests that were served by the call of another.", |c| c.joined),
    ("kmod_shared_failures", "", "Requests that were given the failure of another.", |c| c.shared),
    ("kmod_bounds_passed", "", "Waits that went on until their bound.", |c| c.bounds),
    ("kmod_fallbacks", "", "Requests that went on without the lock.", |c| c.fallbacks),
    ("kmod_saved_bytes", "bytes", "The size of the module files that the kernel did not get again.", |c| {
        c.bytes_saved
    }),
    ("kmod_waited_seconds", "seconds", "How long requests waited for others.", |c| c.waited),
];

/// The whole file.
pub(crate) fn text(stats: &Stats) -> String {
    let mut text = String::new();
    for (name, unit, help, value) in METRICS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# TYPE {name} counter");
        if !unit.is_empty() {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(text, "# HELP {name} {help}");
        for module in stats.modules.iter().filter(|module| module.counters != Counters::default()) {
            let label = escaped(&String::from_utf8_lossy(&module.name));
            let value = match (unit, value(module.counters)) {
                // Exact to the nanosecond; a float would not be.
                ("seconds", value) => format!("{}.{:09}", value / 1_000_000_000, value % 1_000_000_000),
                (_, value) => value.to_string(),
            };
            let _ = writeln!(text, "{name}_total{{module=\"{label}\"}} {value}");
        }
    }
    text.push_str("# EOF\n");
    text
}

/// Escapes the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::stats::ModuleStats;

    /// prometheus-client's own parser (`prometheus_client.openmetrics.parser`) takes this text.
    #[test]
    fn the_text_is_what_openmetrics_parsers_read() {
        let counters = Counters {
            loads: 2,
            failures: 1,
            joined: 30,
            bytes_saved: 4096,
            waited: 1_000_000_002,
            ..Counters::default()
        };
        let module = |name: &[u8], counters| ModuleStats { name: name.to_vec(), counters, last: None };
        let stats = Stats {
            modules: vec![module(b"unused", Counters::default()), module(b"x\"\\\n", counters)],
            kernel: None,
        };
        let label = r#"{module="x\"\\\n"}"#;
        let wanted = r#"# TYPE kmod_loads counter
# HELP kmod_loads Calls that the kernel got.
kmod_loads_total@ 2
# TYPE kmod_load_failures counter
# HELP kmod_load_failures Calls that the kernel refused.
kmod_load_failures_total@ 1
# TYPE kmod_joined_requests counter
# HELP kmod_joined_requests Requests that were served by the call of another.
kmod_joined_requests_total@ 30
# TYPE kmod_shared_failures counter
# HELP kmod_shared_failures Requests that were given the failure of another.
kmod_shared_failures_total@ 0
# TYPE kmod_bounds_passed counter
# HELP kmod_bounds_passed Waits that went on until their bound.
kmod_bounds_passed_total@ 0
# TYPE kmod_fallbacks counter
# HELP kmod_fallbacks Requests that went on without the lock.
kmod_fallbacks_total@ 0
# TYPE kmod_saved_bytes counter
# UNIT kmod_saved_bytes bytes
# HELP kmod_saved_bytes The size of the module files that the kernel did not get again.
kmod_saved_bytes_total@ 4096
# TYPE kmod_waited_seconds counter
# UNIT kmod_waited_seconds seconds
# HELP kmod_waited_seconds How long requests waited for others.
kmod_waited_seconds_total@ 1.000000002
# EOF
"#;
        assert_eq!(text(&stats), wanted.replace('@', label));
        assert!(text(&Stats::default()).ends_with("# EOF\n"));
    }
}
