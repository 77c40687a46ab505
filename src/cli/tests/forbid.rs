//! `forbid` and `permit`, for all kinds of requests.

use super::elf::KoBuilder;
use super::*;
use std::io::Write;

/// A machine with more modules: a driver over another driver over two buses, and an alias for it; and drivers whose files
/// have other names: one has its name in `struct module`, one in `.modinfo` of a compressed file.
fn machine() -> Machine {
    let machine = Machine::with_modules();
    machine.module("scsi_mod", &[]);
    machine.module("usb-storage", &["usbcore", "usb-common", "scsi_mod"]);
    machine.module("uas", &["usb-storage", "usbcore", "usb-common", "scsi_mod"]);
    machine.builtin("ext2");
    fs::write(machine.module_file("modules.alias"), "alias usb:v1* uas\nalias usb:v2* usb_storage\n")
        .unwrap();
    machine.module("vendor-550", &["usb-common"]);
    machine.module("vendor-550-drm", &["vendor-550", "usb-common"]);
    let this_module = [&[0; 24][..], b"vendor", &[0; 50]].concat();
    let ko = KoBuilder::new().section(".gnu.linkonce.this_module", this_module).build();
    fs::write(machine.module_file("vendor-550.ko"), ko).unwrap();
    let file = fs::File::create(machine.module_file("vendor-550-drm.ko")).unwrap();
    let ko = KoBuilder::new().modinfo("license", "GPL").modinfo("name", "vendor-drm").build();
    xz2::write::XzEncoder::new(file, 1).write_all(&ko).unwrap();
    machine
}

/// The result of a run in words: `+module` inserted, `-module` removed, `$command` run, `>module` printed by a dry run;
/// `refused MODULE:PLACE`, or `refused MODULE as OWN_NAME:PLACE`, with the number of the line, or `cmdline`; `failed` for status 1.
fn outcome(machine: &Machine, ran: &Ran) -> String {
    let mut words: Vec<String> = Vec::new();
    words.extend(machine.calls().iter().map(|call| call.split(' ').next().unwrap().to_owned()));
    words.extend(machine.commands().into_iter().map(|(command, _)| format!("${command}")));
    words.sort();
    for line in ran.out.lines().filter_map(|line| line.strip_prefix("insmod /lib/modules/6.1.0/")) {
        words.push(format!(">{}", line.split('.').next().unwrap()));
    }
    for line in ran.err.lines() {
        let Some((start, end)) = line.split_once(" forbids it") else { continue };
        let own_name = end.trim_end_matches(')').replace('\'', "");
        let place = start.rsplit([':', '(']).next().unwrap().trim();
        let place = place
            .replace("/etc/modprobe.d/test.conf line ", "")
            .replace("the kernel command line", "cmdline");
        // The last name before it: `'a' is refused`, `'a' needs 'b', which`.
        words.push(format!("refused {}{own_name}:{place}", start.rsplit('\'').nth(1).unwrap()));
    }
    if ran.status != 0 {
        words.push("failed".to_owned());
    }
    words.join(" ")
}

