//! The kernels, and what runs on each of them.

use libtest_mimic::Failed;

use crate::debian;
use crate::scenarios::{self, Scenario, Tools};
use crate::tool::Tool;

/// A kernel that the lab boots.
#[derive(Debug)]
pub struct Series {
    /// Its name in those of the tests.
    pub name: &'static str,
    /// How the names of its packages begin and end.
    pub packages: (&'static str, &'static str),
    /// The release whose udevd is in its full image.
    userland: &'static str,
    /// What `make test` runs: the boots, each by its scenario or group. `make test-full` runs everything.
    round: &'static [&'static [&'static str]],
    /// Who goes through a coldplug in such a round, where each has a boot of its own.
    apart: Tools,
}

/// What differs from kernel to kernel: what reaches it, and how it arbitrates between what does.
const EACH: &[&str] =
    &["storm_16", "storm_64", "coldplug_4", "requests", "mixed", "recursion", "short_deadline"];
/// What runs on one of the two, since it is long or depends on our own code alone: on 6.1, and on 6.12 what that kernel shows more
/// of.
const ONCE: [&[&str]; 2] = [
    &[
        "storm_24x8",
        "coldplug_of_32",
        "forbidden",
        "init",
        "jobs",
        "recursion_unseen",
        "killed",
        "stopped_leader",
        "no_gate",
        "gate_off",
        "insert_and_remove",
        "randomised",
    ],
    // Where the kernel decompresses some modules there is one path more.
    &["storm_64_unpacked", "faults", "explain", "files"],
];
const SHORT: &[&str] = &["storm_64", "coldplug_4", "drop_in"];
/// What takes minutes, or shows at its length what a shorter one shows.
const LONG: &[&str] = &[
    "storm_256",
    "storm_mixed",
    "coldplug_1",
    "coldplug_2",
    "coldplug_8",
    "coldplug_16",
    "coldplug_32",
    "coldplug_of_1",
    "coldplug_of_8",
    "coldplug_of_64",
    "coldplug_of_128",
    "coldplug_of_192",
    "coldplug_of_255",
    "coldplug_of_288",
    "coldplug_of_1024",
];

/// All kernels. Their releases are in tests/versions.
pub static SERIES: [Series; 4] = [
    // Debian 11's tools are not compared with; Debian 12's run on its kernel as well.
    Series {
        name: "5.10",
        packages: debian::OLDEST,
        userland: "bookworm",
        round: &[SHORT],
        apart: Tools::Library,
    },
    Series {
        name: "6.1",
        packages: debian::BOOKWORM,
        userland: "bookworm",
        round: &[EACH, ONCE[0]],
        apart: Tools::EachApart,
    },
    Series {
        name: "6.12",
        packages: debian::TRIXIE,
        userland: "trixie",
        round: &[EACH, ONCE[1]],
        apart: Tools::LibraryApart,
    },
    Series {
        name: "newest",
        packages: debian::NEWEST,
        userland: "sid",
        round: &[SHORT],
        apart: Tools::Library,
    },
];

impl Series {
    /// Whether a scenario is in what is asked for.
    pub fn has(&self, scenario: &Scenario) -> bool {
        everything() || self.round.iter().any(|boots| boots.contains(&scenario.boot()))
    }

    /// The stock tool that goes through a scenario on it.
    pub fn stock(&self, scenario: &Scenario) -> Tool {
        scenario.stock(self.name)
    }

    /// The release whose userland is in a full image for a tool: the kernel's, but for a tool of another one.
    pub fn release_for(&self, tool: Tool) -> &'static str {
        if tool == Tool::stock(self.name) { self.userland } else { tool.suite().unwrap_or(self.userland) }
    }

    /// Who goes through a scenario.
    pub fn tools(&self, scenario: &Scenario) -> Tools {
        if scenario.tools == Tools::EachApart && !everything() { self.apart } else { scenario.tools }
    }

    /// The coldplugs on a kernel whose calls are compared.
    pub fn coldplugs(&'static self) -> impl Iterator<Item = &'static Scenario> {
        scenarios::ALL.iter().filter(|scenario| scenario.name.starts_with("coldplug_") && self.has(scenario))
    }
}

/// Every boot is in a round or among the long ones, and the tables name nothing else.
pub fn rounds() -> Result<(), Failed> {
    let tables = [EACH, ONCE[0], ONCE[1], SHORT, LONG].concat();
    let boots: Vec<&str> = scenarios::ALL.iter().map(Scenario::boot).collect();
    let missing: Vec<_> = boots.iter().filter(|boot| !tables.contains(boot)).collect();
    let unknown: Vec<_> = tables.iter().filter(|name| !boots.contains(name)).collect();
    if missing.is_empty() && unknown.is_empty() {
        return Ok(());
    }
    Err(format!("in no round: {missing:?}; no scenario: {unknown:?}").into())
}

/// Whether everything is asked for.
pub fn everything() -> bool {
    std::env::var_os("KMOD_ONCE_FULL").is_some()
}
