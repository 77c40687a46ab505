//! modprobe, inserting.

use super::*;

#[test]
fn dependencies_first_and_options_where_they_belong() {
    let machine = Machine::with_modules();
    machine.config("options usbcore a=1\noptions ehci-hcd b=2");
    assert_eq!(machine.run(&["modprobe", "ehci-hcd", "c=x y", "d"]), printed(""));
    assert_eq!(machine.calls(), ["+usb_common ", "+usbcore a=1 ", "+ehci_hcd b=2 c=\"x y\" d"]);
    assert_eq!(machine.run(&["modprobe", "ehci-hcd"]), printed(""), "live: nothing to do");
    assert_eq!(machine.calls(), [""; 0]);
}

#[test]
fn what_is_shown_is_what_is_done() {
    let machine = Machine::with_modules();
    machine.live(&["usb_common"]);
    let dir = "/lib/modules/6.1.0";
    let rest = format!("insmod {dir}/usbcore.ko \ninsmod {dir}/ehci-hcd.ko x=1\n");
    let all = format!("insmod {dir}/usb-common.ko \n{rest}");
    let words = |first: &'static str| ["modprobe", first, "ehci-hcd", "x=1"];
    assert_eq!(machine.run(&words("-D")), printed(&all), "-D takes nothing for loaded");
    for dry in ["-nv", "-n", "-qn", "-nq", "--dry-run", "-Dn"] {
        let expected = if dry == "-Dn" { &all } else { &rest };
        assert_eq!(machine.run(&words(dry)), printed(expected), "{dry}");
    }
    assert_eq!(machine.calls(), [""; 0]);
    assert_eq!(machine.run(&words("-v")), printed(&rest));
    assert_eq!(machine.calls(), ["+usbcore ", "+ehci_hcd x=1"]);
}

#[test]
fn a_dry_run_leaves_no_trace_of_the_gate() {
    let machine = Machine::with_modules();
    for words in [&["modprobe", "-n", "loop"][..], &["modprobe", "-D", "loop"], &["modprobe", "-R", "loop"]] {
        assert_eq!(machine.run(words).status, 0);
    }
    assert_eq!(fs::read_dir(&machine.roots.run).unwrap().count(), 0);
}

#[test]
fn the_module_asked_for_is_the_one_that_could_not_be_inserted() {
    let machine = Machine::with_modules();
    for (errno, reason) in [
        (Errno::ENODEV, "No such device"),
        (Errno::ENOENT, "Unknown symbol in module, or unknown parameter (see dmesg)"),
        (Errno::EKEYREJECTED, "Key was rejected by service"),
        (Errno::ENOEXEC, "Exec format error"),
    ] {
        machine.answers(&[Some(errno)]);
        let line = format!(
            "modprobe: ERROR: could not insert 'ehci_hcd': {reason}\n\
             modprobe: ERROR: 'ehci_hcd' needs 'usb_common', which could not be inserted: {reason}\n"
        );
        assert_eq!(machine.run(&["modprobe", "ehci-hcd"]), failed(&line));
        assert_eq!(machine.calls(), ["+usb_common "], "nothing after a dependency that failed");
    }
    machine.answers(&[Some(Errno::ENODEV)]);
    assert_eq!(machine.run(&["modprobe", "-q", "loop"]), failed(""), "-q keeps the status");
}

