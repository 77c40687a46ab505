//! Where messages go. Code below the tools passes whole sentences, without program name or level, to a [`Sink`]; the tool
//! decides which of them are shown, and where.

use std::sync::Mutex;

/// A syslog priority, most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Priority {
    /// Ends the tool when it is shown.
    Crit = 2,
    /// Something asked for was not done.
    Err = 3,
    /// Something is unexpected; the work goes on.
    Warning = 4,
    /// A normal event that is worth a message.
    Notice = 5,
    /// What the program does.
    Info = 6,
    /// How the program does it.
    Debug = 7,
}

impl Priority {
    /// Its name at the start of a message. `critical` is that of [`Priority::Crit`], which tools and library call by two names.
    pub(crate) fn name(self, critical: &'static str) -> &'static str {
        match self {
            Priority::Crit => critical,
            Priority::Err => "ERROR",
            Priority::Warning => "WARNING",
            Priority::Notice => "NOTICE",
            Priority::Info => "INFO",
            Priority::Debug => "DEBUG",
        }
    }
}

/// A message with its priority.
pub(crate) type Message = (Priority, Vec<u8>);

/// The value of `KMOD_LOG`: a syslog number, or a word that begins with `err`, `info` or `debug`. Any other word gives 0,
/// which hides all messages. The result is the least severe priority that is shown.
pub(crate) fn threshold(variable: Option<&[u8]>) -> i32 {
    let Some(text) = variable else { return Priority::Err as i32 };
    let text = text.trim_ascii_start();
    let number = text.split(u8::is_ascii_whitespace).next().and_then(|word| std::str::from_utf8(word).ok());
    if let Some(number) = number.and_then(|word| word.parse().ok()) {
        return number;
    }
    let words = [("info", Priority::Info), ("debug", Priority::Debug), ("err", Priority::Err)];
    let found = words.into_iter().find(|(word, _)| text.starts_with(word.as_bytes()));
    found.map_or(0, |(_, priority)| priority as i32)
}

/// A receiver of messages. `text` does not end in a newline. It may quote names and paths that are not UTF-8.
pub trait Sink: Sync {
    fn log(&self, priority: Priority, text: &[u8]);
}

/// A sink that drops everything.
pub struct Silent;

impl Sink for Silent {
    fn log(&self, _: Priority, _: &[u8]) {}
}

/// A sink that keeps everything, for tests and for callers that print later.
#[derive(Default)]
pub struct Kept(Mutex<Vec<Message>>);

impl Kept {
    /// Takes the messages logged so far, oldest first; the sink is empty afterwards.
    pub fn take(&self) -> Vec<Message> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(|e| e.into_inner()))
    }

    /// Whether nothing has been logged since the last [`Kept::take`].
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).is_empty()
    }

    /// As [`Kept::take`], the texts of errors alone.
    pub(crate) fn take_errors(&self) -> impl Iterator<Item = Vec<u8>> + use<> {
        self.take().into_iter().filter(|(priority, _)| *priority == Priority::Err).map(|(_, text)| text)
    }
}

impl Sink for Kept {
    fn log(&self, priority: Priority, text: &[u8]) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).push((priority, text.to_vec()));
    }
}

/// Joins parts that are `AsRef<[u8]>` (bytes, text) into one message: `bytes!["Module ", name, " not found"]`.
macro_rules! bytes {
    ($($part:expr),* $(,)?) => {{
        let mut joined: Vec<u8> = Vec::new();
        $( joined.extend_from_slice(AsRef::<[u8]>::as_ref(&$part)); )*
        joined
    }};
}
pub(crate) use bytes;

/// Text from elsewhere, such as the name of a process, without characters that control a terminal or end a line.
pub(crate) fn printable(text: &str) -> String {
    text.replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_a_number_or_the_start_of_a_word() {
        for (text, wanted) in [
            ("7", 7),
            (" 6 ", 6),
            ("6abc", 0),
            ("-1", -1),
            ("errors", 3),
            ("information", 6),
            ("debug", 7),
            ("", 0),
            ("x", 0),
        ] {
            assert_eq!(threshold(Some(text.as_bytes())), wanted, "{text}");
        }
        assert_eq!(threshold(None), 3);
    }
}
