//! modprobe's command line: its options, and the environment variable that adds to them.

use crate::cli::getopt::{Opt, Parser, opt};
use crate::cli::message::{Log, START};
use crate::cli::usage::Usage;
use crate::cli::{Call, Exit, parameters};
use crate::formats::number::integer;
use crate::limits;
use crate::load::insert::Force;
use crate::load::plan::Ignore;
use crate::log::bytes;
use crate::system::roots::as_path;
use std::path::PathBuf;
use std::time::Duration;

const REMOVE_HOLDERS: u8 = 201;
const FIRST_TIME: u8 = 202;
const FORCE_MODVERSION: u8 = 203;
const FORCE_VERMAGIC: u8 = 204;
const SHOW_MODVERSIONS: u8 = 205;
const SHOW_EXPORTS: u8 = 206;
const JOBS: u8 = 207;
const EXPLAIN: u8 = 208;
const JSON: u8 = 209;
const IGNORE_FORBID: u8 = 210;

/// The options, in the order in which getopt lists them when a name is ambiguous.
const OPTIONS: &[Opt] = &[
    opt(b'a', "all", "every operand is a module, to insert or (with -r) to remove"),
    opt(b'r', "remove", "remove modules instead of inserting them"),
    opt(REMOVE_HOLDERS, "remove-dependencies", "").unlisted().deprecated("remove-holders"),
    opt(REMOVE_HOLDERS, "remove-holders", "as -r, and remove the modules that use it, too"),
    opt(b'w', "wait", "with -r: while the module is in use, try again for so\nmany milliseconds")
        .takes("MSEC"),
    opt(b'R', "resolve-alias", "print the modules that NAME stands for").group(1).deprecated("show-alias"),
    opt(b'R', "show-alias", "the same").group(1).whole(),
    opt(FIRST_TIME, "first-time", "fail if there is nothing to do"),
    opt(b'i', "ignore-install", "do not run install commands for NAME"),
    opt(b'i', "ignore-remove", "do not run remove commands for NAME"),
    opt(IGNORE_FORBID, "ignore-forbid", "load even what the configuration forbids").whole(),
    opt(JOBS, "jobs", "load up to N modules at the same time (1 unless said here\nor by KMOD_JOBS)")
        .takes("N")
        .whole(),
    opt(b'b', "use-blacklist", "the blacklist counts for module names, too"),
    opt(b'f', "force", "both of the following; with -r: even while it is in use.\nDANGEROUS"),
    opt(FORCE_MODVERSION, "force-modversion", "do not compare the versions of symbols"),
    opt(FORCE_VERMAGIC, "force-vermagic", "do not compare the version magic"),
    opt(b'D', "show-depends", "print what would be inserted if nothing were loaded").group(1),
    opt(EXPLAIN, "explain", "say what would be done and why; load nothing").group(1).whole(),
    opt(JSON, "json", "with --explain: for programs").group(1).whole(),
    opt(b'c', "showconfig", "print the configuration and the indexes").group(1).deprecated("show-config"),
    opt(b'c', "show-config", "the same").group(1),
    opt(SHOW_MODVERSIONS, "show-modversions", "print the symbol versions that a module needs").group(1),
    opt(SHOW_MODVERSIONS, "dump-modversions", "the same").group(1).deprecated("show-modversions"),
    opt(SHOW_EXPORTS, "show-exports", "print the symbols that a module exports").group(1),
    opt(b'n', "dry-run", "change nothing, print what would be done").group(2),
    opt(b'n', "show", "the same").group(2).deprecated("dry-run"),
    opt(b'C', "config", "read the configuration from PATH instead; may repeat").takes("PATH").group(2),
    opt(b'd', "dirname", "look for /lib/modules below DIR").takes("DIR").group(2),
    opt(b'S', "set-version", "use the modules of VERSION, not of the running kernel")
        .takes("VERSION")
        .group(2),
    opt(b's', "syslog", "messages go to the system log, not to stderr").group(2),
    opt(b'q', "quiet", "no messages").group(2),
    opt(b'v', "verbose", "more messages").group(2),
    opt(b'V', "version", "print the version").group(2),
    opt(b'h', "help", "print this text").group(2),
];

