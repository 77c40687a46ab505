//! The kernel's log messages about a module, and what they mean.

use crate::formats::kmsg;
use crate::log::bytes;
use crate::tree::Tree;
use std::time::Duration;

/// A message of the kernel log.
pub(super) struct KernelMessage {
    pub(super) time: Duration,
    pub(super) text: String,
    pub(super) meaning: Option<String>,
}

/// How many of the last messages are shown.
const SHOWN: usize = 8;

/// The last [`SHOWN`] messages about a module in `log` (records of `/dev/kmsg`), oldest first.
pub(super) fn messages_about(log: &[u8], tree: &Tree<'_>, module: &[u8]) -> Vec<KernelMessage> {
    let name = String::from_utf8_lossy(module);
    let mut messages: Vec<KernelMessage> = Vec::new();
    for record in kmsg::records(log).filter(|record| kmsg::is_about(&record.text, &name)) {
        let meaning = kmsg::meaning(&record.text, &name).map(|meaning| match &meaning.missing {
            Some(symbol) => format!("{}{}", meaning.text, owner_of(tree, symbol)),
            None => meaning.text,
        });
        // Of equal messages keep the last one.
        messages.retain(|earlier| earlier.text != record.text);
        messages.push(KernelMessage { time: record.time, text: record.text, meaning });
    }
    messages.split_off(messages.len().saturating_sub(SHOWN))
}

/// The module that exports a missing symbol, as the end of a sentence.
fn owner_of(tree: &Tree<'_>, symbol: &str) -> String {
    let owners = tree.lookup_plain(bytes!["symbol:", symbol].as_slice()).unwrap_or_default();
    match owners.first() {
        Some(owner) => {
            let owner = String::from_utf8_lossy(&owner.name);
            format!("; the module {owner} has it: if it should have been loaded before, run depmod")
        }
        None => "; no module of this kernel has it".to_owned(),
    }
}
