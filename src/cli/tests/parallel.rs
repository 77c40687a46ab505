//! modprobe --jobs. Module inits that must overlap wait for each other in the scripted kernel; no test depends on timing.

use super::*;
use crate::error::Errno;

const JOBS: &str = "--jobs=8";

/// Runs the same words without and with `--jobs`, on machines prepared by `arrange`. Output and status must be equal.
/// Returns them and the sorted kernel calls: serial, parallel.
fn both(arrange: impl Fn(&Machine), words: &[&str]) -> (Ran, Vec<String>, Vec<String>) {
    let mut runs = Vec::new();
    for jobs in [None, Some(JOBS)] {
        let machine = Machine::with_modules();
        arrange(&machine);
        let mut all = vec!["modprobe"];
        all.extend(jobs);
        all.extend(words);
        let ran = machine.run(&all);
        let mut calls = machine.calls();
        calls.sort();
        runs.push((ran, calls));
    }
    let (parallel, serial) = (runs.pop().unwrap(), runs.pop().unwrap());
    assert_eq!(serial.0, parallel.0, "{words:?}");
    (serial.0, serial.1, parallel.1)
}

/// As [`both`]; the calls must be equal, too.
fn same(arrange: impl Fn(&Machine), words: &[&str]) -> Ran {
    let (ran, serial, parallel) = both(arrange, words);
    assert_eq!(serial, parallel, "{words:?}");
    ran
}

impl Machine {
    /// As the real kernel: a module fails without the modules that it needs.
    fn link(&self) {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut needs = self.kernel.needs.lock().unwrap();
        needs.insert("usbcore".into(), names(&["usb_common"]));
        needs.insert("ehci_hcd".into(), names(&["usbcore", "usb_common"]));
    }

    fn refuse(&self, name: &str, errno: Errno) {
        self.kernel.refuses.lock().unwrap().insert(name.into(), errno);
    }

    fn meet(&self, names: &[&str]) {
        self.kernel.meet.lock().unwrap().extend(names.iter().map(ToString::to_string));
    }
}

#[test]
fn independent_operands_load_at_the_same_time() {
    let machine = Machine::with_modules();
    machine.link();
    machine.meet(&["loop", "dummy", "usb_common"]);
    assert_eq!(machine.run(&["modprobe", "--jobs", "3", "-a", "loop", "ehci-hcd", "dummy"]), printed(""));
    let mut calls = machine.calls();
    assert!(calls.iter().position(|c| c == "+usbcore ") < calls.iter().position(|c| c == "+ehci_hcd "));
    calls.sort();
    assert_eq!(calls, ["+dummy ", "+ehci_hcd ", "+loop ", "+usb_common ", "+usbcore "]);
}

#[test]
fn the_dependencies_of_one_module_load_at_the_same_time() {
    let machine = Machine::with_modules();
    machine.module("top", &["loop", "dummy"]);
    machine.kernel.needs.lock().unwrap().insert("top".into(), vec!["loop".into(), "dummy".into()]);
    machine.meet(&["loop", "dummy"]);
    machine.variable("KMOD_JOBS", "2");
    assert_eq!(
        machine.run(&["modprobe", "-v", "top", "x=1"]),
        printed(
            "insmod /lib/modules/6.1.0/dummy.ko \ninsmod /lib/modules/6.1.0/loop.ko \n\
             insmod /lib/modules/6.1.0/top.ko x=1\n"
        )
    );
    assert_eq!(machine.calls().last().unwrap(), "+top x=1");
}