/// The help text, with the options.
pub(crate) const USAGE: Usage = Usage {
    forms: &[
        "[options] NAME [PARAMETER=VALUE...]",
        "[options] -a NAME...",
        "[options] -r [-a] NAME...",
        "[options] -c",
        "[options] --show-modversions|--show-exports NAME|FILE",
    ],
    groups: &["Management Options", "Query Options", "General Options"],
    options: OPTIONS,
    notes: "\nNAME is a module, an alias, or a file: then it begins with / or ./\n",
};

/// What to do. If several are asked for, the variant further down takes precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Mode {
    #[default]
    Insert,
    Remove,
    Exports,
    Modversions,
    Config,
    Explain,
}

/// The command line as given; a field without a comment is the long option of that name. One plain struct: `insert` and
/// `remove` decide which combinations have a meaning.
#[derive(Debug, Default)]
pub(crate) struct Request<'w> {
    /// `-r`, `-c`, `--explain` and the other options that choose it.
    pub mode: Mode,
    pub all: bool,
    /// `--remove-holders`
    pub holders: bool,
    /// `-w`; zero if it is not given.
    pub wait: Duration,
    /// `-R`
    pub resolve: bool,
    pub first_time: bool,
    /// `-i`
    pub bare: bool,
    pub ignore_forbid: bool,
    pub jobs: Option<usize>,
    /// `-b`
    pub blacklist: bool,
    /// `--force-vermagic`, `--force-modversion`, or `-f` for both: for inserting.
    pub force: Force,
    /// `-f`, for removing.
    pub force_removal: bool,
    /// `-D`
    pub depends: bool,
    /// `-n`, `-D`
    pub dry: bool,
    pub quiet: bool,
    /// Whether every step is printed: with `-n`, `-D`, or `-v` unless `-q` cancels it.
    pub actions: bool,
    /// `-C`, each; `None` without.
    pub config: Option<Vec<PathBuf>>,
    /// `-d`
    pub root: Option<&'w [u8]>,
    /// `-S`
    pub release: Option<&'w [u8]>,
    /// MODPROBE_OPTIONS for the environment of commands, if it differs from this process's.
    pub exported: Option<Vec<u8>>,
    pub json: bool,
    /// The operands, except for parameters. Only with `-c` there may be none.
    pub names: Vec<&'w [u8]>,
    /// The parameters of the module to insert, joined.
    pub parameters: Vec<u8>,
}

impl Request<'_> {
    /// What to ignore of the configuration. `-D` lists a forbidden module, too: makers of initial RAM disks take a failure
    /// for a broken system, and in the image the same configuration refuses the module.
    pub(crate) fn ignore(&self) -> Ignore {
        Ignore { install: self.bare, forbid: self.ignore_forbid || self.depends }
    }
}

/// Options that are read before those of the command line. Commands inherit it.
pub(crate) const VARIABLE: &str = "MODPROBE_OPTIONS";

