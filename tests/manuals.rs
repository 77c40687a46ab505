//! The manual pages say what the tools do: the same options as the parsers' tables, in both directions; and they are well
//! formed, which mandoc tells.

#[path = "common/commands.rs"]
mod commands;

use kmod_once::internals::cli::getopt::Opt;
use kmod_once::internals::cli::help;
use kmod_once::internals::gate::settings::Settings;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Other people's pages that ours point to.
const ELSEWHERE: [&str; 8] = [
    "less.1",
    "lslocks.8",
    "sudo.8",
    "syslog.3",
    "systemd-modules-load.8",
    "systemd-tmpfiles.8",
    "systemd-udevd.8",
    "udev.7",
];

/// The pages by file name, `modprobe.8`, with their texts.
fn pages() -> BTreeMap<String, String> {
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(&path).unwrap())
    };
    fs::read_dir(man()).unwrap().map(|entry| read(entry.unwrap().path())).collect()
}

fn man() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("man")
}

/// The headings of a page's sections, in order.
fn sections(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix(".Sh ")).collect()
}

/// One item of a list of options: `.It Fl w , Fl -wait Ar msec`.
#[derive(Debug, PartialEq, Eq)]
struct Item {
    /// `-w`, `--wait`
    names: Vec<String>,
    /// `msec`
    value: Option<String>,
}

/// The options that a page describes, by the command they belong to: that of the page, or for kmod's own commands
/// `kmod COMMAND`, from the heading they stand under.
fn described(tool: &str, text: &str) -> BTreeMap<String, Vec<Item>> {
    let mut found: BTreeMap<String, Vec<Item>> = BTreeMap::new();
    let (mut section, mut command) = ("", tool.to_owned());
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix(".Sh ") {
            (section, command) = (heading, tool.to_owned());
        } else if let (Some(heading), "COMMANDS") = (line.strip_prefix(".Ss "), section) {
            command = format!("{tool} {heading}");
        } else if let Some(item) = line.strip_prefix(".It Fl ") {
            let (names, value) = match item.split_once(" Ar ") {
                Some((names, value)) => (names, Some(value.to_owned())),
                None => (item, None),
            };
            let names = names.split(" , Fl ").map(|name| format!("-{name}")).collect();
            found.entry(command.clone()).or_default().push(Item { names, value });
        }
    }
    found
}

/// `-w`, `--wait`: what a row of a table is called on the command line.
fn spellings(row: &Opt) -> Vec<String> {
    let letter = row.short().map(|letter| format!("-{}", char::from(letter)));
    let long = (!row.long.is_empty()).then(|| format!("--{}", row.long));
    letter.into_iter().chain(long).collect()
}

/// What is wrong with the options that a page describes, compared with a parser's table.
fn differences(command: &str, table: &[Opt], items: &[Item]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut named = BTreeSet::new();
    for item in items {
        let mut meant = BTreeSet::new();
        for name in &item.names {
            if !named.insert(name.as_str()) {
                wrong.push(format!("{command}: {name} is described twice"));
            }
            match table.iter().find(|row| spellings(row).contains(name)) {
                None => wrong.push(format!("{command}: {name} is described and does not exist")),
                Some(row) => {
                    meant.insert(row.id);
                    let value = row.value.map(str::to_lowercase);
                    if value != item.value {
                        wrong.push(format!("{command}: {name} takes {value:?}, not {:?}", item.value));
                    }
                }
            }
        }
        if meant.len() > 1 {
            wrong.push(format!("{command}: {:?} are not one option", item.names));
        }
    }
    let missing = table.iter().flat_map(spellings).filter(|name| !named.contains(name.as_str()));
    wrong.extend(missing.collect::<BTreeSet<_>>().iter().map(|name| format!("{command}: {name} is missing")));
    wrong
}

