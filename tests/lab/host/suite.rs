//! The named tests: boots what a scenario needs, reads what the guest found, and says so.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::resource::{UsageWho, getrusage};

use super::cache::{Cache, Kernel};
use super::image::Builder;
use super::qemu::{self, Boot, SILENCE};
use super::report::{self, Report, Row};
use crate::scenarios::{self, Image, Scenario, Tools};
use crate::tool::Tool;

pub const SERIES: [&str; 2] = ["6.1", "6.12"];

type Shared<T> = Arc<OnceLock<Result<T, String>>>;
type Reports = Arc<BTreeMap<String, Report>>;
type Made<K, T> = Mutex<HashMap<K, Shared<T>>>;

/// What the tests of one run share: each thing is made once, when it is first needed.
struct Lab {
    out: PathBuf,
    kernels: Made<&'static str, Kernel>,
    /// By kernel, kind, and the release whose userland is in a full one.
    images: Made<(&'static str, Image, &'static str), PathBuf>,
    /// By scenario or group, kernel, tools; what each scenario of the boot found.
    boots: Made<(&'static str, &'static str, String), Reports>,
    rows: Mutex<Vec<Row>>,
    /// Downloads and builds happen one at a time.
    making: Mutex<()>,
}

impl Lab {
    fn new() -> Result<Arc<Self>> {
        let out = target().join("lab");
        fs::create_dir_all(&out).with_context(|| format!("{}", out.display()))?;
        Ok(Arc::new(Self {
            out,
            kernels: Mutex::default(),
            images: Mutex::default(),
            boots: Mutex::default(),
            rows: Mutex::default(),
            making: Mutex::default(),
        }))
    }

    fn kernel(&self, series: &'static str) -> Result<Kernel> {
        once(&self.kernels, series, || {
            let _one = self.making.lock().map_err(|_| anyhow!("an earlier download failed"))?;
            let cache = Cache::open()?;
            let _lock = cache.lock()?;
            cache.kernel(series)
        })
    }

    /// An image; a full one with the userland of `stock`'s release.
    fn image(&self, kernel: &Kernel, image: Image, stock: Tool) -> Result<PathBuf> {
        let suite = stock.suite().context("a stock tool comes with a release")?;
        once(&self.images, (kernel.series, image, if image == Image::Full { suite } else { "" }), || {
            let _one = self.making.lock().map_err(|_| anyhow!("an earlier download failed"))?;
            let cache = Cache::open()?;
            let _lock = cache.lock()?;
            let builder = Builder { cache: &cache, ours: ours()?, out: self.out.clone() };
            match image {
                Image::Full => builder.full(kernel, suite),
                kind => builder.small(kernel, kind),
            }
        })
    }

    /// What a scenario found on a kernel with these tools. Boots, unless a scenario of the same boot has done so.
    fn boot(&self, scenario: &'static Scenario, series: &'static str, tools: &[Tool]) -> Result<Report> {
        let names: Vec<_> = tools.iter().map(|t| t.name()).collect();
        let names = names.join(",");
        let label = scenario.group.unwrap_or(scenario.name);
        let reports = once(&self.boots, (label, series, names.clone()), || {
            let kernel = self.kernel(series)?;
            // A stock tool runs in its own release; ours in that of the kernel.
            let release = tools.iter().copied().find(|tool| tool.suite().is_some());
            let release = release.unwrap_or(Tool::stock(series));
            let initrd = self.image(&kernel, scenario.image, release)?;
            let accel = qemu::accel(&kernel, &self.image(&kernel, Image::Small, release)?, &self.out);
            let mut dir = self.out.join(series).join(label);
            if matches!(scenario.tools, Tools::EachApart | Tools::LibraryApart) {
                dir.push(&names);
            }
            let members = scenarios::boot_of(scenario);
            let member_names: Vec<_> = members.iter().map(|s| s.name).collect();
            let full = if everything() { " LAB_FULL=1" } else { "" };
            let console = dir.join("console");
            let limit = members.iter().map(|s| s.limit).sum();
            let boot = Boot {
                kernel: &kernel,
                initrd: &initrd,
                cpus: scenario.cpus,
                memory: scenario.memory,
                append: format!(
                    "LAB_SCENARIO={} LAB_TOOLS={names} LAB_LIMIT={limit}{full} {}",
                    member_names.join(","),
                    scenario.append
                ),
                dir,
                limit: Duration::from_secs(limit) + SILENCE,
            };
            let (text, took) = boot.run(accel)?;
            let reports = report::read(&text, series, &member_names, &console)?;
            let mut said = format!(
                "lab: {label}::{series} ({names}; {} CPUs, {}, boot to end {:.1} s)",
                scenario.cpus,
                accel.name(),
                took.as_secs_f64()
            );
            for row in reports.values().flat_map(|r| &r.rows) {
                said.push_str("\n     ");
                said.push_str(&report::line(row));
            }
            for ratio in reports.values().filter_map(|r| report::ratio(&r.rows)) {
                said.push_str("\n     ");
                said.push_str(&ratio);
            }
            for note in reports.values().flat_map(|r| &r.notes) {
                said.push_str("\n     ");
                said.push_str(note);
            }
            println!("{said}");
            if let Ok(mut rows) = self.rows.lock() {
                rows.extend(reports.values().flat_map(|r| r.rows.clone()));
            }
            Ok(Arc::new(reports))
        })?;
        reports.get(scenario.name).cloned().context("the boot says nothing about this scenario")
    }

