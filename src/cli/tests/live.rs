//! modprobe for live modules: the short path, and everything that excludes it.

use super::*;
use crate::formats::index::IndexBuilder;

fn machine() -> Machine {
    let machine = Machine::with_modules();
    machine.live(&["loop"]);
    machine
}

#[test]
fn nothing_is_done_and_nothing_else_is_read() {
    let machine = machine();
    machine.config("install loop false\nblacklist loop\nsoftdep loop pre: dummy\noptions loop x=1");
    // Reading any of these would log an error.
    for name in ["modules.softdep", "modules.weakdep"] {
        fs::write(machine.module_file(name), "nonsense\n").unwrap();
    }
    fs::write(machine.roots.cmdline(), "a]b.c=1\n").unwrap();
    for words in
        [&["loop"][..], &["-v", "loop", "x=2"], &["-b", "loop"], &["-q", "--", "loop"], &["-n", "-i", "loop"]]
    {
        assert_eq!(machine.run(&[&["modprobe"], words].concat()), printed(""), "{words:?}");
    }
    machine.live(&["ehci_hcd"]);
    assert_eq!(machine.run(&["modprobe", "-a", "loop", "ehci-hcd", "loop"]), printed(""));
    assert_eq!(machine.calls(), [""; 0]);
    // A request that loads something reads them.
    let ran = machine.run(&["modprobe", "-a", "loop", "dummy"]);
    assert_eq!(ran.err.matches("ignoring bad line").count(), 2, "{}", ran.err);
    assert_eq!(machine.calls(), ["+dummy "]);
}

#[test]
fn what_has_an_answer_gives_it() {
    let machine = machine();
    machine.config("install loop false");
    assert_eq!(machine.run(&["modprobe", "-R", "loop"]), printed("loop\n"));
    assert_eq!(machine.run(&["modprobe", "-D", "loop"]), printed("install false \n"));
    let line = "modprobe: ERROR: could not insert 'loop': Module already in kernel\n";
    assert_eq!(machine.run(&["modprobe", "--first-time", "loop"]), failed(line));
    assert!(machine.run(&["modprobe", "--explain", "loop"]).out.contains("loop"));
    assert!(machine.run(&["modprobe", "-c", "loop"]).out.contains("install loop false\n"));
    machine.variable("KMOD_JOBS", "many");
    assert!(machine.run(&["modprobe", "loop"]).err.contains("KMOD_JOBS"));
    machine.used("loop", "0\n");
    assert_eq!(machine.run(&["modprobe", "-rv", "loop"]), printed("rmmod loop\n"));
    assert_eq!(machine.calls(), ["-loop"]);
}

#[test]
fn an_alias_of_that_name_goes_first() {
    for pattern in ["loop", "lo*", "l[o]op"] {
        let machine = machine();
        machine.config(&format!("alias {pattern} dummy"));
        assert_eq!(machine.run(&["modprobe", "loop"]), printed(""));
        assert_eq!(machine.calls(), ["+dummy "], "{pattern}");
    }
}

#[test]
fn what_no_index_knows_is_not_found_though_it_is_live() {
    let machine = machine();
    machine.live(&["foreign", "given"]);
    let ran = machine.run(&["modprobe", "foreign"]);
    assert!(ran.status == 1 && ran.err.contains("Module foreign not found in directory"), "{}", ran.err);
    machine.append(machine.module_file("modules.alias"), "alias given dummy");
    assert_eq!(machine.run(&["modprobe", "given"]), printed(""));
    assert_eq!(machine.calls(), ["+dummy "]);
}

#[test]
fn what_is_wrong_is_told_once() {
    let machine = machine();
    machine.config("nonsense");
    let ran = machine.run(&["modprobe", "-q", "loop"]);
    assert_eq!((ran.status, ran.err.matches("ignoring bad line").count()), (0, 1), "{}", ran.err);

    let mut index = IndexBuilder::new();
    index.insert(b"loop", b"loop.ko:", 0).unwrap();
    let index = index.write().unwrap();
    fs::write(machine.module_file("modules.dep.bin"), &index).unwrap();
    fs::write(machine.dir.path().join("etc/modprobe.d/test.conf"), "").unwrap();
    assert_eq!(machine.run(&["modprobe", "loop"]), printed(""));
    fs::write(machine.module_file("modules.dep.bin"), &index[1..]).unwrap();
    let ran = machine.run(&["modprobe", "loop"]);
    assert_eq!((ran.status, ran.err.matches("magic check fail").count()), (0, 1), "{}", ran.err);
    assert_eq!(machine.calls(), [""; 0]);
}