#[test]
fn what_the_kernel_refuses_by_name_is_told_with_the_reason() {
    let machine = Machine::with_modules();
    let by_list = "module_blacklist= on the kernel command line names it";
    let refused = |cmdline: &str, words: &[&str]| {
        fs::write(machine.roots.cmdline(), cmdline).unwrap();
        machine.answers(&[Some(Errno::EPERM)]);
        let ran = machine.run(words);
        machine.calls();
        ran
    };
    let needs = |why: &str| {
        failed(&format!(
            "modprobe: ERROR: could not insert 'ehci_hcd': Operation not permitted\n\
             modprobe: ERROR: 'ehci_hcd' needs 'usb_common', which could not be inserted: Operation not permitted{why}\n"
        ))
    };
    let ran = refused("quiet module_blacklist=loop,usb_common\n", &["modprobe", "ehci-hcd"]);
    assert_eq!(ran, needs(&format!(" ({by_list})")));
    // Another reason, which cannot be read.
    assert_eq!(refused("module_blacklist=usbcore\n", &["modprobe", "ehci-hcd"]), needs(""));
    let target = |more: &str| {
        failed(&format!("modprobe: ERROR: could not insert 'loop': Operation not permitted\n{more}"))
    };
    let why = format!("modprobe: ERROR: 'loop' is refused: {by_list}\n");
    assert_eq!(refused("module_blacklist=loop\n", &["modprobe", "loop"]), target(&why));
    assert_eq!(refused("module_blacklist=dummy\n", &["modprobe", "loop"]), target(""));
    assert_eq!(refused("module_blacklist=loop\n", &["modprobe", "-q", "loop"]), failed(""));
    // The kernel compares the module's own name, not that of its file.
    let own = elf::KoBuilder::new().modinfo("name", "own_name").build();
    fs::write(machine.module_file("loop.ko"), own).unwrap();
    assert_eq!(refused("module_blacklist=own_name\n", &["modprobe", "loop"]), target(&why));
    assert_eq!(refused("module_blacklist=loop\n", &["modprobe", "loop"]), target(""));
    let disabled = machine.roots.modules_disabled();
    fs::create_dir_all(disabled.parent().unwrap()).unwrap();
    fs::write(&disabled, "0\n").unwrap();
    assert_eq!(refused("\n", &["modprobe", "loop"]), target(""));
    fs::write(&disabled, "1\n").unwrap();
    let why = "kernel.modules_disabled is set, and no module can be loaded before the next boot";
    let expected = format!("modprobe: ERROR: 'loop' is refused: {why}\n");
    assert_eq!(refused("\n", &["modprobe", "loop"]), target(&expected));
    // insmod says the same.
    let file = machine.module_file("dummy.ko").to_string_lossy().into_owned();
    fs::write(&disabled, "0\n").unwrap();
    let lines = format!(
        "insmod: ERROR: could not insert module /lib/modules/6.1.0/dummy.ko: Operation not permitted\n\
         insmod: ERROR: 'dummy' is refused: {by_list}\n"
    );
    assert_eq!(refused("module_blacklist=dummy\n", &["insmod", &file]), failed(&lines));
}

#[test]
fn a_softdep_that_fails_does_not_matter() {
    let machine = Machine::with_modules();
    machine.config("softdep loop pre: dummy nosuch post: usb_common");
    machine.answers(&[Some(Errno::ENODEV)]);
    assert_eq!(machine.run(&["modprobe", "loop"]), printed(""));
    assert_eq!(machine.calls(), ["+dummy ", "+loop ", "+usb_common "]);
}

#[test]
fn first_time_wants_something_to_do() {
    let machine = Machine::with_modules();
    machine.builtin("ext2");
    machine.live(&["loop"]);
    for name in ["loop", "ext2"] {
        let line = format!("modprobe: ERROR: could not insert '{name}': Module already in kernel\n");
        assert_eq!(machine.run(&["modprobe", "--first-time", name]), failed(&line));
        assert_eq!(machine.run(&["modprobe", name]), printed(""));
    }
    assert_eq!(machine.run(&["modprobe", "--first-time", "ehci-hcd"]), printed(""));
    assert_eq!(machine.calls().len(), 3);
}

#[test]
fn blacklists_count_for_aliases_and_with_b_for_names() {
    let machine = Machine::with_modules();
    machine.config("blacklist loop\nalias block-major-7-* loop\nsoftdep dummy pre: loop");
    for words in [&["modprobe", "block-major-7-0"][..], &["modprobe", "-b", "loop"]] {
        assert_eq!(machine.run(words), printed(""));
        assert_eq!(machine.calls(), [""; 0]);
    }
    assert_eq!(machine.run(&["modprobe", "-bR", "block-major-7-0"]), printed("loop\n"));
    assert_eq!(machine.run(&["modprobe", "-b", "dummy"]), printed(""));
    assert_eq!(machine.calls(), ["+loop ", "+dummy "], "a softdep is loaded all the same");
    machine.kernel.remove("loop");
    assert_eq!(machine.run(&["modprobe", "loop"]), printed(""));
    assert_eq!(machine.calls(), ["+loop "]);
}

