//! The scenarios: what is booted for each, and what the guest does.

use std::time::Duration;

use anyhow::Result;

use crate::guest::Guest;
use crate::tool::Tool;

mod churn;
mod coldplug;
pub mod drop_in;
mod errors;
mod explain;
mod faults;
mod files;
mod forbid;
mod init;
mod jobs;
mod leader;
mod library;
mod locks;
mod names;
mod nogate;
mod operations;
mod storm;

pub use churn::main as churn;
pub use coldplug::MANY_CPUS;
pub use operations::main as operate;

/// The image a scenario needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Image {
    /// Tools and a few modules.
    Small,
    /// The small one with some hundred modules more.
    Modules,
    /// The small one with our library and a program that uses it.
    Library,
    /// A Debian userland with udev and all modules.
    Full,
}

/// Which tools go through a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tools {
    /// Ours only: kmod cannot do this, or nothing is to be compared.
    Ours,
    /// Ours, then the stock tool, in one boot.
    Both,
    /// Ours, our library and the stock tool, each in a boot of its own.
    EachApart,
    /// Our library and the stock tool, each in a boot of its own.
    LibraryApart,
    /// Our library only.
    Library,
}

/// Where many emulated processors share two real ones, a load may take a minute, and the deadline of 50 s is no sign of a fault.
/// What happens at the deadline has scenarios of its own.
const PATIENT: &str = "kmod.gate_timeout=300000";

/// One scenario.
pub struct Scenario {
    /// The test's name, before `::<kernel>`.
    pub name: &'static str,
    /// What is booted.
    pub image: Image,
    /// Who goes through it.
    pub tools: Tools,
    /// The stock tool beside ours, if it is not the one of the kernel's own release.
    pub other: Option<Tool>,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// Words for the kernel command line.
    pub append: &'static str,
    /// Scenarios with the same group run in one boot, one after the other; each is still a test of its own.
    pub group: Option<&'static str>,
    /// A boot is ended after this many seconds.
    pub limit: u64,
    /// What the guest does with one tool.
    pub guest: fn(&mut Guest) -> Result<()>,
}

impl Scenario {
    const fn small(
        name: &'static str,
        tools: Tools,
        limit: u64,
        guest: fn(&mut Guest) -> Result<()>,
    ) -> Self {
        Self {
            name,
            image: Image::Small,
            tools,
            other: None,
            // Where nothing is compared, as many as the hosts have: more would wait for each other.
            cpus: if matches!(tools, Tools::Ours) { 2 } else { 4 },
            memory: 2048,
            append: "",
            group: None,
            limit,
            guest,
        }
    }

    /// The stock tool that goes through it on a kernel.
    pub fn stock(&self, kernel: &str) -> Tool {
        self.other.unwrap_or(Tool::stock(kernel))
    }

    /// What a test of it is chosen by: all scenarios of a boot run together.
    pub fn boot(&self) -> &'static str {
        self.group.unwrap_or(self.name)
    }

    /// Who is measured as well where everything is asked for. The older release's tool on the newer kernel, where udev asks:
    /// that kernel spares it the waste only where the tool leaves files packed to the kernel. And busybox, in one storm.
    pub fn measured_too(&self, kernel: &str) -> impl Iterator<Item = Tool> {
        let older = (self.image == Image::Full && kernel == "6.12").then_some(Tool::Kmod30);
        older.into_iter().chain((self.name == "storm_64").then_some(Tool::Busybox))
    }

    const fn beside(mut self, tool: Tool) -> Self {
        self.other = Some(tool);
        self
    }

    const fn append(mut self, words: &'static str) -> Self {
        self.append = words;
        self
    }

    const fn group(mut self, name: &'static str) -> Self {
        self.group = Some(name);
        self
    }

    const fn image(mut self, image: Image) -> Self {
        self.image = image;
        self
    }

    const fn coldplug(name: &'static str, cpus: u32, tools: Tools) -> Self {
        let guest = coldplug::coldplug;
        Self {
            name,
            image: Image::Full,
            tools,
            other: None,
            cpus,
            memory: 3584,
            append: PATIENT,
            group: None,
            // 32 emulated processors on two real ones are slow.
            limit: if cpus > 16 { 700 } else { 300 },
            guest,
        }
    }

    /// The coldplug of a machine with more CPUs than are emulated, as many as the name ends in.
    const fn many_cpus(name: &'static str) -> Self {
        Self { guest: coldplug::cpus, limit: 900, ..Self::coldplug(name, 4, Tools::LibraryApart) }
    }
}

