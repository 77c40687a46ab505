//! `modprobe --explain`, in words and as JSON, and what `-v` adds to a failure.

use super::*;

fn words(machine: &Machine, words: &[&str]) -> String {
    let ran = machine.run(words);
    assert_eq!(ran.err, "", "{words:?}");
    assert_eq!(machine.calls(), Vec::<String>::new(), "nothing is loaded");
    ran.out
}

fn kernel_says(machine: &Machine, lines: &str) {
    fs::create_dir_all(&machine.roots.dev).unwrap();
    machine.append(machine.roots.kernel_log(), lines);
}

#[test]
fn a_module_with_what_it_needs_is_told_with_every_reason() {
    let machine = Machine::with_modules();
    machine.live(&["usb_common"]);
    machine.config(
        "options ehci-hcd park=1\n# nothing\nsoftdep ehci_hcd pre: loop post: dummy\noptions ehci_hcd x=2",
    );
    machine.config("install dummy /bin/dummy-command");
    assert_eq!(
        words(&machine, &["modprobe", "--explain", "ehci-hcd"]),
        "ehci-hcd is the module ehci_hcd,\n  /lib/modules/6.1.0/ehci-hcd.ko\n\
         \x20 It is not loaded.\n\
         \x20 modprobe would:\n\
         \x20   pass over usb_common, which is loaded, which ehci_hcd needs\n\
         \x20   insert /lib/modules/6.1.0/usbcore.ko, which ehci_hcd needs\n\
         \x20   insert /lib/modules/6.1.0/loop.ko, wished for before ehci_hcd (/etc/modprobe.d/test.conf:3)\n\
         \x20   insert /lib/modules/6.1.0/ehci-hcd.ko\n\
         \x20     with park=1 x=2, from /etc/modprobe.d/test.conf:1, /etc/modprobe.d/test.conf:4\n\
         \x20   run \"/bin/dummy-command\" instead of inserting dummy (/etc/modprobe.d/test.conf:5), wished for after ehci_hcd (/etc/modprobe.d/test.conf:3)\n"
    );
}

#[test]
fn a_blacklisted_alias_names_both_lines() {
    let machine = Machine::with_modules();
    machine.config("alias net-dummy dummy\nblacklist dummy");
    let text = words(&machine, &["modprobe", "--explain", "net-dummy"]);
    assert!(
        text.starts_with(
            "net-dummy is the module dummy by the configured alias net_dummy (/etc/modprobe.d/test.conf:1)"
        ),
        "{text}"
    );
    assert!(
        text.contains("It is blacklisted in /etc/modprobe.d/test.conf:2: modprobe would do nothing"),
        "{text}"
    );
    assert!(!text.contains("insert /"), "{text}");
    // By its own name the blacklist does not count, unless asked to.
    let text = words(&machine, &["modprobe", "--explain", "dummy"]);
    assert!(
        text.contains("does not count for a module's own name")
            && text.contains("insert /lib/modules/6.1.0/dummy.ko\n"),
        "{text}"
    );
    let text = words(&machine, &["modprobe", "-b", "--explain", "dummy"]);
    assert!(text.contains("would do nothing") && !text.contains("insert /"), "{text}");
    let json = words(&machine, &["modprobe", "--explain", "--json", "net-dummy"]);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let module = &value["modules"][0];
    assert_eq!(module["verdict"], "blacklisted");
    assert_eq!(module["found"]["by"], "config-alias");
    assert_eq!(module["found"]["place"]["line"], 1);
    assert_eq!(
        (&module["blacklist"]["place"]["line"], &module["blacklist"]["counts"]),
        (&2.into(), &true.into())
    );
}

#[test]
fn an_alias_of_a_module_is_found_in_its_file() {
    let machine = Machine::with_modules();
    let text = "# comment\nalias usb:v*p*-x loop\nalias usb:v1p* dummy\n";
    fs::write(machine.module_file("modules.alias"), text).unwrap();
    let text = words(&machine, &["modprobe", "--explain", "usb:v1p2"]);
    assert!(
        text.starts_with(
            "usb:v1p2 is the module dummy by its alias usb:v1p* (/lib/modules/6.1.0/modules.alias:3),"
        ),
        "{text}"
    );
}

#[test]
fn the_kernels_last_words_become_a_sentence() {
    let machine = Machine::with_modules();
    fs::write(machine.module_file("modules.symbols"), "alias symbol:usb_get usbcore\n").unwrap();
    kernel_says(
        &machine,
        "4,1,1000000,-;loop: Unknown symbol usb_get (err -2)\n4,2,2000000,-;dummy: other\n4,3,2500000,-;loop: Unknown symbol nosuch (err -2)",
    );
    let text = words(&machine, &["modprobe", "--explain", "loop"]);
    let said = "  The kernel's last words about it:\n    [1.000] loop: Unknown symbol usb_get (err -2)\n      \
        It needs the symbol usb_get, which neither the kernel nor a loaded module has; the module usbcore has it: \
        if it should have been loaded before, run depmod.\n    [2.500] loop: Unknown symbol nosuch (err -2)\n      \
        It needs the symbol nosuch, which neither the kernel nor a loaded module has; no module of this kernel has it.\n";
    assert!(text.ends_with(said), "{text}");
}

#[test]
fn what_leads_nowhere_says_so_and_fails() {
    let machine = Machine::with_modules();
    let ran = machine.run(&["modprobe", "--explain", "nosuch"]);
    assert_eq!((ran.status, ran.err.as_str()), (1, ""));
    assert!(ran.out.starts_with("nosuch leads to nothing in /lib/modules/6.1.0:\n"), "{}", ran.out);
    let ran = machine.run(&["modprobe", "--explain", "--json", "-a", "nosuch", "loop"]);
    assert_eq!((ran.status, ran.out.lines().count()), (1, 2));
    let ran = machine.run(&["modprobe", "--json", "loop"]);
    assert_eq!((ran.status, ran.err.as_str()), (1, "modprobe: ERROR: --json goes with --explain.\n"));
    fs::remove_file(machine.module_file("modules.dep")).unwrap();
    let ran = machine.run(&["modprobe", "--explain", "loop"]);
    assert_eq!(ran.out, "loop: /lib/modules/6.1.0 has no modules.dep: run depmod\n");
}

#[test]
fn what_is_there_needs_nothing() {
    let machine = Machine::with_modules();
    machine.builtin("ext2");
    machine.live(&["loop"]);
    kernel_says(&machine, "4,1,1000000,-;loop: module loaded");
    let text = words(&machine, &["modprobe", "--explain", "loop"]);
    assert_eq!(
        text,
        "loop is a module,\n  /lib/modules/6.1.0/loop.ko\n  It is loaded: there is nothing to do.\n"
    );
    let text = words(&machine, &["modprobe", "--explain", "ext2"]);
    assert_eq!(text, "ext2 is a module\n  It is built into the kernel: there is nothing to do.\n");
}

#[test]
fn a_failed_load_is_remembered_with_its_reason() {
    let machine = Machine::with_modules();
    machine.answers(&[Some(Errno::ENOEXEC)]);
    assert_eq!(machine.run(&["modprobe", "-q", "loop"]).status, 1);
    machine.calls();
    let text = words(&machine, &["modprobe", "--explain", "loop"]);
    assert!(text.contains("The last attempt failed 0.0 s ago: Exec format error."), "{text}");
    let json = words(&machine, &["modprobe", "--explain", "--json", "loop"]);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["modules"][0]["last_failure"]["name"], "ENOEXEC");
}
