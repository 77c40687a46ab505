//! Reads case files: small root file systems and the commands to run in them.
//!
//! One line, one thing; the first word says what it is:
//!
//! ```text
//! # comment
//! == NAME                    a new case begins
//! tree NAME                  which module tree lies in /lib/modules/RELEASE (trees.rs); `std` unless said
//! conf [NAME]                a file /etc/modprobe.d/NAME, `t.conf` unless said; its content follows
//! @ PATH                     any other file; its content follows
//! |text                      one line of that content
//! !text                      the same with \t \n \0 \\ \xHH, and no newline of its own
//! ko PATH WORDS              a module file; the words are those of `trees::module`
//! ~ PATH -> TARGET           a symbolic link
//! mkdir PATH                 a directory
//! fifo PATH                  a named pipe
//! rm PATH                    takes away what the tree brought
//! loaded NAME [state=live] [refcnt=0] [size=4096] [holders=a,b]     a module in /sys/module and /proc/modules
//! cmdline TEXT               /proc/cmdline
//! kernel CALL=ERRNO ...      what the kernel answers to finit, init, delete, finit-compressed (kernel.rs)
//! env NAME=VALUE             for the commands that follow
//! cd PATH                    working directory of the commands that follow, `/` unless said
//! syslog                     listen on /dev/log
//! depmod                     write the tree's indexes anew, with kmod 34.2's depmod
//! $ COMMAND                  in a shell's words: quotes, backslash, NAME=VALUE in front, >&- or 2>&- behind
//! $* COMMAND                 the same, once for each of the tools that have no reason to differ: see `every_tool`
//! ```
//!
//! `%REL%` stands for the running kernel's release everywhere, `%LONG%` for 4095 letters `x`, the most that a name may have. In
//! the words of `$`, `env` and `ko` `\xHH` inside single quotes is a byte.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::trees;

/// One root file system and the commands to run in it, in order.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// Name of the file and name of the case, `config/options-order`.
    pub name: String,
    /// The case file and the line where it begins, for messages.
    pub place: String,
    /// Name of the module tree.
    pub tree: String,
    /// What to make in the root, in order.
    pub files: Vec<(PathBuf, Entry)>,
    /// Modules the kernel is said to hold.
    pub loaded: Vec<Loaded>,
    /// What the kernel answers, by call.
    pub kernel: BTreeMap<String, String>,
    /// Whether somebody listens on /dev/log.
    pub syslog: bool,
    /// Whether depmod runs before the commands.
    pub depmod: bool,
    /// The commands.
    pub commands: Vec<Command>,
}

/// Something in the root file system.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A regular file.
    File(Vec<u8>),
    /// A symbolic link.
    Link(PathBuf),
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// Nothing: what is there is removed.
    Gone,
}

/// A module in /sys/module and /proc/modules.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// As in /proc/modules.
    pub name: String,
    /// Content of `initstate`; empty: no such file.
    pub state: String,
    /// Content of `refcnt`; empty: no such file.
    pub refcnt: String,
    /// Size in bytes.
    pub size: String,
    /// Names in the `holders` directory.
    pub holders: Vec<String>,
}

/// One command line.
#[derive(Clone, Debug)]
pub struct Command {
    /// As written in the case file.
    pub shown: String,
    /// argv, from argv[0].
    pub words: Vec<Vec<u8>>,
    /// Added to the environment.
    pub env: Vec<(String, Vec<u8>)>,
    /// Working directory, inside the root.
    pub cwd: String,
    /// Standard output is closed.
    pub no_stdout: bool,
    /// Standard error is closed.
    pub no_stderr: bool,
}

impl Command {
    /// The command with these words, and nothing special about it.
    pub fn of(words: &[impl AsRef<str>]) -> Command {
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        Command {
            shown: words.join(" "),
            words: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
            env: Vec::new(),
            cwd: "/".to_owned(),
            no_stdout: false,
            no_stderr: false,
        }
    }
}