#[test]
fn an_alias_for_nothing_is_not_found() {
    let machine = Machine::with_modules();
    machine.config("alias net-pf-10 off");
    assert_eq!(
        machine.run(&["modprobe", "net-pf-10"]),
        failed(
            "modprobe: ERROR: could not find module by name='off'\n\
             modprobe: ERROR: could not insert 'off': Unknown symbol in module, or unknown parameter (see dmesg)\n"
        )
    );
    assert_eq!(machine.run(&["modprobe", "-D", "net-pf-10"]), printed(""));
}

#[test]
fn the_last_of_an_aliass_modules_gives_the_status() {
    let machine = Machine::with_modules();
    machine.config("alias both dummy\nalias both loop");
    machine.answers(&[Some(Errno::ENODEV)]);
    let ran = machine.run(&["modprobe", "both"]);
    assert_eq!(
        (ran.status, ran.err.as_str()),
        (0, "modprobe: ERROR: could not insert 'dummy': No such device\n")
    );
    assert_eq!(machine.calls(), ["+dummy ", "+loop "]);
}

#[test]
fn unknown_names() {
    let machine = Machine::with_modules();
    let line = |level: &str, name: &str| {
        format!("modprobe: {level}: Module {name} not found in directory /lib/modules/6.1.0\n")
    };
    assert_eq!(machine.run(&["modprobe", "no-such"]), failed(&line("FATAL", "no-such")));
    assert_eq!(machine.run(&["modprobe", ""]), failed(&line("FATAL", "")));
    assert_eq!(machine.run(&["modprobe", "[x"]), failed(&line("FATAL", "[x")));
    assert_eq!(machine.run(&["modprobe", "-q", "no-such"]), failed(""));
    assert_eq!(machine.run(&["modprobe", "../../etc/passwd"]), failed(&line("FATAL", "../../etc/passwd")));
    let long = "x".repeat(1 << 20);
    assert_eq!(machine.run(&["modprobe", &long]), failed(&line("FATAL", &long)));
    let ran = machine.run(&["modprobe", "-aR", "loop", "no", "dummy"]);
    assert_eq!(ran, Ran { out: "loop\ndummy\n".into(), err: line("WARNING", "no"), status: 1 });
}

#[test]
fn paths_replace_only_the_file() {
    let machine = Machine::with_modules();
    machine.config("options usbcore a=1");
    fs::copy(machine.module_file("usbcore.ko"), machine.dir.path().join("usbcore.ko.copy")).unwrap();
    assert_eq!(
        machine.run(&["modprobe", "-D", "./usbcore.ko.copy"]),
        printed("insmod /lib/modules/6.1.0/usb-common.ko \ninsmod /./usbcore.ko.copy a=1 \n")
    );
    assert_eq!(
        machine.run(&["modprobe", "./nosuch.ko"]),
        failed("modprobe: FATAL: Failed to get module from path ./nosuch.ko: No such file or directory\n")
    );
}

