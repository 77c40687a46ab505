//! Which lists are paged, and by which program.

use super::*;

/// The words after `kmod`, the environment, and the pager; `-` for none.
const CASES: &[[&str; 3]] = &[
    // who
    ["check config", "TERM=linux", "less"],
    ["check config", "TERM=linux PAGER=more", "more"],
    ["check config", "TERM=linux PAGER=more KMOD_PAGER=most", "most"],
    ["check config", "TERM=linux PAGER=cat", "-"],
    ["check config", "TERM=linux PAGER=", "-"],
    ["check config", "TERM=linux PAGER=more KMOD_PAGER=", "-"],
    ["check config", "TERM=linux PAGER=cat KMOD_PAGER=more", "more"],
    ["check config", "TERM=dumb PAGER=more", "-"],
    ["check config", "PAGER=more", "-"],
    // Variables of a user who may run only this command as root.
    ["check config", "TERM=linux SUDO_UID=1000 PAGER=more", "less"],
    ["check config", "TERM=linux SUDO_UID=1000 KMOD_PAGER=more", "less"],
    ["check config", "TERM=linux SUDO_UID=1000 PAGER=cat", "-"],
    // what
    ["blame", "TERM=linux", "less"],
    ["stats", "TERM=linux", "less"],
    ["stats --who", "TERM=linux", "less"],
    ["plot", "TERM=linux", "-"],
    ["check", "TERM=linux PAGER=more", "more"],
    ["blame --json", "TERM=linux", "-"],
    ["check --json config", "TERM=linux", "-"],
    ["stats --json", "TERM=linux", "-"],
    ["stats --openmetrics", "TERM=linux", "-"],
    ["blame --no-pager", "TERM=linux", "-"],
    ["check --no-pager config", "TERM=linux", "-"],
    ["stats --no-pager --who", "TERM=linux", "-"],
    ["help", "TERM=linux", "-"],
    ["list", "TERM=linux", "-"],
    ["check --help", "TERM=linux", "-"],
    ["check config -C /dev/null", "TERM=linux", "-"],
];

#[test]
fn every_case_of_the_table() {
    let mut machine = Machine::with_modules();
    machine.config("blackist loop");
    fs::create_dir(machine.roots.run.join("kmod")).unwrap();
    fs::write(machine.roots.run.join("kmod/gate.trace"), "{\"module\":\"loop\",\"time_ns\":1}\n").unwrap();
    fs::write(machine.roots.proc_fs.join("modules"), "").unwrap();
    for [words, variables, pager] in CASES {
        let case = format!("{variables} kmod {words}");
        let words: Vec<&str> = ["kmod"].into_iter().chain(words.split(' ')).collect();
        machine.host.variables.lock().unwrap().clear();
        let plain = machine.run(&words);
        for variable in variables.split(' ') {
            let (name, value) = variable.split_once('=').unwrap();
            machine.variable(name, value);
        }
        for is_terminal in [false, true] {
            machine.host.is_terminal = is_terminal;
            let ran = machine.run(&words);
            let paged = machine.host.paged.get_mut().unwrap().split_off(0);
            let paged: Vec<(&str, &str)> =
                paged.iter().map(|paged| paged.split_once(": ").unwrap()).collect();
            let base = machine.dir.path().to_str().unwrap();
            assert_eq!(ran.status, plain.status, "{case}");
            assert_eq!(ran.err, plain.err, "{case}");
            // Shown once: by the pager if there is a terminal, else on stdout.
            match *pager {
                "-" => assert_eq!((&ran.out, paged.len()), (&plain.out, 0), "{case}"),
                pager => {
                    assert_eq!(paged.len(), 1, "{case}");
                    assert_eq!(
                        (paged[0].0, paged[0].1.replace(base, "")),
                        (pager, plain.out.clone()),
                        "{case}"
                    );
                    assert_eq!(ran.out, if is_terminal { "" } else { &plain.out }, "{case}");
                }
            }
        }
    }
}
