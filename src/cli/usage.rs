//! Help texts, made from a tool's option table.

use super::getopt::{Opt, Spelling};
use crate::log::bytes;

/// The help text of a tool, apart from its program name.
pub struct Usage {
    /// The forms of the command, each without the program's name.
    pub forms: &'static [&'static str],
    /// The headings of the option groups.
    pub groups: &'static [&'static str],
    /// The tool's options.
    pub options: &'static [Opt],
    /// Anything after the options.
    pub notes: &'static str,
}

impl Usage {
    /// The whole text, for a program called `program`.
    pub fn text(&self, program: &[u8]) -> Vec<u8> {
        let mut text = b"Usage:\n".to_vec();
        for form in self.forms {
            text.extend_from_slice(&bytes!["\t", program, " ", form, "\n"]);
        }
        let is_shown = |row: &&Opt| matches!(row.spelling, Spelling::Listed | Spelling::Whole);
        let shown = self.options.iter().filter(is_shown);
        let width = shown.clone().map(|row| name(row).len()).max().unwrap_or(0) + 2;
        for (group, heading) in self.groups.iter().enumerate() {
            text.extend_from_slice(&bytes!["\n", heading, ":\n"]);
            for row in shown.clone().filter(|row| usize::from(row.group) == group) {
                let mut start = name(row);
                for line in row.help.split('\n') {
                    text.extend_from_slice(format!("\t{start:width$}{line}\n").as_bytes());
                    start.clear();
                }
            }
        }
        text.extend_from_slice(self.notes.as_bytes());
        text
    }
}

/// `-x, --long VALUE`, with the long name in the same column whether there is a letter or not.
fn name(row: &Opt) -> String {
    let letter = row.short().map_or("    ".into(), |letter| format!("-{}, ", char::from(letter)));
    let value = row.value.map(|value| format!(" {value}")).unwrap_or_default();
    format!("{letter}--{}{value}", row.long)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::getopt::opt;

    #[test]
    fn rows_line_up_and_keep_their_groups() {
        const OPTIONS: &[Opt] = &[
            opt(b'a', "all", "everything"),
            opt(200, "wait", "first line\nsecond line").takes("MSEC").group(1),
            opt(b'z', "hidden", "not here").unlisted(),
            opt(201, "whole", "here").whole(),
        ];
        let usage = Usage {
            forms: &["[options] NAME"],
            groups: &["One", "Two"],
            options: OPTIONS,
            notes: "\nEnd.\n",
        };
        assert_eq!(
            String::from_utf8(usage.text(b"tool")).unwrap(),
            "Usage:\n\ttool [options] NAME\n\nOne:\n\t-a, --all        everything\n\t    --whole      here\n\nTwo:\n\
             \t    --wait MSEC  first line\n\t                 second line\n\nEnd.\n"
        );
    }
}
