//! Makes the plan of a request and executes it through the gate. A dry run shows the same plan.

pub(crate) mod ahead;
pub(crate) mod command;
pub(crate) mod insert;
pub(crate) mod plan;
pub(crate) mod removal;
pub(crate) mod remove;
pub(crate) mod walk;
