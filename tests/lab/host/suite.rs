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
use super::series::{SERIES, Series, everything, rounds};
use super::version;
use crate::library;
use crate::scenarios::{self, Image, Scenario, Tools};
use crate::tool::Tool;

type Shared<T> = Arc<OnceLock<Result<T, String>>>;
type Reports = Arc<BTreeMap<String, Report>>;
type Made<K, T> = Mutex<HashMap<K, Shared<T>>>;

/// What the tests of one run share: each thing is made once, when it is first needed.
pub struct Lab {
    /// Where all of a run lies.
    pub out: PathBuf,
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
    /// Nothing is downloaded or built yet.
    pub fn new() -> Result<Arc<Self>> {
        let out = library::target().join("lab");
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

    fn kernel(&self, series: &'static Series) -> Result<Kernel> {
        once(&self.kernels, series.name, || {
            let _one = self.making.lock().map_err(|_| anyhow!("an earlier download failed"))?;
            let cache = Cache::open()?;
            let _lock = cache.lock()?;
            cache.kernel(series)
        })
    }

    /// Downloads and builds what the images of a kernel are made of, but for what is ours.
    pub fn fetch(&self, series: &'static Series) -> Result<()> {
        self.kernel(series)?;
        let cache = Cache::open()?;
        let _lock = cache.lock()?;
        for suite in Tool::ALL.iter().filter_map(|tool| tool.suite()) {
            cache.userland(suite)?;
        }
        cache.busybox()?;
        Ok(())
    }

    /// An image; a full one with the userland of a release.
    fn image(&self, kernel: &Kernel, image: Image, suite: &'static str) -> Result<PathBuf> {
        once(&self.images, (kernel.series.name, image, if image == Image::Full { suite } else { "" }), || {
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
    pub fn boot(
        &self,
        scenario: &'static Scenario,
        series: &'static Series,
        tools: &[Tool],
    ) -> Result<Report> {
        let names: Vec<_> = tools.iter().map(|t| t.name()).collect();
        let names = names.join(",");
        let label = scenario.boot();
        let reports = once(&self.boots, (label, series.name, names.clone()), || {
            let kernel = self.kernel(series)?;
            // A stock tool runs in its own release; ours in that of the kernel.
            let stock = tools.iter().copied().find(|tool| tool.suite().is_some());
            let suite = series.release_for(stock.unwrap_or(series.stock(scenario)));
            let initrd = self.image(&kernel, scenario.image, suite)?;
            let accel = qemu::accel(&kernel, &self.image(&kernel, Image::Small, suite)?, &self.out);
            let mut dir = self.out.join(series.name).join(label);
            if tools.len() == 1 && !matches!(scenario.tools, Tools::Ours | Tools::Library) {
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
            let reports = report::read(&text, version(&kernel.release), &member_names, &console)?;
            let mut said = format!(
                "lab: {label}::{} ({names}; Linux {}, {} CPUs, {}, boot to end {:.1} s)",
                series.name,
                kernel.release,
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

    /// Forgets all reports, so that the next boot is a real one.
    pub fn boot_anew(&self) {
        if let Ok(mut boots) = self.boots.lock() {
            boots.clear();
        }
    }

    /// One test: all boots of a scenario on a kernel. Guests with one CPU run side by side, since each keeps one of the host's busy.
    pub fn scenario(&self, scenario: &'static Scenario, series: &'static Series) -> Result<Vec<Report>> {
        let stock = series.stock(scenario);
        let boots: Vec<Vec<Tool>> = match (series.tools(scenario), only_stock()) {
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
        if scenario.cpus > 1 {
            return boots.iter().map(|tools| self.boot(scenario, series, tools)).collect();
        }
        std::thread::scope(|scope| {
            let boots = boots.iter().map(|tools| scope.spawn(|| self.boot(scenario, series, tools)));
            let boots: Vec<_> = boots.collect();
            boots.into_iter().map(|boot| boot.join().map_err(|_| anyhow!("a boot panicked"))?).collect()
        })
    }

    fn test(&self, scenario: &'static Scenario, series: &'static Series) -> Result<(), Failed> {
        let reports = self.scenario(scenario, series).map_err(|e| format!("{e:#}"))?;
        let mut failures: Vec<String> = reports.iter().flat_map(|r| r.failures.clone()).collect();
        // Measured only: another release loads other modules.
        for tool in scenario.measured_too(series.name).filter(|_| everything()) {
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
    fn growth(&self, series: &'static Series) -> Result<(), Failed> {
        for tool in [Tool::Ours, Tool::Library] {
            let mut accepted = Vec::new();
            for scenario in series.coldplugs() {
                if tool == Tool::Ours && series.tools(scenario) != Tools::EachApart {
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
            println!(
                "lab: coldplug_growth::{}: {name} (CPUs, calls, attempts repeated) {accepted:?}",
                series.name
            );
            if !flat || base == 0 {
                return Err(format!("calls of {name} grow with the CPUs: {accepted:?}").into());
            }
        }
        Ok(())
    }

    /// Writes down what was measured.
    pub fn finish(&self) {
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
    trials.push(Trial::test("every_scenario_has_its_round", rounds));
    for series in &SERIES {
        for scenario in scenarios::ALL.iter().filter(|scenario| series.has(scenario)) {
            let lab = lab.clone();
            trials.push(Trial::test(format!("{}::{}", scenario.name, series.name), move || {
                lab.test(scenario, series)
            }));
        }
        if series.coldplugs().count() > 1 {
            let lab = lab.clone();
            let name = format!("coldplug_growth::{}", series.name);
            trials.push(Trial::test(name, move || lab.growth(series)));
        }
    }
    if args.list {
        return libtest_mimic::run(&args, trials).exit_code();
    }
    // Without a machine or a kernel nothing can be said: a failure where that was promised, else a loud skip.
    let booted = SERIES.iter().filter(|series| {
        let of_it = |trial: &&Trial| trial.name().ends_with(&format!("::{}", series.name));
        trials.iter().filter(of_it).any(|trial| selected(&args, trial.name()))
    });
    let unable = qemu::missing()
        .or_else(|| booted.filter_map(|s| lab.kernel(s).err()).next().map(|e| format!("{e:#}")));
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

/// Whether a test is among those that were named.
fn selected(args: &Arguments, name: &str) -> bool {
    let named = |word: &String| if args.exact { name == word } else { name.contains(word.as_str()) };
    args.filter.as_ref().is_none_or(named) && !args.skip.iter().any(named)
}