/// Reads one case file. `group` is put in front of the cases' names; `release` replaces `%REL%`.
///
/// # Errors
/// A sentence naming the file and line, if a line is not what the head of this file says.
pub fn parse(group: &str, text: &str, release: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    let mut env: Vec<(String, Vec<u8>)> = Vec::new();
    let mut cwd = "/".to_owned();
    let mut content = false;
    let long = "x".repeat(4095);
    for (number, line) in text.lines().enumerate() {
        let place = format!("{group}.txt:{}", number + 1);
        let line = line.replace("%REL%", release).replace("%LONG%", &long);
        if let Some(name) = line.strip_prefix("== ") {
            let name = format!("{group}/{name}");
            if cases.iter().any(|case| case.name == name) {
                return Err(format!("{place}: a second case {name}"));
            }
            env.clear();
            cwd = "/".to_owned();
            content = false;
            cases.push(Case { name, place, tree: "std".to_owned(), ..Case::default() });
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let case = cases.last_mut().ok_or_else(|| format!("{place}: no case has begun"))?;
        if let Some(text) = line.strip_prefix('|').or_else(|| line.strip_prefix('!')) {
            let Some((_, Entry::File(file))) = case.files.last_mut().filter(|_| content) else {
                return Err(format!("{place}: content without a file"));
            };
            if line.starts_with('|') {
                file.extend_from_slice(text.as_bytes());
                file.push(b'\n');
            } else {
                file.extend_from_slice(&unescape(text.as_bytes()));
            }
            continue;
        }
        content = false;
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "tree" => case.tree = rest.to_owned(),
            "conf" => {
                let name = if rest.is_empty() { "t.conf" } else { rest };
                case.files.push((format!("etc/modprobe.d/{name}").into(), Entry::File(Vec::new())));
                content = true;
            }
            "@" => {
                case.files.push((relative(rest), Entry::File(Vec::new())));
                content = true;
            }
            "~" => {
                let (path, target) = rest.split_once(" -> ").ok_or_else(|| format!("{place}: no target"))?;
                case.files.push((relative(path), Entry::Link(target.into())));
            }
            "ko" => {
                let words = shlex::split(rest).ok_or_else(|| format!("{place}: unbalanced quotes"))?;
                let (path, words) = words.split_first().ok_or_else(|| format!("{place}: no path"))?;
                let file = trees::module(path, words).map_err(|what| format!("{place}: {what}"))?;
                case.files.push((relative(path), Entry::File(file)));
            }
            "mkdir" => case.files.push((relative(rest), Entry::Directory)),
            "fifo" => case.files.push((relative(rest), Entry::Fifo)),
            "cd" => cwd = rest.to_owned(),
            "rm" => case.files.push((relative(rest), Entry::Gone)),
            "loaded" => case.loaded.push(loaded(rest).ok_or_else(|| format!("{place}: unknown word"))?),
            "cmdline" => {
                let text = [&unescape(rest.as_bytes())[..], b"\n"].concat();
                case.files.push(("proc/cmdline".into(), Entry::File(text)));
            }
            "kernel" => {
                for word in rest.split_whitespace() {
                    let (call, answer) = word.split_once('=').ok_or_else(|| format!("{place}: no answer"))?;
                    case.kernel.insert(call.to_owned(), answer.to_owned());
                }
            }
            "env" => {
                let (name, value) = rest.split_once('=').ok_or_else(|| format!("{place}: no value"))?;
                env.push((name.to_owned(), bytes_of(value)));
            }
            "syslog" => case.syslog = true,
            "depmod" => case.depmod = true,
            "$" => case.commands.push(command(rest, &env, &cwd).map_err(|what| format!("{place}: {what}"))?),
            "$*" => {
                for tool in EVERY_TOOL {
                    let line = rest.replacen("TOOL", tool, 1);
                    case.commands
                        .push(command(&line, &env, &cwd).map_err(|what| format!("{place}: {what}"))?);
                }
            }
            _ => return Err(format!("{place}: unknown word {word}")),
        }
    }
    Ok(cases)
}

/// What `TOOL` stands for in a `$*` line.
const EVERY_TOOL: [&str; 6] = ["modprobe", "insmod", "rmmod", "lsmod", "modinfo", "depmod"];

fn relative(path: &str) -> PathBuf {
    path.trim_start_matches('/').into()
}

fn loaded(text: &str) -> Option<Loaded> {
    let mut words = text.split(' ');
    let mut module = Loaded {
        name: words.next()?.to_owned(),
        state: "live".to_owned(),
        refcnt: "0".to_owned(),
        size: "4096".to_owned(),
        holders: Vec::new(),
    };
    for word in words {
        match word.split_once('=')? {
            ("state", value) => module.state = value.to_owned(),
            ("refcnt", value) => module.refcnt = value.to_owned(),
            ("size", value) => module.size = value.to_owned(),
            ("holders", value) => module.holders = value.split(',').map(str::to_owned).collect(),
            _ => return None,
        }
    }
    Some(module)
}

fn command(line: &str, env: &[(String, Vec<u8>)], cwd: &str) -> Result<Command, String> {
    let mut text = line;
    let mut command = Command {
        shown: line.to_owned(),
        words: Vec::new(),
        env: env.to_vec(),
        cwd: cwd.to_owned(),
        no_stdout: false,
        no_stderr: false,
    };
    loop {
        if let Some(rest) = text.strip_suffix(" 2>&-") {
            command.no_stderr = true;
            text = rest;
        } else if let Some(rest) = text.strip_suffix(" >&-") {
            command.no_stdout = true;
            text = rest;
        } else {
            break;
        }
    }
    for word in shlex::split(text).ok_or("unbalanced quotes")? {
        match word.split_once('=') {
            Some((name, value)) if command.words.is_empty() && !name.contains('/') => {
                command.env.push((name.to_owned(), bytes_of(value)));
            }
            _ => command.words.push(bytes_of(&word)),
        }
    }
    if command.words.is_empty() { Err("no command".to_owned()) } else { Ok(command) }
}

/// A word with `\xHH` made a byte.
pub fn bytes_of(word: &str) -> Vec<u8> {
    if word.contains("\\x") { unescape(word.as_bytes()) } else { word.as_bytes().to_vec() }
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at + 1..];
        let (byte, used) = match (text[at], rest.first()) {
            (b'\\', Some(b't')) => (b'\t', 2),
            (b'\\', Some(b'n')) => (b'\n', 2),
            (b'\\', Some(b'0')) => (0, 2),
            (b'\\', Some(b'\\')) => (b'\\', 2),
            (b'\\', Some(b'x')) => {
                let digits = rest.get(1..3).and_then(|digits| std::str::from_utf8(digits).ok());
                match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(byte) => (byte, 4),
                    None => (b'\\', 1),
                }
            }
            (byte, _) => (byte, 1),
        };
        out.push(byte);
        at += used;
    }
    out
}
