//! Numbers in an ELF file: the class and byte order of the file, and what depends on them. Offsets and sizes are in bytes.

#[derive(Debug, Clone, Copy)]
pub(super) struct Encoding {
    /// 64-bit rather than 32-bit.
    pub wide: bool,
    /// Big-endian rather than little-endian.
    pub big: bool,
}

impl Encoding {
    /// From the bytes 4 and 5 of the file.
    pub(crate) fn from_ident(image: &[u8]) -> Option<Self> {
        let Some(&[class @ 1..=2, order @ 1..=2]) = image.get(4..6) else { return None };
        Some(Encoding { wide: class == 2, big: order == 2 })
    }

    pub(crate) fn pick(self, narrow: usize, wide: usize) -> usize {
        if self.wide { wide } else { narrow }
    }

    pub(crate) fn section_header_size(self) -> usize {
        self.pick(40, 64)
    }

    pub(crate) fn symbol_size(self) -> usize {
        self.pick(16, 24)
    }

    pub(crate) fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let field = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big { u16::from_be_bytes(field) } else { u16::from_le_bytes(field) })
    }

    pub(crate) fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let field = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) })
    }

    /// A number with the size of an address.
    pub(crate) fn word(self, bytes: &[u8], at: usize) -> Option<u64> {
        if !self.wide {
            return self.u32(bytes, at).map(u64::from);
        }
        let field = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big { u64::from_be_bytes(field) } else { u64::from_le_bytes(field) })
    }

    /// As [`Encoding::u32`], for an offset or a size. `None` if it does not fit a `usize`: no file is that large.
    pub(crate) fn u32_usize(self, bytes: &[u8], at: usize) -> Option<usize> {
        self.u32(bytes, at)?.try_into().ok()
    }

    /// As [`Encoding::word`], for an offset or a size.
    pub(crate) fn word_usize(self, bytes: &[u8], at: usize) -> Option<usize> {
        self.word(bytes, at)?.try_into().ok()
    }
}