/// Requests of tools and library that need nothing of the machine but its modules.
const fn requests(name: &'static str, limit: u64, guest: fn(&mut Guest) -> Result<()>) -> Scenario {
    Scenario::small(name, Tools::Ours, limit, guest).image(Image::Library).group("requests")
}

/// The gate gives up soon, and failures are remembered for requests that ask quietly.
const fn short_deadline(name: &'static str, limit: u64, guest: fn(&mut Guest) -> Result<()>) -> Scenario {
    let scenario =
        Scenario::small(name, Tools::Ours, limit, guest).image(Image::Library).group("short_deadline");
    scenario.append("kmod.gate_timeout=1500 kmod.failure_ttl=600000")
}

/// All scenarios, in the order in which they run.
pub const ALL: &[Scenario] = &[
    Scenario::small("storm_16", Tools::Both, 120, storm::storm_16),
    Scenario::small("storm_64", Tools::Both, 120, storm::storm_64),
    Scenario::small("storm_256", Tools::Both, 700, storm::storm_256).append(PATIENT),
    Scenario::small("storm_64_unpacked", Tools::Both, 180, storm::unpacked).beside(Tool::Kmod30),
    Scenario::small("storm_24x8", Tools::Both, 300, storm::mixed_24x8),
    Scenario::small("storm_mixed", Tools::Both, 700, storm::mixed).append(PATIENT),
    Scenario::coldplug("coldplug_1", 1, Tools::LibraryApart),
    Scenario::coldplug("coldplug_2", 2, Tools::EachApart),
    Scenario::coldplug("coldplug_4", 4, Tools::EachApart),
    Scenario::coldplug("coldplug_8", 8, Tools::EachApart),
    Scenario::coldplug("coldplug_16", 16, Tools::EachApart),
    Scenario::coldplug("coldplug_32", 32, Tools::LibraryApart),
    Scenario { cpus: 1, ..Scenario::many_cpus("coldplug_of_1") },
    Scenario::many_cpus("coldplug_of_8"),
    Scenario::many_cpus("coldplug_of_32"),
    Scenario::many_cpus("coldplug_of_64"),
    Scenario::many_cpus("coldplug_of_128"),
    Scenario::many_cpus("coldplug_of_192"),
    Scenario::many_cpus("coldplug_of_255"),
    Scenario::many_cpus("coldplug_of_288"),
    Scenario { tools: Tools::Library, ..Scenario::many_cpus("coldplug_of_1024") },
    Scenario { guest: forbid::forbidden, ..Scenario::coldplug("forbidden", 4, Tools::LibraryApart) },
    Scenario::small("failing_init", Tools::Both, 180, init::failing).group("init"),
    Scenario::small("slow_init", Tools::Both, 120, init::slow).group("init"),
    requests("own_name", 120, names::own_name),
    requests("init_says_eexist", 60, errors::init_says_eexist),
    requests("errno_without_a_name", 90, errors::errno_without_a_name),
    requests("dependency_on_its_way", 90, errors::dependency_on_its_way),
    requests("cpu_alias", 120, errors::cpu_alias),
    requests("library_threads", 90, library::library_threads),
    requests("killed_leader_of_the_library", 120, leader::killed_leader_of_the_library),
    // On a busy host, so much at once takes longer than the gate's deadline.
    Scenario { guest: library::mixed, ..Scenario::coldplug("mixed", 4, Tools::Library) }.append(PATIENT),
    Scenario::small("jobs", Tools::Ours, 600, jobs::jobs).append(PATIENT),
    Scenario::small("recursion", Tools::Ours, 180, init::recursion),
    Scenario::small("recursion_without_run", Tools::Ours, 130, init::recursion_without_run)
        .group("recursion_unseen"),
    Scenario::small("recursion_unreadable", Tools::Ours, 260, init::recursion_unreadable)
        .group("recursion_unseen"),
    Scenario::small("killed_before_the_call", Tools::Ours, 180, leader::killed_before_the_call)
        .group("killed"),
    Scenario::small("killed_while_decompressing", Tools::Ours, 180, leader::killed_while_decompressing)
        .group("killed"),
    Scenario::small("killed_in_init", Tools::Ours, 120, leader::killed_in_init).group("killed"),
    Scenario::small(
        "killed_while_a_dependency_is_coming",
        Tools::Ours,
        120,
        leader::killed_while_a_dependency_is_coming,
    )
    .group("killed"),
    Scenario::small("faults_while_loading", Tools::Ours, 600, faults::loading).group("faults"),
    Scenario::small("faults_while_removing", Tools::Ours, 400, faults::removing).group("faults"),
    Scenario::small("faults_of_callers", Tools::Ours, 200, faults::callers).group("faults"),
    Scenario::small("stopped_leader", Tools::Ours, 150, locks::stopped).image(Image::Library),
    short_deadline("stopped_leader_short_bound", 60, locks::stopped_short),
    short_deadline("lock_held_for_good", 600, locks::lock_held_for_good),
    short_deadline("another_boot", 60, errors::another_boot),
    Scenario::small("no_run", Tools::Ours, 60, nogate::no_run).group("no_gate"),
    Scenario::small("read_only_run", Tools::Ours, 60, nogate::read_only_run).group("no_gate"),
    Scenario::small("full_run", Tools::Ours, 60, nogate::full_run).group("no_gate"),
    Scenario::small("gate_is_a_link", Tools::Ours, 60, nogate::gate_is_a_link).group("no_gate"),
    Scenario::small("lock_is_a_link", Tools::Ours, 60, nogate::lock_is_a_link).group("no_gate"),
    Scenario::small("gate_of_someone_else", Tools::Ours, 60, nogate::gate_of_someone_else).group("no_gate"),
    Scenario::small("gate_writable_by_others", Tools::Ours, 60, nogate::gate_writable_by_others)
        .group("no_gate"),
    Scenario::small("module_file_locked_by_a_user", Tools::Ours, 60, nogate::module_file_locked_by_a_user)
        .group("no_gate"),
    Scenario::small("no_sys", Tools::Ours, 60, nogate::no_sys).group("no_gate"),
    Scenario::small("no_sys_no_proc", Tools::Ours, 60, nogate::no_sys_no_proc).group("no_gate"),
    Scenario::small("gate_off", Tools::Ours, 60, nogate::gate_off).append("kmod.gate=off"),
    Scenario::small("insert_and_remove", Tools::Ours, 180, churn::insert_and_remove),
    Scenario::small("randomised", Tools::Ours, 5400, operations::randomised)
        .append("log_buf_len=16M kmod.gate_timeout=300000"),
    Scenario::small("two_copies", Tools::Both, 90, files::two_copies).group("files"),
    Scenario::small("compression", Tools::Both, 90, files::compression).group("files"),
    Scenario::small("explain", Tools::Ours, 120, explain::explain),
    Scenario::small("drop_in", Tools::Ours, 900, drop_in::drop_in).image(Image::Modules),
];

/// The scenarios that run in the same boot as this one, itself included.
pub fn boot_of(scenario: &'static Scenario) -> Vec<&'static Scenario> {
    match scenario.group {
        Some(_) => ALL.iter().filter(|s| s.group == scenario.group).collect(),
        None => vec![scenario],
    }
}

/// The scenario of that name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|s| s.name == name)
}

/// The modules that the small image must hold.
pub fn modules() -> Vec<&'static str> {
    let mut names = storm::MIXED.to_vec();
    names.extend(["xfs", "dummy", "ifb", "nlmon"]);
    names
}

/// How long a crowd may take before the guest reports who is stuck.
pub const LIMIT: Duration = Duration::from_secs(300);
