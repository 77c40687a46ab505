//! /proc/modules, the kernel's list of its modules.
//!
//! A line is `NAME SIZE COUNT USERS STATE ADDRESS [TAINTS]`. USERS is `-`, or names and words such as `[permanent]`, each
//! with a comma after it. A kernel that cannot unload modules writes `-` for COUNT.

use super::file::read_whole;
use super::roots::Roots;
use super::sysfs::State;
use crate::error::Result;
use crate::limits;

/// One line. A missing word is `-`.
pub(crate) struct Line<'t> {
    /// As the kernel spells it.
    pub name: &'t [u8],
    /// The size in memory, in bytes.
    pub size: &'t [u8],
    /// The use count.
    pub count: &'t [u8],
    /// The modules that use it.
    pub users: &'t [u8],
    /// `None` for an unknown word.
    pub state: Option<State>,
}

/// The content of /proc/modules.
///
/// # Errors
/// The errno of reading it, with the path.
pub(crate) fn read(roots: &Roots) -> Result<Vec<u8>> {
    read_whole(&roots.proc_modules(), limits::TEXT_FILE)
}

/// The lines of a content.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    text.split(|&b| b == b'\n').filter(|line| !line.is_empty()).map(|line| {
        let mut words = line.split(|&b| b == b' ');
        let mut word = || words.next().unwrap_or(b"-");
        let (name, size, count, users) = (word(), word(), word(), word());
        let state = match word() {
            b"Live" => Some(State::Live),
            b"Loading" => Some(State::Coming),
            b"Unloading" => Some(State::Going),
            _ => None,
        };
        Line { name, size, count, users, state }
    })
}

/// The state of module `name`, for systems without `/sys`. An unknown state counts as live.
pub(crate) fn state(roots: &Roots, name: &[u8]) -> Result<State> {
    let text = read(roots)?;
    let line = lines(&text).find(|line| line.name == name);
    Ok(line.map_or(State::Absent, |line| line.state.unwrap_or(State::Live)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_may_be_short_and_states_odd() {
        let text = b"m 4096 2 a,b, Loading 0x0\n\nn-o 12\nx 1 - - Odd 0x0 (O)";
        let found: Vec<_> = lines(text).map(|line| (line.name, line.size, line.users, line.state)).collect();
        let want: [(&[u8], &[u8], &[u8], _); 3] = [
            (b"m", b"4096", b"a,b,", Some(State::Coming)),
            (b"n-o", b"12", b"-", None),
            (b"x", b"1", b"-", None),
        ];
        assert_eq!(found, want);
    }
}
