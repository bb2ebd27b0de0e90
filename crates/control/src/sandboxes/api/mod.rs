//! Hearth's own API of sandboxes.

pub(crate) mod change;
pub(crate) mod copy;
pub(crate) mod create;
pub(crate) mod read;
mod view;
