//! Calls that nobody waits for: kept before they are answered for, tried until they are answered, kept with their result.

pub(crate) mod accept;
pub(crate) mod read;
pub(crate) mod resume;
pub(crate) mod run;
