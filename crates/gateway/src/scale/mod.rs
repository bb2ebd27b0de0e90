//! How many instances each pool has: one task a pool asks the planner, and does what it says.

mod starts;
mod task;

pub(crate) use starts::Starts;
pub(crate) use task::{Scaling, run};
