//! Command lines the way GNU getopt_long(3) reads them, on byte strings: options and operands in any order, clusters of
//! short options, long options by any unambiguous prefix, and the same complaints.
//!
//! Scripts depend on all of it (`modprobe loop -q`, `modprobe -qaR`, `--dry`). The usual argument crates do not permute,
//! word ambiguity in another way, and require UTF-8.
//!
//! One table of [`Opt`] per tool serves the parser and the help text ([`super::usage`]). The manual pages and completions are
//! written by hand: a page has sentences of its own for each option, a completion offers the values of this machine, and a
//! generator would save only the names. Tests hold both to the table, in both directions: `every_option_is_described_and_no_other`
//! (tests/manuals.rs) and `options_are_those_of_the_tables` (tests/completions).

use crate::log::bytes;

/// Where an option's long name appears, and whether it may be abbreviated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// Shown in the help text.
    Listed,
    /// Shown, but accepted by its whole name only: an option that kmod does not have must change neither the meaning of an
    /// abbreviation of kmod's options nor the list in a complaint.
    Whole,
    /// Accepted as the others, but not shown.
    Unlisted,
    /// Not shown, and accepted by its whole name only: an obsolete name that is still accepted must not make an
    /// abbreviation of a current one ambiguous.
    Legacy,
}

/// One row of a tool's option table.
#[derive(Debug, Clone, Copy)]
pub struct Opt {
    /// What the parser reports: the short letter, or a number above 127 if there is none.
    pub id: u8,
    /// The long name; empty for an option that has only its letter.
    pub long: &'static str,
    /// The name of its value in the help text; `None` for an option without a value.
    pub value: Option<&'static str>,
    /// Whether it is shown and may be abbreviated.
    pub spelling: Spelling,
    /// For a deprecated long name: the long name to use instead.
    pub successor: Option<&'static str>,
    /// The heading of the help text that it stands under, counted from 0.
    pub group: u8,
    /// What it does, for the help text; `\n` between lines.
    pub help: &'static str,
}

/// A row that is shown in the help text.
pub const fn opt(id: u8, long: &'static str, help: &'static str) -> Opt {
    Opt { id, long, value: None, spelling: Spelling::Listed, successor: None, group: 0, help }
}

impl Opt {
    /// The same option with a value, called `name` in the help text.
    pub const fn takes(self, name: &'static str) -> Opt {
        Opt { value: Some(name), ..self }
    }

    /// See [`Spelling::Unlisted`].
    pub const fn unlisted(self) -> Opt {
        Opt { spelling: Spelling::Unlisted, ..self }
    }

    /// See [`Spelling::Whole`].
    pub const fn whole(self) -> Opt {
        Opt { spelling: Spelling::Whole, ..self }
    }

    /// See [`Spelling::Legacy`].
    pub const fn legacy(self) -> Opt {
        Opt { spelling: Spelling::Legacy, ..self }
    }

    /// The same option as a deprecated name: the message points to `--successor`.
    pub const fn deprecated(self, successor: &'static str) -> Opt {
        Opt { successor: Some(successor), ..self }
    }

    /// The same option, shown under another heading.
    pub const fn group(self, group: u8) -> Opt {
        Opt { group, ..self }
    }

    /// The short letter, if there is one.
    pub fn short(&self) -> Option<u8> {
        self.id.is_ascii_graphic().then_some(self.id)
    }
}

/// Where parsing ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Options may follow operands.
    Permute,
    /// The first operand ends the options: a tool with sub-commands, or `POSIXLY_CORRECT`.
    StopAtOperand,
}

/// A complaint about the command line: one line for stderr, without its newline, beginning with `argv[0]` as given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint(pub Vec<u8>);

/// One option as found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// That of its row.
    pub id: u8,
    /// Its value; `Some` if and only if the table gives it one.
    pub value: Option<&'a [u8]>,
    /// If the option was given by a deprecated long name: that name, and the one to use instead.
    pub deprecated: Option<(&'static str, &'static str)>,
}

/// Reads one command line, option by option. What is left at the end are the operands.
///
/// Options are returned one at a time because tools act on each at once: `-V` before a mistake prints the version; after a
/// mistake, the complaint ends the tool.
pub struct Parser<'t, 'a> {
    table: &'t [Opt],
    program: &'t [u8],
    words: &'a [Vec<u8>],
    /// The next word to look at.
    next: usize,
    /// What is left of a cluster of short options.
    cluster: &'a [u8],
    order: Order,
    operands: Vec<&'a [u8]>,
}

impl<'t, 'a> Parser<'t, 'a> {
    /// A parser for `words`, the command line without its `argv[0]`, which is `program`.
    pub fn new(table: &'t [Opt], order: Order, program: &'t [u8], words: &'a [Vec<u8>]) -> Self {
        Parser { table, program, words, next: 0, cluster: &[], order, operands: Vec::new() }
    }

