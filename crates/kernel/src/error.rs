//! What goes wrong with kernels, and how a caller should take it.

use std::io;
use std::path::PathBuf;

/// The coarse class of a [`KernelError`], for exit codes and HTTP statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such kernel, or none at all.
    NotFound,
    /// What was given cannot be used; the message says why.
    InvalidInput,
    /// Machines still hold the kernel.
    InUse,
    /// The disk is full.
    NoSpace,
    /// Anything else: the host's fault.
    Internal,
}

/// Errors of importing, building and storing kernels.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// No bundle has this ID, prefix or version.
    #[error("no kernel `{wanted}`; `hearth kernel ls` lists those that there are")]
    NotFound {
        /// What was asked for.
        wanted: String,
    },
    /// Several bundles match.
    #[error("kernel `{wanted}` is ambiguous, it fits {}; give more of the ID", .candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// IDs that match.
        candidates: Vec<String>,
    },
    /// Machines hold the bundle.
    #[error("kernel {version} ({id}) is in use by {}; remove them first", .holders.join(", "))]
    InUse {
        /// The bundle.
        id: String,
        /// Its version.
        version: String,
        /// Who holds it, as the caller named them.
        holders: Vec<String>,
    },
    /// The package is not a usable Debian kernel package.
    #[error("{path}: not a usable kernel package: {reason}")]
    BadPackage {
        /// The `.deb`.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// The reader's own error.
        #[source]
        source: Option<io::Error>,
    },
    /// The kernel image cannot be used.
    #[error("not a usable x86-64 kernel image: {reason}")]
    BadKernel {
        /// What is wrong with it.
        reason: String,
    },
    /// A module cannot be used.
    #[error("module {module}: {reason}")]
    BadModule {
        /// Its name.
        module: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel lacks something that every guest needs.
    #[error("kernel {version} lacks {}; take a kernel built with {}", .missing.join(", "), .options.join(", "))]
    MissingDriver {
        /// The kernel.
        version: String,
        /// Drivers and facilities that are absent.
        missing: Vec<String>,
        /// The options that would give them.
        options: Vec<String>,
    },
    /// A needed module depends on one that is not there.
    #[error(
        "module {module} depends on {dependency}, which is neither among the modules nor built in; give the complete modules folder"
    )]
    MissingDependency {
        /// The module.
        module: String,
        /// What it depends on.
        dependency: String,
    },
    /// Nothing says which drivers are built in.
    #[error(
        "nothing says which drivers kernel {version} has: give its modules folder (with modules.builtin) or its config"
    )]
    UnknownDrivers {
        /// The kernel.
        version: String,
    },
    /// Something is larger than any real one.
    #[error("{what} is larger than {limit_bytes} bytes; it is damaged or not a kernel")]
    TooLarge {
        /// What.
        what: String,
        /// The bound.
        limit_bytes: u64,
    },
    /// The guest agent is not one.
    #[error("the guest agent is not an x86-64 ELF program ({bytes} bytes)")]
    BadAgent {
        /// Its size.
        bytes: usize,
    },
    /// A stored bundle was damaged from outside.
    #[error("kernel bundle {id} is damaged: {reason}; remove and import it again")]
    Damaged {
        /// The bundle.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// A kernel cannot be built here.
    #[error("cannot build a kernel: {reason}")]
    Build {
        /// Why, and what to do.
        reason: String,
    },
    /// The host refused an operation on a file.
    #[error("{action} {path}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The host's answer.
        #[source]
        source: io::Error,
    },
}

impl KernelError {
    /// How a caller should take it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::InUse { .. } => ErrorKind::InUse,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
                _ => ErrorKind::Internal,
            },
            Self::Damaged { .. } => ErrorKind::Internal,
            Self::Ambiguous { .. }
            | Self::BadPackage { .. }
            | Self::BadKernel { .. }
            | Self::BadModule { .. }
            | Self::MissingDriver { .. }
            | Self::MissingDependency { .. }
            | Self::UnknownDrivers { .. }
            | Self::TooLarge { .. }
            | Self::BadAgent { .. }
            | Self::Build { .. } => ErrorKind::InvalidInput,
        }
    }

    /// For `map_err`: the host refused `action` on `path`.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// For files that the caller named: absent or unreadable is the caller's mistake, so it is said as such.
    pub(crate) fn bad_kernel(reason: impl Into<String>) -> Self {
        Self::BadKernel { reason: reason.into() }
    }
}
