//! Decompresses module files. The first bytes of the content decide the format, not the file's name:
//!
//! ```text
//! 28 B5 2F FD            Zstandard (RFC 8878)
//! FD 37 7A 58 5A 00      xz, but not the older .lzma
//! 1F 8B                  gzip (RFC 1952)
//! anything else          not compressed, or in an unknown format
//! ```
//!
//! Accepted, as in kmod: several xz streams with padding between them, any check type; several gzip members, other data
//! after them, and gzip data that is cut off (the part that can be decoded); zstd frames with a checksum. Accepted by kmod
//! 30, but not by kmod 34: zstd frames without a declared size, and several of them.
//!
//! The output is limited, since a few kilobytes can decompress to terabytes.

use crate::error::{Errno, Error, Result};
use flate2::bufread::GzDecoder;
use std::borrow::Cow;
use std::io::{ErrorKind, Read};
use xz2::stream::{Action, CONCATENATED, Status, Stream};
use zstd::zstd_safe::{self, DCtx, DParameter, InBuffer, OutBuffer};

/// The number of bytes that [`detect`] needs. kmod refuses shorter files.
pub(crate) const HEAD: usize = 6;

/// The output buffer grows by this many bytes at a time.
const CHUNK: usize = 128 << 10;

/// The largest window of a zstd frame, as a power of two. The default limit of the decoder is 27.
const ZSTD_WINDOW_LOG: u32 = 30;

/// The largest number of members in a gzip file. Each needs a new decoder, so a file of empty members (20 bytes each) would
/// take minutes. Tools that write several members make each of about 64 KiB.
const GZIP_MEMBERS: u32 = 1 << 16;

/// How a module file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
}

impl Compression {
    /// Its name in `/sys/module/compression`.
    pub fn kernel_name(self) -> Option<&'static [u8]> {
        match self {
            Compression::None => None,
            Compression::Gzip => Some(b"gzip"),
            Compression::Xz => Some(b"xz"),
            Compression::Zstd => Some(b"zstd"),
        }
    }

    /// The compression with this name in `/sys/module/compression` (without newline).
    pub fn from_kernel_name(word: &[u8]) -> Option<Self> {
        [Self::Gzip, Self::Xz, Self::Zstd].into_iter().find(|kind| kind.kernel_name() == Some(word))
    }
}

/// The compression of a content that begins with `head`. [`HEAD`] bytes are enough.
pub fn detect(head: &[u8]) -> Compression {
    match head {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        [0x1f, 0x8b, ..] => Compression::Gzip,
        _ => Compression::None,
    }
}

/// The uncompressed module in the file content `input`.
///
/// # Errors
/// `EINVAL` for fewer than [`HEAD`] bytes; else as [`decompress`].
pub fn image(input: &[u8], limit: u64) -> Result<Cow<'_, [u8]>> {
    if input.len() < HEAD {
        return Err(Error::new(Errno::EINVAL, "too short to be a module"));
    }
    match detect(input) {
        Compression::None => check_limit(input.len() as u64, limit).map(|()| Cow::Borrowed(input)),
        kind => decompress(kind, input, limit).map(Cow::Owned),
    }
}

/// Decompresses `input` to at most `limit` bytes.
///
/// # Errors
/// `EINVAL` for damaged or cut off input ("xz: File is corrupt", "zstd: Data corruption detected"), `EFBIG` if the output
/// exceeds `limit`, `ENOMEM`.
pub fn decompress(kind: Compression, input: &[u8], limit: u64) -> Result<Vec<u8>> {
    let declared = if kind == Compression::Zstd { declared_size(input) } else { None };
    if let Some(size) = declared {
        check_limit(size, limit)?;
        let mut context = DCtx::try_create().ok_or(Errno::ENOMEM)?;
        let mut out = Vec::new();
        out.try_reserve_exact(usize::try_from(size).unwrap_or(usize::MAX)).map_err(|_| Errno::ENOMEM)?;
        context.decompress(&mut out, input).map_err(zstd_error)?;
        return Ok(out);
    }
    let mut out = Vec::new();
    let size = inflate(kind, input, limit, &mut out, &mut |_| Some(CHUNK))?.len();
    out.truncate(size);
    Ok(out)
}

