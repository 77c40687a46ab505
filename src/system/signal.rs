//! Signals that this process ignores for a while.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// A signal that is ignored until this goes.
pub(crate) struct Ignored {
    signal: Signal,
    before: Option<SigAction>,
}

impl Ignored {
    /// Ignores it from now on.
    pub(crate) fn new(signal: Signal) -> Self {
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        // SAFETY: ignoring a signal installs no code of ours.
        let before = unsafe { sigaction(signal, &ignore) }.ok();
        Ignored { signal, before }
    }

    /// The signal, if it was not ignored before: a program that this process starts is to have it back.
    pub(crate) fn to_give_back(&self) -> Option<Signal> {
        let before = self.before.filter(|before| !matches!(before.handler(), SigHandler::SigIgn));
        before.map(|_| self.signal)
    }
}

impl Drop for Ignored {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // SAFETY: the action was in force before. It cannot fail for a signal that it was asked of.
            let _ = unsafe { sigaction(self.signal, before) };
        }
    }
}
