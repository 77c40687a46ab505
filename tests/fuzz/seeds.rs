//! `seeds`: the targets, one a line, with the longest input that is worth while. `seeds TARGET DIR`: writes what the target is
//! begun with.

#[allow(dead_code, unused_imports)]
#[path = "../mutation/checks/mod.rs"]
mod checks;
#[path = "../common/debian.rs"]
mod debian;
#[path = "../common/elf.rs"]
mod elf;
#[path = "../mutation/seeds.rs"]
mod seeds;

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [target, dir] = words.as_slice() else {
        checks::ALL.iter().for_each(|check| println!("{} {}", check.name, check.longest));
        return Ok(());
    };
    std::fs::create_dir_all(dir)?;
    for (number, seed) in seeds::of(target).into_iter().enumerate() {
        std::fs::write(format!("{dir}/seed-{number}"), seed)?;
    }
    Ok(())
}