/// Parses `words`, which begin with those of [`VARIABLE`], and sets the threshold of the log and whether it writes to the
/// system log. `variable` is the variable's value, if it is set.
///
/// # Errors
/// The exit of `-h`, `-V` or a bad command line.
pub(crate) fn parse<'w>(
    call: &Call<'_>,
    log: &Log<'_>,
    variable: Option<Vec<u8>>,
    words: &'w [Vec<u8>],
) -> Result<Request<'w>, Exit> {
    let mut request = Request { exported: variable.clone(), ..Request::default() };
    let mut threshold = START;
    let mut syslog = call.world.host.stderr_closed();
    let mut warned = Vec::new();
    let parser = call.drive(Parser::new(OPTIONS, call.order(), call.argv0, words), |found| {
        let value = found.value.unwrap_or_default();
        if let Some((name, successor)) = found.deprecated.filter(|found| !warned.contains(found)) {
            warned.push((name, successor));
            log.warning(&bytes!["--", name, " is deprecated and scheduled for removal; use --", successor]);
        }
        match found.id {
            b'a' => request.all = true,
            b'r' => request.mode = request.mode.max(Mode::Remove),
            REMOVE_HOLDERS => (request.mode, request.holders) = (request.mode.max(Mode::Remove), true),
            b'w' => {
                request.wait =
                    wait(value).ok_or_else(|| log.end(&bytes!["unexpected wait value '", value, "'."]))?
            }
            b'R' => request.resolve = true,
            FIRST_TIME => request.first_time = true,
            b'i' => request.bare = true,
            IGNORE_FORBID => request.ignore_forbid = true,
            JOBS => request.jobs = Some(jobs("jobs", value).map_err(|text| log.end(&text))?),
            b'b' => request.blacklist = true,
            b'f' => {
                request.force = Force { vermagic: true, modversions: true };
                request.force_removal = true;
            }
            FORCE_MODVERSION => request.force.modversions = true,
            FORCE_VERMAGIC => request.force.vermagic = true,
            b'D' => (request.depends, request.dry) = (true, true),
            b'c' => request.mode = request.mode.max(Mode::Config),
            SHOW_MODVERSIONS => request.mode = request.mode.max(Mode::Modversions),
            SHOW_EXPORTS => request.mode = request.mode.max(Mode::Exports),
            EXPLAIN => request.mode = Mode::Explain,
            JSON => request.json = true,
            b'n' => request.dry = true,
            b'C' => request.config.get_or_insert_default().push(as_path(value).to_path_buf()),
            b'd' => request.root = Some(value),
            b'S' => request.release = Some(value),
            b's' => syslog = true,
            b'q' => (request.quiet, threshold) = (true, 0),
            b'v' => threshold += 1,
            b'V' => return Err(call.version()),
            _ => return Err(call.help(&USAGE)),
        }
        // Commands inherit these.
        if matches!(found.id, b'C' | b's' | b'q' | b'v') {
            let value = found.value.map(|value| bytes![" ", value]).unwrap_or_default();
            let option = bytes!["-", [found.id], value];
            match &mut request.exported {
                Some(text) => text.extend(bytes![" ", option]),
                None => request.exported = Some(option),
            }
        }
        Ok(())
    })?;
    request.names = parser.operands();
    request.actions = request.dry || threshold > START;
    request.exported = request.exported.filter(|text| Some(text) != variable.as_ref());
    if syslog {
        log.use_syslog();
    }
    if request.names.is_empty() && request.mode != Mode::Config {
        return Err(log.end(b"missing parameters. See -h."));
    }
    if request.json && request.mode != Mode::Explain {
        return Err(log.end(b"--json goes with --explain."));
    }
    log.set_threshold(threshold);
    // Parameters follow the name, unless -a makes a name of every operand.
    if !request.all && matches!(request.mode, Mode::Insert | Mode::Explain) {
        request.parameters = parameters::join(&request.names.split_off(1));
    }
    Ok(request)
}

/// The number of modules to load at the same time that `KMOD_JOBS` sets; 1 without it.
///
/// # Errors
/// The message about a wrong value.
pub(crate) fn jobs_variable(call: &Call<'_>) -> Result<usize, Vec<u8>> {
    const NAME: &str = "KMOD_JOBS";
    call.world.host.variable(NAME).map_or(Ok(1), |text| jobs(NAME, &text))
}

/// A number of jobs: decimal digits and nothing else, from 1 to [`limits::JOBS`].
///
/// # Errors
/// The message about any other value; `source` is the option or the variable.
fn jobs(source: &str, text: &[u8]) -> Result<usize, Vec<u8>> {
    let digits = text.iter().all(u8::is_ascii_digit).then_some(text);
    let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    number.filter(|number| (1..=limits::JOBS).contains(number)).ok_or_else(|| {
        let rest = format!("': not a number from 1 to {}.", limits::JOBS);
        bytes!["unexpected ", source, " value '", text, rest]
    })
}