    /// The next option; `None` at the end.
    ///
    /// # Errors
    /// What getopt_long would print. The tool prints it and ends with status 1.
    pub fn next_option(&mut self) -> Result<Option<Found<'a>>, Complaint> {
        loop {
            if let [letter, rest @ ..] = self.cluster {
                self.cluster = rest;
                return self.short(*letter).map(Some);
            }
            match self.word() {
                None | Some(b"--") => return Ok(None),
                Some([b'-', b'-', long @ ..]) => return self.long(long).map(Some),
                Some([b'-', cluster @ ..]) if !cluster.is_empty() => self.cluster = cluster,
                Some(operand) if self.order == Order::Permute => self.operands.push(operand),
                Some(_) => {
                    // The operand that ends the options.
                    self.next -= 1;
                    return Ok(None);
                }
            }
        }
    }

    /// The words after the options. Call it, as [`Parser::operands`], after [`Parser::next_option`] gave `None`.
    pub fn rest(&self) -> &'a [Vec<u8>] {
        &self.words[self.next..]
    }

    /// The operands, in order: those between options, and the rest.
    pub fn operands(mut self) -> Vec<&'a [u8]> {
        self.operands.extend(self.rest().iter().map(Vec::as_slice));
        self.operands
    }

    fn short(&mut self, letter: u8) -> Result<Found<'a>, Complaint> {
        let Some(row) = self.table.iter().find(|row| row.short() == Some(letter)) else {
            return Err(self.complaint(&bytes!["invalid option -- '", [letter], "'"]));
        };
        let value = match row.value {
            None => None,
            Some(_) if self.cluster.is_empty() => self.word(),
            Some(_) => Some(std::mem::take(&mut self.cluster)),
        };
        if row.value.is_some() && value.is_none() {
            return Err(self.complaint(&bytes!["option requires an argument -- '", [letter], "'"]));
        }
        Ok(Found { id: row.id, value, deprecated: None })
    }

    fn long(&mut self, text: &'a [u8]) -> Result<Found<'a>, Complaint> {
        let (name, given) = match text.iter().position(|&b| b == b'=') {
            Some(equals) => (&text[..equals], Some(&text[equals + 1..])),
            None => (text, None),
        };
        let row = self.find_long(name, text)?;
        let value = if row.value.is_some() { given.or_else(|| self.word()) } else { given };
        let problem = match (row.value, value) {
            (None, Some(_)) => "doesn't allow an argument",
            (Some(_), None) => "requires an argument",
            _ => {
                let deprecated = row.successor.map(|successor| (row.long, successor));
                return Ok(Found { id: row.id, value, deprecated });
            }
        };
        Err(self.complaint(&bytes!["option '--", row.long, "' ", problem]))
    }

    /// The row that `name` means: the one of this long name, else the one whose long name begins with it. Rows that report
    /// the same option do not conflict. In a conflict the first row and all that conflict with it are listed.
    fn find_long(&self, name: &[u8], text: &[u8]) -> Result<&'t Opt, Complaint> {
        let named = self.table.iter().filter(|row| !row.long.is_empty());
        if let Some(row) = named.clone().find(|row| row.long.as_bytes() == name) {
            return Ok(row);
        }
        let mut candidates = named.filter(|row| {
            matches!(row.spelling, Spelling::Listed | Spelling::Unlisted)
                && row.long.as_bytes().starts_with(name)
        });
        let Some(first) = candidates.next() else {
            return Err(self.complaint(&bytes!["unrecognized option '--", text, "'"]));
        };
        // Prefer a current name over a deprecated one of the same meaning.
        let lasting = candidates.clone().find(|row| first.successor.is_some() && row.successor.is_none());
        let mut others = candidates
            .filter(|row| row.id != first.id || row.value.is_some() != first.value.is_some())
            .peekable();
        if others.peek().is_none() {
            return Ok(lasting.unwrap_or(first));
        }
        let mut message = bytes!["option '--", text, "' is ambiguous; possibilities: '--", first.long, "'"];
        for other in others {
            message.extend_from_slice(&bytes![" '--", other.long, "'"]);
        }
        Err(self.complaint(&message))
    }

    fn word(&mut self) -> Option<&'a [u8]> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(word)
    }

    fn complaint(&self, text: &[u8]) -> Complaint {
        Complaint(bytes![self.program, ": ", text])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Opt] = &[
        opt(b'a', "all", ""),
        opt(b'r', "remove", ""),
        opt(200, "remove-holders", ""),
        opt(b'C', "config", "").takes("FILE"),
        opt(b'w', "wait", "").takes("MSEC"),
        opt(b'q', "quiet", ""),
        opt(b'i', "ignore-install", ""),
        opt(b'i', "ignore-remove", ""),
        opt(b'n', "show", ""),
        opt(b'D', "show-depends", ""),
        opt(b'p', "", ""),
        opt(201, "config-of-the-past", "").legacy(),
        opt(202, "quick", "").takes("N").whole(),
    ];

    /// Each option as `letter` or `letter=value` (`#N` without a letter), then `|`, then the operands; or the complaint.
    fn read(order: Order, words: &[&str]) -> String {
        let words: Vec<Vec<u8>> = words.iter().map(|w| w.as_bytes().to_vec()).collect();
        let mut parser = Parser::new(TABLE, order, b"/sbin/tool", &words);
        let mut seen = Vec::new();
        loop {
            match parser.next_option() {
                Ok(Some(found)) => {
                    let name = match found.id {
                        id @ 0..=127 => char::from(id).to_string(),
                        id => format!("#{id}"),
                    };
                    seen.push(match found.value {
                        Some(value) => format!("{name}={}", String::from_utf8_lossy(value)),
                        None => name,
                    });
                }
                Ok(None) => break,
                Err(Complaint(text)) => return String::from_utf8(text).unwrap(),
            }
        }
        seen.push("|".into());
        seen.extend(parser.operands().iter().map(|w| String::from_utf8_lossy(w).into_owned()));
        seen.join(" ")
    }

    #[test]
    fn options_and_operands_mix() {
        assert_eq!(read(Order::Permute, &["loop", "-q", "a=1", "--all"]), "q a | loop a=1");
        assert_eq!(read(Order::StopAtOperand, &["-q", "loop", "-a"]), "q | loop -a");
        assert_eq!(read(Order::Permute, &["x", "--", "-q", "--all"]), "| x -q --all");
        assert_eq!(read(Order::Permute, &["-", "-q", ""]), "q | - ");
    }

    #[test]
    fn clusters_take_values_from_the_rest_or_the_next_word() {
        assert_eq!(read(Order::Permute, &["-arq"]), "a r q |");
        assert_eq!(read(Order::Permute, &["-aC", "-q", "x"]), "a C=-q | x");
        assert_eq!(read(Order::Permute, &["-aCq", "x"]), "a C=q | x");
        assert_eq!(read(Order::Permute, &["-C", "--", "x"]), "C=-- | x");
        assert_eq!(read(Order::Permute, &["-p", "-C="]), "p C== |");
    }

    #[test]
    fn long_options_by_prefix() {
        assert_eq!(read(Order::Permute, &["--conf", "a", "--config=b", "--config="]), "C=a C=b C= |");
        assert_eq!(read(Order::Permute, &["--remove", "--show"]), "r n |");
        assert_eq!(read(Order::Permute, &["--show-"]), "D |");
        assert_eq!(
            read(Order::Permute, &["--ignore"]),
            "i |",
            "two spellings of one option do not contradict"
        );
    }

    #[test]
    fn names_of_the_past_only_in_full() {
        assert_eq!(read(Order::Permute, &["--config-of-the-past"]), "#201 |");
        assert_eq!(read(Order::Permute, &["--config-of"]), "/sbin/tool: unrecognized option '--config-of'");
        assert_eq!(read(Order::Permute, &["--con=x"]), "C=x |");
        assert_eq!(read(Order::Permute, &["--quick", "3", "--quick=4"]), "#202=3 #202=4 |");
        assert_eq!(read(Order::Permute, &["--qui", "--q"]), "q q |", "ours takes no part in abbreviations");
    }

    #[test]
    fn the_six_complaints() {
        let complaint = |word: &str| read(Order::Permute, &[word]);
        assert_eq!(complaint("-ax"), "/sbin/tool: invalid option -- 'x'");
        assert_eq!(complaint("-a-"), "/sbin/tool: invalid option -- '-'");
        assert_eq!(complaint("--bogus=1"), "/sbin/tool: unrecognized option '--bogus=1'");
        assert_eq!(complaint("-aC"), "/sbin/tool: option requires an argument -- 'C'");
        assert_eq!(complaint("--conf"), "/sbin/tool: option '--config' requires an argument");
        assert_eq!(complaint("--qui="), "/sbin/tool: option '--quiet' doesn't allow an argument");
        assert_eq!(
            complaint("--re=1"),
            "/sbin/tool: option '--re=1' is ambiguous; possibilities: '--remove' '--remove-holders'"
        );
        assert_eq!(
            complaint("--=x"),
            "/sbin/tool: option '--=x' is ambiguous; possibilities: '--all' '--remove' '--remove-holders' \
             '--config' '--wait' '--quiet' '--ignore-install' '--ignore-remove' '--show' '--show-depends'"
        );
    }

    #[test]
    fn bytes_that_are_not_text_pass_through() {
        let words = [b"-C\xff\xfe".to_vec(), b"\x80".to_vec(), b"--\xff".to_vec()];
        let mut parser = Parser::new(TABLE, Order::Permute, b"t", &words);
        assert_eq!(parser.next_option().unwrap().unwrap().value, Some(&b"\xff\xfe"[..]));
        assert_eq!(parser.next_option(), Err(Complaint(b"t: unrecognized option '--\xff'".to_vec())));
    }
}
