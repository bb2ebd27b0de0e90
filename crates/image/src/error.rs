//! What can go wrong, one enum an operation, and the coarse kinds that an API maps to a status.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::credentials::CredentialError;
use crate::digest::{Digest, ImageId};
use crate::manifest::ManifestError;
use crate::reference::{Reference, ReferenceError};
use crate::registry::RegistryError;
use crate::source::SourceError;

/// What an error means to whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// There is no such thing.
    NotFound,
    /// What was given cannot be used, whoever tries.
    InvalidInput,
    /// A machine needs it.
    InUse,
    /// Credentials are missing or refused.
    Unauthorized,
    /// A registry does not answer as it should; later it may.
    Unreachable,
    /// The disk is full.
    NoSpace,
    /// Bytes are not those that they should be.
    Corrupt,
    /// Our own fault, or the host's.
    Internal,
}

impl ErrorKind {
    pub(crate) fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Internal,
        }
    }

    pub(crate) fn of_manifest(error: &ManifestError) -> Self {
        match error {
            ManifestError::Malformed(_) => Self::Corrupt,
            _ => Self::InvalidInput,
        }
    }

    pub(crate) fn of_config(error: &ConfigError) -> Self {
        match error {
            ConfigError::Malformed(_) | ConfigError::LayerCount { .. } => Self::Corrupt,
            _ => Self::InvalidInput,
        }
    }
}

/// Why the store's folder could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder.
    #[error("cannot {action} {path}")]
    File {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A record that is not as it was written.
    #[error("the image record {path} is damaged; remove the image and pull it again")]
    Record {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Somebody else is busy for too long.
    #[error("the image store is locked by another process for more than {seconds} s ({path})")]
    Locked {
        /// The lock.
        path: PathBuf,
        /// How long we waited.
        seconds: u64,
    },
    /// The registry client could not be made.
    #[error("cannot set up the registry client")]
    Client(#[source] Box<RegistryError>),
}

impl StoreError {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// The coarse kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { source, .. } => ErrorKind::of_io(source),
            Self::Record { .. } => ErrorKind::Corrupt,
            Self::Locked { .. } | Self::Client(_) => ErrorKind::Internal,
        }
    }
}

/// Why layers could not be turned into a root.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The layer's bytes could not be read.
    #[error("cannot read layer {layer}")]
    Read {
        /// Which.
        layer: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A layer that cannot be unpacked (the error names it), or a root that cannot be written.
    #[error(transparent)]
    Build(#[from] hearth_erofs::BuildError),
    /// The disk, at the end.
    #[error("cannot store the root file system")]
    Store(#[source] io::Error),
    /// The compressed layer is not the one that the manifest names.
    #[error("layer {layer} has digest {actual} instead of {expected}")]
    LayerDigest {
        /// Which.
        layer: String,
        /// By the manifest.
        expected: Digest,
        /// What is there.
        actual: Digest,
    },
    /// The unpacked layer is not the one that the configuration names.
    #[error("layer {layer} unpacks to {actual} instead of {expected}")]
    DiffId {
        /// Which.
        layer: String,
        /// By the configuration.
        expected: Digest,
        /// What came out.
        actual: Digest,
    },
    /// Nobody waits for it any more.
    #[error("the conversion was cancelled")]
    Cancelled,
}

/// Why an archive could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The archive or folder cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// What was given.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The tar's own structure.
    #[error("the archive is malformed: {0}")]
    Malformed(String),
    /// A document within the archive.
    #[error("{name} in the archive is malformed")]
    Document {
        /// Which.
        name: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A part that is named but not there.
    #[error("the archive has no {0}, which it refers to")]
    Missing(String),
    /// A part larger than allowed.
    #[error("{name} in the archive has {actual_bytes} bytes, more than the {limit_bytes} allowed")]
    TooLarge {
        /// Which.
        name: String,
        /// Its size.
        actual_bytes: u64,
        /// What is allowed.
        limit_bytes: u64,
    },
    /// A part that is not what its digest says.
    #[error("{name} in the archive has digest {actual} instead of {expected}")]
    Digest {
        /// Which.
        name: String,
        /// By the archive.
        expected: Digest,
        /// What is there.
        actual: Digest,
    },
    /// Not an archive of the kinds known.
    #[error("{0} is neither an OCI layout, nor a docker archive, nor a root file system in a tar")]
    UnknownKind(String),
    /// More images than one.
    #[error("the archive holds {count} images ({names}); save the one that you want by itself")]
    Several {
        /// How many.
        count: usize,
        /// Their names.
        names: String,
    },
    /// Compressed in a way that is not read.
    #[error("{path} is compressed by {method}, which is not read; unpack it, or use gzip, zstd or xz")]
    Compression {
        /// What was given.
        path: PathBuf,
        /// How it is compressed.
        method: &'static str,
    },
    /// A flag that cannot be followed.
    #[error("environment entry {0:?} is not NAME=value")]
    Env(String),
}

impl ImportError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                // Not a file, not ours to read, or compressed data that breaks off.
                io::ErrorKind::InvalidInput
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::InvalidData
                | io::ErrorKind::UnexpectedEof => ErrorKind::InvalidInput,
                _ => ErrorKind::of_io(source),
            },
            Self::Digest { .. } => ErrorKind::Corrupt,
            _ => ErrorKind::InvalidInput,
        }
    }
}

