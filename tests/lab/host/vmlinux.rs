//! A kernel out of its bootable image, as the ELF file that QEMU starts by itself (PVH): a guest that decompresses its own kernel
//! takes seconds for that, emulated.
//!
//! ```text
//! offset  size
//!  0x1f1     1  setup_sects: sectors of 512 bytes behind the first one; 0 means 4
//!  0x202     4  "HdrS"
//!  0x248     4  payload_offset, from the end of those sectors, little-endian
//!  0x24c     4  payload_length: an xz or zstd stream, and the size of what is in it (4 bytes)
//! ```
//!
//! Source: Documentation/arch/x86/boot.rst.

use std::io::Read;

use anyhow::{Context, Result, bail};

/// The ELF file in the image `bzimage`.
///
/// # Errors
/// It is no such image, or compressed in a way that Debian has not used.
pub fn vmlinux(bzimage: &[u8]) -> Result<Vec<u8>> {
    if bzimage.get(0x202..0x206) != Some(b"HdrS") {
        bail!("not a kernel for x86");
    }
    let number = |at: usize| -> Result<usize> {
        let bytes = bzimage.get(at..at + 4).context("the header is cut off")?;
        Ok(u32::from_le_bytes(bytes.try_into()?).try_into()?)
    };
    let sectors = match bzimage[0x1f1] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let begin = (sectors + 1) * 512 + number(0x248)?;
    let payload = bzimage.get(begin..begin + number(0x24c)?).context("the payload is cut off")?;
    let mut kernel = Vec::new();
    match payload {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            xz2::read::XzDecoder::new(payload).read_to_end(&mut kernel)?;
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            zstd::Decoder::new(payload)?.single_frame().read_to_end(&mut kernel)?;
        }
        _ => bail!("the payload is neither xz nor zstd"),
    }
    if !kernel.starts_with(b"\x7fELF") {
        bail!("what is in the payload is no ELF file");
    }
    Ok(kernel)
}