    /// One test: all boots of a scenario on a kernel.
    fn scenario(&self, scenario: &'static Scenario, series: &'static str) -> Result<Vec<Report>> {
        let stock = scenario.stock(series);
        let boots: Vec<Vec<Tool>> = match (scenario.tools, only_stock()) {
            (Tools::Ours | Tools::Library, true) => {
                bail!("only our tool goes through this scenario, and LAB_ONLY=stock leaves it out")
            }
            (_, true) => vec![vec![stock]],
            (Tools::Ours, _) => vec![vec![Tool::Ours]],
            (Tools::Both, _) => vec![vec![Tool::Ours, stock]],
            (Tools::EachApart, _) => vec![vec![Tool::Ours], vec![Tool::Library], vec![stock]],
            (Tools::LibraryApart, _) => vec![vec![Tool::Library], vec![stock]],
            (Tools::Library, _) => vec![vec![Tool::Library]],
        };
        boots.iter().map(|tools| self.boot(scenario, series, tools)).collect()
    }

    fn test(&self, scenario: &'static Scenario, series: &'static str) -> Result<(), Failed> {
        let reports = self.scenario(scenario, series).map_err(|e| format!("{e:#}"))?;
        let mut failures: Vec<String> = reports.iter().flat_map(|r| r.failures.clone()).collect();
        // Measured only: another release loads other modules.
        for tool in scenario.measured_too(series).filter(|_| everything()) {
            failures.extend(self.boot(scenario, series, &[tool]).map_err(|e| format!("{e:#}"))?.failures);
        }
        let held: usize = reports.iter().map(|r| r.held).sum();
        if held == 0 && !only_stock() {
            failures.push("the guest checked nothing".into());
        }
        // Where each has a boot of its own, what is loaded in the end must not depend on whose it is.
        if let [ours @ .., stock] = &reports[..] {
            for ours in ours {
                if ours.modules != stock.modules {
                    let only = |a: &Report, b: &Report| {
                        a.modules.iter().filter(|m| !b.modules.contains(m)).cloned().collect::<Vec<_>>()
                    };
                    let (more, less) = (only(ours, stock), only(stock, ours));
                    failures.push(format!("other modules: only ours {more:?}, only stock {less:?}"));
                }
                if ours.modules.is_empty() {
                    failures.push("no modules were loaded".into());
                }
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
    }

    /// Our calls do not grow with the CPUs: what they are with 1 they are with all, but for inits that fail on each CPU.
    fn growth(&self, series: &'static str) -> Result<(), Failed> {
        for tool in [Tool::Ours, Tool::Library] {
            let mut accepted = Vec::new();
            for scenario in scenarios::ALL.iter().filter(|s| s.name.starts_with("coldplug_") && wanted(s)) {
                if tool == Tool::Ours && scenario.tools != Tools::EachApart {
                    continue;
                }
                let report = self.boot(scenario, series, &[tool]).map_err(|e| format!("{e:#}"))?;
                let row = report.rows.first().ok_or("no measurement")?;
                accepted.push((row.number("cpus"), row.number("calls"), row.number("duplicates")));
            }
            let base = accepted.iter().map(|(_, calls, _)| *calls).min().unwrap_or(0);
            // A module without its hardware fails in init, and a request that comes later gets a fresh attempt: a few
            // more.
            let flat = accepted.iter().all(|(_, calls, _)| *calls <= base + base / 10 + 4);
            let name = tool.name();
            println!("lab: coldplug_growth::{series}: {name} (CPUs, calls, attempts repeated) {accepted:?}");
            if !flat || base == 0 {
                return Err(format!("calls of {name} grow with the CPUs: {accepted:?}").into());
            }
        }
        Ok(())
    }

    fn finish(&self) {
        let rows = self.rows.lock().map(|r| r.clone()).unwrap_or_default();
        let path = self.out.join("results.csv");
        match report::save(&path, &rows) {
            Ok(()) => println!("lab: figures in {}", path.display()),
            Err(e) => eprintln!("lab: {e:#}"),
        }
    }
}

fn once<K: std::hash::Hash + Eq, T: Clone>(
    map: &Made<K, T>,
    key: K,
    make: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let cell = map.lock().map_err(|_| anyhow!("an earlier test panicked"))?.entry(key).or_default().clone();
    cell.get_or_init(|| make().map_err(|e| format!("{e:#}"))).clone().map_err(|e| anyhow!(e))
}

fn only_stock() -> bool {
    std::env::var_os("LAB_ONLY").is_some_and(|v| v == "stock")
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from)
}

/// Our `kmod`.
fn ours() -> Result<PathBuf> {
    let path = std::env::var_os("KMOD_ONCE_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_kmod")), PathBuf::from);
    fs::metadata(&path).with_context(|| format!("{}", path.display()))?;
    Ok(path)
}

