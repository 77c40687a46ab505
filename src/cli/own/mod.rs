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
use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// How to get a trace: the end of the help of the commands that read it.
const TRACE: &str = "The trace is written while the file /run/kmod/trace exists, and where the kernel command line says\n\
                     kmod.gate_trace=1.";

#[derive(Parser)]
#[command(name = "kmod", bin_name = "kmod", disable_help_subcommand = true, infer_long_args = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Blame(blame::Options),
    Check(check::Options),
    Plot(plot::Options),
    Stats(stats::Options),
}

/// The commands as clap knows them. The manual pages and the completions are tested against it.
pub fn commands() -> clap::Command {
    CommandLine::command()
}

/// Runs the command that `words` begin with.
pub(crate) fn run(call: &Call<'_>, words: &[Vec<u8>]) -> ToolResult {
    let words = words.iter().map(|word| OsString::from_vec(word.clone()));
    let line = match CommandLine::try_parse_from([OsString::from("kmod")].into_iter().chain(words)) {
        Ok(line) => line,
        Err(error) => {
            let text = error.render().to_string();
            if error.use_stderr() {
                call.world.streams.complain(text.trim_end().as_bytes());
                return Ok(1);
            }
            call.print(text.as_bytes());
            return Ok(0);
        }
    };
    let log = call.log();
    let is_paged = line.command.is_paged();
    match line.command.output(call, &log) {
        Ok((text, status)) => {
            if is_paged {
                form::show(call, &text);
            } else {
                call.print(text.as_bytes());
            }
            Ok(status)
        }
        Err(error) => {
            log.error(format!("{error:#}").as_bytes());
            Ok(1)
        }
    }
}

impl Command {
    /// Whether what it prints may be shown page by page.
    fn is_paged(&self) -> bool {
        match self {
            Command::Blame(options) => options.form.is_paged(),
            Command::Check(options) => options.form.is_paged(),
            Command::Plot(_) => false,
            Command::Stats(options) => options.is_paged(),
        }
    }

    /// The output of the command, and its exit status.
    fn output(self, call: &Call<'_>, log: &Log<'_>) -> Result<(String, u8)> {
        let system = &call.world.system;
        let text = match self {
            Command::Blame(options) => blame::text(&options, system, log)?,
            Command::Check(options) => return check::report(&options, call),
            Command::Plot(options) => plot::text(&options, system, log)?,
            Command::Stats(options) => stats::text(&options, system, log)?,
        };
        Ok((text, 0))
    }
}

/// What was read from the trace. The second part of `read` counts lines that could not be used.
fn traced<T>(read: crate::error::Result<(T, u64)>, log: &Log<'_>) -> Result<T> {
    match read {
        Err(error) if error.errno() == Errno::ENOENT => {
            bail!("nothing was traced: create /run/kmod/trace, or boot with kmod.gate_trace=1")
        }
        read => {
            let (traced, broken) = read.context("could not read the gate's trace")?;
            if broken > 0 {
                let text = format!("{broken} lines of the trace are not whole, and do not count");
                log.warning(text.as_bytes());
            }
            Ok(traced)
        }
    }
}
