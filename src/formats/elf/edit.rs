//! The edits for a forced load with init_module(2), in a copy of the module in memory. (finit_module(2) has flags instead.)

use super::symbols::VERSION_SECTIONS;
use super::{Elf, SHF_ALLOC};
use crate::error::{Errno, Error, Result};
use crate::formats::modinfo;

/// Overwrites the first string of `.modinfo` that starts with `vermagic=` with NULs, so that the kernel does not check it. A
/// module without `.modinfo`, or with an empty one, is not changed.
///
/// # Errors
/// `ENODATA` if a `.modinfo` that is not empty has no such string; else as [`Elf::parse`].
pub fn strip_vermagic(image: &mut [u8]) -> Result<()> {
    let elf = Elf::parse(image)?;
    let Some(section) = elf.section(b".modinfo").filter(|section| !section.data.is_empty()) else {
        return Ok(());
    };
    let (start, string) = modinfo::strings(section.data)
        .find(|(_, string)| string.starts_with(b"vermagic="))
        .ok_or_else(|| Error::new(Errno::ENODATA, "no vermagic in .modinfo"))?;
    let start = section.offset + start;
    let end = start + string.len();
    if let Some(bytes) = image.get_mut(start..end) {
        bytes.fill(0);
    }
    Ok(())
}

/// Removes the flag ALLOC of the sections with symbol versions, so that the kernel does not find them. A module without such
/// sections is not changed.
///
/// # Errors
/// As [`Elf::parse`].
pub fn strip_modversions(image: &mut [u8]) -> Result<()> {
    let elf = Elf::parse(image)?;
    let encoding = elf.encoding;
    // All sections of these names, since the kernel takes the first one with ALLOC.
    let sections = VERSION_SECTIONS.iter().flat_map(|name| elf.sections(name.as_bytes()));
    let headers: Vec<usize> = sections.map(|section| section.header).collect();
    for header in headers {
        let flags_at = header + 8;
        let Some(flags) = encoding.word(image, flags_at) else { continue };
        let bytes = encoding.word_bytes(flags & !SHF_ALLOC);
        if let Some(field) = image.get_mut(flags_at..flags_at + bytes.len()) {
            field.copy_from_slice(&bytes);
        }
    }
    Ok(())
}
