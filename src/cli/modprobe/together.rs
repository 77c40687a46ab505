//! What the walk over the plans knows of the threads that work ahead of it.

use crate::load::ahead::{Ahead, JobResult};
use crate::load::plan::Step;
use crate::log::{Message, Sink};
use std::cell::RefCell;

/// Those who work ahead of the walk.
pub(crate) struct Together<'t> {
    /// Their jobs, where there are any in this batch.
    pub ahead: Option<&'t Ahead<'t>>,
    /// What the gate told when it was opened for all of them: for the first who comes to it.
    pub trouble: &'t RefCell<Vec<Message>>,
    /// Where it is told.
    pub log: &'t dyn Sink,
}

impl Together<'_> {
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

    /// The walk has come to the gate.
    pub(crate) fn tell_trouble(&self) {
        self.trouble.take().iter().for_each(|(priority, text)| self.log.log(*priority, text));
    }
}
