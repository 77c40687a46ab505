//! Command lines, and the variable that adds to them.

use super::{KIB, bounded};
use kmod_once::internals::cli::getopt::{Opt, Order, Parser, Spelling};
use kmod_once::internals::cli::help;
use kmod_once::internals::cli::modprobe::args::split;
use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::Mutex;

/// Any bytes as MODPROBE_OPTIONS: no byte is lost but blanks and quotes, and the words, each in quotes, are the same words.
pub fn options(input: &[u8]) -> bool {
    let words = bounded(input, KIB, 64, || split(input));
    let length: usize = words.iter().map(Vec::len).sum();
    let marks = input.iter().filter(|b| matches!(b, b' ' | b'"' | b'\'')).count();
    assert!(length <= input.len() && length >= input.len() - marks);
    let quoted = |word: &Vec<u8>| {
        let quote = [b'"', b'\''].into_iter().find(|quote| !word.contains(quote))?;
        Some([&[quote], &word[..], &[quote]].concat())
    };
    // One with both kinds of quotes in it can only be spelled by a quote that never closes.
    if let Some(quoted) = words.iter().map(quoted).collect::<Option<Vec<_>>>() {
        assert_eq!(split(&quoted.join(&b' ')), words);
        assert_eq!(split(&[b"  ", &quoted.join(&b"   "[..])[..], b" "].concat()), words, "blanks too many");
    }
    !words.is_empty()
}

/// `struct option` of getopt_long(3).
#[repr(C)]
struct LongOption {
    name: *const c_char,
    has_arg: c_int,
    flag: *mut c_int,
    val: c_int,
}

unsafe extern "C" {
    static mut optind: c_int;
    static mut opterr: c_int;
    static optarg: *const c_char;
    fn getopt_long(
        argc: c_int,
        argv: *const *mut c_char,
        letters: *const c_char,
        long: *const LongOption,
        index: *mut c_int,
    ) -> c_int;
}

/// The C library's parser keeps its place in variables.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Options with their values up to the first mistake; the operands, where there was none.
type Parsed = (Vec<(u8, Option<Vec<u8>>)>, Option<Vec<Vec<u8>>>);

/// The first byte names a tool, the rest is its command line, words being ended by NUL: ours reads what getopt_long(3) reads.
/// Rows that only count by their whole name are left out, which getopt_long does not know.
pub fn getopt(input: &[u8]) -> bool {
    let Some((&tool, rest)) = input.split_first() else { return false };
    let tools: Vec<_> = help().collect();
    let (_, usage) = tools[usize::from(tool) % tools.len()];
    let plain = |row: &&Opt| matches!(row.spelling, Spelling::Listed | Spelling::Unlisted);
    let table: Vec<Opt> = usage.options.iter().filter(plain).copied().collect();
    let words: Vec<Vec<u8>> = rest.split(|&b| b == 0).take(64).map(<[u8]>::to_vec).collect();
    for order in [Order::Permute, Order::StopAtOperand] {
        let mut parser = Parser::new(&table, order, b"tool", &words);
        let mut found = Vec::new();
        let mistake = loop {
            match parser.next_option() {
                Ok(Some(option)) => found.push((option.id, option.value.map(<[u8]>::to_vec))),
                Ok(None) => break false,
                Err(complaint) => {
                    assert!(complaint.0.starts_with(b"tool: "));
                    break true;
                }
            }
        };
        let operands = (!mistake).then(|| parser.operands().into_iter().map(<[u8]>::to_vec).collect());
        assert_eq!((found, operands), theirs(&table, order, &words), "{order:?}");
    }
    true
}

fn theirs(table: &[Opt], order: Order, words: &[Vec<u8>]) -> Parsed {
    let text = |bytes: &[u8]| CString::new(bytes).expect("no NUL");
    let names: Vec<CString> = table.iter().map(|row| text(row.long.as_bytes())).collect();
    let argument = |row: &Opt| c_int::from(row.value.is_some());
    let mut long: Vec<LongOption> = table
        .iter()
        .zip(&names)
        .filter(|(row, _)| !row.long.is_empty())
        .map(|(row, name)| LongOption {
            name: name.as_ptr(),
            has_arg: argument(row),
            flag: std::ptr::null_mut(),
            val: row.id.into(),
        })
        .collect();
    long.push(LongOption { name: std::ptr::null(), has_arg: 0, flag: std::ptr::null_mut(), val: 0 });
    let mut letters = if order == Order::StopAtOperand { b"+".to_vec() } else { Vec::new() };
    for row in table {
        letters.extend(row.short());
        letters.extend(row.short().and(row.value).map(|_| b':'));
    }
    let letters = text(&letters);
    let owned: Vec<CString> =
        [&b"tool"[..]].into_iter().chain(words.iter().map(|w| &w[..])).map(text).collect();
    let mut argv: Vec<*mut c_char> = owned.iter().map(|word| word.as_ptr().cast_mut()).collect();
    argv.push(std::ptr::null_mut());
    let count = argv.len() as c_int - 1;
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|error| error.into_inner());
    let mut found = Vec::new();
    // SAFETY: argv, letters and long end as getopt_long wants them and outlive the calls; it reorders argv, and writes to no
    // string. Its variables are touched under the lock only; 0 makes it start anew.
    unsafe {
        optind = 0;
        opterr = 0;
        loop {
            let id = getopt_long(count, argv.as_ptr(), letters.as_ptr(), long.as_ptr(), std::ptr::null_mut());
            match u8::try_from(id) {
                Ok(b'?') if !table.iter().any(|row| row.id == b'?') => return (found, None),
                Ok(id) => {
                    let takes = table.iter().any(|row| row.id == id && row.value.is_some());
                    found.push((id, takes.then(|| CStr::from_ptr(optarg).to_bytes().to_vec())));
                }
                Err(_) => break,
            }
        }
        let rest = argv[optind as usize..count as usize].iter();
        (found, Some(rest.map(|&word| CStr::from_ptr(word).to_bytes().to_vec()).collect()))
    }
}
