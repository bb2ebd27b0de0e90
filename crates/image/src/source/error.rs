//! Why a source is refused.

use std::io;

/// Why a function's source cannot be made an image. Each names the entry, and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Larger in all than allowed.
    #[error(
        "the source has {actual_bytes} bytes unpacked, more than the {limit_bytes} ({} MiB) allowed; leave out what the function does not need", .limit_bytes >> 20
    )]
    TooLarge {
        /// Of all files, as the archive declares them.
        actual_bytes: u64,
        /// What is allowed.
        limit_bytes: u64,
    },
    /// Nothing in it.
    #[error("the source is empty: send a tar, or a zip, with at least one file")]
    Empty,
    /// More entries than allowed.
    #[error("the source has more than the {limit} files, folders and links allowed")]
    TooMany {
        /// What is allowed.
        limit: usize,
    },
    /// A name that is not a plain path within the source.
    #[error("{name:?} in the source {problem}")]
    Name {
        /// The entry, clipped.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Something other than a file, folder or link.
    #[error("{name:?} in the source is {kind}; only files, folders and links within the source can be deployed")]
    Kind {
        /// The entry, clipped.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// A link to somewhere else.
    #[error("link {name:?} in the source leads to {target:?}, {problem}")]
    Link {
        /// The entry, clipped.
        name: String,
        /// Where it leads, clipped.
        target: String,
        /// Why it is refused.
        problem: &'static str,
    },
    /// Not the zip or tar that it should be.
    #[error("the source's {format} is malformed: {problem}")]
    Malformed {
        /// `zip`, `tar`, or `archive` for either.
        format: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// Of a kind that is not read.
    #[error("the source's {format} uses {feature}, which is not read; pack it without")]
    Unsupported {
        /// `zip` or `tar`.
        format: &'static str,
        /// What.
        feature: String,
    },
    /// The folder for it is not one.
    #[error("a source cannot be put at {0:?}: it takes an absolute folder other than the root, without `..`")]
    Prefix(String),
    /// A read or write of our own files.
    #[error("cannot pack the source")]
    Io(#[source] io::Error),
}

impl SourceError {
    pub(super) fn zip(problem: impl Into<String>) -> Self {
        Self::Malformed {
            format: "zip",
            problem: problem.into(),
        }
    }

    pub(super) fn tar(problem: impl Into<String>) -> Self {
        Self::Malformed {
            format: "tar",
            problem: problem.into(),
        }
    }
}
