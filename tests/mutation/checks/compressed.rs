//! Compressed module files.

use super::{KIB, MIB, bounded};
use kmod_once::internals::error::Errno;
use kmod_once::internals::formats::compress::{self, Compression, decompress, inflate};
use kmod_once::internals::formats::kernel_decoder;
use std::io::Write;

/// The largest output. While what is inflated is moved to twice the room, it is there three times; the decoder comes on top.
const LIMIT: u64 = 1 << 20;

/// The first byte says what the rest is: compressed data of one kind, or content to be compressed in every way, which comes
/// back. No more comes out than the limit; all ways to inflate agree; the exact size is a limit that fits, one less is not.
pub fn check(input: &[u8]) -> bool {
    let Some((&kind, data)) = input.split_first() else { return false };
    if kind & 0x80 != 0 {
        packed(&data[..data.len().min(2000)]).iter().for_each(|file| {
            assert_eq!(compress::image(file, LIMIT).unwrap(), &data[..data.len().min(2000)]);
        });
        return true;
    }
    let kind =
        [Compression::Gzip, Compression::Xz, Compression::Zstd, Compression::None][usize::from(kind % 4)];
    if let Ok(image) = compress::image(data, LIMIT) {
        assert!(image.len() as u64 <= LIMIT);
    }
    if bounded(data, MIB, 16, || kernel_decoder::takes_all_of(data, LIMIT)) {
        assert!(kernel_decoder::may_take(&data[..data.len().min(kernel_decoder::HEAD)]));
    }
    let mut asked = 0;
    let mut buffer = Vec::new();
    let start = inflate(kind, data, LIMIT, &mut buffer, &mut |so_far| {
        asked += u32::from(!so_far.is_empty());
        (so_far.len() <= 1000).then_some(128 << 10)
    });
    match bounded(data, 3 * MIB + 128 * KIB, 0, || decompress(kind, data, LIMIT)) {
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(start.is_ok_and(|start| asked > 0 && start.len() > 1000) || asked <= 1);
            false
        }
        Ok(out) => {
            assert!(out.len() as u64 <= LIMIT);
            assert!(out.starts_with(start.expect("what inflates as a whole does so in part")));
            assert_eq!(inflate(kind, data, LIMIT, &mut Vec::new(), &mut |_| Some(usize::MAX)).unwrap(), out);
            assert_eq!(decompress(kind, data, out.len() as u64).unwrap(), out);
            if let Some(less) = (out.len() as u64).checked_sub(1) {
                assert_eq!(decompress(kind, data, less).unwrap_err().errno(), Errno::EFBIG);
            }
            true
        }
    }
}

/// `data` compressed in each way that is understood.
pub fn packed(data: &[u8]) -> Vec<Vec<u8>> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(data).unwrap();
    // A small dictionary: setting up a large one costs more than all the rest.
    let mut options = xz2::stream::LzmaOptions::new_preset(0).unwrap();
    options.dict_size(4096);
    let mut filters = xz2::stream::Filters::new();
    filters.lzma2(&options);
    let stream = xz2::stream::Stream::new_stream_encoder(&filters, xz2::stream::Check::Crc32).unwrap();
    let mut xz = xz2::write::XzEncoder::new_stream(Vec::new(), stream);
    xz.write_all(data).unwrap();
    let mut zstd = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    zstd.write_all(data).unwrap();
    vec![
        gzip.finish().unwrap(),
        xz.finish().unwrap(),
        zstd::bulk::compress(data, 1).unwrap(),
        zstd.finish().unwrap(),
    ]
}
