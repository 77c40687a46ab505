//! insmod, lsmod, modinfo, kmod static-nodes and kmod stats.

use super::*;

#[test]
fn insmod_takes_any_file_and_nothing_else() {
    let machine = Machine::with_modules();
    machine.config("options usbcore a=1\ninstall usbcore false\nblacklist usbcore");
    let file = machine.module_file("usbcore.ko").to_string_lossy().into_owned();
    assert_eq!(machine.run(&["insmod", &file, "b=x y", "--", "-c"]), printed(""));
    assert_eq!(machine.calls(), ["+usbcore b=\"x y\" -c"]);
    let shown = "/lib/modules/6.1.0/usbcore.ko";
    assert_eq!(
        machine.run(&["insmod", &file]),
        failed(&format!("insmod: ERROR: could not insert module {shown}: File exists\n"))
    );
}

#[test]
fn modules_are_found_in_usr_lib_where_lib_has_none() {
    let machine = Machine::with_modules();
    let usr = machine.dir.path().join("usr");
    fs::create_dir_all(&usr).unwrap();
    fs::rename(machine.dir.path().join("lib"), usr.join("lib")).unwrap();
    let root = machine.dir.path().to_str().unwrap().to_string();
    let file = "/usr/lib/modules/6.1.0/loop.ko";
    for words in [
        &["modinfo", "-n", "loop"][..],
        &["modinfo", "-n", "-b", &root, "loop"],
        &["modinfo", "-n", "-b", ".", "loop"],
    ] {
        assert_eq!(machine.run(words).out.replace("/./", "/"), format!("{file}\n"), "{words:?}");
    }
    let inserted = printed(&format!("insmod {file} \n"));
    assert_eq!(machine.run(&["modprobe", "-D", "loop"]), inserted);
    assert_eq!(machine.run(&["modprobe", "-d", &root, "-D", "loop"]), inserted);
    // depmod, also with an output root: it uses the same directory below it.
    let index = machine.module_file("modules.symbols.bin");
    assert!(!index.exists());
    assert_eq!(machine.run(&["depmod", "-b", &root, RELEASE]).status, 0);
    assert!(index.starts_with(&usr) && index.exists());
    let other = machine.dir.path().join("other");
    assert_eq!(machine.run(&["depmod", "-b", &root, "-o", other.to_str().unwrap(), RELEASE]).status, 0);
    assert!(other.join("usr/lib/modules/6.1.0/modules.dep.bin").exists());
    // A release that neither has is looked up in the first.
    let missing = "modprobe: FATAL: Module x not found in directory /lib/modules/6.2.0\n";
    assert_eq!(machine.run(&["modprobe", "-d", &root, "-S", "6.2.0", "x"]), failed(missing));
    // If both have it, the first one is used.
    fs::create_dir_all(machine.dir.path().join("lib/modules/6.1.0")).unwrap();
    let missing = "modprobe: FATAL: Module loop not found in directory /lib/modules/6.1.0\n";
    assert_eq!(machine.run(&["modprobe", "-d", &root, "loop"]), failed(missing));
    assert_eq!(machine.run(&["modprobe", "loop"]), failed(missing));
}

#[test]
fn insmod_has_its_own_words_for_some_errors() {
    let machine = Machine::with_modules();
    let file = machine.module_file("loop.ko").to_string_lossy().into_owned();
    for (errno, reason) in [
        (Errno::ENOEXEC, "Invalid module format"),
        (Errno::ENOENT, "Unknown symbol in module"),
        (Errno::ESRCH, "Module has wrong symbol version"),
        (Errno::EINVAL, "Invalid parameters"),
        (Errno::EPERM, "Operation not permitted"),
    ] {
        machine.answers(&[Some(errno)]);
        let line = format!("insmod: ERROR: could not insert module /lib/modules/6.1.0/loop.ko: {reason}\n");
        assert_eq!(machine.run(&["insmod", &file]), failed(&line));
    }
    assert_eq!(machine.run(&["insmod"]), failed("insmod: ERROR: missing filename.\n"));
    assert_eq!(
        machine.run(&["insmod", "/no/such.ko"]),
        failed("insmod: ERROR: could not load module /no/such.ko: No such file or directory\n")
    );
}