/// A number of milliseconds as strtoul(3) with base 0 reads it, after white space. `None` if there is no number, if text
/// follows it, or if it is negative or does not fit into 64 bits.
fn wait(text: &[u8]) -> Option<Duration> {
    let (number, negative) = integer(text.trim_ascii_start())?;
    (!negative || number == 0).then_some(Duration::from_millis(number))
}

/// The words of MODPROBE_OPTIONS. Only the blank separates words. `"` and `'` quote, also inside a word. A quoted string at
/// the start of a word is the whole word. After a quote that is never closed, everything is literal. kmod also makes an
/// empty word of each surplus blank and then looks for a module without a name; here surplus blanks make no words.
pub fn split(text: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        let unread = std::mem::replace(&mut rest, after);
        match byte {
            b' ' => words.extend(word.take()),
            b'"' | b'\'' => match after.iter().position(|b| b == byte) {
                None => {
                    word.get_or_insert_default().extend_from_slice(unread);
                    break;
                }
                Some(end) => {
                    rest = &after[end + 1..];
                    match &mut word {
                        Some(word) => word.extend_from_slice(&after[..end]),
                        None => words.push(after[..end].to_vec()),
                    }
                }
            },
            _ => word.get_or_insert_default().push(*byte),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_of(text: &str) -> Vec<String> {
        split(text.as_bytes()).into_iter().map(|word| String::from_utf8(word).unwrap()).collect()
    }

    #[test]
    fn the_variable_is_split_as_kmod_splits_it() {
        for (text, words) in [
            ("", &[][..]),
            ("-qb", &["-qb"]),
            ("-d/x\"y z\"w", &["-d/xy zw"]),
            ("\"a\"\"b\"", &["a", "b"]),
            ("\"a\"b", &["a", "b"]),
            ("a\"b", &["a\"b"]),
            ("a\"b c d", &["a\"b c d"]),
            ("a\"b'c d\"e' f", &["ab'c de' f"]),
            ("\"it's\" -q", &["it's", "-q"]),
            ("x\ty\\ z", &["x\ty\\", "z"]),
            ("-C \"\" -q", &["-C", "", "-q"]),
        ] {
            assert_eq!(words_of(text), words, "{text}");
        }
    }

    #[test]
    fn blanks_too_many_make_no_words() {
        assert_eq!(words_of(" -q  -b "), ["-q", "-b"]);
        assert_eq!(words_of("\"a\" \"b\""), ["a", "b"]);
    }

    #[test]
    fn jobs_are_plain_numbers_within_bounds() {
        for (text, number) in
            [("1", Some(1)), ("08", Some(8)), ("256", Some(256)), ("257", None), ("0", None)]
        {
            assert_eq!(jobs("", text.as_bytes()).ok(), number, "{text}");
        }
        for text in ["", "x", "+1", "-1", " 1", "1 ", "0x8", "1000000000", "99999999999999999999999"] {
            assert_eq!(jobs("", text.as_bytes()).ok(), None, "{text}");
        }
    }

    #[test]
    fn waits_are_numbers_as_strtoul_reads_them_and_no_others() {
        for (text, number) in [
            ("5", 5),
            (" +3", 3),
            ("010", 8),
            ("0x10", 16),
            ("0", 0),
            ("-0", 0),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(wait(text.as_bytes()), Some(Duration::from_millis(number)), "{text}");
        }
        for text in [
            "",
            "abc",
            "08",
            "0x",
            "5 ",
            "-",
            "5s",
            "1x",
            "\u{ff}",
            "-1",
            " -5",
            "-0x1",
            "+-1",
            "18446744073709551616",
            "99999999999999999999",
            "-99999999999999999999",
            "0xfffffffffffffffff",
        ] {
            assert_eq!(wait(text.as_bytes()), None, "{text}");
        }
    }
}
