//! The contract between host and guest: messages, Connect framing, and the host's client.
//!
//! - [`process`], [`filesystem`]: the envd wire contract, which unmodified SDKs speak.
//! - [`guest`]: `hearth.guest.v1`, what the host alone may ask.
//! - [`connect`]: the Connect protocol's codecs, frames and errors, synchronous and without I/O.
//! - [`runtime`]: how calls reach a workload that speaks the Lambda Runtime API.
//! - [`client`] (feature `client`): how the host talks to a guest that it does not trust.
//!
//! The schemas lie in `proto/`; the code generated from them lies in `src/generated` and is compared with them by a test.

pub mod connect;
pub mod files;
pub mod runtime;
pub mod signals;
pub mod timestamp;

#[cfg(feature = "client")]
pub mod client;

#[cfg(feature = "client")]
pub use client::{GuestClient, GuestError, GuestTokens};
pub use runtime::RUNTIME_PORT;

/// The port on which the agent listens inside the guest.
pub const AGENT_PORT: u16 = 49983;

/// The ports that a guest's kernel speaks to its volumes from, and that only root of the guest can have while it has any: whom a call
/// is by, its connection is believed for.
pub const VOLUME_CLIENT_PORTS: std::ops::Range<u16> = 1..1024;

/// Header of the host's token, for `hearth.guest.v1` and the archive endpoint.
pub const HOST_TOKEN_HEADER: &str = "x-hearth-token";

/// Header of the access token, for `process`, `filesystem` and `/files`.
pub const ACCESS_TOKEN_HEADER: &str = "x-access-token";

/// Header by which a client asks for keepalive events, in seconds.
pub const KEEPALIVE_HEADER: &str = "keepalive-ping-interval";

/// The largest message that either side accepts, in bytes, in a frame or as a unary request.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// The largest unary answer, in bytes: a long folder listing.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// The envd wire contract's process service.
pub mod process {
    #![expect(missing_docs, clippy::pedantic, reason = "generated; the schema documents itself")]
    include!("generated/process.rs");
    include!("generated/process.serde.rs");
}

/// The envd wire contract's filesystem service.
pub mod filesystem {
    #![expect(
        missing_docs,
        clippy::pedantic,
        clippy::large_enum_variant,
        reason = "generated; the schema documents itself"
    )]
    include!("generated/filesystem.rs");
    include!("generated/filesystem.serde.rs");
}

/// `hearth.guest.v1`: what the host alone may ask of the agent.
pub mod guest {
    #![expect(missing_docs, clippy::pedantic, reason = "generated; the schema documents itself")]
    include!("generated/hearth.guest.v1.rs");
    include!("generated/hearth.guest.v1.serde.rs");
}
