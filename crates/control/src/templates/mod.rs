//! Templates: what sandboxes are made of. Each has builds, and each build that went well a snapshot.

pub(crate) mod api;
mod base;
mod book;
mod build;
mod command;
pub(crate) mod files;
mod find;
mod image;
mod layers;
mod log;
mod machine;
pub(crate) mod name;
mod prune;
mod ready;
mod recover;
mod remove;
mod snapshot;
mod stages;
mod steps;
mod stop;
mod words;
mod work;

pub(crate) use book::book;
pub(crate) use build::{check, start};
pub(crate) use find::{Source, means, owned, owned_or_taken, resolve, tagged};
pub(crate) use layers::clear as clear_layers;
pub(crate) use ready::until_ready_again as until_ready;
pub(crate) use recover::recover;
pub(crate) use remove::remove;
pub(crate) use snapshot::{boots, of_sandbox};
pub(crate) use stop::Builds;