/// Name, configuration, command line after `modprobe`, outcome. A line of the configuration that begins with `cmdline` is
/// the kernel's command line, one that begins with `live` names modules that are there.
const CASES: &[[&str; 4]] = &[
    // by name
    ["a name", "forbid loop", "loop", "refused loop:1 failed"],
    ["another name", "forbid dummy", "loop", "+loop"],
    ["a bad name in the line", "forbid dummy l[x loop", "loop", "refused loop:1 failed"],
    ["a name is no beginning", "forbid usb", "usb-common", "+usb_common"],
    ["- in the line", "forbid usb-common", "usb_common", "refused usb_common:1 failed"],
    ["_ in the line", "forbid usb_common", "usb-common", "refused usb_common:1 failed"],
    ["- in both", "forbid usb-common", "usb-common", "refused usb_common:1 failed"],
    ["names in one line", "forbid dummy loop", "loop", "refused loop:1 failed"],
    ["a comment behind", "forbid dummy # not loop", "loop", "+loop"],
    ["lines add up", "forbid loop\nforbid dummy", "dummy", "refused dummy:2 failed"],
    ["the first line is reported", "forbid loop\nforbid loop", "loop", "refused loop:1 failed"],
    // by pattern
    ["a pattern", "forbid l*", "loop", "refused loop:1 failed"],
    ["a pattern that does not fit", "forbid usb?", "loop", "+loop"],
    ["- in a pattern", "forbid usb-*", "usb_common", "refused usb_common:1 failed"],
    ["_ in a pattern", "forbid *_hcd", "ehci-hcd", "refused ehci_hcd:1 failed"],
    ["a range in a pattern", "forbid [k-m]oop", "loop", "refused loop:1 failed"],
    ["everything", "forbid *", "dummy", "refused dummy:1 failed"],
    ["the name is reported before a pattern", "forbid l*\nforbid loop", "loop", "refused loop:2 failed"],
    // permit
    ["permit before a pattern", "forbid *\npermit loop", "loop", "+loop"],
    ["the order of lines", "permit loop\nforbid *", "loop", "+loop"],
    ["permit with -", "forbid *\npermit usb-common", "usb_common", "+usb_common"],
    ["permit with a pattern", "forbid *\npermit l*p", "loop", "+loop"],
    ["permit that does not fit", "forbid *\npermit l*p", "dummy", "refused dummy:1 failed"],
    ["permits in one line", "forbid *\npermit dummy loop", "loop", "+loop"],
    ["forbid by name before permit", "forbid loop\npermit loop", "loop", "refused loop:1 failed"],
    ["forbid by name before permit *", "forbid loop\npermit *", "loop", "refused loop:1 failed"],
    ["forbid by name and pattern", "forbid *\npermit loop\nforbid loop", "loop", "refused loop:3 failed"],
    ["permit alone", "permit loop", "dummy", "+dummy"],
    ["permit covers needs", "forbid *\npermit ehci-hcd", "ehci-hcd", "+ehci_hcd +usb_common +usbcore"],
    ["needs asked for alone", "forbid *\npermit ehci-hcd", "usbcore", "+usb_common +usbcore"],
    ["a pattern covers needs", "forbid *\npermit ehci?hcd", "ehci-hcd", "+ehci_hcd +usb_common +usbcore"],
    ["permit covers no others", "forbid *\npermit ehci-hcd", "usb-storage", "refused scsi_mod:1 failed"],
    ["permit of a need covers it alone", "forbid *\npermit usbcore", "ehci-hcd", "refused ehci_hcd:1 failed"],
    [
        "a need forbidden by name",
        "forbid usbcore\nforbid *\npermit ehci-hcd",
        "ehci-hcd",
        "refused usbcore:1 failed",
    ],
    [
        "what is forbidden by name permits nothing",
        "forbid * ehci-hcd\npermit ehci-hcd",
        "usbcore",
        "refused usb_common:1 failed",
    ],
    // dependencies
    ["a need", "forbid usb_common", "ehci-hcd", "refused usb_common:1 failed"],
    ["nothing before a need", "forbid usbcore", "ehci-hcd", "refused usbcore:1 failed"],
    ["a need of a need", "forbid scsi_mod", "uas", "refused scsi_mod:1 failed"],
    ["a need that is there", "live usb_common usbcore\nforbid usbcore", "ehci-hcd", "+ehci_hcd"],
    ["what needs it is there", "live usbcore\nforbid usb_common", "usbcore", ""],
    // what is there
    ["it is there", "live loop\nforbid loop", "loop", ""],
    ["it is there, for once", "live loop\nforbid loop", "--first-time loop", "failed"],
    ["it is built in", "forbid ext2", "ext2", ""],
    ["it is removed", "live loop\nforbid loop", "-r loop", "-loop"],
    ["it is removed along", "live usbcore usb_common\nforbid usb*", "-r usbcore", "-usb_common -usbcore"],
    [
        "it is removed along with a softdep",
        "live loop usbcore usb_common\nsoftdep loop pre: usbcore\nforbid usb_common",
        "-r loop",
        "-loop -usb_common -usbcore",
    ],
    // softdeps
    ["a softdep before", "softdep loop pre: dummy\nforbid dummy", "loop", "+loop"],
    ["a softdep after", "softdep loop post: dummy\nforbid dummy", "loop", "+loop"],
    ["a softdep with -", "softdep loop pre: usb-common\nforbid usb-common", "loop", "+loop"],
    ["another softdep stays", "softdep loop pre: dummy scsi_mod\nforbid dummy", "loop", "+loop +scsi_mod"],
    ["a need of a softdep", "softdep loop pre: usbcore\nforbid usb_common", "loop", "+loop"],
    ["other needs of a softdep", "softdep loop post: ehci-hcd\nforbid usbcore", "loop", "+loop"],
    ["a softdep of a need", "softdep usb_common pre: dummy\nforbid dummy", "usbcore", "+usb_common +usbcore"],
    [
        "a softdep of a softdep",
        "softdep loop pre: scsi_mod\nsoftdep scsi_mod pre: dummy\nforbid dummy",
        "loop",
        "+loop +scsi_mod",
    ],
    ["a softdep that is there", "live dummy\nsoftdep loop pre: dummy\nforbid dummy", "loop", "+loop"],
    ["a softdep by an alias", "alias x-y dummy\nsoftdep loop pre: x-y\nforbid dummy", "loop", "+loop"],
    [
        "a softdep that is needed, too",
        "softdep usbcore pre: usb_common\nforbid usb_common",
        "usbcore",
        "refused usb_common:2 failed",
    ],
    [
        "softdeps of it",
        "softdep loop pre: dummy post: scsi_mod\nforbid loop",
        "loop",
        "refused loop:2 failed",
    ],
    ["permit covers no softdeps", "softdep loop pre: dummy\nforbid *\npermit loop", "loop", "+loop"],
    [
        "a softdep is permitted",
        "softdep loop pre: dummy\nforbid *\npermit loop dummy",
        "loop",
        "+dummy +loop",
    ],
    [
        "a softdep that is left out goes before a command",
        "install loop cmd\nsoftdep loop pre: dummy\nforbid dummy",
        "loop",
        "+loop",
    ],
    [
        "left out of one plan, asked for by the next",
        "live usb_common\nsoftdep loop pre: usbcore post: dummy\nforbid usb_common",
        "-a loop usbcore",
        "+dummy +loop +usbcore",
    ],
    // aliases
    ["a configured alias", "alias mine loop\nforbid loop", "mine", "refused loop:2 failed"],
    ["a module's alias", "forbid usb-storage", "usb:v2p3", "refused usb_storage:1 failed"],
    ["a module's alias, a need", "forbid usb_storage", "usb:v1p3", "refused usb_storage:1 failed"],
    ["the name of an alias says nothing", "alias mine loop\nforbid mine", "mine", "+loop"],
    [
        "one of two of an alias",
        "alias both loop\nalias both dummy\nforbid loop",
        "both",
        "+dummy refused loop:3",
    ],
    // what a module calls itself
    ["its own name", "forbid vendor", "vendor-550", "refused vendor_550 as vendor:1 failed"],
    [
        "its own name, in a compressed file",
        "forbid vendor-drm",
        "vendor-550-drm",
        "refused vendor_550_drm as vendor_drm:1 failed",
    ],
    ["the own name of a need", "forbid vendor", "vendor-550-drm", "refused vendor_550 as vendor:1 failed"],
    ["the own name of a softdep", "forbid vendor\nsoftdep loop pre: vendor-550", "loop", "+loop"],
    ["the own name of a softdep's need", "forbid vendor\nsoftdep loop pre: vendor-550-drm", "loop", "+loop"],
    [
        "an alias that is the own name",
        "forbid vendor\nalias vendor vendor-550",
        "vendor",
        "refused vendor_550 as vendor:1 failed",
    ],
    [
        "a pattern of own names",
        "forbid vendor?drm",
        "vendor-550-drm",
        "refused vendor_550_drm as vendor_drm:1 failed",
    ],
    [
        "a pattern of own names, and permit",
        "forbid vendo?\npermit vendor-550",
        "vendor-550",
        "+usb_common +vendor_550",
    ],
    [
        "an own name before permit",
        "forbid vendor\npermit vendor-550",
        "vendor-550",
        "refused vendor_550 as vendor:1 failed",
    ],
    [
        "permit of an own name says nothing",
        "forbid vendor*\npermit vendor",
        "vendor-550",
        "refused vendor_550:1 failed",
    ],
    ["its own name, loaded", "live vendor usb_common\nforbid vendor", "vendor-550", ""],
    ["its own name, loaded, -n", "live vendor usb_common\nforbid vendor", "-n vendor-550", ""],
    [
        "the own name of a loaded need",
        "live vendor usb_common\nforbid vendor",
        "-n vendor-550-drm",
        ">vendor-550-drm",
    ],
    [
        "its own name, loaded, --first-time",
        "live vendor usb_common\nforbid vendor",
        "--first-time vendor-550",
        "failed",
    ],
    ["another own name", "forbid vendor-drm", "vendor-550", "+usb_common +vendor_550"],
    [
        "its own name, a file",
        "forbid vendor",
        "./lib/modules/6.1.0/vendor-550.ko",
        "refused vendor_550 as vendor:1 failed",
    ],
    [
        "its own name, on the command line",
        "cmdline modprobe.forbid=vendor",
        "vendor-550",
        "refused vendor_550 as vendor:cmdline failed",
    ],
    [
        "its own name, --ignore-forbid",
        "forbid vendor",
        "--ignore-forbid vendor-550",
        "+usb_common +vendor_550",
    ],
    // install commands
    ["a command", "install loop cmd\nforbid loop", "loop", "refused loop:2 failed"],
    ["a refusing command", "install loop /bin/true\nforbid loop", "loop", "refused loop:2 failed"],
    [
        "a command of a need",
        "install usb_common cmd\nforbid usb_common",
        "usbcore",
        "refused usb_common:2 failed",
    ],
    [
        "a command and nothing else",
        "install virtual cmd\nforbid virtual",
        "virtual",
        "refused virtual:2 failed",
    ],
    ["a command that is permitted", "install loop cmd\nforbid *\npermit loop", "loop", "$cmd"],
    ["a command of another one", "install loop cmd\nforbid dummy", "loop", "$cmd"],
    ["-i", "install loop cmd\nforbid loop", "-i loop", "refused loop:2 failed"],
    // the kernel command line
    ["the command line", "cmdline quiet modprobe.forbid=loop", "loop", "refused loop:cmdline failed"],
    [
        "- on the command line",
        "cmdline modprobe.forbid=usb-common",
        "usb_common",
        "refused usb_common:cmdline failed",
    ],
    ["a list on the command line", "cmdline modprobe.forbid=dummy,l*", "loop", "refused loop:cmdline failed"],
    [
        "quotes on the command line",
        "cmdline modprobe.forbid=\"dummy loop\"",
        "loop",
        "refused loop:cmdline failed",
    ],
    ["permit on the command line", "cmdline modprobe.permit=loop\nforbid *", "loop", "+loop"],
    [
        "a name against the command line",
        "cmdline modprobe.permit=loop\nforbid loop",
        "loop",
        "refused loop:1 failed",
    ],
    [
        "the command line against permit",
        "cmdline modprobe.forbid=loop\npermit loop",
        "loop",
        "refused loop:cmdline failed",
    ],
    ["permit against the command line", "cmdline modprobe.forbid=*\npermit loop", "loop", "+loop"],
    ["no name on the command line", "cmdline modprobe.forbid=l[oop,dummy", "loop", "+loop"],
    [
        "a name behind one that is none",
        "cmdline modprobe.forbid=l[oop,dummy",
        "dummy",
        "refused dummy:cmdline failed",
    ],
    // options of modprobe
    ["-q", "forbid loop", "-q loop", "failed"],
    ["-a", "forbid loop", "-a loop dummy", "+dummy refused loop:1 failed"],
    [
        "-a, what two need",
        "forbid usbcore",
        "-a ehci-hcd loop uas",
        "+loop refused usbcore:1 refused usbcore:1 failed",
    ],
    ["-b", "forbid loop", "-b loop", "refused loop:1 failed"],
    ["-b and a blacklist", "forbid loop\nblacklist loop", "-b loop", ""],
    ["an alias and a blacklist", "alias mine loop\nforbid loop\nblacklist loop", "mine", ""],
    ["-f", "forbid loop", "-f loop", "refused loop:1 failed"],
    ["--first-time", "forbid loop", "--first-time loop", "refused loop:1 failed"],
    ["-n", "forbid loop", "-n loop", "refused loop:1 failed"],
    ["-n with a softdep", "forbid dummy\nsoftdep loop pre: dummy", "-n loop", ">loop"],
    ["-D shows what belongs to it", "forbid *\nsoftdep loop pre: dummy", "-D loop", ">dummy >loop"],
    ["a file", "forbid loop", "./lib/modules/6.1.0/loop.ko", "refused loop:1 failed"],
    ["--ignore-forbid", "forbid loop", "--ignore-forbid loop", "+loop"],
    ["--ignore-forbid, needs", "forbid *", "--ignore-forbid usbcore", "+usb_common +usbcore"],
    [
        "--ignore-forbid, softdeps",
        "forbid *\nsoftdep loop pre: dummy",
        "--ignore-forbid loop",
        "+dummy +loop",
    ],
    ["--ignore-forbid and a command", "forbid loop\ninstall loop cmd", "--ignore-forbid loop", "$cmd"],
];

