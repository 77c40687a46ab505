//! Draws the figures of the coldplug scenarios: kernel calls and wasted bytes over CPUs.

use std::process::ExitCode;

/// Reads `results.csv` and writes the plot.
pub fn main() -> ExitCode {
    ExitCode::FAILURE
}
