//! Ignoring a signal for some time.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// A signal that is ignored until this value is dropped.
pub(crate) struct Ignored {
    signal: Signal,
    before: Option<SigAction>,
}

impl Ignored {
    /// Ignores `signal` from now on.
    pub(crate) fn new(signal: Signal) -> Self {
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        // SAFETY: ignoring a signal installs no handler.
        let before = unsafe { sigaction(signal, &ignore) }.ok();
        Ignored { signal, before }
    }

    /// The signal, unless it was ignored before: a program that this process starts gets the default action back.
    pub(crate) fn signal_to_reset(&self) -> Option<Signal> {
        let before = self.before.filter(|before| !matches!(before.handler(), SigHandler::SigIgn));
        before.map(|_| self.signal)
    }
}

impl Drop for Ignored {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // SAFETY: restores the earlier action.
            let _ = unsafe { sigaction(self.signal, before) };
        }
    }
}