#[test]
fn unasked_nothing_is_parallel() {
    for value in [None, Some("1")] {
        let machine = Machine::with_modules();
        if let Some(value) = value {
            machine.variable("KMOD_JOBS", value);
        }
        assert_eq!(machine.run(&["modprobe", "-a", "loop", "ehci-hcd", "dummy"]), printed(""));
        assert_eq!(machine.calls(), ["+loop ", "+usb_common ", "+usbcore ", "+ehci_hcd ", "+dummy "]);
        assert!(!machine.kernel.overlapped());
    }
    let machine = Machine::with_modules();
    machine.variable("KMOD_JOBS", "8");
    machine.run(&["modprobe", "--jobs=1", "-a", "loop", "dummy"]);
    assert!(!machine.kernel.overlapped(), "the command line wins");
}

#[test]
fn what_is_printed_is_what_the_serial_run_prints() {
    let all = ["-a", "loop", "nosuch", "ehci-hcd", "usbcore", "dummy", "loop"];
    let verbose = ["-va", "loop", "nosuch", "ehci-hcd", "usbcore", "dummy", "loop"];
    for words in
        [&all[..], &verbose, &["-vvvva", "loop", "ehci-hcd"], &["-n", "-v", "-a", "loop", "ehci-hcd"]]
    {
        same(Machine::link, words);
    }
    for words in [&["-D", "ehci-hcd", "x=1"][..], &["-aR", "loop", "dummy"], &["-v", "ehci-hcd", "x=1"]] {
        same(Machine::link, words);
    }
    let ran = same(Machine::link, &verbose);
    assert_eq!((ran.status, ran.out.lines().count()), (1, 5));
}

#[test]
fn failures_are_told_in_order_and_stop_only_what_needs_them() {
    let arrange = |machine: &Machine| {
        machine.link();
        machine.refuse("usb_common", Errno::ENODEV);
        machine.refuse("loop", Errno::ENOMEM);
    };
    let words = ["-va", "dummy", "usbcore", "loop", "ehci-hcd", "loop"];
    let (ran, serial, parallel) = both(arrange, &words);
    assert_eq!(ran.status, 1);
    assert_eq!(ran.err.matches("could not insert '").count(), 4);
    assert_eq!(ran.err.matches("needs 'usb_common', which could not be inserted").count(), 2);
    assert_eq!(ran.err.lines().count(), 6);
    // The serial run tries again for every operand; with threads one failure answers all requests for the module.
    assert_eq!(serial, ["+dummy ", "+loop ", "+loop ", "+usb_common ", "+usb_common "]);
    assert_eq!(parallel, ["+dummy ", "+loop ", "+usb_common "]);
}

#[test]
fn messages_about_files_stay_with_their_operand() {
    let arrange = |machine: &Machine| {
        machine.module("short", &[]);
        machine.module("needs-short", &["short"]);
        fs::write(machine.module_file("short.ko"), "x").unwrap();
        fs::remove_file(machine.module_file("dummy.ko")).unwrap();
    };
    let ran = same(arrange, &["-vvv", "-a", "loop", "needs-short", "usbcore", "dummy", "short"]);
    assert_eq!(ran.err.matches("too short for a module").count(), 2);
    assert_eq!(ran.err.matches("could not insert").count(), 3, "{}", ran.err);
}

#[test]
fn first_time_blacklists_softdeps_and_aliases() {
    let arrange = |machine: &Machine| {
        machine.config("blacklist loop\nalias one loop\nalias two dummy\nalias two usbcore\noptions two a=1");
        machine.config("softdep dummy pre: usb_common post: loop\nsoftdep usbcore pre: nosuch dummy");
        machine.live(&["ehci_hcd"]);
        machine.link();
    };
    for words in [
        &["-va", "--first-time", "one", "ehci-hcd", "two", "loop", "dummy", "usbcore"][..],
        &["-vab", "loop", "two", "dummy"],
        &["-va", "two", "dummy", "loop"],
        &["-va", "dummy", "two"],
        &["-v", "two", "x=1"],
        &["-via", "dummy", "usbcore"],
    ] {
        same(arrange, words);
    }
}

