//! The edits for a forced load with init_module(2), in a copy of the module in memory. (finit_module(2) has flags instead.)

use super::Elf;
use super::symbols::VERSION_SECTIONS;
use crate::error::{Errno, Error, Result};
use crate::formats::modinfo;

/// Flag of a section that the kernel keeps in memory.
const SHF_ALLOC: u8 = 2;

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
    let (start, length) = (section.offset + start, string.len());
    image.iter_mut().skip(start).take(length).for_each(|byte| *byte = 0);
    Ok(())
}

/// Removes the flag ALLOC of the sections with symbol versions, so that the kernel does not find them. A module without such
/// sections is not changed.
///
/// # Errors
/// As [`Elf::parse`].
pub fn strip_modversions(image: &mut [u8]) -> Result<()> {
    let elf = Elf::parse(image)?;
    // All sections of these names, since the kernel takes the first one with ALLOC.
    let sections = VERSION_SECTIONS.iter().flat_map(|name| elf.sections(name.as_bytes()));
    let lowest_byte = 8 + if elf.encoding.big { elf.encoding.pick(3, 7) } else { 0 };
    let places: Vec<usize> = sections.map(|section| section.header + lowest_byte).collect();
    for place in places {
        if let Some(byte) = image.get_mut(place) {
            *byte &= !SHF_ALLOC;
        }
    }
    Ok(())
}
