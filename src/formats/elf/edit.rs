//! The edits behind the force flags, made in a copy of the module that is then handed over from memory. (A kernel that
//! is given the file itself gets flags instead.)

use super::symbols::VERSION_SECTIONS;
use super::{Elf, SHF_ALLOC};
use crate::error::{Errno, Error, Result};
use crate::formats::modinfo;

/// Makes the kernel overlook the version string: the first string of `.modinfo` that starts with `vermagic=` becomes
/// NULs, key included. A module without `.modinfo`, or with an empty one, stays as it is.
///
/// # Errors
/// `ENODATA` where `.modinfo` holds something but no version string; as [`Elf::parse`].
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

/// Makes the kernel overlook the symbols' CRCs: the sections with them are no longer ones that it keeps in memory. A module
/// without them stays as it is.
pub fn strip_modversions(image: &mut [u8]) -> Result<()> {
    let elf = Elf::parse(image)?;
    let encoding = elf.encoding;
    // Of several sections of one name the kernel takes the first that it is to keep.
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
