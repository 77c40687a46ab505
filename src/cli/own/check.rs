//! `kmod check`: prints problems before they show at boot.

use super::form::OutputForm;
use crate::check::{self, Finding, Part, Request, Severity};
use crate::cli::Call;
use crate::system::{Roots, System};
use crate::tree::ConfigPaths;
use anyhow::{Result, anyhow, bail};
use clap::ValueEnum;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Print what is wrong with the configuration, the modules and the machine
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to check; everything unless said
    #[arg(value_name = "PART")]
    parts: Vec<PartName>,
    #[command(flatten)]
    pub form: OutputForm,
    /// Check the modules of that kernel
    #[arg(short = 'S', long = "set-version", value_name = "VERSION")]
    version: Option<OsString>,
    /// Check the system below ROOT, with its configuration
    #[arg(short = 'd', long = "dirname", value_name = "ROOT")]
    root: Option<OsString>,
    /// Check the configuration in PATH instead; may repeat
    #[arg(short = 'C', long = "config", value_name = "PATH")]
    config: Vec<OsString>,
}

#[derive(Clone, Copy, ValueEnum)]
enum PartName {
    /// modprobe.d, depmod.d and the kernel command line
    Config,
    /// The gate, and whose program and library load modules
    Machine,
    /// The indexes and every module file
    Modules,
}

/// The findings as text, and the exit status: 1 if one of them is an error.
pub(crate) fn report(options: &Options, call: &Call<'_>) -> Result<(String, u8)> {
    let absolute = |path: &OsString| {
        let shown = Path::new(path).display();
        call.absolute(path.as_bytes()).map_err(|errno| anyhow!("no working directory for {shown}: {errno}"))
    };
    let running = call.world.host.release().map_err(|errno| anyhow!("uname failed: {errno}"))?;
    let release = options.version.as_ref().map_or(&running[..], |version| version.as_bytes());
    // Below another root, the configuration and the kernel command line are those of that system, and the machine is not
    // checked.
    let below = options.root.as_ref().map(absolute).transpose()?;
    let below = below.filter(|root| root != Path::new("/")).map(|root| Roots::below(&root));
    let roots = below.as_ref().unwrap_or(call.world.system.roots);
    let is_running = below.is_none() && release == running;
    let part = |name: &PartName| match name {
        PartName::Config => Part::Config,
        PartName::Machine => Part::Machine,
        PartName::Modules => Part::Modules,
    };
    let parts: Vec<Part> = match &options.parts[..] {
        [] if is_running => vec![Part::Config, Part::Modules, Part::Machine],
        [] => vec![Part::Config, Part::Modules],
        named => named.iter().map(part).collect(),
    };
    if parts.contains(&Part::Machine) && !is_running {
        bail!("the machine can only be checked for its running kernel, and not below another root");
    }
    let paths = match &options.config[..] {
        [] => ConfigPaths::Default,
        paths => ConfigPaths::List(paths.iter().map(absolute).collect::<Result<_>>()?),
    };
    let request = Request {
        release,
        dir: roots.module_dir(release),
        paths,
        running: is_running,
        parts: &parts,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let findings = check::run(&System { roots, ..call.world.system }, &request);
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let errors = count(Severity::Error);
    let text = if options.form.json {
        let list: Vec<serde_json::Value> = findings.iter().map(Finding::to_json).collect();
        let warnings = count(Severity::Warning);
        format!("{}\n", serde_json::json!({ "findings": list, "errors": errors, "warnings": warnings }))
    } else {
        findings.iter().map(|finding| format!("{finding}\n")).collect()
    };
    Ok((text, u8::from(errors > 0)))
}
