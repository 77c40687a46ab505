//! `kmod COMMAND`: the commands under the program's own name.

use super::getopt::{Opt, Order, Parser, opt};
use super::usage::Usage;
use super::{Call, ToolResult, lsmod, own, static_nodes};
use crate::log::bytes;

const OPTIONS: &[Opt] = &[opt(b'h', "help", "print this text"), opt(b'V', "version", "print the version")];

pub(crate) const USAGE: Usage = Usage {
    forms: &["[options] COMMAND [options of the command]"],
    groups: &["Options"],
    options: OPTIONS,
    notes: concat!(
        "\nCommands:\n",
        "  blame        print which modules took long to load, and who asked for them\n",
        "  check        print what is wrong with the configuration, the modules and the machine\n",
        "  help         print this text\n",
        "  list         list the loaded modules, as lsmod does\n",
        "  plot         print an SVG of when each module was loaded, and what waited for it\n",
        "  stats        print what loading each module once has saved\n",
        "  static-nodes list the device nodes that load their module when they are opened\n",
        "\nThe tools have names of their own, links to this program:\n",
        "  modprobe insmod rmmod lsmod modinfo depmod\n",
        "\nThis is kmod-once ",
        env!("CARGO_PKG_VERSION"),
        ".\n"
    ),
};

pub(crate) fn run(call: &Call<'_>) -> ToolResult {
    let parser = Parser::new(OPTIONS, Order::StopAtOperand, call.argv0, call.words);
    let parser = call.drive(parser, |found| match found.id {
        b'h' => Err(call.help(&USAGE)),
        _ => Err(call.version()),
    })?;
    let rest = parser.rest();
    let Some((command, words)) = rest.split_first() else { return refuse(call, b"missing command") };
    // In complaints about its options the command stands in the place of argv[0], but not in messages.
    let inner = Call { argv0: command, words, ..*call };
    match command.as_slice() {
        b"help" => Err(call.help(&USAGE)),
        b"list" => lsmod::run(&inner),
        b"blame" | b"check" | b"plot" | b"stats" => own::run(call, rest),
        b"static-nodes" => static_nodes::run(&inner),
        _ => refuse(call, &bytes!["invalid command '", command, "'"]),
    }
}

fn refuse(call: &Call<'_>, line: &[u8]) -> ToolResult {
    let end = call.end(line);
    call.help(&USAGE);
    Err(end)
}
