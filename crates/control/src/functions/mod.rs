//! Functions: one file a group of endpoints, and what makes and calls their instances.

pub(crate) mod blueprint;
pub(crate) mod change;
pub(crate) mod deploy;
pub(crate) mod find;
pub(crate) mod plan;
pub(crate) mod read;
pub(crate) mod view;
