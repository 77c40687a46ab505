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
    // By its own name the blacklist does not apply, except with -b.
    let text = words(&machine, &["modprobe", "--explain", "dummy"]);
    assert!(
        text.contains("does not count for a module's own name")
            && text.contains("insert /lib/modules/6.1.0/dummy.ko\n"),
        "{text}"
    );
    let text = words(&machine, &["modprobe", "-b", "--explain", "dummy"]);
    assert!(text.contains("would do nothing") && !text.contains("insert /"), "{text}");
    assert!(text.contains("(By its name, without -b, modprobe dummy would load it.)"), "{text}");
    // What forbids it does so by its name, too.
    machine.config("forbid dum*");
    let text = words(&machine, &["modprobe", "--explain", "net-dummy"]);
    let forbidden = "  By its name, without -b, modprobe would:\n    refuse dummy (/etc/modprobe.d/test.conf:3 forbids it)\n  So it will not be loaded.\n";
    assert!(text.contains(forbidden) && !text.contains("would load it"), "{text}");
    let module = explained(&machine, &["net-dummy"]);
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
    let ran = machine.run(&["modprobe", "-c", "--explain"]);
    assert_eq!(ran, failed("modprobe: ERROR: missing parameters. See -h.\n"), "only -c does without a name");
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
    // The time depends on the machine's load.
    let after = text.split_once("The last attempt failed ").expect(&text).1;
    let (seconds, reason) = after.split_once(" s ago: ").expect(&text);
    assert!((0.0..60.0).contains(&seconds.parse::<f64>().unwrap()), "{text}");
    assert!(reason.starts_with("Exec format error."), "{text}");
    assert_eq!(explained(&machine, &["loop"])["last_failure"]["name"], "ENOEXEC");
}

/// The first module of the answer in JSON.
fn explained(machine: &Machine, words_: &[&str]) -> serde_json::Value {
    let json = words(machine, &[&["modprobe", "--explain", "--json"], words_].concat());
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    value["modules"][0].clone()
}

#[test]
fn what_the_kernel_will_refuse_is_told_beforehand() {
    let machine = Machine::with_modules();
    fs::write(machine.roots.cmdline(), "quiet module_blacklist=dummy,usbcore\n").unwrap();
    let said = "      The kernel will refuse it: module_blacklist= on the kernel command line names it.\n";
    let text = words(&machine, &["modprobe", "--explain", "dummy"]);
    let end = format!("    insert /lib/modules/6.1.0/dummy.ko\n{said}  So it will not be loaded.\n");
    assert!(text.ends_with(&end), "{text}");
    // A refused dependency refuses the module; a refused softdep does not.
    let text = words(&machine, &["modprobe", "--explain", "ehci-hcd"]);
    let step = format!("    insert /lib/modules/6.1.0/usbcore.ko, which ehci_hcd needs\n{said}");
    assert!(text.contains(&step) && text.ends_with("  So it will not be loaded.\n"), "{text}");
    let module = explained(&machine, &["ehci-hcd"]);
    assert_eq!(module["verdict"], "refused");
    let refused = |module: &serde_json::Value| -> Vec<serde_json::Value> {
        module["steps"].as_array().unwrap().iter().map(|step| step["refused"].clone()).collect()
    };
    assert_eq!(
        refused(&module),
        [serde_json::Value::Null, "module_blacklist".into(), serde_json::Value::Null]
    );
    machine.config("softdep loop pre: dummy");
    let module = explained(&machine, &["loop"]);
    assert_eq!(module["verdict"], "load");
    assert_eq!(refused(&module), ["module_blacklist".into(), serde_json::Value::Null]);
    // A loaded module is not refused.
    machine.live(&["usbcore", "usb_common"]);
    assert_eq!(explained(&machine, &["ehci-hcd"])["verdict"], "load");
    fs::create_dir_all(machine.roots.modules_disabled().parent().unwrap()).unwrap();
    fs::write(machine.roots.modules_disabled(), "1\n").unwrap();
    let module = explained(&machine, &["ehci-hcd"]);
    assert_eq!(
        (&module["verdict"], &module["steps"][2]["refused"]),
        (&"refused".into(), &"modules_disabled".into())
    );
    let text = words(&machine, &["modprobe", "--explain", "ehci-hcd"]);
    assert!(text.contains("The kernel will refuse it: kernel.modules_disabled is set"), "{text}");
}

#[test]
fn a_command_is_told_with_its_own_line() {
    let machine = Machine::with_modules();
    machine.config("install wan* /bin/own\ninstall wanted /bin/own\ninstall loop /bin/own");
    for (name, command, line) in [("wanted", "/bin/own", 2), ("wan", "", 0), ("loop", "/bin/own", 3)] {
        let text = words(&machine, &["modprobe", "--explain", name]);
        let step =
            format!("run \"{command}\" instead of inserting {name} (/etc/modprobe.d/test.conf:{line})");
        assert_eq!(text.contains(&step), line > 0, "{text}");
    }
}

