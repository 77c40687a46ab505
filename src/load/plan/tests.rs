//! Plans as kmod 34.2 prints them with `modprobe -D`.

use super::*;
use crate::tree::fixture::Fixture;

/// The lines that `modprobe -D QUERY EXTRA` prints, without the fixture's directory.
fn lines(fixture: &Fixture, query: &str, extra: &str, bare: bool) -> Vec<String> {
    let tree = fixture.tree();
    let target = tree.lookup(query.as_bytes()).unwrap().remove(0);
    print(fixture, &plan(&tree, &target, extra.as_bytes(), Ignore { install: bare, forbid: false }).unwrap())
}

fn print(fixture: &Fixture, steps: &[Step]) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut lines = Vec::new();
    for step in steps {
        let options = text(&step.options);
        lines.push(match (&step.command, &step.path) {
            (Some(command), _) => format!("install {} {options}", text(command)),
            (None, Some(path)) => {
                let path = path.strip_prefix(fixture.module_path("")).unwrap_or(path);
                format!("insmod {} {options}", path.display())
            }
            (None, None) => format!("nothing {}", text(&step.module.name)),
        });
    }
    lines
}

#[track_caller]
fn expect(fixture: &Fixture, query: &str, want: &[&str]) {
    assert_eq!(lines(fixture, query, "", false), want);
}

fn small() -> Fixture {
    Fixture::new(&[
        "loop.ko:",
        "dummy.ko:",
        "base.ko:",
        "mid.ko: base.ko",
        "top.ko: mid.ko base.ko",
        "t.ko: dep1.ko",
        "dep1.ko:",
        "s1.ko: t.ko dep1.ko",
        "sp1.ko: base.ko",
        "a.ko:",
        "b.ko:",
        "c.ko:",
    ])
}

#[test]
fn the_worked_example() {
    let fixture = Fixture::new(&[
        "loop.ko:",
        "dummy.ko:",
        "usb-common.ko:",
        "usbcore.ko: usb-common.ko",
        "uhci-hcd.ko: usbcore.ko usb-common.ko",
        "ehci-hcd.ko: usbcore.ko usb-common.ko",
    ]);
    fixture.etc(
        "a.conf",
        "softdep usb_common pre: loop\nsoftdep uhci_hcd pre: ehci_hcd post: dummy\nsoftdep dummy pre: loop\n\
         options usbcore a=1\noptions uhci_hcd c=3\ninstall ehci_hcd echo E $CMDLINE_OPTS\n",
    );
    let want = [
        "insmod loop.ko ",
        "insmod usb-common.ko ",
        "insmod usbcore.ko a=1 ",
        "insmod usb-common.ko ",
        "insmod usbcore.ko a=1 ",
        "install echo E $CMDLINE_OPTS ",
        "insmod uhci-hcd.ko c=3 x=1",
        "insmod dummy.ko ",
    ];
    assert_eq!(lines(&fixture, "uhci-hcd", "x=1", false), want);

    let tree = fixture.tree();
    let target = tree.lookup(b"uhci_hcd").unwrap().remove(0);
    let steps = plan(&tree, &target, b"", Ignore::default()).unwrap();
    let required: Vec<bool> = steps.iter().map(|step| step.required).collect();
    // loop is only a softdep. usb_common is a dependency of the target, so both of its steps are required.
    assert_eq!(required, [false, true, true, true, true, false, true, false]);
    let targets: Vec<bool> = steps.iter().map(|step| step.is_target).collect();
    assert_eq!(targets, [false, false, false, false, false, false, true, false]);
}

#[test]
fn dependencies_are_placed_and_may_repeat() {
    let fixture = small();
    expect(&fixture, "top", &["insmod base.ko ", "insmod mid.ko ", "insmod top.ko "]);
    fixture.etc("a.conf", "softdep mid pre: sp1\n");
    let want = ["insmod base.ko ", "insmod base.ko ", "insmod sp1.ko ", "insmod mid.ko ", "insmod top.ko "];
    expect(&fixture, "top", &want);
}

