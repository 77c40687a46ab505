//! Tests of the decoders: which files are accepted, the error texts, and the limit of the output.

use super::*;
use std::io::Write;

fn sample() -> Vec<u8> {
    (0..300_000u32).flat_map(|n| (n / 7 % 251).to_le_bytes()).collect()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn xz(data: &[u8], check: xz2::stream::Check) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 4096);
    let mut stream = Stream::new_easy_encoder(0, check).unwrap();
    assert_eq!(stream.process_vec(data, &mut out, Action::Finish), Ok(Status::StreamEnd));
    out
}

/// One frame with its size and a checksum, as zstd(1) writes for a file.
fn zstd_sized(data: &[u8]) -> Vec<u8> {
    let mut compressor = zstd::bulk::Compressor::new(1).unwrap();
    compressor.include_checksum(true).unwrap();
    compressor.compress(data).unwrap()
}

/// One frame without its size, as zstd(1) writes for a pipe.
fn zstd_streamed(data: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn all(data: &[u8]) -> Vec<(Compression, Vec<u8>)> {
    vec![
        (Compression::Gzip, gzip(data)),
        (Compression::Xz, xz(data, xz2::stream::Check::Crc32)),
        (Compression::Zstd, zstd_sized(data)),
        (Compression::Zstd, zstd_streamed(data)),
    ]
}

fn refusal(kind: Compression, input: &[u8]) -> (Errno, String) {
    let error = decompress(kind, input, 1 << 30).unwrap_err();
    (error.errno(), error.to_string())
}

#[test]
fn the_content_decides() {
    for (kind, packed) in all(b"abc") {
        assert_eq!(detect(&packed[..HEAD]), kind);
        assert_eq!(image(&packed, 3).unwrap(), &b"abc"[..]);
    }
    assert_eq!(detect(b"\x7fELF\x02\x01"), Compression::None);
    assert_eq!(detect(b""), Compression::None);
    assert_eq!(detect(b"\xfd7zXZ"), Compression::None);
    assert_eq!(image(b"\x7fELF\x02\x01", 6).unwrap(), &b"\x7fELF\x02\x01"[..]);
    assert_eq!(image(b"\x7fELF\x02\x01", 5).unwrap_err().errno(), Errno::EFBIG);
    assert_eq!(image(b"\x1f\x8b\x08\0\0", 100).unwrap_err().errno(), Errno::EINVAL);
}

#[test]
fn the_words_of_the_kernel() {
    for kind in [Compression::Gzip, Compression::Xz, Compression::Zstd] {
        assert_eq!(Compression::from_kernel_name(kind.kernel_name().unwrap()), Some(kind));
    }
    assert_eq!(Compression::None.kernel_name(), None);
    assert_eq!(Compression::from_kernel_name(b"lz4"), None);
    assert_eq!(Compression::from_kernel_name(b""), None);
}

#[test]
fn every_format_comes_back_whole() {
    for data in [&b""[..], b"x", &sample()] {
        for (kind, packed) in all(data) {
            assert_eq!(decompress(kind, &packed, 1 << 30).unwrap(), data, "{kind:?}");
        }
    }
    for check in [xz2::stream::Check::None, xz2::stream::Check::Crc64, xz2::stream::Check::Sha256] {
        assert_eq!(decompress(Compression::Xz, &xz(&sample(), check), 1 << 30).unwrap(), sample());
    }
}

#[test]
fn several_streams_are_one_content() {
    for (kind, packed) in all(b"one") {
        assert_eq!(
            decompress(kind, &[&packed[..], &packed[..]].concat(), 100).unwrap(),
            b"oneone",
            "{kind:?}"
        );
    }
    let one = xz(b"one", xz2::stream::Check::Crc32);
    let padded = [&one[..], &[0; 8], &one].concat();
    assert_eq!(decompress(Compression::Xz, &padded, 100).unwrap(), b"oneone");
    let mixed = [zstd_sized(b"one"), zstd_streamed(b"two")].concat();
    assert_eq!(decompress(Compression::Zstd, &mixed, 100).unwrap(), b"onetwo");
}

#[test]
fn a_file_of_empty_parts_costs_little() {
    let start = std::time::Instant::now();
    for (kind, packed) in all(b"") {
        let parts = packed.repeat(70_000);
        let inflated = decompress(kind, &parts, 100);
        match kind {
            Compression::Gzip => assert_eq!(inflated.unwrap_err().to_string(), "gzip: too many members"),
            _ => assert_eq!(inflated.unwrap(), b""),
        }
    }
    // This takes seconds. A new buffer for every part would take minutes.
    assert!(start.elapsed().as_secs() < 60);
}

#[test]
fn the_cap_is_exact() {
    let data = sample();
    let size = data.len() as u64;
    for (kind, packed) in all(&data) {
        assert_eq!(decompress(kind, &packed, size).unwrap().len(), data.len());
        let error = decompress(kind, &packed, size - 1).unwrap_err();
        assert_eq!(error.errno(), Errno::EFBIG, "{kind:?}");
        assert_eq!(error.to_string(), format!("inflates to more than {} bytes", size - 1));
        assert_eq!(decompress(kind, &packed, 0).unwrap_err().errno(), Errno::EFBIG, "{kind:?}");
    }
}

#[test]
fn a_bomb_stops_at_the_cap() {
    let zeros = vec![0; 8 << 20];
    for (kind, packed) in all(&zeros) {
        assert!(packed.len() < 1 << 14, "{kind:?}");
        let error = decompress(kind, &packed, 1 << 20).unwrap_err();
        assert_eq!(error.errno(), Errno::EFBIG, "{kind:?}");
    }
}

#[test]
fn a_zstd_header_that_claims_too_much_reserves_nothing() {
    // Magic; descriptor: 8-byte size, one segment; a size of 2^60; one last empty raw block.
    let claim = [&b"\x28\xb5\x2f\xfd\xe0"[..], &(1u64 << 60).to_le_bytes(), b"\x01\0\0"].concat();
    assert_eq!(decompress(Compression::Zstd, &claim, 1 << 30).unwrap_err().errno(), Errno::EFBIG);
}

#[test]
fn cut_off_input_is_refused_except_in_gzip() {
    let data = sample();
    let packed = xz(&data, xz2::stream::Check::Crc32);
    for cut in [6, 20, packed.len() / 2, packed.len() - 1] {
        let expected = (Errno::EINVAL, "xz: Unexpected end of input".to_string());
        assert_eq!(refusal(Compression::Xz, &packed[..cut]), expected, "at {cut}");
    }
    for packed in [zstd_sized(&data), zstd_streamed(&data)] {
        for cut in [4, 6, packed.len() / 2, packed.len() - 1] {
            let expected = (Errno::EINVAL, "zstd: Src size is incorrect".to_string());
            assert_eq!(refusal(Compression::Zstd, &packed[..cut]), expected, "at {cut}");
        }
    }
    let data = &data[..4000];
    let packed = gzip(data);
    for cut in 2..packed.len() {
        let inflated = decompress(Compression::Gzip, &packed[..cut], 1 << 30).unwrap();
        assert!(data.starts_with(&inflated), "at {cut}");
        // The last 8 bytes are checksum and length.
        assert!(cut < packed.len() - 8 || inflated.len() == data.len(), "at {cut}");
    }
}

#[test]
fn damage_is_named() {
    let data = sample();
    for (kind, packed) in all(&data) {
        let mut bad = packed.clone();
        let middle = bad.len() / 2;
        bad[middle..middle + 8].fill(0xff);
        let (errno, text) = refusal(kind, &bad);
        assert_eq!(errno, Errno::EINVAL, "{kind:?}: {text}");
        let tool = String::from_utf8(kind.kernel_name().unwrap().to_vec()).unwrap();
        assert!(text.starts_with(&format!("{tool}: ")), "{text}");
    }
    let mut checksum = gzip(&data);
    let end = checksum.len();
    checksum[end - 6] ^= 1;
    assert_eq!(refusal(Compression::Gzip, &checksum).0, Errno::EINVAL);
    let mut version = xz(&data, xz2::stream::Check::Crc32);
    version[end.min(10)] ^= 1;
    assert_eq!(refusal(Compression::Xz, &version).1, "xz: File is corrupt");
}

#[test]
fn what_follows_the_content() {
    let data = b"content";
    assert_eq!(decompress(Compression::Gzip, &[gzip(data), b"junk".to_vec()].concat(), 100).unwrap(), data);
    let after_xz = [xz(data, xz2::stream::Check::Crc32), b"junk".to_vec()].concat();
    assert_eq!(
        refusal(Compression::Xz, &after_xz),
        (Errno::EINVAL, "xz: Unexpected end of input".to_string())
    );
    for packed in [zstd_sized(data), zstd_streamed(data)] {
        let (errno, text) = refusal(Compression::Zstd, &[packed, b"junk".to_vec()].concat());
        assert_eq!((errno, text.starts_with("zstd: ")), (Errno::EINVAL, true), "{text}");
    }
}

#[test]
fn an_early_stop_sees_a_growing_prefix() {
    let data = sample();
    for (kind, packed) in all(&data) {
        let mut seen = 0;
        let mut part = Vec::new();
        let wanted = &mut |so_far: &[u8]| {
            assert!(so_far.is_empty() || (so_far.len() > seen && data.starts_with(so_far)));
            seen = so_far.len();
            (so_far.len() <= 200_000).then_some(CHUNK)
        };
        let part = inflate(kind, &packed, 1 << 30, &mut part, wanted).unwrap();
        assert_eq!(part.len(), seen);
        assert!((200_001..=200_000 + CHUNK).contains(&part.len()), "{kind:?} {}", part.len());
    }
}

#[test]
fn the_index_of_an_xz_file_tells_its_size() {
    use xz2::stream::Check;
    for data in [&b""[..], b"abc", &sample()] {
        for check in [Check::None, Check::Crc32, Check::Sha256] {
            let packed = xz(data, check);
            assert_eq!(xz_size(&packed), Some(data.len() as u64));
            for length in 0..packed.len() {
                assert_eq!(xz_size(&packed[..length]), None, "cut off at {length}");
            }
            for part in [&packed[..], &[0; 4], b"x"] {
                assert_eq!(xz_size(&[&packed, part].concat()), None, "something behind it");
            }
        }
    }
    let packed = xz(b"abc", Check::Crc64);
    for at in 0..packed.len() {
        for bit in 0..8 {
            let mut damaged = packed.clone();
            damaged[at] ^= 1 << bit;
            assert!(matches!(xz_size(&damaged), None | Some(3)), "byte {at}");
        }
    }
}

#[test]
fn a_buffer_is_used_again_and_no_more_is_inflated_than_is_wanted() {
    let mut buffer = vec![0xee; 100];
    for (kind, packed) in all(&sample()) {
        for wanted in [1, 1000, usize::MAX] {
            let mut asked = 0;
            let enough = &mut |so_far: &[u8]| {
                assert!(sample().starts_with(so_far));
                asked += 1;
                (asked < 3).then_some(wanted)
            };
            let size = inflate(kind, &packed, 1 << 30, &mut buffer, enough).unwrap().len();
            assert_eq!(size, 2 * wanted.min(CHUNK), "{kind:?}");
        }
        assert_eq!(inflate(kind, &packed, 1 << 30, &mut buffer, &mut |_| Some(7)).unwrap(), sample());
    }
}
