//! Projects, keys, secrets, and who changed what.

pub(crate) mod audit;
pub(crate) mod keys;
pub(crate) mod limit;
pub(crate) mod projects;
pub(crate) mod secrets;