/// Decompresses `input` into `buffer`, whose old content is lost, until `wanted` returns `None`. `wanted` gets the output so
/// far and returns how many more bytes it needs; it may be called again sooner. The input after that point is not read, so
/// that damage and wrong checksums there are not noticed.
///
/// # Errors
/// As [`decompress`].
pub fn inflate<'b>(
    kind: Compression,
    input: &[u8],
    limit: u64,
    buffer: &'b mut Vec<u8>,
    wanted: &mut dyn FnMut(&[u8]) -> Option<usize>,
) -> Result<&'b [u8]> {
    let size = match kind {
        Compression::None => {
            check_limit(input.len() as u64, limit)?;
            *buffer = input.to_vec();
            input.len()
        }
        Compression::Gzip => run_decoder(limit, buffer, wanted, &mut gzip_steps(input))?,
        Compression::Xz => run_decoder(limit, buffer, wanted, &mut xz_steps(input)?)?,
        Compression::Zstd => run_decoder(limit, buffer, wanted, &mut zstd_steps(input)?)?,
    };
    Ok(buffer.get(..size).unwrap_or(buffer))
}

/// One step of a decoder. It writes to the start of the buffer, and returns the number of bytes and whether the input has
/// ended. A step that writes nothing has consumed input, has ended or fails, so a loop of steps ends.
type DecodeStep<'s> = dyn FnMut(&mut [u8]) -> Result<(usize, bool)> + 's;

/// Runs a decoder. Returns the number of output bytes in `out`.
fn run_decoder(
    limit: u64,
    out: &mut Vec<u8>,
    wanted: &mut dyn FnMut(&[u8]) -> Option<usize>,
    step: &mut DecodeStep<'_>,
) -> Result<usize> {
    let limit_bytes = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut filled, mut goal) = (0, 0);
    loop {
        if filled == goal {
            let Some(more) = wanted(&out[..filled]) else { return Ok(filled) };
            // Decode one byte more than the limit, to see whether there is more.
            goal += more.clamp(1, CHUNK).min((limit_bytes - filled).saturating_add(1));
            if goal > out.len() {
                out.try_reserve(goal - out.len()).map_err(|_| Errno::ENOMEM)?;
                out.resize(goal, 0);
            }
        }
        // A step may write little or nothing (a file can have millions of empty parts). The next one continues in the buffer.
        let (written, end) = step(&mut out[filled..goal])?;
        filled += written;
        check_limit(filled as u64, limit)?;
        if end {
            return Ok(filled);
        }
    }
}

/// The uncompressed size of the xz file `input` in bytes, from the index at its end; `None` if it is not one whole stream.
pub(crate) fn xz_size(input: &[u8]) -> Option<u64> {
    xz_blocks(input)?.iter().try_fold(0u64, |sum, &(_, inflated)| sum.checked_add(inflated))
}

/// The blocks of the xz file `input`, from the index at its end: the size of each in the file with its padding, and its
/// uncompressed size, in bytes. `None` if the file is not one whole stream. Format: <https://tukaani.org/xz/xz-file-format.txt>
///
/// ```text
/// stream header, 12    FD 37 7A 58 5A 00, flags 2, CRC-32 of the flags 4
/// blocks               each padded to a multiple of 4
/// index                00; number of records; for each block: size without padding, uncompressed size; 00 up to a multiple
///                      of 4; CRC-32 of all that. Numbers are in groups of 7 bits, the lowest first; bit 80 = more follow
/// stream footer, 12    CRC-32 of the next 6 bytes 4, size of the index / 4 - 1 4, flags 2, 59 5A
/// ```
///
/// Numbers are little-endian.
pub(super) fn xz_blocks(input: &[u8]) -> Option<Vec<(u64, u64)>> {
    let crc = |bytes: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum().to_le_bytes()
    };
    let (rest, footer) = input.split_last_chunk::<12>()?;
    let (header, rest) = rest.split_first_chunk::<12>()?;
    let [c0, c1, c2, c3, s0, s1, s2, s3, f0, f1, b'Y', b'Z'] = *footer else { return None };
    let flags = [f0, f1];
    let sound = header.starts_with(b"\xfd7zXZ\0")
        && header[6..8] == flags
        && header[8..] == crc(&flags)
        && [c0, c1, c2, c3] == crc(&[s0, s1, s2, s3, f0, f1]);
    let index_size = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
    let index_size = index_size.checked_add(1)?.checked_mul(4).filter(|_| sound)?;
    let (blocks, index) = rest.split_at_checked(rest.len().checked_sub(index_size)?)?;
    let (records, sum) = index.split_last_chunk::<4>()?;
    let mut left = records.strip_prefix(&[0]).filter(|_| *sum == crc(records))?;
    let count = xz_number(&mut left)?;
    let (mut found, mut sum) = (Vec::new(), 0u64);
    for _ in 0..count {
        let packed = xz_number(&mut left)?.checked_next_multiple_of(4)?;
        found.push((packed, xz_number(&mut left)?));
        sum = sum.checked_add(packed)?;
    }
    let padded = left.len() < 4 && left.iter().all(|&b| b == 0);
    (padded && sum == blocks.len() as u64).then_some(found)
}

