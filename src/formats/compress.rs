//! Compressed module files. The first bytes of the content decide, never the file's name:
//!
//! ```text
//! 28 B5 2F FD            zstd
//! FD 37 7A 58 5A 00      xz
//! 1F 8B                  gzip
//! anything else          taken as it is
//! ```
//!
//! Accepted, as kmod does: several xz streams with padding between them, any check type; several gzip members, junk after
//! them, and gzip data that is cut off (what can be inflated counts); zstd frames with a checksum. Beyond kmod 34: zstd
//! frames without a declared size, and several of them, as kmod 30 takes them.
//!
//! What is inflated is capped: a few kilobytes can claim to be terabytes.

use crate::error::{Errno, Error, Result};
use std::borrow::Cow;
use std::io::{ErrorKind, Read};
use xz2::stream::{Action, CONCATENATED, Status, Stream};
use zstd::zstd_safe::{self, DCtx, DParameter, InBuffer, OutBuffer};

/// The shortest content that can be told apart, in bytes; kmod refuses shorter files.
pub(crate) const HEAD: usize = 6;

/// How much room is made at a time, in bytes; `enough` is asked whenever it is full.
const STEP: usize = 128 << 10;

/// The largest window of a zstd frame, as a power of two: the largest module. The decoder's own limit is 27.
const ZSTD_WINDOW_LOG: u32 = 30;

/// The most members that a gzip file may have. A decoder is set up for each, so that a file of nothing but empty ones (20
/// bytes each) would cost minutes; tools that cut their output into members make them of 64 KiB.
const GZIP_MEMBERS: u32 = 1 << 16;

/// How a module file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all, or in no way that is known.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// xz; not the older `.lzma`.
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    /// The word for it in `/sys/module/compression`.
    pub fn kernel_name(self) -> Option<&'static [u8]> {
        match self {
            Compression::None => None,
            Compression::Gzip => Some(b"gzip"),
            Compression::Xz => Some(b"xz"),
            Compression::Zstd => Some(b"zstd"),
        }
    }

    /// What a word of `/sys/module/compression` (without its newline) stands for.
    pub fn from_kernel_name(word: &[u8]) -> Option<Self> {
        let all = [Compression::Gzip, Compression::Xz, Compression::Zstd];
        all.into_iter().find(|kind| kind.kernel_name() == Some(word))
    }
}

/// How content that begins with `head` is compressed. [`HEAD`] bytes are enough.
pub fn detect(head: &[u8]) -> Compression {
    if head.starts_with(b"\x28\xb5\x2f\xfd") {
        Compression::Zstd
    } else if head.starts_with(b"\xfd7zXZ\0") {
        Compression::Xz
    } else if head.starts_with(b"\x1f\x8b") {
        Compression::Gzip
    } else {
        Compression::None
    }
}

/// The module image in the file content `input`: the same bytes, or what they inflate to.
///
/// # Errors
/// `EINVAL` for fewer than [`HEAD`] bytes; as [`decompress`].
pub fn image(input: &[u8], limit: u64) -> Result<Cow<'_, [u8]>> {
    if input.len() < HEAD {
        return Err(Error::new(Errno::EINVAL, "too short to be a module"));
    }
    match detect(input) {
        Compression::None => within(input.len(), limit).map(|()| Cow::Borrowed(input)),
        kind => decompress(kind, input, limit).map(Cow::Owned),
    }
}

/// Inflates `input` to at most `limit` bytes.
///
/// # Errors
/// `EINVAL` for damaged or cut off input ("xz: File is corrupt", "zstd: Data corruption detected"), `EFBIG` where it
/// inflates to more than `limit`, `ENOMEM`.
pub fn decompress(kind: Compression, input: &[u8], limit: u64) -> Result<Vec<u8>> {
    if kind == Compression::Zstd {
        if let Some(size) = declared_size(input) {
            return zstd_at_once(input, size, limit);
        }
    }
    decompress_until(kind, input, limit, &mut |_| false)
}

/// As [`decompress`], but stops as soon as `enough`, which sees everything inflated so far every 128 KiB, says so. What
/// comes after that point is not looked at: damage there, checksums included, goes unnoticed.
pub fn decompress_until(
    kind: Compression,
    input: &[u8],
    limit: u64,
    enough: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let wanted = &mut |so_far: &[u8]| (so_far.is_empty() || !enough(so_far)).then_some(STEP);
    let size = inflate(kind, input, limit, &mut out, wanted)?.len();
    out.truncate(size);
    Ok(out)
}

