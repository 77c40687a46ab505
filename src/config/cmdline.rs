//! Module parameters, and lists of modules, on the kernel command line.
//!
//! ```text
//! MODULE.PARAM          options MODULE PARAM
//! MODULE.PARAM=VALUE    options MODULE PARAM=VALUE
//! modprobe.blacklist=A,B,...
//! modprobe.forbid=A,B,...      forbid A B ...
//! modprobe.permit=A,B,...      permit A B ...
//! ```
//!
//! Options end at white space outside double quotes. Quotes in a value remain a part of it. A quote before the whole option
//! moves behind the `=`. A quote elsewhere, a quoted blank before the value, a second dot before the `=`, or an unclosed
//! quote makes an option void. Words after ` -- ` count, too.
//!
//! The names of a list are separated by commas and by quoted white space. Quotes are not part of the names, and empty names
//! are skipped.

use super::Kind;
use crate::formats::is_space;
use crate::limits;

/// modprobe's lists: `modprobe.NAME=`.
pub(crate) const LISTS: [(&str, Kind); 3] =
    [("blacklist", Kind::Blacklist), ("forbid", Kind::Forbid), ("permit", Kind::Permit)];

/// An option for a module, or one of modprobe's lists.
pub enum Option<'a> {
    /// A name or a pattern, not folded, in one of the [`LISTS`].
    Name(Kind, &'a [u8]),
    /// A parameter of a module.
    Parameter {
        /// The module, not folded.
        module: &'a [u8],
        /// The parts of the parameter with its value, to be concatenated.
        text: [&'a [u8]; 3],
    },
}

/// The state of the parser inside an option.
#[derive(Clone, Copy)]
enum State {
    Module,
    /// After the first dot, which is at this position.
    Parameter(usize),
    /// After the dot and the `=`, which are at these positions.
    Value(usize, usize),
    Void,
}

/// The bytes at which the state may change; all others are skipped.
const MATTERS: [bool; 256] = {
    let mut table = [false; 256];
    let bytes = b"\".= \t\n\x0b\x0c\r";
    let mut at = 0;
    while at < bytes.len() {
        table[bytes[at] as usize] = true;
        at += 1;
    }
    table
};

/// Calls `visit` for every option for a module or a list, in order. Text after [`limits::CMDLINE`] bytes or after a NUL is
/// ignored.
pub fn parse(text: &[u8], visit: &mut dyn FnMut(Option<'_>)) {
    let text = &text[..text.len().min(limits::CMDLINE)];
    let text = text.split(|&b| b == 0).next().unwrap_or(text);
    let mut at = 0;
    while at < text.len() {
        if is_space(text[at]) {
            at += 1;
            continue;
        }
        let leading = text[at] == b'"';
        let start = at + usize::from(leading);
        let mut quoted = leading;
        let mut state = State::Module;
        at = start;
        loop {
            at += text[at..].iter().position(|&b| MATTERS[b as usize]).unwrap_or(text.len() - at);
            let Some(&byte) = text.get(at) else { break };
            state = match (state, byte) {
                (_, b'"') => {
                    quoted = !quoted;
                    if matches!(state, State::Value(..)) { state } else { State::Void }
                }
                (State::Value(..), b'.' | b'=') => state,
                (State::Module, b'.') => State::Parameter(at),
                (State::Parameter(dot), b'=') => State::Value(dot, at),
                (_, b'.' | b'=') => State::Void,
                // White space.
                _ if !quoted => break,
                (State::Value(..), _) => state,
                _ => State::Void,
            };
            at += 1;
        }
        if !quoted {
            option(text, start, at, leading, state, visit);
        }
    }
}

fn option(
    text: &[u8],
    start: usize,
    end: usize,
    leading: bool,
    state: State,
    visit: &mut dyn FnMut(Option<'_>),
) {
    match state {
        State::Module | State::Void => {}
        State::Parameter(dot) => {
            visit(Option::Parameter { module: &text[start..dot], text: [&text[dot + 1..end], b"", b""] });
        }
        State::Value(dot, equals) => {
            let (module, parameter) = (&text[start..dot], &text[dot + 1..equals]);
            let value = &text[equals + 1..end];
            let list = LISTS.iter().find(|(name, _)| module == b"modprobe" && parameter == name.as_bytes());
            if let Some(&(_, kind)) = list {
                let value: Vec<u8> = value.iter().copied().filter(|&b| b != b'"').collect();
                let names = value.split(|&b| b == b',' || is_space(b)).filter(|name| !name.is_empty());
                names.for_each(|name| visit(Option::Name(kind, name)));
            } else {
                let quote: &[u8] = if leading { b"\"" } else { b"" };
                visit(Option::Parameter { module, text: [&text[dot + 1..=equals], quote, value] });
            }
        }
    }
}
