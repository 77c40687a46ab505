//! The tools: one file each, all in one program. [`run`] picks the tool by the name it was called by, as kmod does.
//!
//! Each tool has the same shape: its option table serves the parser and the help text; parsing fills one plain struct; the
//! modules below do the work; what they return becomes text and an exit status. Of all that a tool calls, only this module
//! prints or decides on an exit status.

pub(crate) mod bar;
pub(crate) mod depmod;
pub(crate) mod getopt;
pub(crate) mod insmod;
pub(crate) mod kmod;
pub(crate) mod lsmod;
pub(crate) mod message;
pub(crate) mod modinfo;
pub(crate) mod modprobe;
pub(crate) mod own;
mod parameters;
mod refusal;
pub(crate) mod rmmod;
pub(crate) mod static_nodes;
pub(crate) mod streams;
pub(crate) mod usage;
pub(crate) mod world;

use crate::error::Errno;
use crate::gate::{Gate, trace};
use crate::log::bytes;
use crate::system::roots::module_parent;
use crate::system::{Roots, System, clock, descriptors, directory, kernel, map};
use getopt::{Complaint, Found, Order, Parser};
use message::Log;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use streams::{Streams, Unbuffered};
use usage::Usage;
use world::World;

/// What every tool prints for `-V`. Programs read it: the third word must be a whole number (the kernel's
/// tools/testing/selftests compare it), the third word of the second line must look like `+WORD` or `-WORD`. The second
/// line says what this program can do: zstd, xz and gzip are built in, signatures are read without OpenSSL.
pub(crate) const VERSION: &[u8] = b"kmod version 34\n+ZSTD +XZ +ZLIB -OPENSSL\n";

/// The end of a tool with its exit status: 0, or 1 for every failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(pub u8);

/// What a tool returns: its exit status, or an [`Exit`] that ended it early.
pub(crate) type ToolResult = Result<u8, Exit>;

/// A tool: its name, what it does, its help text.
type Tool = (&'static str, fn(&Call<'_>) -> ToolResult, &'static Usage);

macro_rules! tools {
    ($($tool:ident)*) => {
        static TOOLS: &[Tool] = &[$((stringify!($tool), $tool::run, &$tool::USAGE)),*];
        /// A blank before each.
        const NAMES: &str = concat!($(" ", stringify!($tool)),*);
    };
}
tools! { kmod modprobe insmod rmmod lsmod modinfo depmod }

/// The help text of each tool, and of each command that kmod has too, by its name; [`own::commands`] has the other
/// commands. The manual pages and the completions are tested against both.
pub fn help() -> impl Iterator<Item = (&'static str, &'static Usage)> {
    let tools = TOOLS.iter().map(|&(name, _, usage)| (name, usage));
    tools.chain([("kmod static-nodes", &static_nodes::USAGE)])
}

/// The whole program on the real system: runs the tool that the first of the words names, and returns its exit status.
pub fn program(args: Vec<Vec<u8>>) -> u8 {
    descriptors::start_parking();
    map::install_sigbus_handler();
    let roots = Roots::default();
    let system = System { roots: &roots, kernel: &kernel::Linux, clock: &clock::Real };
    let streams = Streams::new(Unbuffered(std::io::stdout), Unbuffered(std::io::stderr));
    run(&World { args: &args, system, host: &world::ProcessHost, streams })
}

/// Runs the tool that `argv[0]` names, and returns its exit status. Any other name is an error with status 1: a wrapper
/// that keeps the program as `.modprobe-wrapped` would otherwise fail silently.
pub fn run(world: &World<'_>) -> u8 {
    let Some((argv0, words)) = world.args.split_first() else { return 1 };
    let program = argv0.rsplit(|&b| b == b'/').next().unwrap_or(argv0);
    let Some((_, tool, _)) = TOOLS.iter().find(|(name, ..)| name.as_bytes() == program) else {
        world.streams.complain(&bytes!["kmod: ERROR: called as '", program, "', but its names are", NAMES]);
        return 1;
    };
    let status = tool(&Call { world, program, argv0, words }).unwrap_or_else(|exit| exit.0);
    let Err(errno) = world.streams.finish() else { return status };
    world.streams.complain(&bytes![program, ": ERROR: could not write to stdout: ", errno.to_string()]);
    1
}

/// One call of a tool.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// The process, its streams and the system.
    pub world: &'a World<'a>,
    /// What messages begin with: the last component of `argv[0]`.
    pub program: &'a [u8],
    /// What complaints about the command line begin with: `argv[0]` as given, or the sub-command.
    pub argv0: &'a [u8],
    /// The words after it.
    pub words: &'a [Vec<u8>],
}

