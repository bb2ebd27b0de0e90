//! Machines: one file a group of endpoints.

pub(crate) mod act;
pub(crate) mod archive;
pub(crate) mod create;
pub(crate) mod input;
pub(crate) mod log;
pub(crate) mod name;
pub(crate) mod plan;
pub(crate) mod read;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod session;
pub(crate) mod stats;
pub(crate) mod view;
pub(crate) mod wait;