#[test]
fn a_command_that_refuses_is_told_as_such() {
    // Also for a module with softdeps.
    let machine = Machine::with_modules();
    machine.config("install loop /bin/false\nsoftdep loop pre: dummy");
    let text = words(&machine, &["modprobe", "--explain", "loop"]);
    let step = "    run \"/bin/false\" instead of inserting loop (/etc/modprobe.d/test.conf:1)\n\
        \x20     That command loads nothing: it refuses the module.\n  So it will not be loaded.\n";
    assert!(text.ends_with(step), "{text}");
    assert_eq!(explained(&machine, &["loop"])["verdict"], "refused");
    for (command, refusal) in [
        ("/bin/false", true),
        ("/bin/true", true),
        ("/usr/bin/false", true),
        ("true", true),
        (":", true),
        ("/bin/true-or-not", false),
        ("modprobe -i loop", false),
    ] {
        let machine = Machine::with_modules();
        machine.config(&format!("install loop {command}"));
        let text = words(&machine, &["modprobe", "--explain", "loop"]);
        assert_eq!(text.contains("That command loads nothing: it refuses the module."), refusal, "{text}");
        let module = explained(&machine, &["loop"]);
        assert_eq!(module["verdict"], if refusal { "refused" } else { "load" }, "{command}");
        assert_eq!(module["steps"][0]["refused"] == "command", refusal, "{command}");
        assert_eq!(module["steps"][0]["place"]["line"], 1);
    }
}

#[test]
fn an_install_command_that_does_not_count_is_told() {
    let machine = Machine::with_modules();
    machine.config("install loop /sbin/setup\nsoftdep loop pre: dummy");
    let said =
        "      The install command \"/sbin/setup\" (/etc/modprobe.d/test.conf:1) does not count here.\n";
    for words_ in [&["modprobe", "--explain", "loop"][..], &["modprobe", "-i", "--explain", "loop"]] {
        let text = words(&machine, words_);
        assert!(text.contains(&format!("    insert /lib/modules/6.1.0/loop.ko\n{said}")), "{text}");
    }
    let module = explained(&machine, &["-i", "loop"]);
    let passed_over = &module["steps"][0]["passed_over"];
    assert_eq!((&passed_over["command"], &passed_over["place"]["line"]), (&"/sbin/setup".into(), &1.into()));
    assert!(explained(&machine, &["dummy"])["steps"][0]["passed_over"].is_null());
}

#[test]
fn parameters_that_the_module_does_not_have_are_told_with_their_line() {
    let machine = Machine::with_modules();
    let ko = elf::KoBuilder::new().modinfo("name", "loop").parm("max_loop", "int", "How many");
    let ko = ko.modinfo("parmtype", "hw-depth:uint").modinfo("parm", "words:Only a text");
    // A parameter with a setter of its own and no description, which only a symbol shows.
    let name = b"__param_str_mode".to_vec();
    let ko = ko.symbol(elf::Symbol { name, value: 0, binding: elf::LOCAL, kind: 1, section: 1 });
    fs::write(machine.module_file("loop.ko"), ko.build()).unwrap();
    machine.config(
        "options loop max-loop=8 mode=a words=\"a b\" hw_depth=1 dyndbg=+p\noptions loop max_part=3 async_probe",
    );
    fs::write(machine.roots.cmdline(), "loop.nosuch loop.max_loop=2\n").unwrap();
    let text = words(&machine, &["modprobe", "--explain", "loop", "typo=1", "hw-depth=4"]);
    let conf = "/etc/modprobe.d/test.conf";
    let expected = format!(
        "      max-loop is given more than once ({conf}:1, /proc/cmdline): the last counts.\n\
         \x20     hw_depth is given more than once ({conf}:1, the command line): the last counts.\n\
         \x20     loop names no parameter max_part (from {conf}:2): the kernel ignores what it does not know.\n\
         \x20     loop names no parameter nosuch (from /proc/cmdline): the kernel ignores what it does not know.\n\
         \x20     loop names no parameter typo (from the command line): the kernel ignores what it does not know.\n"
    );
    assert!(text.ends_with(&expected), "{text}");
    let module = explained(&machine, &["loop", "typo=1", "typo=2"]);
    assert_eq!(module["verdict"], "load", "the kernel only says so in its log");
    let odd = module["steps"][0]["odd_parameters"].as_array().unwrap();
    let shown: Vec<_> = odd.iter().map(|odd| (odd["name"].as_str(), odd["problem"].as_str())).collect();
    let unknown = Some("unknown");
    assert_eq!(
        shown,
        [
            (Some("max-loop"), Some("repeated")),
            (Some("max_part"), unknown),
            (Some("nosuch"), unknown),
            (Some("typo"), unknown)
        ]
    );
    let place = serde_json::json!({"file": "/etc/modprobe.d/test.conf", "line": 2});
    assert_eq!(odd[1]["places"], serde_json::json!([place]));
    assert_eq!(odd[3]["places"], serde_json::json!([null, null]));
    // No report about the parameters of an unreadable file or of a loaded module.
    machine.config("options dummy nosuch=1");
    assert_eq!(explained(&machine, &["dummy"])["steps"][0]["odd_parameters"], serde_json::json!([]));
}