#[test]
fn lsmod_takes_everything_from_one_file() {
    let machine = Machine::new();
    let missing = "lsmod: ERROR: could not open /proc/modules: No such file or directory\n\
                   lsmod: ERROR: could not get list of modules: No such file or directory\n";
    assert_eq!(machine.run(&["lsmod"]), failed(missing));
    fs::write(machine.roots.proc_modules(), "tls 114688 1 bonding, Live 0x0\nloop 40960 0 - Live 0x0\n")
        .unwrap();
    assert_eq!(
        machine.run(&["lsmod"]),
        printed(
            "Module                  Size  Used by\n\
             tls                   114688  1 bonding\n\
             loop                   40960  0\n"
        )
    );
    assert_eq!(machine.run(&["lsmod", "x"]), failed("lsmod: ERROR: too many arguments provided.\n"));
}

#[test]
fn modinfo_of_built_in_modules() {
    let machine = Machine::new();
    machine.builtin("ext2");
    assert_eq!(
        machine.run(&["modinfo", "ext2"]),
        printed("name:           ext2\nfilename:       (builtin)\n")
    );
    let records = "ext2.license=GPL\0ext2.parm=a:text\0ext2.parmtype=a:int\0ext3.license=MIT\0";
    fs::write(machine.module_file("modules.builtin.modinfo"), records).unwrap();
    assert_eq!(
        machine.run(&["modinfo", "ext2"]),
        printed(
            "name:           ext2\nfilename:       (builtin)\nlicense:        GPL\nparm:           a:text (int)\n"
        )
    );
    assert_eq!(machine.run(&["modinfo", "-n", "ext2"]), printed("(builtin)\n"));
    assert_eq!(machine.run(&["modinfo", "-F", "name", "ext2"]), printed("ext2\n"));
}

#[test]
fn modinfo_goes_on_after_what_it_cannot_read() {
    let machine = Machine::new();
    fs::write(machine.dir.path().join("bad.ko"), "this is no ELF file").unwrap();
    machine.builtin("ext2");
    let bad = machine.dir.path().join("bad.ko").to_string_lossy().into_owned();
    assert_eq!(
        machine.run(&["modinfo", "nosuch", "[x", &bad, "ext2"]),
        Ran {
            out: "filename:       /bad.ko\nname:           ext2\nfilename:       (builtin)\n".into(),
            err: "modinfo: ERROR: Module nosuch not found.\n\
                  modinfo: ERROR: Module alias [x not found.\n\
                  modinfo: ERROR: could not get modinfo from 'bad': Exec format error\n"
                .into(),
            status: 1,
        }
    );
    assert_eq!(machine.run(&["modinfo"]), failed("modinfo: ERROR: missing module or filename.\n"));
    assert_eq!(machine.run(&["modinfo", "-m", "x"]), failed("modinfo: ERROR: Module name x not found.\n"));
}

#[test]
fn static_nodes_are_written_where_they_are_wanted() {
    let machine = Machine::new();
    let ran = machine.run(&["kmod", "static-nodes"]);
    assert_eq!(
        (ran.status, ran.err.as_str()),
        (0, "Warning: /lib/modules/6.1.0/modules.devname not found - ignoring\n")
    );
    let file = machine.dir.path().join("run/tmpfiles.d/nodes.conf");
    let option = format!("--output={}", file.display());
    assert_eq!(machine.run(&["kmod", "static-nodes", &option]).status, 0);
    assert!(!file.exists());
    fs::write(machine.module_file("modules.devname"), "# comment\nfuse fuse c10:229\nbad\n").unwrap();
    let ran = machine.run(&["kmod", "static-nodes", "--format=tmpfiles", &option]);
    assert_eq!((ran.status, ran.err.as_str()), (1, "Error: invalid devname entry: bad\n"));
    assert_eq!(fs::read(&file).unwrap(), b"c! /dev/fuse 0600 - - - 10:229\n");
    let ran = machine.run(&["kmod", "static-nodes", "-f", "x"]);
    assert_eq!((ran.status, ran.err.as_str()), (1, "Unknown format: 'x'.\n"));
}

