//! Files that the kernel's decoders accept, refuse, or decode only in part.

use super::*;
use std::io::Write;
use xz2::stream::{Action, Check, Filters as Chain, LzmaOptions, Status, Stream};

const LIMIT: u64 = 1 << 30;

fn data() -> Vec<u8> {
    (0..100_000u32).flat_map(|n| (n / 7 % 251).to_le_bytes()).collect()
}

fn finish(mut stream: Stream, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 4096);
    assert_eq!(stream.process_vec(data, &mut out, Action::Finish), Ok(Status::StreamEnd));
    out
}

fn lzma2(dictionary: u32) -> LzmaOptions {
    let mut options = LzmaOptions::new_preset(0).unwrap();
    options.dict_size(dictionary);
    options
}

fn xz(chain: &Chain, check: Check) -> Vec<u8> {
    finish(Stream::new_stream_encoder(chain, check).unwrap(), &data())
}

fn plain_xz() -> Vec<u8> {
    xz(Chain::new().lzma2(&lzma2(1 << 20)), Check::Crc32)
}

/// The answers of `may_take` and of `takes_all_of`.
fn verdict(file: &[u8]) -> (bool, bool) {
    (may_take(&file[..file.len().min(HEAD)]), takes_all_of(file, LIMIT))
}

/// The kernel decodes the whole file.
const TAKEN: (bool, bool) = (true, true);
/// The kernel does not get the file.
const REFUSED: (bool, bool) = (false, false);
/// The kernel gets the file, but its refusal need not be about the module.
const PERHAPS: (bool, bool) = (true, false);

#[test]
fn xz_checks_and_filters() {
    let chain = |fill: &dyn Fn(&mut Chain)| {
        let mut chain = Chain::new();
        fill(&mut chain);
        xz(&chain, Check::Crc32)
    };
    assert_eq!(verdict(&plain_xz()), TAKEN);
    for (check, expected) in
        [(Check::None, TAKEN), (Check::Crc32, TAKEN), (Check::Crc64, REFUSED), (Check::Sha256, REFUSED)]
    {
        assert_eq!(verdict(&xz(Chain::new().lzma2(&lzma2(1 << 20)), check)), expected, "{check:?}");
    }
    let delta = chain(&|chain| {
        chain.delta_properties(&[0]).unwrap().lzma2(&lzma2(1 << 20));
    });
    assert_eq!(verdict(&delta), REFUSED);
    let x86 = chain(&|chain| {
        chain.x86().lzma2(&lzma2(1 << 20));
    });
    assert_eq!(verdict(&x86), PERHAPS);
    let both = chain(&|chain| {
        chain.delta_properties(&[0]).unwrap().x86().lzma2(&lzma2(1 << 20));
    });
    assert_eq!(verdict(&both), REFUSED);
    let large = chain(&|chain| {
        chain.lzma2(&lzma2(64 << 20));
    });
    assert_eq!(verdict(&large), PERHAPS);
}

#[test]
fn parts_of_which_the_kernel_takes_the_first() {
    let one = plain_xz();
    assert_eq!(verdict(&[&one[..], &one].concat()), PERHAPS);
    assert_eq!(verdict(&[&one[..], &[0; 8], &one].concat()), PERHAPS);
    assert_eq!(verdict(&[&one[..], &[0; 8]].concat()), TAKEN, "padding is not a part");
    let member = gzip(flate2::GzBuilder::new());
    assert_eq!(verdict(&member), TAKEN);
    assert_eq!(verdict(&[&member[..], &member].concat()), PERHAPS);
    assert_eq!(verdict(&[&member[..], b"junk"].concat()), TAKEN, "junk is not a part");
    assert_eq!(verdict(&member[..member.len() - 9]), PERHAPS, "kmod takes what is there");
    let frame = zstd::bulk::compress(&data(), 1).unwrap();
    assert_eq!(verdict(&frame), TAKEN);
    assert_eq!(verdict(&[&frame[..], &frame].concat()), PERHAPS);
}

#[test]
fn the_second_block_counts_too() {
    // A stream of several blocks: each full flush ends one.
    let mut stream = Stream::new_stream_encoder(Chain::new().lzma2(&lzma2(1 << 20)), Check::Crc32).unwrap();
    let mut file = Vec::with_capacity(1 << 20);
    for _ in 0..3 {
        assert_eq!(stream.process_vec(&data(), &mut file, Action::FullFlush), Ok(Status::StreamEnd));
    }
    assert_eq!(stream.process_vec(b"", &mut file, Action::Finish), Ok(Status::StreamEnd));
    assert_eq!(verdict(&file), TAKEN);
    let blocks = xz_blocks(&file).unwrap();
    assert_eq!(blocks.len(), 3);
    // The size of the dictionary in the header of the second one: 256 MiB.
    let second = 12 + usize::try_from(blocks[0].0).unwrap();
    let properties = file[second..].windows(2).position(|bytes| bytes == [0x21, 1]).unwrap() + 2;
    file[second + properties] = 32;
    assert_eq!(verdict(&file), PERHAPS);
}

fn gzip(builder: flate2::GzBuilder) -> Vec<u8> {
    let mut encoder = builder.write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&data()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn gzip_headers() {
    use flate2::GzBuilder;
    assert_eq!(verdict(&gzip(GzBuilder::new().filename("m.ko"))), TAKEN);
    assert_eq!(verdict(&gzip(GzBuilder::new().comment("by hand"))), REFUSED);
    assert_eq!(verdict(&gzip(GzBuilder::new().extra(&b"abcd"[..]))), REFUSED);
}

#[test]
fn zstd_windows() {
    let streamed = |log: u32| {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        encoder.write_all(&data()).unwrap();
        encoder.finish().unwrap()
    };
    for (log, expected) in [(20, TAKEN), (27, TAKEN), (28, REFUSED), (30, REFUSED)] {
        let file = streamed(log);
        assert_eq!(verdict(&file), expected, "{log}");
        let image = super::super::compress::image(&file, LIMIT).unwrap();
        assert_eq!(image, data(), "{log}");
    }
    // Single segments, which need a window as large as they are: sizes in 1, 2, 4 and 8 bytes, one behind a dictionary's id.
    for (descriptor, field, window) in [
        (0x20, &[200][..], 200),
        (0x60, &[1, 0], 257),
        (0xa0, &[0, 0, 0, 8], 1 << 27),
        (0xe0, &[0, 0, 0, 0, 1, 0, 0, 0], 1 << 32),
        (0xa1, &[9, 0, 0, 0, 8], 1 << 27),
    ] {
        let frame = [b"\x28\xb5\x2f\xfd", &[descriptor][..], field].concat();
        assert_eq!(zstd_window(&frame), Some(window), "{descriptor:x}");
        assert_eq!(zstd_window(&frame[..frame.len() - 1]), None);
    }
}

#[test]
fn what_is_cut_off_or_damaged_is_left_to_the_kernel_and_never_a_panic() {
    assert_eq!(verdict(b"\x7fELF and so on"), TAKEN);
    for file in [plain_xz(), gzip(flate2::GzBuilder::new()), zstd::bulk::compress(&data(), 1).unwrap()] {
        for length in 0..file.len().min(100) {
            may_take(&file[..length]);
            takes_all_of(&file[..length], LIMIT);
        }
        for at in 0..file.len().min(60) {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = file.clone();
                damaged[at] = value;
                may_take(&damaged);
                takes_all_of(&damaged, LIMIT);
            }
        }
    }
}