/// Inflates `input` into `buffer`, whose contents do not matter, until `wanted` has enough: it sees everything inflated so
/// far and says how many bytes it wants more before it is asked again (it may be asked earlier), or `None`. What comes
/// after that point is not looked at.
pub(crate) fn inflate<'b>(
    kind: Compression,
    input: &[u8],
    limit: u64,
    buffer: &'b mut Vec<u8>,
    wanted: &mut dyn FnMut(&[u8]) -> Option<usize>,
) -> Result<&'b [u8]> {
    let size = match kind {
        Compression::None => {
            within(input.len(), limit)?;
            *buffer = input.to_vec();
            input.len()
        }
        Compression::Gzip => pump(limit, buffer, wanted, &mut gzip_steps(input))?,
        Compression::Xz => {
            // No memory limit, as kmod: a dictionary that a header claims is only touched as far as output fills it.
            let stream = Stream::new_stream_decoder(u64::MAX, CONCATENATED).map_err(xz_error)?;
            pump(limit, buffer, wanted, &mut xz_steps(stream, input))?
        }
        Compression::Zstd => {
            let mut context = DCtx::try_create().ok_or_else(|| Error::os(Errno::ENOMEM))?;
            context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).map_err(zstd_error)?;
            pump(limit, buffer, wanted, &mut zstd_steps(context, input))?
        }
    };
    Ok(buffer.get(..size).unwrap_or(buffer))
}

/// One step of a decoder: fills the room from its start, gives the number of bytes it wrote and whether that was the end.
/// A step that writes nothing has taken input, has ended, or fails: a decoder never stands still.
type Step<'s> = dyn FnMut(&mut [u8]) -> Result<(usize, bool)> + 's;

/// How many bytes of `out` were filled.
fn pump(
    limit: u64,
    out: &mut Vec<u8>,
    wanted: &mut dyn FnMut(&[u8]) -> Option<usize>,
    step: &mut Step<'_>,
) -> Result<usize> {
    let limit_bytes = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut filled, mut goal) = (0, 0);
    loop {
        if filled == goal {
            let Some(more) = wanted(&out[..filled]) else { return Ok(filled) };
            // One byte more than the limit: whether there is more can only be seen by decoding it.
            goal += more.clamp(1, STEP).min((limit_bytes - filled).saturating_add(1));
            if goal > out.len() {
                out.try_reserve(goal - out.len()).map_err(|_| Error::os(Errno::ENOMEM))?;
                out.resize(goal, 0);
            }
        }
        // A step may write little or nothing (a file can hold millions of empty parts): the rest of the room is for the next.
        let (written, end) = step(&mut out[filled..goal])?;
        filled += written;
        within(filled, limit)?;
        if end {
            return Ok(filled);
        }
    }
}

/// How many bytes the xz file `input` inflates to, from the index at its end; `None` where it is not one whole stream.
pub(crate) fn xz_size(input: &[u8]) -> Option<u64> {
    xz_blocks(input)?.iter().try_fold(0u64, |sum, &(_, inflated)| sum.checked_add(inflated))
}

/// The blocks of the xz file `input`, from the index at its end: how many bytes each takes in the file, padding included, and
/// how many it inflates to. `None` where it is not one whole stream.
///
/// ```text
/// stream header, 12    FD 37 7A 58 5A 00, flags 2, CRC-32 of the flags 4
/// blocks               each padded to a multiple of 4
/// index                00; number of records; of each block: size without padding, inflated size; 00 up to a multiple of
///                      4; CRC-32 of all that. Numbers are in groups of 7 bits, the lowest first, 80 = more follow
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

/// The number at the start of `bytes`, which begin behind it afterwards.
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

fn within(size: usize, limit: u64) -> Result<()> {
    if size as u64 > limit {
        return Err(Error::new(Errno::EFBIG, format!("inflates to more than {limit} bytes")));
    }
    Ok(())
}

