//! Names, options and messages of all tools.

use super::*;

#[test]
fn tools_are_told_apart_by_the_last_component_of_their_name() {
    let machine = Machine::new();
    for (name, last) in [
        ("foo", "foo"),
        ("lsmod.old", "lsmod.old"),
        ("modprobe-ng", "modprobe-ng"),
        ("/sbin/", ""),
        ("", ""),
        ("/nix/store/x/bin/.modprobe-wrapped", ".modprobe-wrapped"),
    ] {
        let names = "kmod modprobe insmod rmmod lsmod modinfo depmod";
        let line = format!("kmod: ERROR: called as '{last}', but its names are {names}\n");
        assert_eq!(machine.run(&[name, "-V"]), failed(&line), "{name}");
    }
    let version = printed("kmod version 34\n+ZSTD +XZ +ZLIB -OPENSSL\n");
    for name in ["kmod", "/sbin/modprobe", "insmod", "./rmmod", "lsmod", "modinfo", "depmod"] {
        assert_eq!(machine.run(&[name, "-V"]), version, "{name}");
    }
}

#[test]
fn options_act_in_their_order() {
    let machine = Machine::new();
    assert_eq!(machine.run(&["modprobe", "-c", "-V"]).status, 0);
    assert_eq!(
        machine.run(&["/sbin/modprobe", "-x", "-V"]),
        failed("/sbin/modprobe: invalid option -- 'x'\n")
    );
    assert_eq!(machine.run(&["modprobe", "-q"]), failed("modprobe: ERROR: missing parameters. See -h.\n"));
}

#[test]
fn kmod_has_few_commands() {
    let machine = Machine::new();
    for command in ["insmod", "modprobe", "load", "insert"] {
        let ran = machine.run(&["kmod", command, "x"]);
        assert_eq!((ran.status, ran.err), (1, format!("invalid command '{command}'\n")));
        assert!(ran.out.starts_with("Usage:\n\tkmod "));
    }
    assert_eq!(machine.run(&["kmod"]).err, "missing command\n");
    assert_eq!(machine.run(&["kmod", "static-nodes", "-x"]).err, "static-nodes: invalid option -- 'x'\n");
    assert_eq!(machine.run(&["kmod", "list", "x"]).err, "kmod: ERROR: too many arguments provided.\n");
    assert!(machine.run(&["kmod", "list", "-h"]).out.starts_with("Usage:\n\tkmod "));
}

#[test]
fn options_from_the_environment_come_first() {
    let machine = Machine::with_modules();
    machine.variable("MODPROBE_OPTIONS", "-a  -R");
    assert_eq!(machine.run(&["modprobe", "loop", "dummy"]), printed("loop\ndummy\n"));
    machine.variable("MODPROBE_OPTIONS", "-x");
    assert_eq!(machine.run(&["modprobe", "loop"]), failed("modprobe: invalid option -- 'x'\n"));
}

#[test]
fn names_on_their_way_out_warn_once_and_work() {
    let machine = Machine::with_modules();
    let warning = |name: &str, instead: &str| {
        format!("modprobe: WARNING: --{name} is deprecated and scheduled for removal; use --{instead}\n")
    };
    let dry = "insmod /lib/modules/6.1.0/loop.ko \n";
    for (words, name, instead, out) in [
        (&["--resolve-alias", "loop"][..], "resolve-alias", "show-alias", "loop\n"),
        // Abbreviated, with -q in front and behind, and twice.
        (&["--resolve", "loop"], "resolve-alias", "show-alias", "loop\n"),
        (&["-q", "--show", "loop"], "show", "dry-run", dry),
        (&["--show", "-q", "loop"], "show", "dry-run", dry),
        (&["--show", "--show", "loop"], "show", "dry-run", dry),
        (&["--remove-dependencies", "loop"], "remove-dependencies", "remove-holders", ""),
    ] {
        let expected = Ran { out: out.into(), err: warning(name, instead), status: 0 };
        assert_eq!(machine.run(&[&["modprobe"], words].concat()), expected, "{words:?}");
    }
    assert_eq!(machine.run(&["modprobe", "--showconfig"]).err, warning("showconfig", "show-config"));
    let ran = machine.run(&["modprobe", "--dump-modversions", "nosuch"]);
    assert!(ran.err.starts_with(&warning("dump-modversions", "show-modversions")), "{}", ran.err);
    let ran = machine.run(&["modprobe", "--show", "--resolve-alias", "loop"]);
    assert_eq!(ran.err, warning("show", "dry-run") + &warning("resolve-alias", "show-alias"));
    // Current names, and abbreviations of them.
    for words in [
        &["-R", "loop"][..],
        &["--show-alias", "loop"],
        &["--show-config"],
        &["-c"],
        &["-n", "loop"],
        &["--dry", "loop"],
        &["--remove-holders", "loop"],
        &["--remove-", "loop"],
        &["--remove-h", "loop"],
    ] {
        assert_eq!(machine.run(&[&["modprobe"], words].concat()).err, "", "{words:?}");
    }
    assert_eq!(machine.calls(), [""; 0]);
}