#[test]
fn install_commands_get_the_options_and_the_environment() {
    let machine = Machine::with_modules();
    machine.config("install loop echo $CMDLINE_OPTS; modprobe -i loop $CMDLINE_OPTS\noptions loop a=1");
    machine.variable("MODPROBE_OPTIONS", "-b");
    let command = "install echo $CMDLINE_OPTS; modprobe -i loop $CMDLINE_OPTS a=1 b=2\n";
    assert_eq!(
        machine.run(&["modprobe", "-v", "-C", "/etc/nothing", "loop"]).out,
        "insmod /lib/modules/6.1.0/loop.ko \n"
    );
    machine.kernel.remove("loop");
    machine.calls();
    assert_eq!(machine.run(&["modprobe", "-v", "loop", "b=2"]), printed(command));
    let [(text, changes)] = machine.commands().try_into().unwrap();
    assert_eq!(text, "echo a=1 b=2; modprobe -i loop a=1 b=2");
    assert_eq!(
        (changes["MODPROBE_MODULE"].as_str(), changes["MODPROBE_OPTIONS"].as_str()),
        ("loop", "-b -v")
    );
    assert_eq!(machine.calls(), [""; 0]);
    assert_eq!(machine.run(&["modprobe", "-i", "loop"]), printed(""));
    assert_eq!(machine.calls(), ["+loop a=1 "]);
}

#[test]
fn install_commands_that_fail() {
    let machine = Machine::with_modules();
    machine.config("install loop false $CMDLINE_OPTS");
    let lines = |problem: &str| {
        format!(
            "modprobe: ERROR: Error running install command 'false x=1' for module loop: {problem}\n\
             modprobe: ERROR: could not insert 'loop': Invalid argument\n"
        )
    };
    machine.host.codes.lock().unwrap().extend([3, 137]);
    assert_eq!(machine.run(&["modprobe", "loop", "x=1"]), failed(&lines("retcode 3")));
    assert_eq!(machine.run(&["modprobe", "loop", "x=1"]), failed(&lines("retcode 137")), "killed is failed");
    // The modprobe in the command starts the command again.
    machine.variable("KMOD_ONCE_COMMANDS", "16");
    let endless = lines("install and remove commands start each other without end");
    assert_eq!(machine.run(&["modprobe", "loop", "x=1"]), failed(&endless));
    assert_eq!(machine.commands().len(), 2);
}

#[test]
fn the_line_of_a_command_is_written_before_it_runs() {
    let machine = Machine::with_modules();
    machine.config("install loop true");
    let args: Vec<Vec<u8>> = [&b"modprobe"[..], b"-v", b"loop"].map(<[u8]>::to_vec).into();
    let system = System { roots: &machine.roots, kernel: &machine.kernel, clock: &Real };
    let streams = Streams::new(machine.host.stdout.clone(), Memory::default());
    run(&World { args: &args, system, host: &machine.host, streams });
    assert_eq!(machine.host.written_before.lock().unwrap().as_slice(), b"install true \n");
}

#[test]
fn force_counts_for_dependencies_too() {
    let machine = Machine::with_modules();
    assert_eq!(machine.run(&["modprobe", "-f", "usbcore"]), printed(""));
    assert_eq!(machine.calls(), ["+usb_common  flags 3", "+usbcore  flags 3"]);
    assert_eq!(machine.run(&["modprobe", "--force-vermagic", "loop"]), printed(""));
    assert_eq!(machine.calls(), ["+loop  flags 2"]);
}

#[test]
fn q_does_not_hide_mistakes_in_the_configuration() {
    let machine = Machine::with_modules();
    machine.config("bogus line");
    let ran = machine.run(&["modprobe", "-q", "loop"]);
    let line = "modprobe: ERROR: /etc/modprobe.d/test.conf line 1: ignoring bad line starting with 'bogus'\n";
    assert_eq!((ran.err.as_str(), ran.status), (line, 0));
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let machine = Machine::with_modules();
    fs::remove_file(machine.module_file("loop.ko")).unwrap();
    let reason = "Unknown symbol in module, or unknown parameter (see dmesg)";
    let line = format!(
        "modprobe: ERROR: could not insert 'loop': {reason}\n\
         modprobe: ERROR: could not open /lib/modules/6.1.0/loop.ko: No such file or directory\n"
    );
    assert_eq!(machine.run(&["modprobe", "loop"]), failed(&line));
    // The kernel may say the same of a file that is there.
    machine.answers(&[Some(Errno::ENOENT)]);
    let line = format!("modprobe: ERROR: could not insert 'dummy': {reason}\n");
    assert_eq!(machine.run(&["modprobe", "dummy"]), failed(&line));
}
