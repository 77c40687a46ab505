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

/// Calls `visit` for every option for a module or a list, in order. Text after [`limits::CMDLINE`] bytes or after a NUL is
/// ignored.
pub fn parse(text: &[u8], visit: &mut dyn FnMut(Option<'_>)) {
    let text = &text[..text.len().min(limits::CMDLINE)];
    let text = text.split(|&b| b == 0).next().unwrap_or(text);
    let mut quoted = false;
    let options = text.split(|&b| {
        quoted ^= b == b'"';
        !quoted && is_space(b)
    });
    for option in options {
        let (quote, option) = option.split_at(usize::from(option.starts_with(b"\"")));
        let equals = option.iter().position(|&b| b == b'=');
        let (name, value) = option.split_at(equals.map_or(option.len(), |at| at + 1));
        let Some(dot) = name.iter().position(|&b| b == b'.') else { continue };
        let (module, parameter) = (&name[..dot], &name[dot + 1..]);
        let quotes = quote.len() + value.iter().filter(|&&b| b == b'"').count();
        if parameter.contains(&b'.') || name.iter().any(|&b| b == b'"' || is_space(b)) || quotes % 2 == 1 {
            continue;
        }
        let is_it = |(list, _): &&(&str, Kind)| parameter.strip_suffix(b"=") == Some(list.as_bytes());
        match LISTS.iter().find(is_it).filter(|_| module == b"modprobe") {
            None => visit(Option::Parameter { module, text: [parameter, quote, value] }),
            Some((_, kind)) => {
                let value: Vec<u8> = value.iter().copied().filter(|&b| b != b'"').collect();
                let names = value.split(|&b| b == b',' || is_space(b)).filter(|name| !name.is_empty());
                names.for_each(|name| visit(Option::Name(*kind, name)));
            }
        }
    }
}