#[test]
fn a_first_dependency_that_fails_is_told_as_ever() {
    // Threads may have loaded the second dependency by then, so only the serial calls are certain.
    let arrange = |machine: &Machine| {
        machine.module("top", &["loop", "dummy"]);
        machine.refuse("dummy", Errno::ENODEV);
    };
    let (ran, serial, parallel) = both(arrange, &["-v", "top"]);
    let expected = "modprobe: ERROR: could not insert 'top': No such device\n\
        modprobe: ERROR: 'top' needs 'dummy', which could not be inserted: No such device\n";
    assert_eq!(ran.err, expected);
    assert_eq!(serial, ["+dummy "]);
    assert!(parallel.iter().all(|call| call != "+top "), "{parallel:?}");
}

#[test]
fn install_commands_run_alone_and_in_order() {
    let machine = Machine::with_modules();
    machine.config("install usbcore modprobe -i usbcore");
    // At the same time, but not before the command.
    machine.meet(&["loop", "dummy"]);
    machine.module("after", &[]);
    machine.kernel.needs.lock().unwrap().insert("after".into(), vec!["usbcore".into()]);
    *machine.host.kernel.lock().unwrap() = Some((machine.roots.clone(), Vec::new()));
    let ran = machine.run(&["modprobe", JOBS, "-va", "dummy", "loop", "usbcore", "after", "usb-common"]);
    let lines = ["insmod DIR/dummy.ko ", "insmod DIR/loop.ko ", "insmod DIR/usb-common.ko "];
    let lines = [&lines[..], &["install modprobe -i usbcore ", "insmod DIR/after.ko ", ""]].concat();
    assert_eq!(ran, printed(&lines.join("\n").replace("DIR", "/lib/modules/6.1.0")));
    let (_, mut found) = machine.host.kernel.lock().unwrap().take().unwrap();
    found.sort();
    assert_eq!(
        found,
        ["dummy", "loop", "usb_common"],
        "all that comes before the command, and nothing after it"
    );
}

#[test]
fn the_gates_trouble_is_told_once_and_where_the_serial_run_tells_it() {
    let arrange = |machine: &Machine| {
        fs::create_dir_all(machine.roots.run.join("kmod")).unwrap();
        std::os::unix::fs::symlink(machine.dir.path(), machine.roots.run.join("kmod/gate")).unwrap();
        machine.live(&["dummy"]);
    };
    let ran = same(arrange, &["-va", "nosuch", "dummy", "loop", "usbcore"]);
    assert_eq!(ran.err.matches("not used to serialise").count(), 1);
}

#[test]
fn numbers_that_make_no_sense() {
    let machine = Machine::with_modules();
    for value in ["0", "x", "1000000000", "", "-1"] {
        let said = |name: &str| format!("unexpected {name} value '{value}': not a number from 1 to 256.\n");
        let ran = machine.run(&["modprobe", "--jobs", value, "loop"]);
        assert_eq!(ran, failed(&format!("modprobe: ERROR: {}", said("jobs"))));
        assert_eq!(machine.calls(), [""; 0]);
        machine.variable("KMOD_JOBS", value);
        let ran = machine.run(&["modprobe", "loop"]);
        let warning = format!("modprobe: WARNING: {}", said("KMOD_JOBS"));
        assert_eq!(ran, Ran { out: String::new(), err: warning, status: 0 }, "it must not keep modules away");
        assert_eq!(machine.calls(), ["+loop "]);
        machine.kernel.remove("loop");
        let dry = printed("insmod /lib/modules/6.1.0/loop.ko \n");
        assert_eq!(machine.run(&["modprobe", "-n", "loop"]), dry);
        machine.host.variables.lock().unwrap().clear();
    }
    let program = "modprobe: unrecognized option '--job=2'\n";
    assert_eq!(machine.run(&["modprobe", "--job=2", "loop"]), failed(program), "no abbreviation");
    assert_eq!(machine.run(&["modprobe", "-j", "2"]), failed("modprobe: invalid option -- 'j'\n"));
}
