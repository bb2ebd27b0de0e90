//! What an import or a build reports while it goes on.

/// One report. Reports come often enough for a progress bar, seldom enough not to slow the work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelProgress {
    /// The package is being read.
    Reading {
        /// Bytes of the package read so far.
        done_bytes: u64,
        /// Size of the package.
        total_bytes: u64,
    },
    /// The ELF kernel is being taken out of the bzImage.
    Extracting,
    /// Drivers and their dependencies are being looked up.
    Resolving,
    /// The bundle is being written.
    Storing,
    /// A line of a build's output.
    Line(String),
}
