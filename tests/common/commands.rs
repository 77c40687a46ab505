//! The options of every tool and command, whoever parses them.

use kmod_once::internals::cli::getopt::{Opt, opt};
use kmod_once::internals::cli::{help, own};
use std::collections::BTreeSet;

/// By the tool or command: `modprobe`, `kmod stats`.
pub fn tables() -> Vec<(String, Vec<Opt>)> {
    let mut tables: Vec<(String, Vec<Opt>)> =
        help().map(|(tool, help)| (tool.to_owned(), help.options.to_vec())).collect();
    let mut commands = own::commands();
    commands.build();
    let own = commands.get_subcommands().map(|command| {
        let options = command.get_arguments().filter(|option| !option.is_positional());
        (format!("kmod {}", command.get_name()), (128..).zip(options).map(row).collect())
    });
    tables.extend(own);
    tables
}

/// The commands of kmod, as its help lists them.
pub fn of_kmod() -> BTreeSet<&'static str> {
    let help = help().find(|(tool, _)| *tool == "kmod").unwrap().1.notes;
    let list = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    list.lines().map(|line| line.split_whitespace().next().unwrap()).collect()
}

/// The row of an option, with a number that stands for it where it has no letter.
fn row((number, option): (u8, &clap::Arg)) -> Opt {
    // A table is made of what lives as long as the program.
    let long = option.get_long().map_or("", |long| &*String::from(long).leak());
    let letter = option.get_short().map_or(number, |letter| u8::try_from(letter).expect("ASCII"));
    let row = opt(letter, long, "");
    match option.get_value_names() {
        Some(names) if option.get_action().takes_values() => row.takes(names[0].to_string().leak()),
        _ => row,
    }
}
