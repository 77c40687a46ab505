//! modprobe -r and rmmod.

use super::*;

#[test]
fn a_module_and_what_nobody_needs_any_more() {
    let machine = Machine::with_modules();
    machine.live(&["usb_common", "usbcore", "ehci_hcd"]);
    assert_eq!(
        machine.run(&["modprobe", "-rv", "ehci-hcd"]),
        printed("rmmod ehci_hcd\nrmmod usbcore\nrmmod usb_common\n")
    );
    assert_eq!(machine.calls(), ["-ehci_hcd", "-usbcore", "-usb_common"]);
    machine.live(&["usbcore", "usb_common"]);
    machine.used("usb_common", "1");
    assert_eq!(machine.run(&["modprobe", "-r", "usbcore"]), printed(""));
    assert_eq!(machine.calls(), ["-usbcore"]);
}

#[test]
fn softdeps_and_commands_in_their_order() {
    let machine = Machine::new();
    ["dummy", "loop", "floppy", "tls"].iter().for_each(|name| machine.module(name, &[]));
    machine.module("bonding", &["tls"]);
    machine.config("softdep bonding pre: dummy post: loop floppy\nremove loop echo bye");
    let all = ["dummy", "loop", "floppy", "tls", "bonding"];
    machine.live(&all);
    let lines = "rmmod floppy\nremove echo bye\nrmmod bonding\nrmmod dummy\nrmmod tls\n";
    assert_eq!(machine.run(&["modprobe", "-rnv", "bonding"]), printed(lines));
    assert_eq!((machine.calls().len(), machine.commands().len()), (0, 0));
    assert_eq!(machine.run(&["modprobe", "-rv", "bonding"]), printed(lines));
    assert_eq!(machine.calls(), ["-floppy", "-bonding", "-dummy", "-tls"]);
    assert_eq!(machine.commands()[0].0, "echo bye");
    machine.live(&all);
    assert_eq!(machine.run(&["modprobe", "-rvi", "bonding"]), printed("rmmod bonding\nrmmod tls\n"));
}

#[test]
fn what_cannot_be_removed() {
    let machine = Machine::with_modules();
    machine.builtin("ext2");
    machine.live(&["dummy", "usbcore", "usb_common"]);
    machine.used("usb_common", "1");
    let fatal = |text: &str| failed(&format!("modprobe: FATAL: Module {text}\n"));
    assert_eq!(machine.run(&["modprobe", "-r", "usb-common"]), fatal("usb_common is in use."));
    assert_eq!(machine.run(&["modprobe", "-rf", "usb-common"]), fatal("usb_common is in use."));
    assert_eq!(machine.run(&["modprobe", "-r", "ext2"]), fatal("ext2 is builtin."));
    assert_eq!(machine.run(&["modprobe", "-r", "nosuch"]), fatal("nosuch not found."));
    assert_eq!(machine.run(&["modprobe", "-r", "./loop.ko"]), fatal("./loop.ko not found."));
    assert_eq!(machine.run(&["modprobe", "-r", "[x"]), failed(""));
    assert_eq!(machine.run(&["modprobe", "-r", "loop"]), printed(""), "not loaded is not a failure");
    assert_eq!(machine.run(&["modprobe", "-r", "--first-time", "loop"]), fatal("loop is not in kernel."));
    assert_eq!(machine.calls(), [""; 0]);
    machine.answers(&[Some(Errno::EBUSY)]);
    assert_eq!(
        machine.run(&["modprobe", "-r", "dummy"]),
        failed("modprobe: ERROR: could not remove 'dummy': Device or resource busy\n")
    );
}

#[test]
fn a_fatal_ends_the_run_unless_it_is_silenced_or_all_are_wanted() {
    let machine = Machine::with_modules();
    machine.live(&["loop"]);
    assert_eq!(machine.run(&["modprobe", "-r", "nosuch", "loop"]).status, 1);
    assert_eq!(machine.calls(), [""; 0]);
    assert_eq!(machine.run(&["modprobe", "-qr", "nosuch", "loop"]), failed(""));
    assert_eq!(machine.calls(), ["-loop"]);
    machine.live(&["loop"]);
    assert_eq!(
        machine.run(&["modprobe", "-ar", "nosuch", "loop"]),
        failed("modprobe: WARNING: Module nosuch not found.\n")
    );
    assert_eq!(machine.calls(), ["-loop"]);
}