#[test]
fn cycles_of_soft_dependencies_end() {
    let fixture = small();
    fixture.etc(
        "a.conf",
        "softdep a pre: b\nsoftdep b pre: a post: c\nsoftdep c post: a b\nsoftdep t pre: t post: t\n",
    );
    expect(&fixture, "a", &["insmod b.ko ", "insmod c.ko ", "insmod a.ko "]);
    expect(&fixture, "b", &["insmod a.ko ", "insmod b.ko ", "insmod c.ko "]);
    expect(&fixture, "t", &["insmod dep1.ko ", "insmod t.ko "]);
    fixture.etc("a.conf", "softdep top pre: top\nsoftdep mid pre: top post: mid\n");
    let want = ["insmod base.ko ", "insmod base.ko ", "insmod mid.ko ", "insmod top.ko ", "insmod mid.ko "];
    expect(&fixture, "mid", &want);
}

#[test]
fn a_module_by_another_alias_is_another_one() {
    let fixture = small();
    fixture.index("modules.alias", &[("al_*", "loop"), ("al_?", "dummy")]);
    fixture.etc("a.conf", "softdep a pre: al-x loop al_y al-x post: loop dummy\noptions al_y y=1\n");
    let want = [
        "insmod loop.ko ",
        "insmod dummy.ko ",
        "insmod loop.ko ",
        "insmod loop.ko y=1 ",
        "insmod dummy.ko y=1 ",
        "insmod a.ko ",
        "insmod dummy.ko ",
    ];
    expect(&fixture, "a", &want);
    fixture.etc("a.conf", "options loop a=1\nsoftdep loop post: al-x\n");
    let want = ["insmod loop.ko a=1 k=1", "insmod loop.ko a=1 ", "insmod dummy.ko "];
    assert_eq!(lines(&fixture, "loop", "k=1", false), want);
}

#[test]
fn install_commands_and_soft_dependencies() {
    let fixture = small();
    fixture.etc(
        "a.conf",
        "softdep a pre: nothing\ninstall a cmd\nsoftdep b pre: off2\ninstall b cmd\nalias off2 off\n",
    );
    expect(&fixture, "a", &["install cmd "]);
    // A softdep need not lead to an existing module.
    expect(&fixture, "b", &["nothing off", "insmod b.ko "]);
    assert_eq!(lines(&fixture, "a", "x=1", true), ["insmod a.ko x=1"]);
    // -i applies to every step of the target, and to no other module.
    fixture.etc("a.conf", "softdep dep1 pre: s1\ninstall t cmd-t\noptions t o=1\n");
    let want =
        ["insmod dep1.ko ", "install cmd-t o=1 ", "insmod s1.ko ", "insmod dep1.ko ", "install cmd-t o=1 "];
    expect(&fixture, "t", &want);
    let want =
        ["insmod dep1.ko ", "insmod t.ko o=1 ", "insmod s1.ko ", "insmod dep1.ko ", "insmod t.ko o=1 "];
    assert_eq!(lines(&fixture, "t", "", true), want);
    fixture.etc("a.conf", "softdep t pre: a\ninstall dep1 cmd\n");
    assert_eq!(lines(&fixture, "t", "", true), ["install cmd ", "insmod t.ko "]);
}

#[test]
fn a_refusal_holds_in_spite_of_soft_dependencies() {
    let fixture = small();
    fixture.etc(
        "a.conf",
        "softdep top pre: a post: b\ninstall top /bin/false\nsoftdep mid post: c\ninstall mid exec /usr/bin/true # no\n\
         softdep c pre: a\ninstall c false\nsoftdep b pre: c\ninstall b echo b\n",
    );
    let want = [
        "insmod base.ko ",
        "install exec /usr/bin/true # no ",
        "insmod a.ko ",
        "install false ",
        "install /bin/false ",
        "insmod b.ko ",
    ];
    expect(&fixture, "top", &want);
    // -i applies to the target, whose soft dependencies are ignored too.
    let want = [&want[..4], &["insmod top.ko x=1"]].concat();
    assert_eq!(lines(&fixture, "top", "x=1", true), want);
}

