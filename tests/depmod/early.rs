//! What is read from the beginning of a module against what its section headers say: every module of the two whole
//! kernels, and damaged ones.

use std::fs;

use kmod_once::internals::depmod::facts::{Reader, Wanted};
use kmod_once::internals::formats::compress;
use kmod_once::internals::formats::elf::{self, Elf, Search, SearchStatus};

use crate::stage::{Body, Stages};
use crate::tree;
use crate::whole::KERNELS;

/// How far a search got: the size of the prefix in which everything was found.
fn search(image: &[u8], unsigned: bool) -> Option<(Search, usize)> {
    let mut search = Search::new(image.len() as u64, unsigned);
    let mut seen = 0;
    loop {
        match search.look(&image[..seen]) {
            SearchStatus::Found => return Some((search, seen)),
            SearchStatus::Never => return None,
            SearchStatus::More(_) if seen == image.len() => return None,
            SearchStatus::More(more) => seen = (seen + more).min(image.len()),
        }
    }
}

/// The size of the prefix that was enough, if one was; an error if it told something else than the section headers.
fn compare(image: &[u8]) -> Result<Option<usize>, String> {
    let Some((search, seen)) = search(image, false) else { return Ok(None) };
    let early = search.found(&image[..seen]).ok_or("found, but not there")?;
    let elf = Elf::parse(image).map_err(|error| error.to_string())?;
    let exports = elf::exports(&elf).unwrap_or_default();
    let exports: Vec<&[u8]> = exports.iter().map(|export| export.name).collect();
    let same = early.export_names() == exports
        && early.needed().ok() == elf::needed(&elf).ok()
        && Some(early.modinfo) == elf.section(b".modinfo").map(|section| section.data);
    if same {
        Ok(Some(seen))
    } else {
        Err("the beginning and the section headers tell different things".into())
    }
}

fn whole_tree(stages: &Stages, prefix: &str) -> Result<(), String> {
    let (package, _) = stages.cache.kernel(prefix, "-amd64-unsigned").map_err(|error| error.to_string())?;
    let (mut modules, mut early, mut read, mut total) = (0, 0, 0usize, 0usize);
    let mut reader = (Reader::new(Wanted::Names), Reader::new(Wanted::Crcs));
    for path in tree::modules(&package.join("lib/modules")).map_err(|error| error.to_string())? {
        let content = fs::read(&path).map_err(|error| error.to_string())?;
        let image = compress::image(&content, 1 << 30).map_err(|error| error.to_string())?;
        let at = |problem: String| format!("{}: {problem}", path.display());
        if let Some(seen) = compare(&image).map_err(at)? {
            early += 1;
            read += seen;
        } else {
            read += image.len();
        }
        total += image.len();
        modules += 1;
        // The same by the way that depmod goes, decoder included.
        let (short, mut long) = (reader.0.read(&content), reader.1.read(&content));
        if short.symbols.export_crcs.is_empty() {
            long.symbols.export_crcs.clear();
        }
        if short != long {
            return Err(at("another depth, other facts".into()));
        }
    }
    println!("{prefix}: {early} of {modules} modules, {} of {} bytes", read, total);
    // Were it to stop working, nothing but the speed would tell.
    if modules < 3000 || early * 100 < modules * 95 || read * 100 > total * 70 {
        return Err(format!(
            "only {early} of {modules} modules by their beginning, {} of {} bytes",
            read, total
        ));
    }
    Ok(())
}

/// All as tests.
pub fn trials() -> Vec<(String, Body)> {
    let tree = |(name, prefix): (&str, &'static str)| -> (String, Body) {
        (format!("early::{name}"), Box::new(move |stages: &Stages| whole_tree(stages, prefix)))
    };
    KERNELS.into_iter().map(tree).collect()
}
