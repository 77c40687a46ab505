//! What must hold for every parser whatever its input: one check for each, which panics where it does not hold. The mutation
//! tests run them over damaged real inputs, the fuzz targets (tests/fuzz) over whatever libFuzzer comes up with.
//!
//! None is content with no crash: what is written is read back, what is parsed and printed parses to the same, two ways to
//! the same answer agree, and memory is bounded by the input's length.

mod arguments;
mod cache;
mod compressed;
mod config;
mod elf;
mod gate;
mod index;
mod lists;
pub mod memory;
mod outputs;
mod pattern;
mod signature;
mod text;

pub use compressed::packed;
pub use elf::read_all;

/// One parser's check.
pub struct Check {
    /// The name of the fuzz target.
    pub name: &'static str,
    /// Panics where something does not hold; whether the input made any sense.
    check: fn(&[u8]) -> bool,
    /// The longest input that is worth while, in bytes; only the fuzzer asks.
    #[allow(dead_code)]
    pub longest: usize,
}

impl Check {
    /// Runs it; whether the input made any sense.
    pub fn run(&self, input: &[u8]) -> bool {
        (self.check)(input)
    }
}

/// Runs a parser, which may hold at most `fixed` bytes and `each` more for each byte of the input.
#[track_caller]
fn bounded<T>(input: &[u8], fixed: usize, each: usize, parser: impl FnOnce() -> T) -> T {
    let (result, peak) = memory::peak(parser);
    let most = fixed + each * input.len();
    assert!(peak <= most, "{peak} bytes for {} of input, at most {most}", input.len());
    result
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// All of them.
pub const ALL: &[Check] = &[
    Check { name: "elf", check: elf::check, longest: 64 * KIB },
    Check { name: "signature", check: signature::check, longest: 4 * KIB },
    Check { name: "index", check: index::hostile, longest: 16 * KIB },
    Check { name: "index_written", check: index::written, longest: 16 * KIB },
    Check { name: "text", check: text::check, longest: 16 * KIB },
    Check { name: "modprobe_d", check: config::modprobe_d, longest: 16 * KIB },
    Check { name: "depmod_d", check: config::depmod_d, longest: 8 * KIB },
    Check { name: "cmdline", check: config::cmdline, longest: 5 * KIB },
    Check { name: "options", check: arguments::options, longest: 4 * KIB },
    Check { name: "arguments", check: arguments::getopt, longest: 4 * KIB },
    Check { name: "cache", check: cache::check, longest: 16 * KIB },
    Check { name: "record", check: gate::record, longest: 512 },
    Check { name: "kmsg", check: gate::kmsg, longest: 4 * KIB },
    Check { name: "compressed", check: compressed::check, longest: 64 * KIB },
    Check { name: "pattern", check: pattern::check, longest: 256 },
    Check { name: "outputs", check: outputs::check, longest: 16 * KIB },
    Check { name: "lists", check: lists::check, longest: 8 * KIB },
];

/// The check of this name.
pub fn named(name: &str) -> Option<&'static Check> {
    ALL.iter().find(|check| check.name == name)
}

/// Whether `part` lies inside `whole`, where it is not empty: what is read without a copy is never out of range.
fn inside(part: &[u8], whole: &[u8]) -> bool {
    part.is_empty() || {
        let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
        whole.start <= part.start && part.end <= whole.end
    }
}

/// The pieces of an input that is several things at once.
fn pieces(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    input.split(|&b| b == 0xff)
}
