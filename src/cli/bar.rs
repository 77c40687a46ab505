//! A progress bar on stderr: on a terminal, for work that takes longer than half a second.

use super::Call;
use crate::depmod::Progress;
use crate::log::bytes;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Duration;

/// Shorter work shows no bar.
const QUIET: Duration = Duration::from_millis(500);
/// How often the bar is drawn.
const INTERVAL: Duration = Duration::from_millis(100);
const WIDTH: usize = 40;

pub(crate) struct ProgressBar<'a> {
    call: &'a Call<'a>,
    /// When it is drawn next (`None`: never), and whether it has been drawn.
    state: Mutex<(Option<Duration>, bool)>,
}

impl<'a> ProgressBar<'a> {
    /// A bar for the work that begins now; never shown if `quiet`, or if stderr is no terminal.
    pub(crate) fn new(call: &'a Call<'a>, quiet: bool) -> Self {
        let shown = !quiet && std::io::stderr().is_terminal();
        let next = shown.then(|| call.world.system.clock.boottime() + QUIET);
        ProgressBar { call, state: Mutex::new((next, false)) }
    }
}

impl Progress for ProgressBar<'_> {
    fn step(&self, done: usize, total: usize) {
        // If another thread draws just now, this one does not wait for it.
        let Ok(mut state) = self.state.try_lock() else { return };
        let Some(next) = state.0 else { return };
        let now = self.call.world.system.clock.boottime();
        if now >= next {
            *state = (Some(now + INTERVAL), true);
            let full = (WIDTH * done).checked_div(total).unwrap_or(WIDTH);
            let empty = WIDTH - full;
            let bar = format!(": [{:=<full$}{:empty$}] {done}/{total}", "", "");
            self.call.world.streams.draw(&bytes!["\r", self.call.program, bar]);
        }
    }

    fn end(&self) {
        let Ok(mut state) = self.state.lock() else { return };
        if std::mem::take(&mut *state).1 {
            // Erase the line.
            self.call.world.streams.draw(b"\r\x1b[K");
        }
    }
}