/// Reads a number and moves `bytes` past it.
pub(super) fn xz_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn check_limit(size: u64, limit: u64) -> Result<()> {
    if size > limit {
        return Err(Error::new(Errno::EFBIG, format!("inflates to more than {limit} bytes")));
    }
    Ok(())
}

fn gzip_steps(input: &[u8]) -> impl FnMut(&mut [u8]) -> Result<(usize, bool)> {
    let mut member = GzDecoder::new(input);
    let mut members = 1;
    move |room| match member.read(room) {
        Ok(0) => {
            // The end of a member, whose checksum was right. Data that is not another member is ignored.
            let rest = *member.get_ref();
            if detect(rest) != Compression::Gzip {
                return Ok((0, true));
            }
            members += 1;
            if members > GZIP_MEMBERS {
                return Err(Error::new(Errno::EINVAL, "gzip: too many members"));
            }
            member = GzDecoder::new(rest);
            Ok((0, false))
        }
        Ok(written) => Ok((written, false)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok((0, true)),
        Err(error) => Err(Error::new(Errno::EINVAL, format!("gzip: {error}"))),
    }
}

fn xz_steps(input: &[u8]) -> Result<impl FnMut(&mut [u8]) -> Result<(usize, bool)>> {
    // Without a memory limit, as in kmod: of a large dictionary only the part that output fills is touched.
    let mut stream = Stream::new_stream_decoder(u64::MAX, CONCATENATED).map_err(xz_error)?;
    Ok(move |room: &mut [u8]| {
        let taken = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
        let (rest, before) = (input.get(taken..).unwrap_or(&[]), stream.total_out());
        // Finish: with concatenated streams the decoder must know that no more input follows.
        let status = stream.process(rest, room, Action::Finish).map_err(xz_error)?;
        if status == Status::MemNeeded {
            return Err(Error::new(Errno::EINVAL, "xz: Unexpected end of input"));
        }
        Ok(((stream.total_out() - before) as usize, status == Status::StreamEnd))
    })
}

/// kmod's texts for liblzma's errors.
fn xz_error(error: xz2::stream::Error) -> Error {
    use xz2::stream::Error as Xz;
    let text = match error {
        Xz::Mem => return Error::new(Errno::ENOMEM, "xz: Memory allocation failed"),
        Xz::Format => "File format not recognized",
        Xz::Options => "Unsupported compression options",
        Xz::Data => "File is corrupt",
        _ => return Error::new(Errno::EINVAL, format!("xz: {error}")),
    };
    Error::new(Errno::EINVAL, format!("xz: {text}"))
}

/// The declared size of the zstd frame in `input`, if it is the only frame, as in the files that kernel builds make.
fn declared_size(input: &[u8]) -> Option<u64> {
    let size = zstd_safe::get_frame_content_size(input).ok()??;
    let length = zstd_safe::find_frame_compressed_size(input).ok()?;
    (length == input.len()).then_some(size)
}

fn zstd_steps(input: &[u8]) -> Result<impl FnMut(&mut [u8]) -> Result<(usize, bool)>> {
    let mut context = DCtx::try_create().ok_or(Errno::ENOMEM)?;
    context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).map_err(zstd_error)?;
    let mut input = InBuffer::around(input);
    Ok(move |room: &mut [u8]| {
        let mut output = OutBuffer::around(room);
        let left = context.decompress_stream(&mut output, &mut input).map_err(zstd_error)?;
        let all_taken = input.pos() == input.src.len();
        let written = output.pos();
        if left > 0 && all_taken && written < output.capacity() {
            return Err(Error::new(Errno::EINVAL, "zstd: Src size is incorrect"));
        }
        Ok((written, left == 0 && all_taken))
    })
}

fn zstd_error(code: usize) -> Error {
    Error::new(Errno::EINVAL, format!("zstd: {}", zstd_safe::get_error_name(code)))
}

#[cfg(test)]
#[path = "compress_tests.rs"]
mod tests;
