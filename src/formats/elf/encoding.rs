//! Numbers in an ELF file, in its byte order and class.

/// The class and byte order of a file.
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
        let wide = match image.get(4)? {
            1 => false,
            2 => true,
            _ => return None,
        };
        match image.get(5)? {
            1 => Some(Encoding { wide, big: false }),
            2 => Some(Encoding { wide, big: true }),
            _ => None,
        }
    }

    /// `narrow` for a 32-bit file, `wide` for a 64-bit file.
    pub(crate) fn pick(self, narrow: usize, wide: usize) -> usize {
        if self.wide { wide } else { narrow }
    }

    /// The size of a section header, in bytes.
    pub(crate) fn section_header_size(self) -> usize {
        self.pick(40, 64)
    }

    /// The size of an entry of the symbol table, in bytes.
    pub(crate) fn symbol_size(self) -> usize {
        self.pick(16, 24)
    }

    /// The two bytes at `at`.
    pub(crate) fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let field = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big { u16::from_be_bytes(field) } else { u16::from_le_bytes(field) })
    }

    /// The four bytes at `at`.
    pub(crate) fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let field = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) })
    }

    /// The number at `at` with the size of an address: four or eight bytes.
    pub(crate) fn word(self, bytes: &[u8], at: usize) -> Option<u64> {
        if !self.wide {
            return self.u32(bytes, at).map(u64::from);
        }
        let field = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big { u64::from_be_bytes(field) } else { u64::from_le_bytes(field) })
    }

    /// As [`Encoding::word`], for an offset or a size. `None` if it does not fit a `usize`: no file is that large.
    pub(crate) fn word_usize(self, bytes: &[u8], at: usize) -> Option<usize> {
        self.word(bytes, at).and_then(|word| usize::try_from(word).ok())
    }

    /// The bytes that [`Encoding::word`] reads as `value`.
    pub(crate) fn word_bytes(self, value: u64) -> Vec<u8> {
        let all = if self.big { value.to_be_bytes() } else { value.to_le_bytes() };
        match (self.wide, self.big) {
            (true, _) => all.to_vec(),
            (false, true) => all[4..].to_vec(),
            (false, false) => all[..4].to_vec(),
        }
    }
}