#[test]
fn the_lock_is_told_where_it_is_not_the_gates() {
    let machine = Machine::with_modules();
    let request = ["modprobe", "--explain", "loop"];
    assert!(!words(&machine, &request).contains("The lock"));
    fs::create_dir_all(machine.roots.run.join("kmod")).unwrap();
    fs::write(machine.roots.run.join("kmod/gate"), "").unwrap();
    let text = words(&machine, &request);
    let root = nix::unistd::geteuid().is_root();
    let sentence = "  The lock would be the module's file, and not the gate: ";
    assert!(
        text.contains(sentence) == root && text.contains("kmod/gate is not a directory.\n") == root,
        "{text}"
    );
    let json = words(&machine, &["modprobe", "--explain", "--json", "loop"]);
    assert!(json.contains("is not a directory\"") == root, "{json}");
    // A loaded module needs no lock.
    machine.live(&["loop"]);
    assert!(!words(&machine, &request).contains("The lock"));
}

#[test]
fn why_the_gate_is_not_used_is_told() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let reason = |machine: &Machine| {
        let text = words(machine, &["modprobe", "--explain", "loop"]);
        let module = explained(machine, &["loop"]);
        assert!(text.contains(module["no_gate"].as_str().unwrap()), "{text}");
        text.lines().last().unwrap().to_owned()
    };
    let machine = Machine::with_modules();
    assert!(explained(&machine, &["loop"])["no_gate"].is_null());
    fs::write(machine.roots.cmdline(), "quiet kmod.gate=off\n").unwrap();
    let off = "  Nothing would be locked: kmod.gate= on the kernel command line has switched it off.";
    assert_eq!(reason(&machine), off);
    // Before the directory was made.
    let mut machine = Machine::with_modules();
    machine.roots.gate_on_disk = false;
    machine.roots.run = format!("/proc/{}", std::process::id()).into();
    let lock = "  The lock would be the module's file, and not the gate: ";
    assert_eq!(reason(&machine), format!("{lock}/run is not a file system in memory."));
    let mut machine = Machine::with_modules();
    machine.roots.run = machine.dir.path().join("nowhere");
    assert_eq!(reason(&machine), format!("{lock}/run/kmod/gate: No such file or directory."));
}

#[test]
fn a_file_that_is_listed_and_not_there_is_missing() {
    let machine = Machine::with_modules();
    fs::remove_file(machine.module_file("loop.ko")).unwrap();
    let text = words(&machine, &["modprobe", "--explain", "loop"]);
    let lines =
        "    look for loop in vain: /lib/modules/6.1.0/loop.ko is not there\n  So it will not be loaded.\n";
    assert!(text.ends_with(lines), "{text}");
    let module = explained(&machine, &["loop"]);
    assert_eq!(module["verdict"], "missing");
    assert_eq!(module["steps"][0]["action"], "missing");
    assert_eq!(module["steps"][0]["path"], "/lib/modules/6.1.0/loop.ko");
    // A soft dependency does not matter.
    machine.config("softdep dummy post: loop");
    assert_eq!(explained(&machine, &["dummy"])["verdict"], "load");
    // A dependency does, and is reported once.
    fs::remove_file(machine.module_file("usbcore.ko")).unwrap();
    let ran = machine.run(&["modprobe", "--explain", "ehci-hcd"]);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    let line =
        "    look for usbcore in vain: /lib/modules/6.1.0/usbcore.ko is not there, which ehci_hcd needs\n";
    assert!(ran.out.contains(line) && ran.out.ends_with("  So it will not be loaded.\n"), "{}", ran.out);
    // An alias can lead to no file at all.
    machine.config("alias eth0 nothing");
    let text = words(&machine, &["modprobe", "--explain", "eth0"]);
    assert!(
        text.ends_with("look for nothing in vain: it has no file\n  So it will not be loaded.\n"),
        "{text}"
    );
}
