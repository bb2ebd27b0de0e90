//! Triggers: what calls a function when nobody does.

pub(crate) mod change;
pub(crate) mod run;
mod spec;