#[test]
fn stats_tell_what_the_gate_counted() {
    let machine = Machine::with_modules();
    assert!(machine.run(&["kmod", "stats"]).out.starts_with("Module "));
    machine.run(&["modprobe", "loop"]);
    let ran = machine.run(&["kmod", "stats", "--json"]);
    let read: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (ran.status, &read["total"]["loads"], &read["modules"][0]["name"]),
        (0, &1.into(), &"loop".into())
    );
    let table = machine.run(&["kmod", "stats"]).out;
    assert_eq!(table.lines().filter(|line| line.starts_with("loop ")).count(), 1, "{table}");
    assert_eq!(
        machine.run(&["kmod", "stats", "--who"]),
        failed("kmod: ERROR: nothing was traced: create /run/kmod/trace, or boot with kmod.gate_trace=1\n")
    );
}

#[test]
fn the_commands_of_our_own_are_parsed_by_clap() {
    let machine = Machine::new();
    assert!(machine.run(&["kmod", "stats", "--openmetrics"]).out.ends_with("# EOF\n"));
    assert_eq!(machine.run(&["kmod", "stats", "--openmetrics", "--json"]).status, 1);
    for words in [["kmod", "stats", "x"], ["kmod", "stats", "--colour"]] {
        assert_eq!(
            machine.run(&words),
            failed(&format!(
                "error: unexpected argument '{}' found\n\nUsage: kmod stats [OPTIONS]\n\n\
                 For more information, try '--help'.\n",
                words[2]
            ))
        );
    }
    // As with getopt: options may be abbreviated.
    assert_eq!(machine.run(&["kmod", "stats", "--js"]), machine.run(&["kmod", "stats", "--json"]));
    let help = machine.run(&["kmod", "stats", "-h"]);
    assert_eq!((help.status, help.err.as_str()), (0, ""));
    assert!(help.out.contains("Usage: kmod stats [OPTIONS]\n") && help.out.contains("--who"), "{}", help.out);
    // An option of kmod itself before the command.
    assert_eq!(machine.run(&["kmod", "--", "stats", "--json"]).status, 0);
    fs::create_dir(machine.roots.run.join("kmod")).unwrap();
    fs::create_dir(machine.roots.run.join("kmod/gate.trace")).unwrap();
    let ran = machine.run(&["kmod", "stats", "--who"]);
    assert_eq!(
        ran,
        failed("kmod: ERROR: could not read the gate's trace: /run/kmod/gate.trace: Is a directory\n")
    );
}

#[test]
fn the_configuration_is_printed_kind_by_kind() {
    let machine = Machine::new();
    machine.config(
        "softdep m-a pre: b c post: d\noptions m-a x=1\nalias p-* m-a\nremove m-a true\ninstall m-a false\n\
         blacklist foo-bar\nweakdep m-a e f",
    );
    fs::write(machine.roots.cmdline(), "m.z=3 modprobe.blacklist=q").unwrap();
    fs::write(machine.module_file("modules.alias"), "# header\nalias pci:* m_a\n").unwrap();
    let config = "blacklist foo_bar\nblacklist q\ninstall m_a false\nremove m_a true\nalias p_* m_a\n\
                  options m_a x=1\noptions m z=3\nsoftdep m_a pre: b cpost: d\nweakdep m_a e f\n\n\
                  # End of configuration files. Dumping indexes now:\n\nalias pci:* m_a\n";
    assert_eq!(machine.run(&["modprobe", "-c"]), printed(config));
}