#[test]
fn every_option_is_described_and_no_other() {
    let pages = pages();
    let mut described_by: BTreeMap<String, Vec<Item>> = BTreeMap::new();
    for (page, text) in &pages {
        described_by.extend(described(page.rsplit_once('.').unwrap().0, text));
    }
    let mut wrong = Vec::new();
    for (command, options) in commands::tables() {
        let items = described_by.remove(&command).unwrap_or_default();
        wrong.extend(differences(&command, &options, &items));
    }
    wrong.extend(described_by.keys().map(|page| format!("{page}: has options, but no table")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_comparison_sees_what_differs() {
    let table = help().find(|(tool, _)| *tool == "insmod").unwrap().1.options;
    let items = |text: &str| described("insmod", text).remove("insmod").unwrap_or_default();
    let text = fs::read_to_string(man().join("insmod.8")).unwrap();
    assert_eq!(differences("insmod", table, &items(&text)), [""; 0]);
    let other = |from: &str, to: &str| differences("insmod", table, &items(&text.replacen(from, to, 1)));
    assert_eq!(other(".It Fl p\n", ""), ["insmod: -p is missing"]);
    assert_eq!(other(".It Fl p", ".It Fl x\n.It Fl p"), ["insmod: -x is described and does not exist"]);
    assert_eq!(other(".It Fl p", ".It Fl p Ar file"), ["insmod: -p takes None, not Some(\"file\")"]);
    assert_eq!(
        other("Fl s , Fl -syslog\n", "Fl v , Fl -syslog\n"),
        [
            "insmod: [\"-v\", \"--syslog\"] are not one option",
            "insmod: -v is described twice",
            "insmod: -s is missing"
        ]
    );
}

#[test]
fn every_command_of_kmod_is_described_and_no_other() {
    let page = &pages()["kmod.8"];
    let described: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix(".Ss ")).collect();
    assert_eq!(described, commands::of_kmod());
}

#[test]
fn every_switch_of_the_gate_does_something() {
    let page = &pages()["kmod-gate.7"];
    let switches: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".It Va kmod."))
        .map(|line| format!("kmod.{}", line.replace(" Ns ", "").replace("Cm ", "").replace("Ar msec", "77")))
        .collect();
    assert_eq!(switches.len(), 4, "{switches:?}");
    for switch in switches {
        assert_ne!(Settings::from_cmdline(switch.as_bytes()), Settings::default(), "{switch}");
    }
}

#[test]
fn every_page_has_its_sections() {
    for (page, text) in pages() {
        let (title, section) = page.rsplit_once('.').unwrap();
        assert!(text.contains(&format!(".Dt {} {section}\n", title.to_uppercase())), "{page}: .Dt");
        assert!(text.lines().all(|line| line.len() <= 120), "{page}: a long line");
        let found = sections(&text);
        let mut wanted = vec!["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "SEE ALSO"];
        if section != "5" {
            wanted.extend(["ENVIRONMENT", "FILES", "EXIT STATUS", "DIAGNOSTICS"]);
        }
        for name in wanted {
            assert!(found.contains(&name), "{page} has no {name}");
        }
    }
}

#[test]
fn cross_references_lead_to_pages() {
    let pages = pages();
    let known = |page: &str| pages.contains_key(page) || ELSEWHERE.contains(&page);
    let mut followed = BTreeSet::new();
    for (page, text) in &pages {
        let references =
            text.split(".Xr ").skip(1).map(|rest| rest.split_whitespace().take(2).collect::<Vec<_>>());
        for words in references {
            let reference = words.join(".");
            assert!(known(&reference), "{page} refers to {reference}");
            followed.insert(reference);
        }
    }
    let ours: BTreeSet<String> = help()
        .map(|(tool, _)| tool)
        .filter(|tool| !tool.contains(' '))
        .map(|tool| format!("{tool}.8"))
        .collect();
    assert!(ours.is_subset(&followed), "tools without a page, or that none refers to");
    assert!(ELSEWHERE.iter().all(|page| followed.contains(*page)), "a page in the list that none refers to");
}

#[test]
fn mandoc_has_nothing_to_complain_of() {
    for page in pages().keys() {
        let output = Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .arg(page)
            .current_dir(man())
            .output()
            .expect("mandoc, which tests/lab/tools.sh installs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.is_empty(), "{page}:\n{said}");
    }
}
