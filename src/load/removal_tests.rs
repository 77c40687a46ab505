//! Which modules are removed, and which stay.

use super::*;
use crate::system::fake::FakeKernel;
use crate::tree::fixture::Fixture;

/// `tc` needs `tb`, which needs `ta`.
fn chain() -> Fixture {
    let lines = [
        "ta.ko:",
        "tb.ko: ta.ko",
        "tc.ko: tb.ko ta.ko",
        "td.ko: tb.ko ta.ko",
        "dummy.ko:",
        "loop.ko:",
        "x.ko:",
    ];
    Fixture::new(&lines)
}

/// Makes modules live, each with its holders, in /sys/module and in /proc/modules.
fn live(fixture: &Fixture, modules: &[(&str, &[&str])]) {
    let kernel = FakeKernel::new(&fixture.roots);
    let mut text = String::new();
    for (name, holders) in modules {
        kernel.set_state(name, "live");
        holders.iter().for_each(|holder| kernel.hold(name, holder));
        text.push_str(&format!("{name} 4096 {} - Live 0x0\n", holders.len()));
    }
    fixture.file("proc/modules", &text);
}

const LOADED: [(&str, &[&str]); 3] = [("ta", &["tb"]), ("tb", &["tc"]), ("tc", &[])];

/// Checks the steps: `!` marks required ones, `?` used ones.
#[track_caller]
fn expect(fixture: &Fixture, target: &str, holders: bool, want: &str) {
    let tree = fixture.tree();
    let module = Module::named(target.as_bytes());
    let steps = removal(&tree, &fixture.system(), &module, false, holders).unwrap();
    let shown = steps.iter().map(|step| {
        let name = String::from_utf8(step.module.name.clone()).unwrap();
        let mark = |mark, is: bool| if is { mark } else { "" };
        format!("{}{name}{}", mark("!", step.required), mark("?", step.used))
    });
    assert_eq!(shown.collect::<Vec<_>>().join(" "), want);
}

#[test]
fn the_load_backwards() {
    let fixture = chain();
    live(&fixture, &[&LOADED[..], &[("dummy", &[]), ("loop", &[]), ("x", &[])]].concat());
    expect(&fixture, "tc", false, "!tc tb ta");
    fixture.etc("a.conf", "softdep tb pre: dummy post: loop\nsoftdep tc pre: x\nsoftdep dummy post: x\n");
    // `modprobe -D tc` in reverse: ta, dummy, x, tb, loop, tc.
    expect(&fixture, "tc", false, "!tc loop tb x dummy ta");
    expect(&fixture, "x", false, "!x");
    expect(&fixture, "tb", false, "loop !tb? dummy ta");
}

#[test]
fn what_is_in_use_stays_with_all_that_belongs_to_it() {
    let fixture = chain();
    fixture.etc("a.conf", "softdep tb pre: dummy post: loop\n");
    let softdeps: [(&str, &[&str]); 2] = [("dummy", &[]), ("loop", &[])];
    live(&fixture, &[&LOADED[..], &softdeps, &[("td", &[])]].concat());
    FakeKernel::new(&fixture.roots).hold("tb", "td");
    expect(&fixture, "tc", false, "!tc");
    // A use count without a holder, as from a mount or an open device.
    let fixture = chain();
    fixture.etc("a.conf", "softdep tb pre: dummy post: loop\n");
    live(&fixture, &[&LOADED[..], &softdeps].concat());
    fixture.file("sys/module/loop/refcnt", "1\n");
    expect(&fixture, "tc", false, "!tc tb dummy ta");
    fixture.file("sys/module/tc/refcnt", "1\n");
    expect(&fixture, "tc", false, "!tc? tb dummy ta");
    // A module without a use count stays.
    std::fs::remove_file(fixture.path("sys/module/ta/refcnt")).unwrap();
    expect(&fixture, "tc", false, "!tc? tb dummy");
}

#[test]
fn a_softdep_of_another_module_that_is_loaded_stays() {
    let fixture = chain();
    fixture
        .etc("a.conf", "softdep tc pre: dummy post: loop x\nsoftdep td post: loop\nsoftdep x pre: dummy\n");
    live(&fixture, &[&LOADED[..], &[("dummy", &[]), ("loop", &[]), ("td", &[]), ("x", &[])]].concat());
    // x, which is removed, also names dummy. td, which stays, names loop.
    expect(&fixture, "tc", false, "x !tc dummy tb ta");
    fixture.file("sys/module/x/refcnt", "1\n");
    expect(&fixture, "tc", false, "!tc tb ta");
}

#[test]
fn what_is_not_loaded_or_built_in_is_no_work() {
    let fixture = chain();
    fixture.index("modules.builtin", &[("x", "kernel/x.ko")]);
    fixture.etc(
        "a.conf",
        "softdep tc pre: dummy x post: loop virtual\nremove loop echo\nremove virtual echo off\ninstall virtual echo on\n\
         remove x echo\n",
    );
    live(&fixture, &LOADED);
    expect(&fixture, "tc", false, "virtual !tc tb ta");
}

#[test]
fn all_holders_go_the_deepest_first() {
    let fixture = chain();
    fixture.etc("a.conf", "softdep tb pre: dummy post: loop\n");
    live(
        &fixture,
        &[&LOADED[..], &[("td", &[]), ("dummy", &[]), ("loop", &[]), ("out_of_tree", &[])]].concat(),
    );
    let kernel = FakeKernel::new(&fixture.roots);
    kernel.hold("tb", "td");
    kernel.hold("ta", "td");
    kernel.hold("td", "out_of_tree");
    let tree = fixture.tree();
    let module = Module::named(b"ta");
    let steps = removal(&tree, &fixture.system(), &module, false, true).unwrap();
    let at = |name: &str| steps.iter().position(|step| step.module.name == name.as_bytes()).unwrap();
    assert_eq!(steps.len(), 7);
    assert!(steps.iter().all(|step| !step.used
        && step.required != ["dummy", "loop"].map(str::as_bytes).contains(&&step.module.name[..])));
    for (first, then) in
        [("out_of_tree", "td"), ("td", "tb"), ("tc", "tb"), ("loop", "tb"), ("tb", "dummy"), ("tb", "ta")]
    {
        assert!(at(first) < at(then), "{first} before {then}");
    }
    // Without the option only the requested module is required.
    expect(&fixture, "ta", false, "!ta?");
    // Modules that hold each other are taken once each.
    kernel.hold("out_of_tree", "ta");
    let steps = removal(&tree, &fixture.system(), &module, false, true).unwrap();
    assert_eq!(steps.iter().filter(|step| step.required).count(), 5);
}
