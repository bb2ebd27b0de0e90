//! What can go wrong at a registry.

use std::net::IpAddr;
use std::time::Duration;

use crate::credentials::CredentialError;
use crate::digest::Digest;
use crate::error::ErrorKind;
use crate::manifest::ManifestError;

/// Why something could not be had from a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The client itself could not be made.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// The network, DNS, TLS, or a cut or silent connection.
    #[error("cannot reach registry {registry} ({action})")]
    Unreachable {
        /// Host and port.
        registry: String,
        /// What was being done.
        action: String,
        /// The last cause.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// Plain HTTP is not spoken to hosts elsewhere.
    #[error(
        "registry {registry} speaks plain HTTP or has a broken TLS; list it as insecure if plain HTTP is what you want"
    )]
    PlainHttp {
        /// Host and port.
        registry: String,
        /// How TLS failed.
        #[source]
        source: reqwest::Error,
    },
    /// The registry, or what it leads to, is where only who administers the host may pull from.
    #[error(
        "registry {registry} is not asked: {target} is at {address}, which is not a public address, and only admins of the host pull from there; for all projects its owner starts the daemon with `--private-registry {target}`, or `--insecure-registry {target}` where it speaks plain HTTP"
    )]
    NotPublic {
        /// Host and port.
        registry: String,
        /// Host and port of the registry, of its token server, or of what it redirects to.
        target: String,
        /// Where that is.
        address: IpAddr,
    },
    /// The registry's or the token server's refusal.
    #[error("registry {registry} refused access to {repository}: {reason}")]
    Unauthorized {
        /// Host and port.
        registry: String,
        /// What was asked for.
        repository: String,
        /// What it said.
        reason: String,
    },
    /// A challenge that cannot be met.
    #[error("registry {registry} asks for authentication in a way that is not supported: {reason}")]
    Challenge {
        /// Host and port.
        registry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No such manifest or blob.
    #[error("registry {registry} has no {what}")]
    NotFound {
        /// Host and port.
        registry: String,
        /// What was asked for.
        what: String,
    },
    /// 429 with a wait longer than we are ready for.
    #[error("registry {registry} allows no further request for {} s", .wait.as_secs())]
    RateLimited {
        /// Host and port.
        registry: String,
        /// How long it wants us to wait.
        wait: Duration,
    },
    /// A layer comes, but so slowly that it may never be whole.
    #[error(
        "registry {registry} sends layer {digest} too slowly, less than {bytes_per_second} bytes a second; what came is kept for another try"
    )]
    TooSlow {
        /// Host and port.
        registry: String,
        /// Which.
        digest: Digest,
        /// What it should send at least.
        bytes_per_second: u64,
    },
    /// Any other status.
    #[error("registry {registry} answered {status} ({action}): {reason}")]
    Status {
        /// Host and port.
        registry: String,
        /// The status code.
        status: u16,
        /// What was being done.
        action: String,
        /// What it said.
        reason: String,
    },
    /// A redirect that is not followed.
    #[error("registry {registry} redirects in a way that is not followed: {reason}")]
    Redirect {
        /// Host and port.
        registry: String,
        /// Why not.
        reason: String,
    },
    /// Something in the protocol is not as the specification has it.
    #[error("registry {registry} broke the protocol: {reason}")]
    Protocol {
        /// Host and port.
        registry: String,
        /// How.
        reason: String,
    },
    /// Bytes that are not those that were asked for.
    #[error("{what} from registry {registry} has digest {actual} instead of {expected}")]
    DigestMismatch {
        /// Host and port.
        registry: String,
        /// Manifest, configuration or layer.
        what: &'static str,
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// More or fewer bytes than the manifest says.
    #[error("{what} {digest} from registry {registry} has {actual_bytes} bytes instead of {expected_bytes}")]
    SizeMismatch {
        /// Host and port.
        registry: String,
        /// Configuration or layer.
        what: &'static str,
        /// Which.
        digest: Digest,
        /// By the manifest.
        expected_bytes: u64,
        /// What the registry has.
        actual_bytes: u64,
    },
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Credentials could not be looked up.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The partial download could not be written.
    #[error("cannot write the download {path}")]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl RegistryError {
    /// The coarse kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Tls(_) => ErrorKind::Internal,
            Self::Unreachable { .. }
            | Self::PlainHttp { .. }
            | Self::RateLimited { .. }
            | Self::TooSlow { .. }
            | Self::Status { .. } => ErrorKind::Unreachable,
            Self::NotPublic { .. } => ErrorKind::InvalidInput,
            Self::Unauthorized { .. } | Self::Challenge { .. } | Self::Credentials(_) => ErrorKind::Unauthorized,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Redirect { .. } | Self::Protocol { .. } | Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => {
                ErrorKind::Corrupt
            }
            Self::Manifest(error) => ErrorKind::of_manifest(error),
            Self::Write { source, .. } => ErrorKind::of_io(source),
        }
    }
}
