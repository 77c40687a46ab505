//! A request becomes a plan, and the plan is walked through the gate: what is shown is what is done.

pub(crate) mod ahead;
pub(crate) mod command;
pub(crate) mod insert;
pub(crate) mod plan;
pub(crate) mod removal;
pub(crate) mod remove;
pub(crate) mod walk;