/// The harness.
pub fn main() -> ExitCode {
    let args = Arguments::from_args();
    let lab = match Lab::new() {
        Ok(lab) => lab,
        Err(e) => {
            eprintln!("lab: {e:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut trials = Vec::new();
    for series in SERIES {
        for scenario in scenarios::ALL.iter().filter(|scenario| wanted(scenario)) {
            let lab = lab.clone();
            trials.push(Trial::test(format!("{}::{series}", scenario.name), move || {
                lab.test(scenario, series)
            }));
        }
        let lab = lab.clone();
        trials.push(Trial::test(format!("coldplug_growth::{series}"), move || lab.growth(series)));
    }
    if args.list {
        return libtest_mimic::run(&args, trials).exit_code();
    }
    // Without a machine or a kernel nothing can be said: a failure where that was promised, else a loud skip.
    let unable =
        qemu::missing().or_else(|| SERIES.iter().find_map(|s| lab.kernel(s).err()).map(|e| format!("{e:#}")));
    if let Some(reason) = unable {
        if std::env::var_os("CI").is_none() {
            eprintln!("\nlab: SKIPPED, nothing was tested: {reason}\n");
            return ExitCode::from(77);
        }
        eprintln!("\nlab: FAILED, nothing can be tested: {reason}\n");
        return ExitCode::FAILURE;
    }
    let begin = Instant::now();
    let conclusion = libtest_mimic::run(&args, trials);
    lab.finish();
    let cpu =
        getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0, |u| u.user_time().tv_sec() + u.system_time().tv_sec());
    println!("lab: {:.0} s, {cpu} s of processor time", begin.elapsed().as_secs_f64());
    conclusion.exit_code()
}

/// More virtual processors than this take minutes to emulate, and boot only where everything is asked for.
const FEW_CPUS: u32 = 4;
/// What takes minutes with the stock tool, or shows what another one shows, too.
const LONG: [&str; 11] = [
    "storm_256",
    "storm_mixed",
    "coldplug_2",
    "coldplug_of_1",
    "coldplug_of_8",
    "coldplug_of_64",
    "coldplug_of_128",
    "coldplug_of_192",
    "coldplug_of_255",
    "coldplug_of_288",
    "coldplug_of_1024",
];

fn wanted(scenario: &Scenario) -> bool {
    (scenario.cpus <= FEW_CPUS && !LONG.contains(&scenario.name)) || everything()
}

/// Whether everything is asked for.
fn everything() -> bool {
    std::env::var_os("KMOD_ONCE_FULL").is_some()
}

/// Stock kmod and ours on both kernels, one table.
pub fn demo() -> ExitCode {
    match try_demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("lab: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_demo() -> Result<()> {
    if let Some(reason) = qemu::missing() {
        bail!("{reason}");
    }
    let lab = Lab::new()?;
    let mut rows = Vec::new();
    for series in SERIES {
        for name in ["storm_64", "storm_24x8"] {
            println!("lab: booting Linux {series}: {name}");
            let scenario = scenarios::find(name).context("no such scenario")?;
            for report in lab.scenario(scenario, series)? {
                rows.extend(report.rows.clone());
                if !report.failures.is_empty() {
                    bail!("{name} on {series}: {}", report.failures.join("; "));
                }
            }
        }
    }
    lab.finish();
    println!(
        "\n{:<8}{:<12}{:<13}{:>9}{:>14}{:>12}{:>14}{:>9}",
        "kernel", "tool", "storm", "requests", "kernel calls", "duplicates", "wasted", "time"
    );
    for row in &rows {
        let n = |name| row.number(name);
        println!(
            "{:<8}{:<12}{:<13}{:>9}{:>14}{:>12}{:>14}{:>7.1} s",
            row.kernel,
            row.tool,
            row.scenario,
            n("requests"),
            n("calls"),
            n("duplicates"),
            report::mib(n("wasted")),
            n("wall_ms") as f64 / 1000.0
        );
    }
    Ok(())
}