#[test]
fn holders_go_first_when_asked_for() {
    let machine = Machine::with_modules();
    machine.live(&["usb_common", "usbcore"]);
    machine.holder("usb_common", "usbcore");
    let lines = "rmmod usbcore\nrmmod usb_common\n";
    assert_eq!(machine.run(&["modprobe", "-rnv", "--remove-holders", "usb-common"]), printed(lines));
    assert_eq!(machine.run(&["modprobe", "-rv", "--remove-holders", "usb-common"]), printed(lines));
    assert_eq!(machine.calls(), ["-usbcore", "-usb_common"]);
    machine.live(&["loop"]);
    let ran = machine.run(&["modprobe", "--remove-holders", "loop", "usbcore"]);
    assert_eq!(ran, printed(""), "it removes, every operand");
    assert_eq!(machine.calls(), ["-loop"]);
    // Not loaded: nothing is removed, and nothing inserted.
    assert_eq!(machine.run(&["modprobe", "--remove-holders", "loop"]), printed(""));
    assert_eq!(machine.calls(), [""; 0]);
}

/// tc needs tb, which needs ta; all are loaded.
fn chain() -> Machine {
    let machine = Machine::new();
    machine.module("ta", &[]);
    machine.module("tb", &["ta"]);
    machine.module("tc", &["tb", "ta"]);
    machine.module("dummy", &[]);
    machine.module("loop", &[]);
    machine.live(&["ta", "tb", "tc"]);
    machine.holder("ta", "tb");
    machine.holder("tb", "tc");
    machine
}

#[test]
fn all_holders_go_once_the_deepest_first() {
    for (name, lines) in [("ta", "rmmod tc\nrmmod tb\nrmmod ta\n"), ("tb", "rmmod tc\nrmmod tb\nrmmod ta\n")]
    {
        let machine = chain();
        let run =
            |letters: &str| machine.run(&["modprobe", letters, "--remove-holders", "--first-time", name]);
        assert_eq!(run("-rnv"), printed(lines));
        assert_eq!(machine.calls(), [""; 0]);
        assert_eq!(run("-rv"), printed(lines));
        assert_eq!(machine.calls(), ["-tc", "-tb", "-ta"]);
    }
    // One cannot be removed: none is.
    let machine = chain();
    machine.used("tc", "1");
    let in_use = "modprobe: FATAL: Module tc is in use.\n";
    assert_eq!(machine.run(&["modprobe", "-rv", "--remove-holders", "ta"]), failed(in_use));
    assert_eq!(machine.calls(), [""; 0]);
    // The kernel refuses one: those that it holds stay.
    machine.used("tc", "0");
    machine.answers(&[None, Some(Errno::EBUSY)]);
    let answer = machine.run(&["modprobe", "-r", "--remove-holders", "ta"]);
    assert_eq!(answer, failed("modprobe: ERROR: could not remove 'tb': Device or resource busy\n"));
    assert_eq!(machine.calls(), ["-tc", "-tb"]);
}

#[test]
fn softdeps_of_dependencies_go_along() {
    let machine = chain();
    machine.config("softdep tb pre: dummy post: loop\nremove loop echo bye");
    machine.live(&["dummy", "loop"]);
    let lines = "rmmod tc\nremove echo bye\nrmmod tb\nrmmod dummy\nrmmod ta\n";
    assert_eq!(machine.run(&["modprobe", "-rnv", "tc"]), printed(lines));
    // A softdep in use stays; that is no failure.
    machine.used("dummy", "1");
    assert_eq!(machine.run(&["modprobe", "-rv", "tc"]), printed(&lines.replace("rmmod dummy\n", "")));
    assert_eq!(machine.calls(), ["-tc", "-tb", "-ta"]);
}

