//! A second, small module tree in which modules are compressed in each of the three ways.
//!
//! Debian compresses all modules of a kernel in one way or in none. What happens with a compression that the kernel does
//! not know needs others: `<tree>/alt/lib/modules/<release>/kernel/` holds a few modules, recompressed.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::cache::Cache;

/// Module, extension. None of these needs another module; `xfs` below is there because it takes long to decode.
const WANTED: [(&str, &str); 6] =
    [("dummy", "zst"), ("ifb", "gz"), ("nlmon", "xz"), (CRC64, "xz"), (DELTA, "xz"), (TWO_STREAMS, "xz")];
/// The one that has xz's own default check, as the dkms of Debian 12 packs modules; the others have CRC32, the only one that the
/// kernel's decoder knows.
const CRC64: &str = "minix";
/// The one with a filter that the kernel's decoder does not have, and the one of whose two streams it takes the first.
const DELTA: &str = "qnx4";
const TWO_STREAMS: &str = "bfs";

/// Makes the tree beside the full one in `tree`.
pub fn build(cache: &Cache, tree: &Path, release: &str) -> Result<()> {
    let full = tree.join("lib/modules").join(release);
    let to = tree.join("alt/lib/modules").join(release);
    fs::create_dir_all(to.join("kernel"))?;
    for file in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        fs::copy(full.join(file), to.join(file)).with_context(|| format!("{}", full.join(file).display()))?;
    }
    let mut wanted: Vec<(&str, &str)> = WANTED.to_vec();
    // Where the kernel knows xz, a module that user space has to decode must be something else. Newer ones have no libcrc32c.
    let native = find(&full.join("kernel"), "xfs")?.extension().is_some_and(|e| e == "xz");
    for name in ["xfs", "libcrc32c"].into_iter().filter(|name| find(&full.join("kernel"), name).is_ok()) {
        wanted.push((name, if native { "zst" } else { "xz" }));
    }
    for (name, extension) in wanted {
        let plain = read(&find(&full.join("kernel"), name)?)?;
        let packed = match extension {
            "zst" => zstd::bulk::compress(&plain, 19)?,
            "gz" => {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
                out.write_all(&plain)?;
                out.finish()?
            }
            _ => {
                let mut options = xz2::stream::LzmaOptions::new_preset(6)?;
                options.dict_size(1 << 20);
                let mut filters = xz2::stream::Filters::new();
                if name == DELTA {
                    filters.delta_properties(&[0])?;
                }
                filters.lzma2(&options);
                let check = if name == CRC64 { xz2::stream::Check::Crc64 } else { xz2::stream::Check::Crc32 };
                let streams = if name == TWO_STREAMS { 2 } else { 1 };
                let mut packed = Vec::new();
                for part in plain.chunks(plain.len().div_ceil(streams)) {
                    let stream = xz2::stream::Stream::new_stream_encoder(&filters, check)?;
                    let mut out = xz2::write::XzEncoder::new_stream(packed, stream);
                    out.write_all(part)?;
                    packed = out.finish()?;
                }
                packed
            }
        };
        fs::write(to.join(format!("kernel/{name}.ko.{extension}")), packed)?;
    }
    cache.depmod(&tree.join("alt"), release)?;
    let indexed = fs::read_to_string(to.join("modules.dep"))?;
    // Debian's depmod is built without gzip: a .ko.gz is asked for by its path.
    for (name, extension) in WANTED.into_iter().filter(|(_, extension)| *extension != "gz") {
        if !indexed.contains(&format!("kernel/{name}.ko.{extension}:")) {
            bail!("depmod left {name}.ko.{extension} out of {}", to.join("modules.dep").display());
        }
    }
    Ok(())
}

/// The file of a module somewhere below `dir`.
pub fn find(dir: &Path, name: &str) -> Result<PathBuf> {
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for item in fs::read_dir(&dir).with_context(|| format!("{}", dir.display()))? {
            let item = item?;
            if item.file_type()?.is_dir() {
                todo.push(item.path());
            } else if item
                .file_name()
                .to_string_lossy()
                .split_once(".ko")
                .is_some_and(|(stem, _)| stem == name)
            {
                return Ok(item.path());
            }
        }
    }
    bail!("no module {name} below {}", dir.display())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let raw = fs::read(path)?;
    if path.extension().is_some_and(|e| e == "xz") {
        let mut plain = Vec::new();
        xz2::read::XzDecoder::new(&raw[..])
            .read_to_end(&mut plain)
            .with_context(|| format!("{}", path.display()))?;
        return Ok(plain);
    }
    Ok(raw)
}
