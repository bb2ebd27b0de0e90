//! Functions: one file a group of endpoints, and what makes and calls their instances.

mod archive;
pub(crate) mod blueprint;
pub(crate) mod calls;
pub(crate) mod change;
pub(crate) mod deploy;
pub(crate) mod find;
pub(crate) mod invoke;
mod lines;
pub(crate) mod logs;
mod owned;
pub(crate) mod plan;
pub(crate) mod plane;
pub(crate) mod read;
pub(crate) mod reconcile;
mod room;
pub(crate) mod source;
pub(crate) mod templates;
mod view;