#[test]
fn what_belongs_to_a_module_that_stays_stays() {
    // In use: reported before any softdep is removed.
    let machine = chain();
    machine.config("softdep tc pre: dummy post: loop");
    machine.live(&["dummy", "loop"]);
    machine.used("tc", "1");
    assert_eq!(machine.run(&["modprobe", "-r", "tc"]), failed("modprobe: FATAL: Module tc is in use.\n"));
    assert_eq!(machine.calls(), [""; 0]);
    // Its remove command leaves it loaded.
    machine.used("tc", "0");
    machine.config("remove tc /bin/true");
    assert_eq!(machine.run(&["modprobe", "-rv", "tc"]), printed("rmmod loop\nremove /bin/true\n"));
    assert_eq!(machine.calls(), ["-loop"]);
    // A dependency that cannot be removed keeps its softdeps.
    let machine = chain();
    machine.config("softdep tb pre: dummy");
    machine.live(&["dummy"]);
    machine.answers(&[None, Some(Errno::EBUSY)]);
    let expected = "modprobe: ERROR: could not remove 'tb': Device or resource busy\n";
    let answer = machine.run(&["modprobe", "-r", "tc"]);
    assert_eq!((answer.err.as_str(), answer.status), (expected, 0));
    assert_eq!(machine.calls(), ["-tc", "-tb"]);
}

#[test]
fn waiting_for_a_module_in_use() {
    let machine = Machine::with_modules();
    machine.live(&["loop"]);
    machine.used("loop", "1");
    machine.answers(&[Some(Errno::EAGAIN), Some(Errno::EAGAIN), None]);
    assert_eq!(machine.run(&["modprobe", "-r", "-w", "10000", "loop"]), printed(""));
    assert_eq!(machine.calls(), ["-loop", "-loop", "-loop"]);
    machine.live(&["loop"]);
    machine.answers(&[Some(Errno::EAGAIN); 100]);
    assert_eq!(
        machine.run(&["modprobe", "-r", "-w", "500", "loop"]),
        failed("modprobe: ERROR: could not remove 'loop': Resource temporarily unavailable\n")
    );
    // After 2, 4, 8 .. 128 ms, the rest of 500 ms in halves, and one last attempt.
    let attempts = machine.calls().len();
    assert!((3..=24).contains(&attempts), "{attempts} attempts");
}

#[test]
fn what_cannot_be_looked_at_is_not_taken_for_gone() {
    let machine = Machine::with_modules();
    machine.live(&["loop"]);
    // A failed read, as with a broken disk or without free descriptors.
    machine.unreadable("loop", "initstate");
    machine.unreadable("loop", "refcnt");
    assert_eq!(machine.run(&["modprobe", "-r", "loop"]), printed(""));
    assert_eq!(machine.calls(), ["-loop"], "the kernel was asked");
    machine.live(&["dummy"]);
    machine.unreadable("dummy", "initstate");
    machine.unreadable("dummy", "refcnt");
    let answer = machine.run(&["rmmod", "dummy"]);
    assert_eq!(answer, failed("rmmod: ERROR: Module dummy: use count: Is a directory\n"));
}

#[test]
fn rmmod_checks_in_its_order() {
    let machine = Machine::with_modules();
    machine.builtin("ext2");
    machine.live(&["loop", "usb_common", "usbcore", "dummy"]);
    machine.holder("usb_common", "usbcore");
    machine.used("usb_common", "1");
    machine.used("dummy", "2");
    let error = |text: &str| failed(&format!("rmmod: ERROR: {text}\n"));
    assert_eq!(machine.run(&["rmmod", "ext2"]), error("Module ext2 is builtin."));
    assert_eq!(machine.run(&["rmmod", "nosuch"]), error("Module nosuch is not currently loaded"));
    assert_eq!(machine.run(&["rmmod", "usb-common"]), error("Module usb_common is in use by: usbcore"));
    assert_eq!(machine.run(&["rmmod", "dummy"]), error("Module dummy is in use"));
    assert_eq!(machine.run(&["rmmod"]), error("missing module name."));
    assert_eq!(machine.calls(), [""; 0]);
    assert_eq!(machine.run(&["rmmod", "nosuch", "loop.ko"]).status, 1, "the next has its turn");
    assert_eq!(machine.calls(), ["-loop"]);
    assert_eq!(machine.run(&["rmmod", "-f", "dummy"]), printed(""));
    assert_eq!(machine.calls(), ["-dummy by force"]);
    machine.answers(&[Some(Errno::EPERM)]);
    assert_eq!(
        machine.run(&["rmmod", "usbcore"]),
        error(
            "could not remove 'usbcore': Operation not permitted\nrmmod: ERROR: could not remove module usbcore: Operation not permitted"
        )
    );
}