#[test]
fn softdep_lines_add_up_by_file_name() {
    let fixture = small();
    fixture.module_file("modules.softdep", "softdep a pre: b\nsoftdep a post: c\n");
    fixture.etc("zz.conf", "softdep a post: b pre: c loop\n");
    expect(&fixture, "a", &["insmod b.ko ", "insmod loop.ko ", "insmod a.ko ", "insmod c.ko "]);
    fixture.etc("aa.conf", "softdep [a] post: b pre: dummy\n");
    let want = ["insmod dummy.ko ", "insmod loop.ko ", "insmod a.ko ", "insmod b.ko ", "insmod c.ko "];
    expect(&fixture, "a", &want);
}

#[test]
fn a_file_stands_for_its_module_wherever_that_is_needed() {
    // kmod refuses a second path of the same name, and so leaves out all dependencies of mid.
    let fixture = small();
    fixture.file("x/base.ko", "").etc("a.conf", "softdep base post: mid\noptions base o=1\n");
    let tree = fixture.tree();
    let file = fixture.path("x/base.ko");
    let target = tree.module_from_path(file.to_str().unwrap().as_bytes()).unwrap();
    let steps = plan(&tree, &target, b"z=1", Ignore::default()).unwrap();
    let line = format!("insmod {} o=1 z=1", file.display());
    assert_eq!(print(&fixture, &steps), [&line[..], &line, "insmod mid.ko "]);
    assert!(steps[0].is_target && steps[1].is_target && steps[0].required && !steps[2].required);
}

#[test]
fn options_and_their_joining() {
    let fixture = small();
    fixture.etc("a.conf", "options a x=1\noptions a  y=2\n").file("proc/cmdline", "a.z=3 b.\n");
    assert_eq!(lines(&fixture, "a", "k=1 l=2", false), ["insmod a.ko x=1  y=2 z=3 k=1 l=2"]);
    assert_eq!(lines(&fixture, "a", "", false), ["insmod a.ko x=1  y=2 z=3 "]);
    assert_eq!(lines(&fixture, "b", "k=1", false), ["insmod b.ko k=1"]);
    assert_eq!(lines(&fixture, "b", "", false), ["insmod b.ko "]);
}

#[test]
fn a_chain_of_a_hundred_thousand_soft_dependencies() {
    let fixture = Fixture::new(&[]);
    const LENGTH: usize = 100_000;
    let mut conf = String::new();
    for at in 0..LENGTH {
        conf.push_str(&format!("alias m{at} m{at}\nsoftdep m{at} pre: m{}\n", at + 1));
    }
    fixture.etc("a.conf", &conf);
    let tree = fixture.tree();
    let target = tree.lookup(b"m0").unwrap().remove(0);
    let steps = plan(&tree, &target, b"", Ignore::default()).unwrap();
    assert_eq!(steps.len(), LENGTH);
    assert_eq!(steps[0].module.name, format!("m{}", LENGTH - 1).as_bytes());
    assert!(steps[LENGTH - 1].is_target);
}

#[test]
fn a_plan_without_end_is_refused() {
    // Two hundred modules, each with all earlier ones as dependencies and all of them as softdeps.
    let names: Vec<String> = (0..200).map(|at| format!("m{at}")).collect();
    let mut lines: Vec<String> = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let others: Vec<String> = names[..at].iter().map(|name| format!(" {name}.ko")).collect();
        lines.push(format!("{name}.ko:{}", others.concat()));
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let fixture = Fixture::new(&lines);
    fixture.etc("a.conf", &format!("softdep m* pre: {}\n", names.join(" ")));
    let tree = fixture.tree();
    let target = tree.lookup(b"m199").unwrap().remove(0);
    let error = plan(&tree, &target, b"", Ignore::default()).unwrap_err();
    assert_eq!(error.errno(), Errno::ELOOP);
    assert_eq!(error.to_string(), "loading m199 would take more than 1048576 steps");
}
