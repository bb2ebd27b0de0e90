//! Registry client, imports, content store: from a reference to a read-only root.
//!
//! ```text
//! Reference ─► RegistryClient ─┐ layers            ┌─► images/<id>.erofs   one read-only root, shared by all machines
//! archive ───► import ─────────┴─► hearth-erofs ───┴─► images/<id>.json    configuration, sizes
//!                                                      refs/, holders/     what keeps an image
//! ```
//!
//! Everything that comes from a registry or an archive is bounded, and checked against its digest before it can be seen; a crash at any point leaves
//! nothing half-made visible. Start at [`ImageStore`].

mod change;
mod config;
mod credentials;
mod digest;
mod error;
pub mod fault;
mod import;
mod manifest;
mod platform;
mod progress;
mod reference;
pub mod registry;
mod source;
mod store;

pub use change::ChangeError;
pub use config::{ConfigError, ConfigOverrides, ImageConfig};
pub use credentials::{CredentialError, Credentials, DockerConfig};
pub use digest::{Digest, DigestError, ImageId};
pub use error::{ConvertError, ErrorKind, ImageError, ImportError, StoreError};
pub use import::{ImportKind, ImportOptions, ImportSource};
pub use manifest::{
    CONFIG_MAX_BYTES, Descriptor, Document, Index, IndexEntry, LAYERS_MAX, MANIFEST_MAX_BYTES, Manifest, ManifestError,
};
pub use platform::Platform;
pub use progress::{Phase, Progress, ProgressSink};
pub use reference::{Reference, ReferenceError};
pub use source::{SourceError, SourceOptions};
pub use store::{HeldImage, ImageRecord, ImageStore, NameClaim, PruneReport, PullOptions, RemoveReport, StoreConfig};
