//! The tools: one file each, all in one program. [`run`] picks the tool by the name it was called by, as kmod does.
//!
//! Each tool has the same shape: its option table serves the parser and the help text; parsing fills one loose struct;
//! then the work is done through the rooms below, and what they return becomes text and an exit status. Only code in
//! this room prints, reads the environment or decides on an exit status.

pub mod depmod;
pub mod getopt;
pub mod kmod;
pub mod lsmod;
pub mod message;
pub mod static_nodes;
pub mod streams;
pub mod usage;
pub mod world;

use crate::bytes;
use crate::error::strerror;
use getopt::{Complaint, Found, Opt, Order, Parser};
use message::{Log, Stop};
use usage::Usage;
use world::World;

/// What every tool answers to `-V`. Programs read it: the third word must be a whole number (kselftest compares it), the
/// third of the second line must look like `+WORD` or `-WORD`. The second line says what this program can do: zstd, xz
/// and gzip are built in, signatures are read without OpenSSL.
pub const VERSION: &[u8] = b"kmod version 34\n+ZSTD +XZ +ZLIB -OPENSSL\n";

/// The end of a tool, with its exit status: 0, or 1 for everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(pub u8);

impl From<Stop> for Exit {
    fn from(_: Stop) -> Self {
        Exit(1)
    }
}

/// What a tool's body returns: its exit status, or an exit from somewhere inside.
pub type Outcome = Result<u8, Exit>;

/// A tool by the name it is called by; `None` for a name that is none of ours.
fn tool(name: &[u8]) -> Option<fn(&Call<'_>) -> Outcome> {
    Some(match name {
        b"depmod" => depmod::run,
        b"kmod" => kmod::run,
        b"lsmod" => lsmod::run,
        _ => return None,
    })
}

/// Runs the tool that `argv[0]` names, and returns its exit status. Any other name: 1, without a word.
pub fn run(world: &World<'_>) -> u8 {
    let Some((argv0, words)) = world.args.split_first() else { return 1 };
    let program = argv0.rsplit(|&b| b == b'/').next().unwrap_or(argv0);
    let Some(tool) = tool(program) else { return 1 };
    let status = tool(&Call { world, program, argv0, words }).unwrap_or_else(|exit| exit.0);
    match world.streams.finish() {
        Ok(()) => status,
        Err(errno) => {
            world.streams.complain(&bytes![program, ": ERROR: could not write to stdout: ", strerror(errno)]);
            1
        }
    }
}

/// One call of a tool.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The outside.
    pub world: &'a World<'a>,
    /// What messages begin with: the last component of `argv[0]`.
    pub program: &'a [u8],
    /// What complaints about the command line begin with: `argv[0]` as given, or the sub-command.
    pub argv0: &'a [u8],
    /// The words after it.
    pub words: &'a [Vec<u8>],
}

impl<'a> Call<'a> {
    /// Parses the words with `table`, hands each option to `act` as it is met, and returns the operands.
    ///
    /// # Errors
    /// The exit that `act` asked for; status 1 after a complaint, which has been printed.
    pub fn options(
        &self,
        table: &[Opt],
        act: impl FnMut(Found<'a>) -> Result<(), Exit>,
    ) -> Result<Vec<&'a [u8]>, Exit> {
        let parser = Parser::new(table, self.order(), self.argv0, self.words);
        Ok(self.drive(parser, act)?.operands())
    }

    /// As [`Call::options`], for words that are not the command line's own.
    ///
    /// # Errors
    /// As there.
    pub fn drive<'t, 'w>(
        &self,
        mut parser: Parser<'t, 'w>,
        mut act: impl FnMut(Found<'w>) -> Result<(), Exit>,
    ) -> Result<Parser<'t, 'w>, Exit> {
        loop {
            match parser.next_option() {
                Ok(Some(found)) => act(found)?,
                Ok(None) => return Ok(parser),
                Err(Complaint(line)) => {
                    self.world.streams.complain(&line);
                    return Err(Exit(1));
                }
            }
        }
    }

    /// Whether options may follow operands.
    pub fn order(&self) -> Order {
        match self.world.host.variable("POSIXLY_CORRECT") {
            Some(_) => Order::StopAtOperand,
            None => Order::Permute,
        }
    }

    /// Prints to stdout.
    pub fn print(&self, text: &[u8]) {
        self.world.streams.print(text);
    }

    /// Prints the help text.
    pub fn help(&self, usage: &Usage) -> Exit {
        self.print(&usage.text(self.program));
        Exit(0)
    }

    /// Prints the version text.
    pub fn version(&self) -> Exit {
        self.print(VERSION);
        Exit(0)
    }

    /// The tool's log.
    pub fn log(&self) -> Log<'a> {
        Log::new(self.world, self.program)
    }
}
