//! A FIFO that nobody writes to, in every place of a file that depmod looks for by itself: it must not wait there, least of
//! all with the lock that other runs wait for.

use std::fs;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::stage::{Body, Stage, Stages, Who};
use crate::tree::{DIR, Tree, VERSION, ko};

/// Puts a FIFO at the path, and makes a run with each of these arguments, all of which must end well.
fn runs(stage: &Stage, path: &str, calls: &[&[&str]]) -> Result<(), String> {
    let at = stage.at(path);
    let _ = fs::remove_file(&at).or_else(|_| fs::remove_dir_all(&at));
    fs::create_dir_all(at.parent().expect("a directory")).map_err(|error| error.to_string())?;
    mkfifo(&at, Mode::S_IRWXU).map_err(|error| format!("{path}: {error}"))?;
    for call in calls {
        stage.depmod(Who::Ours, call).map_err(|error| format!("{path}: {error}"))?;
    }
    let _ = fs::remove_file(&at);
    Ok(())
}

fn everywhere(stages: &Stages) -> Result<(), String> {
    let problem = |error: std::io::Error| error.to_string();
    let stage = stages.stage("fifos").map_err(problem)?;
    Tree::new()
        .ko("kernel/a.ko", ko())
        .file("kernel/b.ko.xz", crate::tree::xz(&ko().build()))
        .make(&stage)
        .map_err(problem)?;
    let cache = ["--cache-dir", "/var/cache/depmod", VERSION];
    stage.depmod(Who::Ours, &cache)?;
    let caches = fs::read_dir(stage.at("/var/cache/depmod")).map_err(problem)?;
    let caches: Vec<_> = caches.flatten().map(|entry| entry.file_name()).collect();
    let [name] = &caches[..] else { return Err(format!("not one cache: {caches:?}")) };
    let file = format!("/var/cache/depmod/{}", name.to_string_lossy());
    runs(&stage, &file, &[&cache])?;
    runs(&stage, &format!("/var/cache/depmod/{}.other", name.to_string_lossy()), &[&cache])?;
    let in_tree = |name: &str| format!("{DIR}/{name}");
    let quick: &[&[&str]] = &[&["-A", "--no-cache", VERSION], &["-n", VERSION], &["--no-cache", VERSION]];
    for name in crate::stage::OUTPUTS.into_iter().chain([".depmod.lock", ".depmod.modules.dep"]) {
        runs(&stage, &in_tree(name), quick)?;
    }
    for name in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
        runs(&stage, &in_tree(name), quick)?;
    }
    for path in ["/etc/depmod.d/x.conf", "/usr/lib/depmod.d/x.conf", "/etc/depmod.d"] {
        runs(&stage, path, quick)?;
    }
    Ok(())
}

/// All as tests.
pub fn trials() -> Vec<(String, Body)> {
    vec![("fifos::stop_no_run".into(), Box::new(everywhere))]
}
