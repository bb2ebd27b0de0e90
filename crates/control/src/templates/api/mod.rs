//! Hearth's own API of templates.

pub(crate) mod build;
pub(crate) mod change;
pub(crate) mod files;
pub(crate) mod read;
mod view;