fn gzip_steps(input: &[u8]) -> impl FnMut(&mut [u8]) -> Result<(usize, bool)> + '_ {
    let mut member = Some(flate2::bufread::GzDecoder::new(input));
    let mut members = 1;
    move |room| {
        let Some(decoder) = &mut member else { return Ok((0, true)) };
        match decoder.read(room) {
            Ok(0) => {
                // The end of a member, with its checksum verified. Only another member counts after it.
                let rest = member.take().map_or(&[][..], |decoder| decoder.into_inner());
                if detect(rest) == Compression::Gzip {
                    members += 1;
                    if members > GZIP_MEMBERS {
                        return Err(Error::new(Errno::EINVAL, "gzip: too many members"));
                    }
                    member = Some(flate2::bufread::GzDecoder::new(rest));
                }
                Ok((0, member.is_none()))
            }
            Ok(written) => Ok((written, false)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok((0, true)),
            Err(error) => Err(Error::new(Errno::EINVAL, format!("gzip: {error}"))),
        }
    }
}

fn xz_steps(mut stream: Stream, input: &[u8]) -> impl FnMut(&mut [u8]) -> Result<(usize, bool)> + '_ {
    move |room| {
        let taken = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
        let before = stream.total_out();
        // Concatenated streams only end when the decoder knows that no input follows: hence Finish.
        let status =
            stream.process(input.get(taken..).unwrap_or(&[]), room, Action::Finish).map_err(xz_error)?;
        let written = (stream.total_out() - before) as usize;
        match status {
            Status::StreamEnd => Ok((written, true)),
            Status::MemNeeded => Err(Error::new(Errno::EINVAL, "xz: Unexpected end of input")),
            Status::Ok | Status::GetCheck => Ok((written, false)),
        }
    }
}

/// kmod's texts for liblzma's errors.
fn xz_error(error: xz2::stream::Error) -> Error {
    use xz2::stream::Error as Xz;
    match error {
        Xz::Mem => Error::new(Errno::ENOMEM, "xz: Memory allocation failed"),
        Xz::Format => Error::new(Errno::EINVAL, "xz: File format not recognized"),
        Xz::Options => Error::new(Errno::EINVAL, "xz: Unsupported compression options"),
        Xz::Data => Error::new(Errno::EINVAL, "xz: File is corrupt"),
        Xz::MemLimit | Xz::Program | Xz::NoCheck | Xz::UnsupportedCheck => {
            Error::new(Errno::EINVAL, format!("xz: {error}"))
        }
    }
}

/// The size that the zstd frame in `input` declares, if it is the only frame: what every kernel build makes.
fn declared_size(input: &[u8]) -> Option<u64> {
    let size = zstd_safe::get_frame_content_size(input).ok()??;
    let length = zstd_safe::find_frame_compressed_size(input).ok()?;
    (length == input.len()).then_some(size)
}

fn zstd_at_once(input: &[u8], size: u64, limit: u64) -> Result<Vec<u8>> {
    let Some(room) = usize::try_from(size).ok().filter(|_| size <= limit) else {
        return Err(Error::new(Errno::EFBIG, format!("inflates to more than {limit} bytes")));
    };
    let mut context = DCtx::try_create().ok_or_else(|| Error::os(Errno::ENOMEM))?;
    let mut out = Vec::new();
    out.try_reserve_exact(room).map_err(|_| Error::os(Errno::ENOMEM))?;
    context.decompress(&mut out, input).map_err(zstd_error)?;
    Ok(out)
}

fn zstd_steps<'i>(
    mut context: DCtx<'i>,
    input: &'i [u8],
) -> impl FnMut(&mut [u8]) -> Result<(usize, bool)> + 'i {
    let mut input = InBuffer::around(input);
    move |room| {
        let mut output = OutBuffer::around(room);
        let left = context.decompress_stream(&mut output, &mut input).map_err(zstd_error)?;
        let all_taken = input.pos() == input.src.len();
        let written = output.pos();
        if left > 0 && all_taken && written < output.capacity() {
            return Err(Error::new(Errno::EINVAL, "zstd: Src size is incorrect"));
        }
        Ok((written, left == 0 && all_taken))
    }
}

fn zstd_error(code: usize) -> Error {
    Error::new(Errno::EINVAL, format!("zstd: {}", zstd_safe::get_error_name(code)))
}

#[cfg(test)]
#[path = "compress_tests.rs"]
mod tests;
