//! The commands that only this program has. clap parses their command lines and anyhow carries their errors: no script
//! depends on getopt's behaviour here, and boot does not wait for these commands.

mod blame;
mod check;
mod form;
mod openmetrics;
mod plot;
mod stats;

use super::message::Log;
use super::{Call, ToolResult};
use crate::error::Errno;
use anyhow::{Context, Result, bail};
use clap::{CommandFactory, Parser};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// How to get a trace: the end of the help of the commands that read it.
const TRACE: &str = "The trace is written while the file /run/kmod/trace exists, and where the kernel command line says\n\
                     kmod.gate_trace=1.";

#[derive(Parser)]
#[command(name = "kmod", bin_name = "kmod", disable_help_subcommand = true, infer_long_args = true)]
enum Command {
    Blame(blame::Options),
    Check(check::Options),
    Plot(plot::Options),
    Stats(stats::Options),
}

/// The commands as clap knows them. The manual pages and the completions are tested against it.
pub fn commands() -> clap::Command {
    Command::command()
}

/// Runs the command that `words` begin with.
pub(crate) fn run(call: &Call<'_>, words: &[Vec<u8>]) -> ToolResult {
    let words = words.iter().map(|word| OsString::from_vec(word.clone()));
    let command = match Command::try_parse_from([OsString::from("kmod")].into_iter().chain(words)) {
        Ok(command) => command,
        Err(error) => {
            let text = error.render().to_string();
            if error.use_stderr() {
                return Err(call.end(text.trim_end().as_bytes()));
            }
            call.print(text.as_bytes());
            return Ok(0);
        }
    };
    let log = call.log();
    let output = output(&command, call, &log);
    let (text, status, is_paged) = output.map_err(|error| log.end(format!("{error:#}").as_bytes()))?;
    if is_paged {
        form::show(call, &text);
    } else {
        call.print(text.as_bytes());
    }
    Ok(status)
}

/// The output of a command, its exit status, and whether it may be shown page by page.
fn output(command: &Command, call: &Call<'_>, log: &Log<'_>) -> Result<(String, u8, bool)> {
    let system = &call.world.system;
    Ok(match command {
        Command::Blame(options) => (blame::text(options, system, log)?, 0, options.form.is_paged()),
        Command::Check(options) => {
            let (text, status) = check::report(options, call)?;
            (text, status, options.form.is_paged())
        }
        Command::Plot(options) => (plot::text(options, system, log)?, 0, false),
        Command::Stats(options) => {
            let is_paged = options.form.is_paged() && !options.openmetrics;
            (stats::text(options, system, log)?, 0, is_paged)
        }
    })
}

/// What was read from the trace. The second part of `read` counts lines that could not be used.
fn traced<T>(read: crate::error::Result<(T, u64)>, log: &Log<'_>) -> Result<T> {
    if read.as_ref().is_err_and(|error| error.errno() == Errno::ENOENT) {
        bail!("nothing was traced: create /run/kmod/trace, or boot with kmod.gate_trace=1");
    }
    let (traced, broken) = read.context("could not read the gate's trace")?;
    if broken > 0 {
        log.warning(format!("{broken} lines of the trace are not whole, and do not count").as_bytes());
    }
    Ok(traced)
}
