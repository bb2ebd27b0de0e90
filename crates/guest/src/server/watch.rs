//! Watching folders.

/// The watchers that clients made.
#[derive(Default)]
pub(crate) struct Watchers {}
