//! `depmod -A`: nothing happens while the indexes are those of the tree, and whatever makes it another one is seen.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::stage::{self, Body, Stage, Stages, Who};
use crate::tree::{DIR, Tree, VERSION, ko};

type Change = fn(&Stage, &Path) -> std::io::Result<()>;

/// Gives a file a date of the year 2001.
fn aged(path: &Path) -> std::io::Result<()> {
    fs::File::options().append(true).open(path)?.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000))
}

/// Two trees beside the module directory, and links that lead into the first.
fn links(stage: &Stage, dir: &Path) -> std::io::Result<()> {
    for mark in ["one", "two"] {
        let place = stage.at("/opt").join(mark);
        fs::create_dir_all(place.join("sub"))?;
        for name in ["far", "sub/deep"] {
            fs::write(place.join(name).with_extension("ko"), ko().alias(mark).build())?;
            aged(&place.join(name).with_extension("ko"))?;
        }
    }
    symlink("one", stage.at("/opt/now"))?;
    symlink("/opt/now/far.ko", stage.at("/opt/middle"))?;
    symlink("/opt/middle", dir.join("other/far.ko"))?;
    symlink("/opt/now/sub", dir.join("other/sub"))
}

/// Replaces a link.
fn relink(target: &str, link: &Path) -> std::io::Result<()> {
    fs::remove_file(link)?;
    symlink(target, link)
}

const CHANGES: [(&str, Change); 24] = [
    ("a module removed", |_, dir| fs::remove_file(dir.join("kernel/c.ko"))),
    ("a module added", |_, dir| fs::write(dir.join("kernel/new.ko"), ko().alias("new").build())),
    ("a module added with an old date", |_, dir| {
        fs::write(dir.join("kernel/old.ko"), ko().alias("old").build())?;
        aged(&dir.join("kernel/old.ko"))
    }),
    ("a module replaced by an older one", |_, dir| {
        fs::write(dir.join("kernel/x"), ko().alias("older").build())?;
        aged(&dir.join("kernel/x"))?;
        fs::rename(dir.join("kernel/x"), dir.join("kernel/b.ko"))
    }),
    ("a module changed, its date put back", |_, dir| {
        let path = dir.join("kernel/b.ko");
        let time = fs::metadata(&path)?.modified()?;
        fs::write(&path, ko().alias("changed").build())?;
        fs::File::options().append(true).open(path)?.set_modified(time)
    }),
    ("a module moved", |_, dir| {
        fs::create_dir_all(dir.join("kernel/deep"))?;
        fs::rename(dir.join("kernel/b.ko"), dir.join("kernel/deep/b.ko"))
    }),
    ("all modules moved, with their directory", |_, dir| fs::rename(dir.join("kernel"), dir.join("other"))),
    ("a module that wins over another", |_, dir| {
        fs::create_dir_all(dir.join("updates"))?;
        fs::write(dir.join("updates/a.ko"), ko().alias("updated").build())?;
        aged(&dir.join("updates/a.ko"))
    }),
    ("other configuration", |stage, _| {
        fs::create_dir_all(stage.at("/etc/depmod.d"))?;
        fs::write(stage.at("/etc/depmod.d/x.conf"), "override a * other\n")
    }),
    ("other built-in modules", |_, dir| fs::write(dir.join("modules.builtin"), "kernel/other.ko\n")),
    ("another order", |_, dir| fs::write(dir.join("modules.order"), "other/b.ko\nother/a.ko\n")),
    ("an index removed", |_, dir| fs::remove_file(dir.join("modules.alias.bin"))),
    ("an index emptied", |_, dir| fs::write(dir.join("modules.symbols.bin"), "")),
    ("an index emptied, its date put back", |_, dir| {
        let time = fs::metadata(dir.join("modules.dep"))?.modified()?;
        fs::write(dir.join("modules.dep.bin"), "")?;
        fs::File::options().append(true).open(dir.join("modules.dep.bin"))?.set_modified(time)
    }),
    ("an older index put back", |stage, dir| {
        fs::write(dir.join("modules.dep.bin"), fs::read(stage.at("/older"))?)?;
        aged(&dir.join("modules.dep.bin"))
    }),
    ("an index edited", |stage, dir| {
        fs::create_dir_all(stage.at("/opt/other/deep"))?;
        for name in ["a.ko", "deep/b.ko", "new.ko", "old.ko"] {
            fs::write(stage.at("/opt/other").join(name), ko().alias("replaced").build())?;
        }
        fs::write(dir.join("modules.alias"), "alias x y\n")
    }),
    ("another directory of the same names", |stage, dir| {
        fs::rename(dir.join("other"), stage.at("/opt/former"))?;
        fs::rename(stage.at("/opt/other"), dir.join("other"))
    }),
    ("links to other places", links),
    ("a link leads elsewhere", |_, dir| relink("../../../../opt/two/far.ko", &dir.join("other/far.ko"))),
    ("a link to a directory leads elsewhere", |_, dir| relink("/opt/two/sub", &dir.join("other/sub"))),
    ("links through others", |_, dir| {
        relink("/opt/middle", &dir.join("other/far.ko"))?;
        relink("/opt/now/sub", &dir.join("other/sub"))
    }),
    ("a link on the way leads elsewhere", |stage, _| relink("two", &stage.at("/opt/now"))),
    ("a directory on the way renamed", |stage, _| {
        fs::rename(stage.at("/opt/two"), stage.at("/opt/old"))?;
        fs::rename(stage.at("/opt/one"), stage.at("/opt/two"))
    }),
    ("modules.dep emptied", |_, dir| fs::write(dir.join("modules.dep"), "")),
];

fn quick(stages: &Stages) -> Result<(), String> {
    let problem = |error: std::io::Error| error.to_string();
    let stage = stages.stage("quick").map_err(problem)?;
    let mut tree = Tree::new().ko("kernel/c.ko", ko().alias("c"));
    for name in ["a", "b"] {
        tree = tree.ko(&format!("kernel/{name}.ko"), ko().alias(name).export(format!("of_{name}"), 1));
    }
    tree.make(&stage).map_err(problem)?;
    let dir = stage.at(DIR);
    let run = |what: &str| -> Result<bool, String> {
        let time = || fs::metadata(dir.join("modules.dep")).and_then(|meta| meta.modified()).ok();
        let before = time();
        stage.depmod(Who::Ours, &["-A", "--no-cache", VERSION])?;
        let after = time();
        stage.depmod(Who::Ours, &["--no-cache", "-o", "/fresh", VERSION])?;
        stage::same_set(what, &stage::set(&stage.at("/fresh").join(DIR)), &stage::set(&dir))?;
        Ok(before != after)
    };
    // Of a tree with other modules.
    stage.depmod(Who::Ours, &["-o", "/elsewhere", VERSION])?;
    fs::copy(stage.at("/elsewhere").join(DIR).join("modules.dep.bin"), stage.at("/older"))
        .map_err(problem)?;
    for (what, change) in [("the first time", (|_, _| Ok(())) as Change)].into_iter().chain(CHANGES) {
        change(&stage, &dir).map_err(|error| format!("{what}: {error}"))?;
        if !run(what)? {
            return Err(format!("{what}: nothing was made anew"));
        }
        if run(what)? {
            return Err(format!("{what}: all was made anew twice"));
        }
    }
    Ok(())
}

/// All as tests.
pub fn trials() -> Vec<(String, Body)> {
    vec![("quick::sees_every_change".into(), Box::new(quick))]
}
