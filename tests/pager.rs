//! The real program on a terminal: a long list goes through the pager that the environment names, whole and once, with the
//! status of the command, whatever becomes of the pager.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// This is more than a pipe holds, so that a pager which is left early leaves the writer with a broken one.
const FINDINGS: usize = 600;

/// What it is, the environment, the words behind the command, what is on the terminal.
type Case<'c> = (&'c str, &'c [(&'c str, &'c str)], &'c [&'c str], String);

/// A system of which `kmod check config` has much to say, and with a `less` that shows what it was told.
struct Machine {
    dir: tempfile::TempDir,
}

/// How a run ended, and what was on the terminal.
struct Ran {
    status: Option<i32>,
    shown: String,
}

impl Machine {
    fn new() -> Machine {
        let machine = Machine { dir: tempfile::tempdir().unwrap() };
        let config = machine.at("root/etc/modprobe.d");
        fs::create_dir_all(&config).unwrap();
        fs::write(config.join("a.conf"), format!("{}\n", "x".repeat(60)).repeat(FINDINGS)).unwrap();
        fs::create_dir(machine.at("bin")).unwrap();
        let less = machine.at("bin/less");
        fs::write(&less, "#!/bin/sh\necho \"less $LESS, secure $LESSSECURE\"\nexec cat\n").unwrap();
        fs::set_permissions(&less, fs::Permissions::from_mode(0o755)).unwrap();
        machine
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path)
    }

    /// `kmod check config` with this environment and these words more.
    fn command(&self, variables: &[(&str, &str)], words: &[&str]) -> Command {
        let program = std::env::var_os("KMOD_ONCE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_kmod").into());
        let mut command = Command::new(program);
        command.args(["check", "config", "-S", "6.1.0", "-d"]).arg(self.at("root")).args(words);
        let path = format!("{}:/usr/bin:/bin", self.at("bin").display());
        command.env_clear().env("TERM", "linux").env("PATH", path).envs(variables.iter().copied());
        command.stdin(Stdio::null());
        command
    }

    /// The same on a terminal.
    fn on_terminal(&self, variables: &[(&str, &str)], words: &[&str]) -> Ran {
        let terminal = nix::pty::openpty(None, None).unwrap();
        let mut command = self.command(variables, words);
        command.stdout(terminal.slave.try_clone().unwrap()).stderr(terminal.slave);
        let mut child = command.spawn().unwrap();
        // Its copies of the terminal's other end: that only the program has it is how the end is seen.
        drop(command);
        let mut shown = Vec::new();
        // Ends with EIO.
        let _ = File::from(terminal.master).read_to_end(&mut shown);
        let status = child.wait().unwrap().code();
        Ran { status, shown: String::from_utf8(shown).unwrap().replace("\r\n", "\n") }
    }
}

#[test]
fn a_list_is_shown_once_and_by_the_pager_that_is_wanted() {
    let machine = Machine::new();
    let output = machine.command(&[], &[]).output().unwrap();
    let (list, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), list.lines().count(), err.as_str()), (Some(1), FINDINGS, ""));
    assert!(list.len() > 64 << 10, "what a pipe holds");
    let gone = machine.at("bin/gone");
    let gone = gone.to_str().unwrap();
    let marked: String = list.lines().map(|line| format!("> {line}\n")).collect();
    let missing = "/bin/sh: 1: nosuch: not found\n";
    let first = &list[..=list.find('\n').unwrap()];
    let cases: &[Case<'_>] = &[
        ("less", &[], &[], format!("less FRX, secure 1\n{list}")),
        ("options for less", &[("LESS", "i")], &[], format!("less i, secure 1\n{list}")),
        ("a secure less", &[("LESSSECURE", "0")], &[], format!("less FRX, secure 1\n{list}")),
        ("no less", &[("PATH", gone)], &[], list.clone()),
        ("--no-pager", &[], &["--no-pager"], list.clone()),
        ("a command", &[("PAGER", "sed 's/^/> /'")], &[], marked.clone()),
        ("its own variable", &[("KMOD_PAGER", "sed 's/^/> /'"), ("PAGER", "cat -n")], &[], marked),
        ("a command for less", &[("PAGER", "echo $LESSSECURE; cat")], &[], format!("1\n{list}")),
        ("cat", &[("PAGER", "cat")], &[], list.clone()),
        ("no such command", &[("PAGER", "nosuch")], &[], format!("{missing}{list}")),
        ("one that was left early", &[("PAGER", "head -n 1")], &[], first.to_owned()),
        ("one that fails", &[("PAGER", "head -n 1; exit 3")], &[], first.to_owned()),
        ("one that is killed", &[("PAGER", "head -n 1; kill -9 $$")], &[], first.to_owned()),
        (
            "^C, which is the pager's",
            &[("PAGER", "cat; kill -INT $PPID; kill -QUIT $PPID")],
            &[],
            list.clone(),
        ),
        (
            "what sudo's caller wants",
            &[("SUDO_UID", "1"), ("PAGER", "id")],
            &[],
            format!("less FRX, secure 1\n{list}"),
        ),
    ];
    for (case, variables, words, shown) in cases {
        let ran = machine.on_terminal(variables, words);
        assert!(ran.shown == *shown, "{case}: {}", ends(&ran.shown));
        assert_eq!(ran.status, Some(1), "{case}");
    }
}

#[test]
fn nothing_is_paged_that_goes_elsewhere() {
    let machine = Machine::new();
    let marker = machine.at("paged");
    let pager = format!("touch {}; cat", marker.display());
    let output = machine.command(&[("PAGER", &pager)], &[]).stderr(Stdio::inherit()).output().unwrap();
    assert_eq!(output.stdout.iter().filter(|&&b| b == b'\n').count(), FINDINGS);
    let file = File::create(machine.at("list")).unwrap();
    machine.command(&[("PAGER", &pager)], &[]).stdout(file).status().unwrap();
    assert!(!Path::new(&marker).exists());
    // It is there for a terminal.
    machine.on_terminal(&[("PAGER", &pager)], &[]);
    assert!(marker.exists());
}

/// The ends of a long text.
fn ends(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let (first, last) = (lines.iter().take(3), lines.iter().rev().take(2).rev());
    format!("{} lines: {:?}", lines.len(), first.chain(last).collect::<Vec<_>>())
}
