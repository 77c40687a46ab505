//! What the walk over the plans of a batch knows of the threads that load ahead of it.

use crate::load::ahead::{Ahead, JobResult};
use crate::load::plan::Step;
use crate::log::{Message, Sink};
use std::cell::RefCell;

/// The threads of one batch.
pub(crate) struct Batch<'t> {
    /// Their jobs; `None` if the batch has too few for threads.
    pub ahead: Option<&'t Ahead<'t>>,
    /// Messages from opening the gate, to be logged by the first step that needs it.
    pub gate_messages: &'t RefCell<Vec<Message>>,
    /// Where they are logged.
    pub log: &'t dyn Sink,
}

impl Batch<'_> {
    /// See [`Ahead::holds`].
    pub(crate) fn holds(&self, name: &[u8]) -> bool {
        self.ahead.is_some_and(|ahead| ahead.holds(name))
    }

    /// See [`Ahead::take`].
    pub(crate) fn take(&self, step: &Step) -> Option<JobResult> {
        self.ahead?.take(step)
    }

    /// See [`Ahead::plan_is_over`].
    pub(crate) fn plan_is_over(&self) {
        if let Some(ahead) = self.ahead {
            ahead.plan_is_over();
        }
    }

    /// Logs the messages from opening the gate.
    pub(crate) fn log_gate_messages(&self) {
        self.gate_messages.take().iter().for_each(|(priority, text)| self.log.log(*priority, text));
    }
}