impl<'a> Call<'a> {
    /// Parses the words with the options of `usage`, and returns the operands. Hands each option but `-h` and `-V` to `act`
    /// as it is met.
    ///
    /// # Errors
    /// The exit of `-h` and `-V`, the one that `act` asked for, and status 1 after a complaint, which has been printed.
    pub(crate) fn options(
        &self,
        usage: &Usage,
        mut act: impl FnMut(Found<'a>) -> Result<(), Exit>,
    ) -> Result<Vec<&'a [u8]>, Exit> {
        let parser = Parser::new(usage.options, self.order(), self.argv0, self.words);
        let parser = self.drive(parser, |found| match found.id {
            b'h' => Err(self.help(usage)),
            b'V' => Err(self.version()),
            _ => act(found),
        })?;
        Ok(parser.operands())
    }

    /// Hands each option of `parser` to `act`. For words that do not come from the command line alone, and for options
    /// before a command.
    pub(crate) fn drive<'t, 'w>(
        &self,
        mut parser: Parser<'t, 'w>,
        mut act: impl FnMut(Found<'w>) -> Result<(), Exit>,
    ) -> Result<Parser<'t, 'w>, Exit> {
        while let Some(found) = parser.next_option().map_err(|Complaint(line)| self.end(&line))? {
            act(found)?;
        }
        Ok(parser)
    }

    /// Whether options may follow operands.
    pub(crate) fn order(&self) -> Order {
        self.world.host.variable("POSIXLY_CORRECT").map_or(Order::Permute, |_| Order::StopAtOperand)
    }

    /// Prints to stdout.
    pub(crate) fn print(&self, text: &[u8]) {
        self.world.streams.print(text);
    }

    /// Prints a line to stderr as it is, without program name and level. The tool ends with status 1.
    pub(crate) fn end(&self, line: &[u8]) -> Exit {
        self.world.streams.complain(line);
        Exit(1)
    }

    /// Prints the help text.
    pub(crate) fn help(&self, usage: &Usage) -> Exit {
        self.print(&usage.text(self.program));
        Exit(0)
    }

    /// Prints the version text.
    pub(crate) fn version(&self) -> Exit {
        self.print(VERSION);
        Exit(0)
    }

    /// The tool's log.
    pub(crate) fn log(&self) -> Log<'a> {
        Log::new(self.world, self.program)
    }

    /// The gate, with the device that udev's environment names for this request.
    pub(crate) fn gate<'g>(&self, log: &'g Log<'g>) -> Gate<'g>
    where
        'a: 'g,
    {
        let host = self.world.host;
        let origin = trace::Origin { devpath: host.variable("DEVPATH"), seqnum: host.variable("SEQNUM") };
        Gate::new(self.world.system, log, origin, Arc::default())
    }

    /// The absolute path of a file named on the command line: see [`directory::absolute`].
    pub(crate) fn absolute(&self, path: &[u8]) -> Result<PathBuf, Errno> {
        directory::absolute(path, || self.world.host.directory())
    }

    /// The same for a path without which the tool ends.
    ///
    /// # Errors
    /// Status 1 if the path is relative and there is no working directory, which has been logged.
    pub(crate) fn absolute_or_end(&self, log: &Log<'_>, path: &[u8]) -> Result<PathBuf, Exit> {
        let end = |errno: Errno| log.end(&bytes!["no working directory for ", path, ": ", errno.to_string()]);
        self.absolute(path).map_err(end)
    }

    /// The module directory: of the running kernel or of `release`, in this system or below `root` (`-S`, `-d`). The path
    /// is concatenated as text, since messages show it.
    ///
    /// # Errors
    /// Status 1 if uname fails, if the path is too long, or relative without a working directory, which has been logged.
    pub(crate) fn module_directory(
        &self,
        log: &Log<'_>,
        root: Option<&[u8]>,
        release: Option<&[u8]>,
    ) -> Result<PathBuf, Exit> {
        /// The longest path that the kernel takes, with its NUL.
        const PATH_MAX: usize = 4096;
        let release = release.map_or_else(|| self.world.host.release(), |release| Ok(release.to_vec()));
        let release = release.map_err(|errno| log.end(&bytes!["uname failed: ", errno.to_string()]))?;
        let dir = match root {
            None => self.world.system.roots.module_dir(&release).into_os_string().into_vec(),
            Some(root) => {
                let dir = |parent: &[u8]| bytes![root, parent, "/", release];
                dir(module_parent(|parent| self.absolute(&dir(parent)).is_ok_and(|dir| dir.is_dir())))
            }
        };
        if dir.len() >= PATH_MAX {
            return Err(log.end(&bytes!["bad directory ", dir, ": path too long"]));
        }
        self.absolute_or_end(log, &dir)
    }
}

#[cfg(test)]
mod tests;
