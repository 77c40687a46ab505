//! A request becomes a plan, and the plan is walked through the gate: what is shown is what is done.

pub mod ahead;
pub mod command;
pub mod insert;
pub mod plan;
pub mod removal;
pub mod remove;
pub mod walk;
