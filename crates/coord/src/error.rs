//! Why queue or registry could not do something.

use thiserror::Error;

/// A failed call of the queue or the registry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CoordError {
    /// The queue holds as many requests as it may.
    #[error("the provision queue is full: {len} requests wait; try again later")]
    QueueFull {
        /// How many wait.
        len: usize,
    },
    /// The lease has run out, or was given back.
    #[error("lease {0} has run out; take a new one and register again")]
    LeaseGone(u64),
    /// The other side is gone: the process is going down, or the server cannot be reached.
    #[error("the {0} is not to be had now")]
    Unavailable(&'static str),
}