#[test]
fn blame_names_the_modules_that_took_long() {
    let machine = Machine::new();
    fs::create_dir(machine.roots.run.join("kmod")).unwrap();
    let lines = [
        r#"{"time_ns":1500000000,"module":"loop","request":"loop","pid":9,"comm":"modprobe","parent":"sh","kernel":false,"role":"leader","wait_ns":0,"call_ns":12000000}"#,
        "half a line",
        "{}",
        "[]",
        "null",
        "5",
        r#"{"module":"loop"}"#,
        r#"{"time_ns":1}"#,
        r#"{"time_ns":2000000000,"module":"nf_x","request":"nf-x","pid":10,"comm":"modprobe","parent":"kworker/u4:1","kernel":true,"role":"leader","errno":19,"wait_ns":0,"call_ns":2000000000}"#,
        r#"{"time_ns":2100000000,"module":"nf_x","request":"pci:\u001b[2J","pid":11,"comm":"modprobe","parent":"systemd-udevd","devpath":"/devices/x","role":"follower","wait_ns":5000,"call_ns":0}"#,
        r#"{"time_ns":2200000000,"module":"autofs4","request":"autofs4","pid":1,"comm":"systemd","parent":null,"role":"leader","wait_ns":0,"call_ns":1000000}"#,
        r#"{"time_ns":2300000000,"module":"kvm","request":"cpu:type:x86,ven0002fam000Fmod006B:feature:,0000,0002,0003","pid":310,"comm":"(udev-worker)","parent":"systemd-udevd","role":"leader","wait_ns":0,"call_ns":500000}"#,
        r#"{"time_ns":9000000000,"module":"usb","request":"pci:\u001b[2J","pid":11,"comm":"modprobe","parent":"systemd-udevd","devpath":"/devices/x","role":"leader","wait_ns":0,"call_ns":250000}"#,
    ];
    fs::write(machine.roots.run.join("kmod/gate.trace"), lines.join("\n")).unwrap();
    let ran = machine.run(&["kmod", "blame"]);
    assert_eq!(ran.err, "kmod: WARNING: 7 lines of the trace are not whole, and do not count\n");
    assert_eq!(
        ran.out,
        concat!(
            "      Call     Waited  Asked      First  Module   By\n",
            "    2.000s        5us      2     2.000s  nf_x     the kernel; No such device\n",
            "      12ms        0us      1     1.500s  loop     sh (modprobe 9)\n",
            "       1ms        0us      1     2.200s  autofs4  systemd (1)\n",
            "     500us        0us      1     2.300s  kvm      systemd-udevd (udev-worker 310), \
                    for cpu:type:x86,ven0002fam000Fmod006B:feature:,0...\n",
            "     250us        0us      1     9.000s  usb      /devices/x, for pci:?[2J\n",
        )
    );
    let ran = machine.run(&["kmod", "blame", "--json", "--until=3.5"]);
    let read: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(read["modules"].as_array().unwrap().len(), 4);
    assert_eq!(
        read["modules"][0],
        serde_json::json!({
            "name": "nf_x", "call_ns": 2_000_000_000, "waited_ns": 5000, "requests": 2, "first_ns": 2_000_000_000,
            "last_errno": 19, "request": "nf-x", "dependency": false, "by": "kernel", "devpath": null, "pid": 10,
            "comm": "modprobe", "parent": "kworker/u4:1",
        })
    );
    let svg = machine.run(&["kmod", "plot", "--until", "3.5"]).out;
    assert!(svg.starts_with("<?xml ") && svg.contains(">nf_x<") && !svg.contains(">usb<"), "{svg}");
    assert!(svg.contains(">systemd<") && svg.contains(">systemd-udevd<") && !svg.contains(">?<"), "{svg}");
    for until in ["x", "-1", "nan"] {
        let ran = machine.run(&["kmod", "plot", &format!("--until={until}")]);
        assert_eq!((ran.status, ran.err.starts_with("error: invalid value")), (1, true), "{}", ran.err);
    }
}