/// The result of one case, with one thread or several.
fn outcome_of(case: &[&str; 4], jobs: Option<&str>) -> String {
    let [_, config, words, _] = case;
    let machine = machine();
    let mut lines = Vec::new();
    for line in config.lines() {
        if let Some(text) = line.strip_prefix("cmdline ") {
            fs::write(machine.roots.cmdline(), format!("{text}\n")).unwrap();
        } else if let Some(names) = line.strip_prefix("live ") {
            machine.live(&names.split(' ').collect::<Vec<_>>());
        } else {
            lines.push(line);
        }
    }
    machine.config(&lines.join("\n"));
    if let Some(jobs) = jobs {
        machine.variable("KMOD_JOBS", jobs);
    }
    let words: Vec<&str> = ["modprobe"].into_iter().chain(words.split(' ')).collect();
    let ran = machine.run(&words);
    outcome(&machine, &ran)
}

#[test]
fn every_case_of_the_table() {
    let mut wrong = Vec::new();
    for case in CASES {
        for jobs in [None, Some("8")] {
            let came_to = outcome_of(case, jobs);
            if came_to != case[3] {
                let threads = jobs.unwrap_or("1");
                wrong
                    .push(format!("{} ({threads} jobs):\n  is     {came_to}\n  wanted {}", case[0], case[3]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
    let names: std::collections::BTreeSet<&str> = CASES.iter().map(|case| case[0]).collect();
    assert_eq!(names.len(), CASES.len(), "a name twice");
}

#[test]
fn the_message_names_the_file_and_the_line() {
    let machine = machine();
    machine.config("# hard\nforbid usb-storage");
    assert_eq!(
        machine.run(&["modprobe", "uas"]),
        failed(
            "modprobe: ERROR: could not insert 'uas': Operation not permitted\n\
             modprobe: ERROR: 'uas' needs 'usb_storage', which could not be inserted: Operation not permitted \
             (/etc/modprobe.d/test.conf line 2 forbids it)\n"
        )
    );
    let of_itself = |place: &str, name: &str| {
        failed(&format!(
            "modprobe: ERROR: could not insert '{name}': Operation not permitted\n\
             modprobe: ERROR: '{name}' is refused: {place} forbids it\n"
        ))
    };
    let ran = machine.run(&["modprobe", "-v", "usb-storage"]);
    assert_eq!(ran, of_itself("/etc/modprobe.d/test.conf line 2", "usb_storage"));
    fs::write(machine.roots.cmdline(), "modprobe.forbid=loop\n").unwrap();
    assert_eq!(machine.run(&["modprobe", "loop"]), of_itself("the kernel command line", "loop"));
    // A softdep that is left out is logged with -v.
    machine.config("softdep dummy pre: loop post: uas");
    let left_out = "modprobe: NOTICE: 'loop' is left out: the kernel command line forbids it\n\
         modprobe: NOTICE: 'uas' is left out: /etc/modprobe.d/test.conf line 2 forbids 'usb_storage', which it needs\n";
    let ran = machine.run(&["modprobe", "-v", "dummy"]);
    assert_eq!(
        ran,
        Ran { out: "insmod /lib/modules/6.1.0/dummy.ko \n".into(), err: left_out.into(), status: 0 }
    );
    machine.kernel.remove("dummy");
    assert_eq!(machine.run(&["modprobe", "dummy"]), printed(""));
}

#[test]
fn what_threads_made_of_a_module_is_for_the_plan_that_wants_it() {
    // The second plan's loop has other options, so that no thread has loaded it.
    let message =
        |name: &str, reason: &str| format!("modprobe: ERROR: could not insert '{name}': {reason}\n");
    let no_memory = message("loop", "Cannot allocate memory");
    let expected = failed(&[no_memory.as_str(), &no_memory, &message("usbcore", "No such device")].concat());
    for jobs in ["--jobs=1", "--jobs=8"] {
        let machine = machine();
        machine.live(&["usb_common"]);
        machine.config("alias mine loop\noptions mine x=1\nsoftdep loop pre: usbcore\nforbid usb_common");
        let refusals = [("loop".to_owned(), Errno::ENOMEM), ("usbcore".to_owned(), Errno::ENODEV)];
        machine.kernel.refuses.lock().unwrap().extend(refusals);
        assert_eq!(machine.run(&["modprobe", jobs, "-a", "loop", "mine", "usbcore"]), expected, "{jobs}");
    }
}

#[test]
fn a_refusal_leaves_no_trace_of_the_gate() {
    let machine = machine();
    machine.config("forbid usbcore");
    for jobs in ["--jobs=1", "--jobs=8"] {
        assert_eq!(machine.run(&["modprobe", jobs, "-qab", "ehci-hcd", "usbcore"]), failed(""));
    }
    assert_eq!(fs::read_dir(&machine.roots.run).unwrap().count(), 0, "no lock, no memory of a failure");
}

#[test]
fn the_configuration_is_shown_with_what_it_forbids() {
    let machine = machine();
    machine.config("permit usb-storage\nblacklist dummy\nforbid usb-* loop # all of it\ninstall loop cmd");
    fs::write(machine.roots.cmdline(), "modprobe.permit=uas modprobe.forbid=x-[a-c]\n").unwrap();
    let ran = machine.run(&["modprobe", "-c"]);
    let config = ran.out.split("\n\n").next().unwrap();
    assert_eq!(
        config,
        "blacklist dummy\nforbid usb_*\nforbid loop\nforbid x_[a-c]\npermit usb_storage\npermit uas\ninstall loop cmd"
    );
}

#[test]
fn the_option_has_no_short_forms() {
    let machine = machine();
    machine.config("forbid loop\ninstall loop cmd");
    let ran = machine.run(&["modprobe", "--ignore-for", "loop"]);
    assert_eq!((ran.status, ran.err.contains("unrecognized option")), (1, true), "{}", ran.err);
    // Nor does it make one of kmod's ambiguous.
    machine.config("permit dummy");
    assert_eq!(machine.run(&["modprobe", "--ignore", "dummy"]), printed(""));
}

fn explained(machine: &Machine, words: &[&str]) -> (String, serde_json::Value) {
    let text = machine.run(&[&["modprobe", "--explain"], words].concat()).out;
    let json = machine.run(&[&["modprobe", "--explain", "--json"], words].concat()).out;
    assert_eq!(machine.calls(), Vec::<String>::new(), "nothing is loaded");
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    (text, value["modules"][0].clone())
}

#[test]
fn what_is_forbidden_is_explained() {
    let machine = machine();
    machine.config("forbid usb-storage\nforbid l*\nsoftdep dummy pre: loop uas\ninstall loop cmd");
    let conf = "/etc/modprobe.d/test.conf";
    let (text, module) = explained(&machine, &["loop"]);
    let end = format!(
        "  It is not loaded.\n  modprobe would:\n    refuse loop ({conf}:2 forbids it)\n  So it will not be loaded.\n"
    );
    assert!(text.ends_with(&end), "{text}");
    let step = &module["steps"][0];
    assert_eq!(
        (&module["verdict"], &step["action"], &step["refused"]),
        (&"refused".into(), &"refuse".into(), &"forbid".into())
    );
    let place = serde_json::json!({"file": conf, "line": 2});
    assert_eq!(step["forbidden"], serde_json::json!({"module": "loop", "own_name": null, "place": place}));
    assert!(step["command"].is_null() && step["path"].is_null());
    // The other modules of a refused request are not loaded and not listed.
    let (text, module) = explained(&machine, &["uas"]);
    let end = format!(
        "    refuse usb_storage ({conf}:1 forbids it), which uas needs\n  So it will not be loaded.\n"
    );
    assert!(text.ends_with(&end) && !text.contains("insert"), "{text}");
    assert_eq!((module["steps"].as_array().unwrap().len(), &module["verdict"]), (1, &"refused".into()));
    // A softdep is left out.
    let (text, module) = explained(&machine, &["dummy"]);
    let end = format!(
        "  modprobe would:\n    leave out loop ({conf}:2 forbids it), wished for before dummy ({conf}:3)\n\
         \x20   leave out uas ({conf}:1 forbids usb_storage, which it needs), wished for before dummy ({conf}:3)\n\
         \x20   insert /lib/modules/6.1.0/dummy.ko\n"
    );
    assert!(text.ends_with(&end), "{text}");
    assert_eq!(
        (&module["verdict"], &module["steps"][1]["forbidden"]["module"]),
        (&"load".into(), &"usb_storage".into())
    );
    assert!(module["steps"][2]["forbidden"].is_null());
    // Loaded modules are passed over.
    machine.live(&["usb_storage", "usbcore", "usb_common", "scsi_mod"]);
    assert_eq!(explained(&machine, &["uas"]).1["verdict"], "load");
    assert_eq!(explained(&machine, &["--ignore-forbid", "loop"]).1["steps"][0]["action"], "run");
    // The name in the line is not that of the file.
    machine.config("forbid vendor");
    let (text, _) = explained(&machine, &["vendor-550"]);
    assert!(text.contains(&format!("    refuse vendor_550 ({conf}:5 forbids it as vendor)\n")), "{text}");
}
