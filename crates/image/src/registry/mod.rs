//! A registry's read side (the OCI distribution specification): from a reference to verified bytes.
//!
//! ```text
//! RegistryClient ── connect(reference) ──► Repository ── resolve ──► manifest
//!   TLS, time-outs       scheme, token         ├── small_blob ──► configuration
//!                                              └── download ──► layer, resumed where it was cut
//! ```
//!
//! Invariants: no byte leaves this module before its digest and size were checked; credentials go to no host but the registry's (and the token
//! server that it names); on behalf of who does not administer the host none but public addresses are asked, and what its owner named (`reach.rs`);
//! every body is bounded; every wait has a deadline.

mod auth;
mod download;
mod error;
mod reach;
mod repository;
mod retry;
mod transport;
mod trust;

pub use download::Transfer;
pub use error::RegistryError;
pub use reach::Reach;
pub use repository::{Repository, Resolved};
pub use retry::{PacePolicy, RetryPolicy};
pub use transport::{RegistryClient, RegistryConfig};