#[test]
fn check_prints_what_is_wrong_and_ends_with_1_for_errors() {
    let machine = Machine::with_modules();
    machine.builtin("ext2");
    machine.config("options loop max_loop=8\nblackist loop\nblacklist ext2");
    let file = "/etc/modprobe.d/test.conf";
    let error = format!("{file}:2: error: unknown directive 'blackist', the line is not read (blacklist?)\n");
    let warning = format!(
        "{file}:3: warning: ext2 is built in, which no such line keeps out \
         (initcall_blacklist= on the kernel command line)\n"
    );
    let ran = machine.run(&["kmod", "check", "config"]);
    assert_eq!(ran, Ran { out: format!("{error}{warning}"), err: String::new(), status: 1 });
    let ran = machine.run(&["kmod", "check", "config", "--json"]);
    let read: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.status, &read["errors"], &read["warnings"]), (1, &1.into(), &1.into()));
    assert_eq!(
        read["findings"][0],
        serde_json::json!({
            "file": file, "line": 2, "severity": "error", "what": "unknown directive 'blackist', the line is not read",
            "hint": "blacklist?",
        })
    );
    // Warnings alone give status 0. -C replaces the configuration.
    let other = machine.dir.path().join("other");
    fs::write(&other, "blacklist ext2\n").unwrap();
    let ran = machine.run(&["kmod", "check", "config", "-C", "other"]);
    assert_eq!(ran, printed(&warning.replace(file, "/other").replace(":3:", ":1:")));
    // Without a part everything is checked; for another kernel or below another root all but the machine.
    let base = machine.dir.path().to_str().unwrap();
    fs::create_dir_all(machine.roots.proc_fs.join("sys/kernel")).unwrap();
    fs::write(machine.roots.proc_fs.join("sys/kernel/modprobe"), "\n").unwrap();
    let nobody = "/proc/sys/kernel/modprobe: warning: the kernel calls nobody for modules\n";
    assert!(machine.run(&["kmod", "check"]).out.contains(nobody));
    for words in [&["-S", "9.9"][..], &["-d", base]] {
        let out = machine.run(&[&["kmod", "check"], words].concat()).out;
        assert!(
            out.contains(&error) && out.contains("/lib/modules/") && !out.contains(nobody),
            "{words:?}: {out}"
        );
    }
    assert_eq!(machine.run(&["kmod", "check", "everything"]).status, 1);
}

#[test]
fn control_characters_in_names_do_not_reach_the_terminal() {
    let machine = Machine::new();
    fs::create_dir(machine.roots.run.join("kmod")).unwrap();
    let line = r#"{"time_ns":1,"module":"lo\u001b[31mop","request":"a\nb","pid":9,"comm":"x\u001b[2J","parent":"s\nh","role":"leader"}"#;
    fs::write(machine.roots.run.join("kmod/gate.trace"), line).unwrap();
    let out = |words: &[&str]| machine.run(words).out;
    assert!(
        out(&["kmod", "blame"]).ends_with("  lo?[31mop  s?h (x?[2J 9), for a?b\n"),
        "{}",
        out(&["kmod", "blame"])
    );
    let who = out(&["kmod", "stats", "--who"]);
    assert!(who.contains("\ns?h              x?[2J ") && who.ends_with(" lo?[31mop 1\n"), "{who}");
    assert!(!out(&["kmod", "plot"]).contains('\x1b'));
}

#[test]
fn the_machine_is_checked_for_its_running_kernel_only() {
    let machine = Machine::new();
    let root = machine.dir.path().to_str().unwrap();
    for options in [["-S", "0.1"], ["-d", root]] {
        let ran = machine.run(&[&["kmod", "check"][..], &options, &["machine"]].concat());
        assert_eq!(
            ran.err,
            "kmod: ERROR: the machine can only be checked for its running kernel, and not below another root\n"
        );
        assert_eq!(ran.status, 1);
    }
}
