//! The lab: real kernels, real udev, many CPUs, in virtual machines.
//!
//! One program, two lives. On the host it is a test harness: every scenario on every kernel is a named test
//! (`storm_64::6.1`, `storm_64::newest`), and `fetch`, `demo` and `plot` are further commands. In the guest it is process 1,
//! because the project is linked statically: copied into an initramfs it needs nothing else.
//!
//! ```text
//! cargo test --test lab                              what each kernel's round has (host/series.rs)
//! cargo test --test lab -- --exact storm_64::6.1     one of them
//! cargo test --test lab -- fetch                     downloads what demo needs
//! cargo test --test lab -- demo                      stock kmod and ours, a table and a picture
//! cargo test --test lab -- medians                   times of udev's coldplug, medians of five boots (40 minutes)
//! cargo test --test lab -- plot                      draws the figures of the last runs
//! cargo test --test lab -- table CSV RESULTS.md      writes them into the page
//! ```
//!
//! Variables: `KMOD_ONCE_BIN` names the `kmod` to test (else cargo's build of this profile), `KMOD_ONCE_CACHE` the folder
//! for downloads, `LAB_ONLY=stock` leaves our tool out. Consoles and traces stay in `target/lab/<kernel>/<scenario>/`.

#[path = "../common/debian.rs"]
mod debian;
#[path = "../common/emulator.rs"]
mod emulator;
#[path = "../common/library.rs"]
mod library;

mod guest;
mod host;
mod scenarios;
mod tool;

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if std::process::id() == 1 && std::env::var_os("LAB_SCENARIO").is_some() {
        guest::main();
    }
    match args.get(1).map(String::as_str) {
        // Helpers of the guest.
        Some("hold") => fail(&guest::crowd::hold(&args[2..])),
        Some("traceme") => fail(&guest::traced::traceme(&args[2..])),
        Some("churn") => end(scenarios::churn(&args[2..])),
        Some("watch") => end(guest::watch::main(&args[2..])),
        Some("operate") => end(scenarios::operate(&args[2..])),
        // Commands of the host.
        Some("demo") => host::demo::main(),
        Some("fetch") => host::demo::fetch(),
        Some("plot") => host::plot::main(&args[2..]),
        Some("medians") => end(host::medians::medians(&args[2..])),
        Some("table") => host::table::main(&args[2..]),
        _ => host::suite::main(),
    }
}

fn end(result: anyhow::Result<()>) -> std::process::ExitCode {
    result.map_or_else(|e| fail(&e), |()| std::process::ExitCode::SUCCESS)
}

fn fail(e: &dyn std::fmt::Display) -> std::process::ExitCode {
    eprintln!("{e:#}");
    std::process::ExitCode::from(99)
}