/// Why something could not be done with an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Neither a name nor an ID that is known.
    #[error("there is no image {0:?}; pull or import it first")]
    NotFound(String),
    /// An ID prefix that several images share.
    #[error("{prefix:?} is the start of {count} image IDs; give more digits")]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// How many fit.
        count: usize,
    },
    /// Machines hold it.
    #[error("image {image} is used by {}; remove them first", .holders.join(", "))]
    InUse {
        /// The image as it was called.
        image: String,
        /// Who holds it.
        holders: Vec<String>,
    },
    /// Several names where an ID was given.
    #[error("image {image} has several names ({}); remove them one by one, or force it", .names.join(", "))]
    SeveralNames {
        /// The image as it was called.
        image: String,
        /// Its names.
        names: Vec<String>,
    },
    /// The name leads to another image already, and is not of whoever claims it.
    #[error("the name {0} is taken, and only admins of the host may let it lead to another image; choose another name")]
    NameTaken(Reference),
    /// A holder that cannot be recorded.
    #[error("holder {0:?} is not a plain name of at most 128 letters, digits, '-', '_' and '.'")]
    Holder(String),
    /// Found out before the work was begun.
    #[error("image {image} needs {needed_bytes} bytes in {path}, where {available_bytes} are free")]
    NoSpace {
        /// The image.
        image: String,
        /// At least this much.
        needed_bytes: u64,
        /// What there is.
        available_bytes: u64,
        /// Where.
        path: PathBuf,
    },
    /// The root file is not the one that was made.
    #[error(
        "the root of image {id} has {actual_bytes} bytes instead of {expected_bytes}; remove the image and pull it again"
    )]
    Damaged {
        /// The image.
        id: ImageId,
        /// When it was made.
        expected_bytes: u64,
        /// Now.
        actual_bytes: u64,
    },
    /// The whole took too long.
    #[error("{what} took longer than {seconds} s")]
    TimedOut {
        /// Pull or import of what.
        what: String,
        /// The limit.
        seconds: u64,
    },
    /// A blocking task of ours died.
    #[error("{0} was interrupted")]
    Interrupted(&'static str),
    /// The name cannot be used.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The manifest of an archive.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The layers.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The archive.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A function's source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store's folder.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImageError {
    /// The coarse kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Ambiguous { .. } | Self::SeveralNames { .. } | Self::Holder(_) | Self::Reference(_) => {
                ErrorKind::InvalidInput
            }
            Self::InUse { .. } | Self::NameTaken(_) => ErrorKind::InUse,
            Self::NoSpace { .. } => ErrorKind::NoSpace,
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::TimedOut { .. } => ErrorKind::Unreachable,
            Self::Interrupted(_) => ErrorKind::Internal,
            Self::Registry(error) => error.kind(),
            Self::Credentials(_) => ErrorKind::Unauthorized,
            Self::Manifest(error) => ErrorKind::of_manifest(error),
            Self::Config(error) => ErrorKind::of_config(error),
            Self::Convert(error) => error.kind(),
            Self::Import(error) => error.kind(),
            Self::Source(SourceError::Io(error)) => ErrorKind::of_io(error),
            Self::Source(_) => ErrorKind::InvalidInput,
            Self::Store(error) => error.kind(),
        }
    }
}

impl ConvertError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } | Self::Store(source) => ErrorKind::of_io(source),
            Self::Build(error) => of_build(error),
            Self::LayerDigest { .. } | Self::DiffId { .. } => ErrorKind::Corrupt,
            Self::Cancelled => ErrorKind::Internal,
        }
    }
}

/// A full disk may lie deep in the chain; apart from that, what is refused is the layer's fault.
fn of_build(error: &hearth_erofs::BuildError) -> ErrorKind {
    use hearth_erofs::BuildError as Build;
    let chain = std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| {
        error.source()
    });
    let mut causes = chain.filter_map(|error| error.downcast_ref::<io::Error>());
    match error {
        _ if causes.any(|cause| ErrorKind::of_io(cause) == ErrorKind::NoSpace) => ErrorKind::NoSpace,
        Build::Refused { .. } | Build::Limit { .. } | Build::TooLarge => ErrorKind::InvalidInput,
        Build::Read { .. } | Build::Tar { .. } => ErrorKind::Corrupt,
        _ => ErrorKind::Internal,
    }
}