#[test]
fn waits_that_are_no_number_end_the_run() {
    let machine = Machine::with_modules();
    machine.live(&["loop"]);
    for value in ["99999999999999999999", "-1", "1x", "", "1 ", "abc"] {
        let expected = failed(&format!("modprobe: ERROR: unexpected wait value '{value}'.\n"));
        assert_eq!(machine.run(&["modprobe", "-r", "-w", value, "loop"]), expected);
        assert_eq!(
            machine.run(&["modprobe", &format!("--wait={value}"), "loop"]),
            expected,
            "without -r, too"
        );
        assert_eq!(machine.calls(), [""; 0]);
    }
}

#[test]
fn posixly_correct_ends_options_at_the_first_operand() {
    let machine = Machine::with_modules();
    assert_eq!(machine.run(&["modprobe", "loop", "-R"]), printed("loop\n"));
    machine.variable("POSIXLY_CORRECT", "");
    machine.live(&["loop"]);
    assert_eq!(machine.run(&["modprobe", "loop", "-R"]), printed(""));
}

#[test]
fn the_system_log_takes_messages_where_stderr_is_closed_or_it_is_asked_for() {
    let mut machine = Machine::new();
    let line = "modprobe 2 FATAL: Module x not found in directory";
    assert_eq!(machine.run(&["/sbin/modprobe", "-s", "x"]), failed(""));
    machine.host.stderr_closed = true;
    assert_eq!(machine.run(&["modprobe", "x"]), failed(""));
    assert_eq!(machine.run(&["modprobe"]), failed(""));
    let lines = machine.host.syslog.lock().unwrap().split_off(0);
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with(line) && lines[1].starts_with(line), "{lines:?}");
    assert_eq!(lines[2], "modprobe 3 ERROR: missing parameters. See -h.");
    assert_eq!(machine.run(&["rmmod", "-s", "x"]), failed(""));
    assert_eq!(machine.host.syslog.lock().unwrap()[0], "rmmod 3 ERROR: Module x is not currently loaded");
    assert_eq!(machine.run(&["rmmod", "x"]).err, "rmmod: ERROR: Module x is not currently loaded\n");
}

#[test]
fn directories_are_put_together_as_text() {
    let machine = Machine::new();
    let err = |words: &[&str]| machine.run(words).err;
    assert_eq!(
        err(&["modprobe", "-d", "/r/", "x"]),
        "modprobe: FATAL: Module x not found in directory /r//lib/modules/6.1.0\n"
    );
    assert_eq!(
        err(&["modprobe", "-S", "5.5", "x"]),
        "modprobe: FATAL: Module x not found in directory /lib/modules/5.5\n"
    );
    assert_eq!(
        err(&["modprobe", "-d", "../r", "-S", "5", "x"]),
        "modprobe: FATAL: Module x not found in directory /../r/lib/modules/5\n"
    );
    assert_eq!(
        err(&["modprobe", "-S", "/5/", "x"]),
        "modprobe: FATAL: Module x not found in directory /lib/modules//5/\n"
    );
    let long = "x".repeat(4096);
    assert_eq!(
        err(&["modprobe", "-d", &long, "x"]),
        format!("modprobe: ERROR: bad directory {long}/lib/modules/6.1.0: path too long\n")
    );
}
